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

/// The directory through which a switch is found: `ctl`, where clients ask for a port, and a socket for each end of a port in use.
///
/// It is locked for as long as we live, so that the sockets of a switch that was killed are told from those of one that lives.
package final class SwitchDirectory {
    /// The absolute path without symbolic links.
    package let path: String
    /// Clients connect here.
    package let listener: Descriptor
    private let access: SwitchAccess
    private let lock: Descriptor
    /// The directory as it was opened, by which its files are named: its path may lead elsewhere by the time.
    private let base: String
    /// Whether it goes when we go.
    private let isOurs: Bool

    /// Bytes of the longest name in it, `/NNNN.NNNNN`.
    private static let longestName = 11

    private enum Entry {
        case control
        /// A socket of a switch's port.
        case port
        /// A socket that a client has bound, or a file that was announced.
        case known
        case foreign
    }

    /// Makes the directory, or takes over what a dead switch has left, and listens.
    /// - Parameter allowed: paths that may be in it although they are not the switch's, such as its pidfile and console.
    package init(_ name: String, access: SwitchAccess, allowed: [String] = []) throws(SwitchError) {
        let room = UnixAddressLayout.native.pathCapacity - 1 - SwitchDirectory.longestName
        guard name.utf8.count <= room else {
            throw SwitchError(.pathTooLong, "\(name) is too long for the sockets in it: at most \(room) bytes; use a shorter directory")
        }
        self.access = access
        let isNew = try SwitchDirectory.make(name)
        do throws(SwitchError) {
            if !isNew { try SwitchDirectory.refuseLink(name, access) }
            let path = try SwitchDirectory.translating { () throws(SystemError) in try Files.realPath(name) }
            guard path.utf8.count <= room else {
                throw SwitchError(.pathTooLong, "\(name) is \(path), which is too long for the sockets in it: at most \(room) bytes; use a shorter directory")
            }
            self.path = path
            let lock = try SwitchDirectory.translating { () throws(SystemError) in try Files.open(path, [.readOnly, .directory, .noFollow]) }
            let hadSwitch = try SwitchDirectory.takeOver(path, lock, access, isNew: isNew, allowed: allowed)
            isOurs = isNew || hadSwitch
            let open = "/proc/self/fd/\(lock.raw)"
            let base = Files.exists(open) ? open : path
            listener = try SwitchDirectory.translating { () throws(SystemError) in
                try SwitchDirectory.listen(base + "/ctl", mode: access.controlMode, user: access.owner?.user, group: access.ownerGroup)
            }
            do throws(SystemError) {
                // Last: from now on others may change what is in it.
                try lock.setOwner(user: access.owner?.user, group: access.ownerGroup)
                // Behind the change of owner, which takes set-id bits away.
                try lock.setMode(access.effectiveDirectoryMode)
            } catch {
                try? Files.remove(base + "/ctl")
                throw SwitchError(error)
            }
            self.base = base
            self.lock = lock
        } catch {
            if isNew { try? Files.removeDirectory(name) }
            throw error
        }
    }

    private static func translating<Value: ~Copyable>(_ body: () throws(SystemError) -> Value) throws(SwitchError) -> Value {
        do throws(SystemError) {
            return try body()
        } catch {
            throw SwitchError(error)
        }
    }

    /// Makes the directory, closed to others. Returns false if there is something already.
    private static func make(_ path: String) throws(SwitchError) -> Bool {
        do throws(SystemError) {
            try Files.makeDirectory(path, mode: 0o700)
            return true
        } catch {
            if error.code == Errno.exists { return false }
            throw SwitchError(error)
        }
    }

    /// In a directory where all may write, somebody may have laid a link to lead us astray.
    private static func refuseLink(_ path: String, _ access: SwitchAccess) throws(SwitchError) {
        guard let status = try? Files.status(path, followLinks: false), status.kind == .link else { return }
        guard status.owner == 0 || isOwn(status.owner, access) else {
            throw SwitchError(.notOurs, "\(path) is a link that \(Accounts.userName(status.owner)) made; choose another directory")
        }
    }

    private static func isOwn(_ user: UInt32, _ access: SwitchAccess) -> Bool { user == Accounts.effectiveUser || user == access.owner?.user }

    /// Makes sure that an existing directory is ours to use, and removes what a dead switch has left in it. Returns whether there was one.
    private static func takeOver(_ path: String, _ lock: borrowing Descriptor, _ access: SwitchAccess, isNew: Bool, allowed: [String]) throws(SwitchError) -> Bool {
        let status: FileStatus, isFree: Bool, entries: [String]
        do throws(SystemError) {
            status = try lock.status()
            isFree = try lock.tryLock()
            entries = try Files.entries(path)
        } catch {
            throw SwitchError(error)
        }
        let holder = entries.contains("ctl") ? holder(of: path + "/ctl") : nil
        if let holder, holder > 0 {
            throw SwitchError(.occupied, "a switch serves \(path) already (process \(holder)); stop it first, or choose another directory")
        }
        guard isOwn(status.owner, access) else {
            throw SwitchError(.notOurs, "\(path) belongs to \(Accounts.userName(status.owner)); choose another directory, or run this as \(Accounts.userName(status.owner))")
        }
        let names = allowed.map(Files.resolved).filter { Files.parent($0) == path }.map { String($0.dropFirst(path.utf8.count + 1)) }
        let kinds = entries.map { ($0, kind(of: $0, in: path, allowed: names)) }
        if let foreign = kinds.first(where: { $0.1 == .foreign }) {
            throw SwitchError(.notOurs, "\(path) holds something else than a switch's sockets (\(foreign.0)); choose an empty directory, or one that does not exist yet")
        }
        let hadSwitch = kinds.contains { $0.1 == .control }
        if hadSwitch, holder != nil {
            throw SwitchError(.occupied, "a switch serves \(path) already; stop it first, or choose another directory")
        }
        guard isFree else { throw SwitchError(.occupied, "another vde_vmnet is just taking \(path); choose another directory") }
        for case (let name, .control) in kinds { try? Files.remove(path + "/" + name) }
        for case (let name, .port) in kinds { try? Files.remove(path + "/" + name) }
        return hadSwitch
    }

    private static func kind(of name: String, in path: String, allowed: [String]) -> Entry {
        if allowed.contains(name) { return .known }
        guard (try? Files.status(path + "/" + name, followLinks: false))?.kind == .socket else { return .foreign }
        if name == "ctl" { return .control }
        if name.hasPrefix(".") { return .known }
        let parts = name.split(separator: ".", omittingEmptySubsequences: false)
        let isPort = parts.count == 2 && parts.allSatisfy { !$0.isEmpty && $0.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) } }
        return isPort ? .port : .foreign
    }

    /// The process that listens at `path`, 0 if it cannot be told; nil if nobody does.
    private static func holder(of path: String) -> Int32? {
        guard let socket = try? UnixSocket.stream(), let name = try? UnixPath(path) else { return nil }
        do throws(SystemError) {
            try socket.connect(to: name)
        } catch {
            return error.code == Errno.refused || error.code == Errno.noEntry ? nil : 0
        }
        return (try? socket.peerCredentials())?.process ?? 0
    }

    /// A listening socket at `path`, open to others only when it has its owner and mode.
    private static func listen(_ path: String, mode: UInt16, user: UInt32?, group: UInt32?) throws(SystemError) -> Descriptor {
        let socket = try UnixSocket.stream()
        try socket.bind(to: UnixPath(path))
        do throws(SystemError) {
            try Files.setSocketOwner(path, mode: mode, user: user, group: group)
            try socket.listen(backlog: 256)
        } catch {
            try? Files.remove(path)
            throw error
        }
        return socket
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
    package func makeDataSocket(port: Int, end: Int32, peer: [UInt8], user: UInt32, mode: UInt16? = nil) throws(SystemError) -> DataSocket {
        let socket = try UnixSocket.datagram()
        socket.setBuffers(send: 1 << 20, receive: 4 << 20)
        try socket.connect(to: UnixPath(peer), ownedBy: user)
        let name = Columns.zeros(port, 3) + "." + String(end)
        // One of ours that was left, if there is one.
        removeDataSocket(name)
        try socket.bind(to: UnixPath(base + "/" + name))
        do throws(SystemError) {
            let (mode, owner) = access.dataSocket(user: user, isRoot: Accounts.effectiveUser == 0, mode: mode ?? access.controlMode)
            try Files.setSocketOwner(base + "/" + name, mode: mode, user: owner, group: access.group)
        } catch {
            removeDataSocket(name)
            throw error
        }
        return DataSocket(descriptor: socket, path: path + "/" + name, name: name)
    }

    package func removeDataSocket(_ name: String) { try? Files.remove(base + "/" + name) }

    /// Removes the control socket, and the directory if it is ours and empty by then.
    package func remove() {
        try? Files.remove(base + "/ctl")
        if isOurs { try? Files.removeDirectory(path) }
    }

    package var controlMode: UInt16 { access.controlMode }
}
