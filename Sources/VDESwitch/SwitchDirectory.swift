// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// Why a switch cannot be where it was asked to be: the thing, the cause, and what to do next.
package struct SwitchError: Error, Sendable, CustomStringConvertible {
    package enum Cause: Equatable, Sendable {
        /// A live switch is there.
        case occupied
        /// The path is somebody else's, or holds something else.
        case notOurs
        case pathTooLong
        case permissionDenied
        case system
    }

    package let cause: Cause
    package let description: String

    init(_ cause: Cause, _ description: String) {
        self.cause = cause
        self.description = description
    }

    init(_ error: SystemError) {
        let (kind, text) = error.obstacle(choosing: "a directory of yours")
        let causes: [SystemError.Obstacle: Cause] = [.rights: .permissionDenied, .length: .pathTooLong]
        self.init(causes[kind] ?? .system, text)
    }
}

/// The directory through which a switch is found: `ctl`, where clients ask for a port, and a socket for each end of a
/// port in use.
///
/// It is locked for as long as we live, so that of several that start at once one waits for the other. Root gives it
/// away to the user who called sudo only if this process has made it, or it is that user's already.
package final class SwitchDirectory {
    /// The absolute path without symbolic links.
    package var path: String { directory.path }
    /// Clients connect here.
    package let listener: Descriptor
    private let access: SwitchAccess
    private let lock: Descriptor
    private let directory: Directory
    /// The control socket.
    private let control: FileStatus?
    /// Whether it goes when we go.
    private let isOurs: Bool

    /// Bytes of the longest name in it, `/NNNN.NNNNN`.
    private static let longestName = 11
    /// How long to wait for another process that takes the directory, in nanoseconds. Any process that may read it can
    /// lock it for ever.
    private static let patience = MonotonicClock.second

    private enum Entry {
        case control
        /// A socket of a switch's port.
        case port
        /// A directory in which sockets are made, left by a process that was killed just then.
        case stage
        /// A socket that a client has bound, or a file that was announced.
        case known
        case foreign
    }

    /// A directory that was there, or that this process has made.
    private struct Opened: ~Copyable {
        let directory: Directory
        let isNew: Bool
    }

    /// Makes the directory, or takes over what a dead switch has left, and listens.
    /// - Parameter allowed: paths that may be in it although they are not the switch's, such as its pidfile and
    ///   console.
    package init(_ name: String, access: SwitchAccess, allowed: [String] = []) throws(SwitchError) {
        let room = UnixAddressLayout.native.pathCapacity - 1 - SwitchDirectory.longestName
        guard name.utf8.count <= room else {
            throw SwitchError(
                .pathTooLong,
                "\(name) is too long for the sockets in it: at most \(room) bytes; use a shorter directory")
        }
        self.access = access
        let opened = try SwitchDirectory.open(name)
        let directory = try SwitchDirectory.translating { () throws(SystemError) in try opened.directory.again() }
        let isNew = opened.isNew
        do throws(SwitchError) {
            guard directory.path.utf8.count <= room else {
                throw SwitchError(
                    .pathTooLong,
                    "\(name) is \(directory.path), which is too long for the sockets in it: at most \(room) bytes; use a shorter directory"
                )
            }
            let lock = try SwitchDirectory.translating { () throws(SystemError) in try directory.reopen() }
            if !isNew { try SwitchDirectory.checkOwner(directory, access) }
            let hadSwitch = try SwitchDirectory.takeOver(directory, lock, allowed: allowed)
            isOurs = isNew || hadSwitch
            listener = try SwitchDirectory.translating { () throws(SystemError) in
                try SwitchDirectory.listen(in: directory, access)
            }
            control = try? directory.status(of: "ctl")
            do throws(SystemError) {
                // Last: from now on others may change what is in it.
                try lock.setOwner(user: access.owner?.user, group: access.ownerGroup)
                // Behind the change of owner, which takes set-id bits away.
                try lock.setMode(access.effectiveDirectoryMode)
            } catch {
                try? directory.remove("ctl")
                throw SwitchError(error)
            }
            self.lock = lock
        } catch {
            if isNew { SwitchDirectory.remove(directory) }
            throw error
        }
        self.directory = directory
    }

    private static func translating<Value: ~Copyable>(
        _ body: () throws(SystemError) -> Value
    ) throws(SwitchError) -> Value {
        do throws(SystemError) {
            return try body()
        } catch {
            throw error.code == Errno.addressInUse
                ? SwitchError(
                    .occupied, "\(error.subject) was made by another process just now; choose another directory")
                : SwitchError(error)
        }
    }

    /// Makes the directory, closed to others, or opens what is there.
    private static func open(_ path: String) throws(SwitchError) -> Opened {
        do throws(SystemError) {
            do throws(SystemError) {
                let name = try Directory.name(of: path)
                return Opened(directory: try Directory.open(above: path, .ownersOfLinks).makeOwn(name), isNew: true)
            } catch {
                // A path such as `.` or `/` names what is there.
                guard error.code == Errno.exists || error.code == Errno.isDirectory else { throw error }
            }
            return Opened(directory: try Directory.open(path, .ownersOfLinks), isNew: false)
        } catch {
            guard error.code == Errno.notPermitted else { throw SwitchError(error) }
            throw SwitchError(.notOurs, "\(error); choose another directory")
        }
    }

    /// What is there already must be of the user to whom it is to belong.
    private static func checkOwner(_ directory: borrowing Directory, _ access: SwitchAccess) throws(SwitchError) {
        let path = directory.path
        let owner = try translating { () throws(SystemError) in try directory.status().owner }
        let receiver = access.owner?.user ?? Accounts.effectiveUser
        if owner == receiver { return }
        if owner == Accounts.effectiveUser {
            let name = Accounts.userName(receiver)
            throw SwitchError(
                .notOurs,
                "\(path) is there and belongs to \(Accounts.userName(owner)), so it is not given to \(name), who called sudo; choose a directory of \(name), or one that does not exist yet"
            )
        }
        throw SwitchError(
            .notOurs,
            "\(path) belongs to \(Accounts.userName(owner)); choose another directory, or run this as \(Accounts.userName(owner))"
        )
    }

    /// Makes sure that the directory is free, and removes what a dead switch has left in it. Returns whether there was
    /// one.
    private static func takeOver(
        _ directory: borrowing Directory, _ lock: borrowing Descriptor, allowed: [String]
    ) throws(SwitchError) -> Bool {
        let path = directory.path
        let isFree: Bool, entries: [String]
        do throws(SystemError) {
            isFree = try lock.lock(until: MonotonicClock.now)
            entries = try directory.entries()
        } catch {
            throw SwitchError(error)
        }
        let holder = entries.contains("ctl") ? holder(in: directory) : nil
        if let holder, holder > 0 {
            throw SwitchError(
                .occupied,
                "a switch serves \(path) already (process \(holder)); stop it first, or choose another directory")
        }
        let names = allowed.map(Files.resolved).filter { Files.parent($0) == path }.map {
            String($0.dropFirst(path.utf8.count + 1))
        }
        var kinds: [(name: String, kind: Entry)] = []
        for name in entries { kinds.append((name, kind(of: name, in: directory, allowed: names))) }
        if let foreign = kinds.first(where: { $0.kind == .foreign }) {
            throw SwitchError(
                .notOurs,
                "\(path) holds something else than a switch's sockets (\(foreign.name)); choose an empty directory, or one that does not exist yet"
            )
        }
        let hadSwitch = kinds.contains { $0.kind == .control }
        if hadSwitch, holder != nil {
            throw SwitchError(.occupied, "a switch serves \(path) already; stop it first, or choose another directory")
        }
        // Another instance that starts is soon to be seen. Any other process with the lock keeps no instance out: `ctl`
        // is made by one process alone.
        if !isFree {
            _ = try translating { () throws(SystemError) in try lock.lock(until: MonotonicClock.now + patience) }
            if let holder = SwitchDirectory.holder(in: directory) {
                throw SwitchError(
                    .occupied,
                    "a switch serves \(path) already (process \(holder)); stop it first, or choose another directory")
            }
        }
        for entry in kinds {
            switch entry.kind {
            case .control, .port: try? directory.remove(entry.name)
            case .stage: directory.removeStage(entry.name)
            case .known, .foreign: break
            }
        }
        return hadSwitch
    }

    private static func kind(of name: String, in directory: borrowing Directory, allowed: [String]) -> Entry {
        // A file that was being made when its process was killed has the name between dots.
        if allowed.contains(where: { name == $0 || name.hasPrefix(".\($0).") }) { return .known }
        let kind = (try? directory.status(of: name))?.kind
        if kind == .directory, name.hasPrefix(Directory.stagePrefix) { return .stage }
        guard kind == .socket else { return .foreign }
        if name == "ctl" { return .control }
        if name.hasPrefix(".") { return .known }
        let parts = name.split(separator: ".", omittingEmptySubsequences: false)
        let isPort =
            parts.count == 2
            && parts.allSatisfy {
                !$0.isEmpty && $0.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
            }
        return isPort ? .port : .foreign
    }

    /// The process that listens at `ctl`, 0 if it cannot be told; nil if none does.
    private static func holder(in directory: borrowing Directory) -> Int32? {
        let deadline = MonotonicClock.now + patience
        while true {
            guard let process = listener(in: directory) else { return nil }
            if process == 0 || Accounts.isAlive(process) { return process }
            // A child of one that was killed may have its socket for a moment, until it starts a program; or one that
            // is alive has left the process that began to listen, as daemons do.
            guard MonotonicClock.now < deadline else { return 0 }
            MonotonicClock.sleep(10 * MonotonicClock.millisecond)
        }
    }

    private static func listener(in directory: borrowing Directory) -> Int32? {
        guard let socket = try? UnixSocket.stream() else { return nil }
        do throws(SystemError) {
            try directory.connect(socket, to: "ctl")
        } catch {
            return error.code == Errno.refused || error.code == Errno.noEntry ? nil : 0
        }
        return (try? socket.peerCredentials())?.process ?? 0
    }

    /// The control socket, open to others only when it has its owner and mode.
    private static func listen(
        in directory: borrowing Directory, _ access: SwitchAccess
    ) throws(SystemError) -> Descriptor {
        let socket = try UnixSocket.stream()
        let own = Directory.SocketAccess(mode: access.controlMode, user: access.owner?.user, group: access.ownerGroup)
        try directory.place(socket, at: "ctl", own, backlog: 256)
        return socket
    }

    /// Removes the directory, if it is empty and still where it was made.
    private static func remove(_ directory: borrowing Directory) {
        guard let name = try? Directory.name(of: directory.path), let status = try? directory.status(),
            let above = try? directory.enter("..")
        else { return }
        if above.has(name, status) { try? above.removeDirectory(name) }
    }

    // MARK: Ports

    /// The socket of an end of a port: connected to the client's, and bound where the client will look for it.
    package struct DataSocket: ~Copyable {
        package let descriptor: Descriptor
        /// Where the client looks for it.
        package let path: String
        package let name: String
    }

    /// - Parameters:
    ///   - peer: the client's socket.
    ///   - user: who the client is.
    ///   - mode: other than the control socket's, for the management port.
    package func makeDataSocket(
        port: Int, end: Int32, peer: [UInt8], user: UInt32, mode: UInt16? = nil
    ) throws(SystemError) -> DataSocket {
        let socket = try UnixSocket.datagram()
        socket.setBuffers(send: 1 << 20, receive: 4 << 20)
        try socket.connect(to: UnixPath(peer), ownedBy: user)
        let name = Columns.zeros(port, 3) + "." + String(end)
        // One of ours that was left, if there is one.
        removeDataSocket(name)
        let (mode, owner) = access.dataSocket(
            user: user, isRoot: Accounts.effectiveUser == 0, mode: mode ?? access.controlMode)
        try directory.place(socket, at: name, Directory.SocketAccess(mode: mode, user: owner, group: access.group))
        return DataSocket(descriptor: socket, path: directory.path(of: name), name: name)
    }

    package func removeDataSocket(_ name: String) { try? directory.remove(name) }

    /// Removes the control socket, and the directory if it is ours and empty by then.
    package func remove() {
        if let control, directory.has("ctl", control) { try? directory.remove("ctl") }
        if isOurs { SwitchDirectory.remove(directory) }
    }

    package var controlMode: UInt16 { access.controlMode }
}
