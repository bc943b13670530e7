// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// A joined port of somebody's VDE switch.
package struct Plug: ~Copyable {
    /// Silent as long as the switch lives; readable (end of file) when it closes the port.
    package let control: Descriptor
    /// Connected to the port's socket: one frame a datagram.
    package var data: Descriptor
    /// The switch's control directory without symbolic links.
    package let directory: String
    /// The switch as it was named by the caller.
    package let path: String
}

/// How to join.
package struct PlugOptions: Sendable {
    /// The group that may write to our data socket; nil: the rule of libvdeplug.
    package var group: UInt32?
    /// Shown by the switch's `port/allprint`.
    package var description: String

    package init(group: UInt32? = nil, description: String) {
        self.group = group
        self.description = description
    }
}

/// The handshake with a VDE switch: begun by `init`, then `finish` whenever `descriptor` is readable, until it returns
/// the plug. The caller keeps the time; libvdeplug's own switches may refuse by never answering.
package struct PlugHandshake: ~Copyable {
    /// How long a switch may take to answer, in nanoseconds.
    package static let patience: UInt64 = 3 * MonotonicClock.second
    /// Ours among the sockets of libvdeplug's plugs, which are called `.PID-N`.
    private static let namePrefix = ".vde_vmnet-"

    fileprivate let control: Descriptor
    private let data: Descriptor
    private let path: String
    private let directory: String
    /// Our data socket, until the switch has it.
    private let socket: BoundSocket
    private var reply: [UInt8] = []

    /// The descriptor to wait on for reading.
    package var descriptor: Int32 { control.raw }

    /// Connects to the switch at `path` and sends the request.
    package init(path: String, port: Int, options: PlugOptions) throws(PlugError) {
        let there = try PlugHandshake.directory(path)
        do throws(SystemError) {
            let control = try UnixSocket.stream()
            try control.connect(to: UnixPath(there.path(of: "ctl")))
            PlugHandshake.sweep(there)
            let data = try UnixSocket.datagram()
            data.setBuffers(send: 1 << 20, receive: 4 << 20)
            let socket = try PlugHandshake.bind(data, in: there, try PlugHandshake.access(for: there, options.group))
            let kind: VDERequest.Kind = port == PlugLocator.managementPort ? .newPort0 : .newControl(port: port)
            let request = VDERequest(kind: kind, path: Array(socket.path.utf8), description: options.description)
            guard let bytes = request.encode() else { throw SystemError(code: Errno.nameTooLong, "use", socket.path) }
            // One write: the switch reads once and takes what it gets for the whole.
            guard try control.send(bytes) == bytes.count else {
                throw SystemError(code: Errno.noBuffers, "send to", there.path(of: "ctl"))
            }
            self.control = control
            self.data = data
            self.path = path
            directory = there.path
            self.socket = socket
        } catch {
            switch error.code {
            case Errno.refused, Errno.noEntry: throw PlugError.noSwitch(at: path)
            default: throw PlugError(error, path: path)
            }
        }
    }

    /// The switch's directory behind `path`, which may also name its `ctl` socket or a link.
    private static func directory(_ path: String) throws(PlugError) -> Directory {
        do throws(SystemError) {
            switch try Files.status(path).kind {
            case .directory: return try Directory.open(path, .everything)
            case .socket where path.hasSuffix("/ctl"): return try Directory.open(above: path, .everything)
            default: break
            }
        } catch {
            throw error.code == Errno.noEntry ? PlugError.noSwitch(at: path) : PlugError(error, path: path)
        }
        throw PlugError(
            .notASwitch,
            "\(path) is a file, not the directory of a VDE switch; start one elsewhere by: vde_vmnet --switch DIRECTORY"
        )
    }

    /// Removes data sockets that an earlier run of ours left here when it was killed during its handshake.
    private static func sweep(_ directory: borrowing Directory) {
        for name in (try? directory.entries()) ?? [] where name.hasPrefix(namePrefix) {
            guard let process = Int32(name.dropFirst(namePrefix.count).prefix { $0 != "-" }), !Accounts.isAlive(process)
            else { continue }
            try? directory.remove(name)
        }
    }

    /// Binds the data socket in the switch's directory, or where libvdeplug goes if that cannot be written.
    private static func bind(
        _ socket: borrowing Descriptor, in directory: borrowing Directory, _ access: [Directory.SocketAccess]
    ) throws(SystemError) -> BoundSocket {
        do throws(SystemError) {
            return try bind(socket, in: directory, prefix: namePrefix, access)
        } catch {
            for place in ["/var/run", "/var/tmp", "/tmp"] {
                guard let other = try? Directory.open(place, .everything),
                    let bound = try? bind(socket, in: other, prefix: "vde_vmnet-", access)
                else { continue }
                return bound
            }
            throw error
        }
    }

    private static func bind(
        _ socket: borrowing Descriptor, in directory: borrowing Directory, prefix: String,
        _ access: [Directory.SocketAccess]
    ) throws(SystemError) -> BoundSocket {
        for attempt in 0..<1000 {
            let name = prefix + "\(Accounts.processID)-\(attempt)"
            // A name that a switch could not be told is no use.
            _ = try UnixPath(directory.path(of: name))
            do throws(SystemError) {
                return try BoundSocket(socket, in: directory, name, access, bindsPath: true)
            } catch {
                if error.code != Errno.addressInUse { throw error }
            }
        }
        throw SystemError(code: Errno.addressInUse, "bind", directory.path(of: prefix))
    }

    /// Lets the switch write to our socket, by the rule of libvdeplug: a switch that runs as somebody else is given
    /// access through the group of its control socket, and where that group is not ours to give, through everybody's.
    private static func access(
        for directory: borrowing Directory, _ group: UInt32?
    ) throws(SystemError) -> [Directory.SocketAccess] {
        if let group { return [Directory.SocketAccess(mode: 0o770, group: group)] }
        let owner = try directory.status(of: "ctl")
        if owner.owner == 0 || owner.owner == Accounts.effectiveUser { return [Directory.SocketAccess(mode: 0o700)] }
        return [Directory.SocketAccess(mode: 0o770, group: owner.group), Directory.SocketAccess(mode: 0o777)]
    }

    /// Takes what the switch has answered so far. Returns nil while the answer is not complete.
    package mutating func finish() throws(PlugError) -> Plug? {
        let expected = UnixAddressLayout.native.length
        do throws(SystemError) {
            let more = try control.receive(limit: expected - reply.count)
            guard !more.isEmpty else { throw SystemError(code: Errno.reset, "receive") }
            reply += more
        } catch {
            switch error.code {
            case Errno.again: return nil
            case Errno.reset, Errno.brokenPipe:
                throw PlugError(
                    .refused,
                    "the switch at \(directory) refused: the port is out of range or taken by another user, or all ports are in use "
                        + "(port/allprint on its console tells)")
            default: throw PlugError(error, path: directory)
            }
        }
        guard reply.count == expected else { return nil }
        guard let peer = try? UnixAddressLayout.native.decodePath(reply.rawSpan) else {
            throw PlugError(
                .badReply, "what listens at \(directory) does not speak the VDE protocol: its answer names no socket")
        }
        do throws(SystemError) {
            try data.connect(to: UnixPath(peer))
            // The name has served its purpose: the switch is connected. Without it there is nothing to leave behind.
            socket.remove()
            return Plug(control: try control.duplicate(), data: try data.duplicate(), directory: directory, path: path)
        } catch {
            throw PlugError(error, path: directory)
        }
    }

    /// The error for a switch that did not answer in `patience`.
    package var silence: PlugError {
        PlugError(
            .silent,
            "the switch at \(directory) did not answer within \(PlugHandshake.patience / MonotonicClock.second) s: "
                + "it hangs, or it is an older vde_switch that refuses in silence (port out of range, taken, or none free)"
        )
    }
}

extension Plug {
    /// Joins and waits for the answer. For programs with nothing else to do meanwhile.
    package static func join(path: String, port: Int, options: PlugOptions, deadline: UInt64) throws(PlugError) -> Plug
    {
        var handshake = try PlugHandshake(path: path, port: port, options: options)
        while true {
            guard !handshake.control.wait(for: .readable, until: deadline).isEmpty else { throw handshake.silence }
            if let plug = try handshake.finish() { return plug }
        }
    }

    /// Joins the first of several places that answers. Of several failures the one where something was there is thrown.
    package static func join(anyOf candidates: [String], port: Int, options: PlugOptions) throws(PlugError) -> Plug {
        var failure: PlugError?
        for candidate in candidates {
            do throws(PlugError) {
                return try join(
                    path: candidate, port: port, options: options, deadline: MonotonicClock.now + PlugHandshake.patience
                )
            } catch {
                if failure == nil || failure?.cause == .noSwitch { failure = error }
            }
        }
        guard candidates.count > 1, failure?.cause == .noSwitch else { throw failure! }
        throw PlugError(
            .noSwitch,
            "no VDE switch in any of the usual places (\(candidates.joined(separator: ", "))); start a network with a switch of its own by: vde_vmnet --switch /tmp/vde"
        )
    }
}
