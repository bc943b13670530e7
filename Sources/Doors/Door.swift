// SPDX-License-Identifier: Apache-2.0
import Platform

/// Who may come in through a door.
package struct DoorAccess: Equatable, Sendable {
    /// Of the socket.
    package var mode: UInt16
    package var user: UInt32?
    package var group: UInt32?

    package init(mode: UInt16 = 0o600, user: UInt32? = nil, group: UInt32? = nil) {
        self.mode = mode
        self.user = user
        self.group = group
    }
}

/// A unix socket at a path through which machines come in. It is there only for as long as it is ours.
package final class Door: Sendable {
    package enum Kind: Sendable {
        /// Clients connect; each then has a connection of its own.
        case stream
        /// Clients send; each is known by its address.
        case datagram
    }

    /// Longer than it takes to make a socket, and to put one in another's place, in nanoseconds.
    private static let makingTime = 100 * MonotonicClock.millisecond
    private static let patience = MonotonicClock.second

    package let kind: Kind
    package let path: String
    package let socket: Descriptor
    /// What was bound, by which the file is known again.
    private let identity: (device: UInt64, inode: UInt64)?

    /// Makes the socket, in place of one that a process which is gone has left, and for a stream listens.
    /// - Throws: why not; nothing is left behind then.
    package init(_ kind: Kind, at path: String, access: DoorAccess) throws(DoorError) {
        self.kind = kind
        self.path = Files.absolute(path)
        do throws(SystemError) {
            let name = try UnixPath(self.path)
            let socket = try kind == .stream ? UnixSocket.stream() : UnixSocket.datagram()
            // Nobody is to take the socket for a dead one before we listen. Whoever has the lock for long is no maker of doors but a switch that
            // lives here, and keeps those away that would replace ours.
            let directory = try? Files.open(Files.parent(self.path), [.readOnly, .directory])
            defer { directory?.unlock() }
            var isLocked = try directory?.lock(until: MonotonicClock.now + Door.makingTime) ?? false
            do throws(SystemError) {
                try socket.bindPrivately(to: name)
            } catch {
                guard error.code == Errno.addressInUse else { throw error }
                if !isLocked { isLocked = try directory?.lock(until: MonotonicClock.now + Door.patience) ?? false }
                try Door.replace(self.path, name, kind, access, socket, isLocked: isLocked)
            }
            do throws(SystemError) {
                try Files.setSocketOwner(self.path, mode: access.mode, user: access.user, group: access.group)
                // With room for all machines of a host that starts them together.
                if kind == .stream { try socket.listen(backlog: 256) } else { socket.setBuffers(send: 1 << 20, receive: 4 << 20) }
            } catch {
                try? Files.remove(self.path)
                throw error
            }
            identity = (try? Files.status(self.path, followLinks: false)).map { ($0.device, $0.inode) }
            self.socket = socket
        } catch {
            switch error.code {
            case Errno.busy: throw DoorError(.occupied, error.operation)
            case Errno.exists: throw DoorError(.notOurs, error.operation)
            default: throw DoorError(error)
            }
        }
    }

    /// A socket that was bound, and if need be is listened at, by who started us. The path is not ours to remove.
    package init(_ kind: Kind, inheriting socket: consuming Descriptor, path: String) {
        self.kind = kind
        self.path = path
        self.socket = socket
        identity = nil
    }

    /// Removes what is at `path` if it is a socket that a dead process of ours has left, and binds there.
    /// - Throws: "busy" or "exists" with the whole message in place of the operation.
    private static func replace(_ path: String, _ name: UnixPath, _ kind: Kind, _ access: DoorAccess, _ socket: borrowing Descriptor, isLocked: Bool) throws(SystemError) {
        func refuse(_ code: Int32, _ text: String) -> SystemError { SystemError(code: code, text) }
        guard isLocked else { throw refuse(Errno.busy, "\(path) is there already, and another process uses its directory; stop that first, or choose another path") }
        let status = try Files.status(path, followLinks: false)
        guard status.kind == .socket else { throw refuse(Errno.exists, "\(path) is there already, and no socket; choose another path") }
        if let holder = holder(of: name, kind) {
            throw refuse(Errno.busy, "\(path) is served already\(holder > 0 ? " (process \(holder))" : ""); stop that first, or choose another path")
        }
        guard status.owner == Accounts.effectiveUser || status.owner == access.user || isOursAlone(Files.parent(path)) else {
            throw refuse(Errno.exists, "\(path) was left by \(Accounts.userName(status.owner)); remove it, or choose another path")
        }
        try Files.remove(path)
        try socket.bindPrivately(to: name)
    }

    /// Whether nobody but root, which we are, puts anything into a directory: what is there was given to its owner by one of us, which somebody
    /// else may have started through sudo.
    private static func isOursAlone(_ directory: String) -> Bool {
        guard Accounts.effectiveUser == 0, let status = try? Files.status(directory) else { return false }
        return status.owner == 0 && status.mode & 0o022 == 0
    }

    /// The process behind the socket at `path`, 0 if it cannot be told; nil if there is none.
    private static func holder(of path: UnixPath, _ kind: Kind) -> Int32? {
        guard let socket = try? kind == .stream ? UnixSocket.stream() : UnixSocket.datagram() else { return 0 }
        do throws(SystemError) {
            try socket.connect(to: path)
        } catch {
            return error.code == Errno.refused || error.code == Errno.noEntry ? nil : 0
        }
        return kind == .stream ? (try? socket.peerCredentials())?.process ?? 0 : 0
    }

    /// Removes the socket, unless somebody has put something else in its place.
    package func remove() {
        guard let identity, let there = try? Files.status(path, followLinks: false), (there.device, there.inode) == identity else { return }
        try? Files.remove(path)
    }
}
