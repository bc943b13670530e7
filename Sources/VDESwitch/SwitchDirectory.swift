// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

/// The directory of a switch: the socket `ctl`, to which clients connect, and one data socket for each connection.
///
/// The process locks it as long as the switch runs, so that of several switches that start at the same time one waits
/// for the other. Root makes the user that called sudo its owner only if this process has made the directory, or it
/// belongs to that user already.
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
    /// Whether to remove the directory at the end.
    private let isOurs: Bool

    /// The longest name in it in bytes, `/NNNN.NNNNN`.
    private static let longestName = 11
    /// How long to wait for the lock, which another starting switch holds only briefly. Any process that can read the
    /// directory could hold it without limit.
    private static let lockTimeout = TimeAmount.seconds(1)

    private enum Entry {
        case control
        /// A socket of a switch's port.
        case port
        /// The staging directory of a process that was killed.
        case stage
        /// A client's socket, or a file in `allowed`.
        case known
        case foreign
    }

    /// An open directory, and whether this process has made it.
    private struct Opened: ~Copyable {
        let directory: Directory
        let isNew: Bool
    }

    /// Makes the directory, or takes over that of a switch that has ended, and listens.
    /// - Parameter allowed: other files that may be in it, such as the pidfile and the console's socket.
    package init(_ name: String, access: SwitchAccess, allowed: [String] = []) throws(SwitchError) {
        let room = UnixAddressLayout.native.pathCapacity - 1 - SwitchDirectory.longestName
        guard name.utf8.count <= room else {
            throw SwitchError(
                .pathTooLong,
                "\(name) is too long for the sockets in it: at most \(room) bytes; use a shorter directory")
        }
        self.access = access
        let opened = try SwitchDirectory.open(name)
        let directory = try SwitchDirectory.translating { () throws(SystemError) in try opened.directory.duplicate() }
        let isNew = opened.isNew
        do throws(SwitchError) {
            guard directory.path.utf8.count <= room else {
                throw SwitchError(
                    .pathTooLong,
                    """
                    \(name) is \(directory.path), which is too long for the sockets in it: at most \(room) bytes; \
                    use a shorter directory
                    """
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
                // Last, because from now on the new owner can change the directory.
                try lock.setOwner(user: access.owner?.user, group: access.ownerGroup)
                // After the change of owner, which clears set-id bits.
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
                    .occupied,
                    "\(error.subject) was created by another process at the same time; choose another directory")
                : SwitchError(error)
        }
    }

    /// Makes the directory, closed to other users, or opens the existing one.
    private static func open(_ path: String) throws(SwitchError) -> Opened {
        do throws(SystemError) {
            do throws(SystemError) {
                let name = try Directory.name(of: path)
                return Opened(
                    directory: try Directory.open(above: path, .trustedLinks).makePrivateDirectory(name), isNew: true)
            } catch {
                // `.` and `/` always exist.
                guard error.code == Errno.exists || error.code == Errno.isDirectory else { throw error }
            }
            return Opened(directory: try Directory.open(path, .trustedLinks), isNew: false)
        } catch {
            guard error.code == Errno.notPermitted else { throw SwitchError(error) }
            throw SwitchError(.notOurs, "\(error); choose another directory")
        }
    }

    /// Checks that an existing directory belongs to the user that will own it.
    private static func checkOwner(_ directory: borrowing Directory, _ access: SwitchAccess) throws(SwitchError) {
        let path = directory.path
        let owner = try translating { () throws(SystemError) in try directory.status().owner }
        let receiver = access.owner?.user ?? CurrentProcess.effectiveUser
        if owner == receiver { return }
        if owner == CurrentProcess.effectiveUser {
            let name = UserDatabase.userName(receiver)
            throw SwitchError(
                .notOurs,
                """
                \(path) is there and belongs to \(UserDatabase.userName(owner)), so it is not given to \(name), who \
                called sudo; choose a directory of \(name), or one that does not exist yet
                """
            )
        }
        throw SwitchError(
            .notOurs,
            """
            \(path) belongs to \(UserDatabase.userName(owner)); choose another directory, or run this as \
            \(UserDatabase.userName(owner))
            """
        )
    }

    /// Checks that no switch uses the directory, and removes the sockets of one that has ended. Returns whether there
    /// was one.
    private static func takeOver(
        _ directory: borrowing Directory, _ lock: borrowing Descriptor, allowed: [String]
    ) throws(SwitchError) -> Bool {
        let path = directory.path
        let isFree: Bool, entries: [String]
        do throws(SystemError) {
            isFree = try lock.lock(until: BootClock.now)
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
                """
                \(path) holds files that are not a switch's sockets (\(foreign.name)); choose an empty directory, or \
                one that does not exist yet
                """
            )
        }
        let hadSwitch = kinds.contains { $0.kind == .control }
        if hadSwitch, holder != nil {
            throw SwitchError(.occupied, "a switch serves \(path) already; stop it first, or choose another directory")
        }
        // Another switch that starts will listen soon. A process that merely holds the lock cannot block this one: only
        // one process can create `ctl`.
        if !isFree {
            _ = try translating { () throws(SystemError) in try lock.lock(until: BootClock.now + lockTimeout) }
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
        // If the process was killed while it made such a file, the name stands between dots.
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

    /// The process that listens at `ctl`, 0 if it is unknown; nil if none does.
    private static func holder(in directory: borrowing Directory) -> Int32? {
        let deadline = BootClock.now + lockTimeout
        while true {
            guard let process = listener(in: directory) else { return nil }
            if process == 0 || ProcessTable.isAlive(process) { return process }
            // Either a child of a killed process still has the socket until it calls exec, or the switch is a daemon
            // and the process that called listen has ended. Only the first case ends before the deadline.
            guard BootClock.now < deadline else { return 0 }
            BootClock.sleep(.milliseconds(10))
        }
    }

    private static func listener(in directory: borrowing Directory) -> Int32? {
        guard let socket = try? Socket.unixStream() else { return nil }
        do throws(SystemError) {
            try directory.connect(socket, to: "ctl")
        } catch {
            return error.code == Errno.refused || error.code == Errno.noEntry ? nil : 0
        }
        return (try? socket.peerCredentials())?.process ?? 0
    }

    /// Makes the control socket; other users can connect only once owner and mode are set.
    private static func listen(
        in directory: borrowing Directory, _ access: SwitchAccess
    ) throws(SystemError) -> Descriptor {
        let socket = try Socket.unixStream()
        let own = Directory.SocketAccess(mode: access.controlMode, user: access.owner?.user, group: access.ownerGroup)
        try directory.bind(socket, at: "ctl", own, backlog: 256)
        return socket
    }

    /// Removes the directory, if it is empty and its path still leads to it.
    private static func remove(_ directory: borrowing Directory) {
        guard let name = try? Directory.name(of: directory.path), let status = try? directory.status(),
            let above = try? directory.enter("..")
        else { return }
        if above.has(name, status) { try? above.removeDirectory(name) }
    }

    // MARK: Ports

    /// The data socket of a connection: connected to the client's, and bound to the path that the client receives.
    package struct DataSocket: ~Copyable {
        /// Owned by this value.
        package let descriptor: Descriptor
        /// The path that the client receives.
        package let path: String
        /// The name in the switch's directory, for `removeDataSocket`.
        package let name: String
    }

    /// Makes the data socket of a connection.
    /// - Parameters:
    ///   - peer: the path of the client's socket.
    ///   - user: the client's user, who must own that socket.
    ///   - mode: for the management port, in place of the control socket's mode.
    package func makeDataSocket(
        port: Int, end: Int32, peer: [UInt8], user: UInt32, mode: UInt16? = nil
    ) throws(SystemError) -> DataSocket {
        let socket = try Socket.unixDatagram()
        socket.setBuffers(send: 1 << 20, receive: 4 << 20)
        try socket.connect(to: UnixPath(peer), ownedBy: user)
        let name = TextFormat.zeros(port, 3) + "." + String(end)
        // From a former connection, if there was one.
        removeDataSocket(name)
        let (mode, owner) = access.dataSocket(
            user: user, isRoot: CurrentProcess.effectiveUser == 0, mode: mode ?? access.controlMode)
        try directory.bind(socket, at: name, Directory.SocketAccess(mode: mode, user: owner, group: access.group))
        return DataSocket(descriptor: socket, path: directory.path(of: name), name: name)
    }

    /// Removes a connection's data socket.
    package func removeDataSocket(_ name: String) { try? directory.remove(name) }

    /// Removes the control socket, and the directory if this switch may and it is empty.
    package func remove() {
        if let control, directory.has("ctl", control) { try? directory.remove("ctl") }
        if isOurs { SwitchDirectory.remove(directory) }
    }

    /// The mode of the control socket.
    package var controlMode: UInt16 { access.controlMode }
}
