// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

/// The handshake with a VDE switch. `init` sends the request; the caller calls `finish` whenever `descriptor` is
/// readable, until it returns the session, and gives up after `timeout`, because older switches refuse by not
/// answering.
package struct PlugHandshake: ~Copyable {
    /// How long a switch may take to answer.
    package static let timeout = TimeAmount.seconds(3)
    /// Distinguishes the client's socket from those of libvdeplug, which are called `.PID-N`.
    private static let namePrefix = ".vde_vmnet-"

    let control: Descriptor
    private let data: Descriptor
    private let path: String
    private let directory: String
    /// The name of the data socket, until the switch has connected to it.
    private let socket: BoundSocket
    private var reply: [UInt8] = []

    /// The descriptor to wait on for reading.
    package var descriptor: Int32 { control.raw }

    /// Connects to the switch at `path` and sends the request.
    package init(path: String, port: Int, options: PlugOptions) throws(PlugError) {
        let there = try PlugHandshake.directory(path)
        do throws(SystemError) {
            let control = try Socket.unixStream()
            try control.connect(to: UnixPath(there.path(of: "ctl")))
            PlugHandshake.sweep(there)
            let data = try Socket.unixDatagram()
            data.setBuffers(send: 1 << 20, receive: 4 << 20)
            let socket = try PlugHandshake.bind(data, in: there, try PlugHandshake.access(for: there, options.group))
            let kind: VDERequest.Kind =
                port == VirtualNetworkLocator.managementPort ? .newPort0 : .newControl(port: port)
            let request = VDERequest(kind: kind, path: Array(socket.path.utf8), description: options.description)
            guard let bytes = request.encode() else { throw SystemError(code: Errno.nameTooLong, "use", socket.path) }
            // In one write, because a switch takes what it reads first for the whole request.
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

    /// Opens the switch's directory. `path` may also name its `ctl` socket, or be a link.
    private static func directory(_ path: String) throws(PlugError) -> Directory {
        do throws(SystemError) {
            switch try Files.status(path).kind {
            case .directory: return try Directory.open(path, .anyLink)
            case .socket where path.hasSuffix("/ctl"): return try Directory.open(above: path, .anyLink)
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

    /// Removes data sockets of processes that were killed during their handshake.
    private static func sweep(_ directory: borrowing Directory) {
        for name in (try? directory.entries()) ?? [] where name.hasPrefix(namePrefix) {
            guard let process = Int32(name.dropFirst(namePrefix.count).prefix { $0 != "-" }),
                !ProcessTable.isAlive(process)
            else { continue }
            try? directory.remove(name)
        }
    }

    /// Binds the data socket in the switch's directory, or in a directory that libvdeplug uses if that is not writable.
    private static func bind(
        _ socket: borrowing Descriptor, in directory: borrowing Directory, _ access: [Directory.SocketAccess]
    ) throws(SystemError) -> BoundSocket {
        do throws(SystemError) {
            return try bind(socket, in: directory, access) { "\(namePrefix)\(CurrentProcess.identifier)-\($0)" }
        } catch {
            for place in ["/var/run", "/var/tmp", "/tmp"] {
                // There another user could take all names that it can foresee.
                guard let other = try? Directory.open(place, .anyLink),
                    let bound = try? bind(
                        socket, in: other, access,
                        name: { _ in "vde_vmnet-\(CurrentProcess.identifier)-\(Random.value() as UInt32)" })
                else { continue }
                return bound
            }
            throw error
        }
    }

    private static func bind(
        _ socket: borrowing Descriptor, in directory: borrowing Directory, _ access: [Directory.SocketAccess],
        name: (_ attempt: Int) -> String
    ) throws(SystemError) -> BoundSocket {
        for attempt in 0..<1000 {
            let name = name(attempt)
            // The path must fit into the request.
            _ = try UnixPath(directory.path(of: name))
            do throws(SystemError) {
                return try BoundSocket(socket, in: directory, name, access, bindsPath: true)
            } catch {
                if error.code != Errno.addressInUse { throw error }
            }
        }
        throw SystemError(code: Errno.addressInUse, "bind", directory.path(of: name(0)))
    }

    /// The access that lets the switch write to the client's socket, by the rule of libvdeplug: a switch of another
    /// user gets access through the group of its control socket, and if this process cannot set that group, all users
    /// do.
    private static func access(
        for directory: borrowing Directory, _ group: UInt32?
    ) throws(SystemError) -> [Directory.SocketAccess] {
        if let group { return [Directory.SocketAccess(mode: 0o770, group: group)] }
        let owner = try directory.status(of: "ctl")
        if owner.owner == 0 || owner.owner == CurrentProcess.effectiveUser {
            return [Directory.SocketAccess(mode: 0o700)]
        }
        return [Directory.SocketAccess(mode: 0o770, group: owner.group), Directory.SocketAccess(mode: 0o777)]
    }

    /// Receives the switch's answer, and connects to the switch's socket once it is complete.
    /// - Returns: the session; nil while the answer is incomplete.
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
                    """
                    the switch at \(directory) refused: the port is out of range or taken by another user, or all \
                    ports are in use (port/allprint on its console lists them)
                    """)
            default: throw PlugError(error, path: directory)
            }
        }
        guard reply.count == expected else { return nil }
        guard let peer = try? UnixAddressLayout.native.decodePath(reply.rawSpan) else {
            throw PlugError(
                .badReply,
                "\(directory) is not a VDE switch: its answer names no socket; give the directory of a VDE switch")
        }
        do throws(SystemError) {
            try data.connect(to: UnixPath(peer))
            // The switch is connected, so that the name is no longer needed.
            socket.remove()
            return Plug(control: try control.duplicate(), data: try data.duplicate(), directory: directory, path: path)
        } catch {
            throw PlugError(error, path: directory)
        }
    }

    /// The error for a switch that did not answer within `timeout`.
    package var timeoutError: PlugError {
        PlugError(
            .silent,
            "the switch at \(directory) did not answer within \(PlugHandshake.timeout): "
                + """
                restart it if it hangs; an older vde_switch also refuses this way \
                (port out of range, taken, or none free)
                """
        )
    }
}
