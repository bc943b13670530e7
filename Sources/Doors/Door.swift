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

    package let kind: Kind
    package let path: String
    package let socket: Descriptor
    /// What was bound, by which the file is known again.
    private let identity: (device: UInt64, inode: UInt64)?

    /// Makes the socket, in place of one that a process which is gone has left, and for a stream listens.
    /// - Parameter isLocked: this process holds the lock of the directory already, as that of its switch.
    /// - Throws: why not; nothing is left behind then.
    package init(_ kind: Kind, at path: String, access: DoorAccess, isLocked: Bool = false) throws(DoorError) {
        self.kind = kind
        self.path = Files.absolute(path)
        do throws(SystemError) {
            let name = try UnixPath(self.path)
            let socket = try kind == .stream ? UnixSocket.stream() : UnixSocket.datagram()
            // Held until the socket answers: one that is bound and does not listen yet looks like one that was left.
            let place = DoorPlace(self.path, isLocked: isLocked)
            do throws(SystemError) {
                try socket.bindPrivately(to: name)
            } catch {
                guard error.code == Errno.addressInUse else { throw error }
                try Door.clear(place, self.path, name, kind, access)
                try socket.bindPrivately(to: name)
            }
            do throws(SystemError) {
                try Files.setSocketOwner(place.file, mode: access.mode, user: access.user, group: access.group)
                // With room for all machines of a host that starts them together.
                if kind == .stream { try socket.listen(backlog: 256) } else { socket.setBuffers(send: 1 << 20, receive: 4 << 20) }
            } catch {
                try? Files.remove(place.file)
                throw SystemError(code: error.code, error.operation, self.path)
            }
            identity = (try? Files.status(place.file, followLinks: false)).map { ($0.device, $0.inode) }
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

    /// Removes what is at `path` if it is a socket that a dead process of ours has left.
    /// - Throws: "busy" or "exists" with the whole message in place of the operation.
    private static func clear(_ place: borrowing DoorPlace, _ path: String, _ name: UnixPath, _ kind: Kind, _ access: DoorAccess) throws(SystemError) {
        func refuse(_ code: Int32, _ text: String) -> SystemError { SystemError(code: code, text) }
        let status = try Files.status(place.file, followLinks: false)
        guard status.kind == .socket else { throw refuse(Errno.exists, "\(path) is there already, and no socket; choose another path") }
        switch holder(of: name, kind) {
        case .nobody: break
        case .process(let number):
            throw refuse(Errno.busy, "\(path) is served already\(number > 0 ? " (process \(number))" : ""); stop that first, or choose another path")
        case .secret:
            throw refuse(Errno.exists, "\(path) is a socket of \(Accounts.userName(status.owner)) that is closed to \(Accounts.userName(Accounts.effectiveUser)); choose another path")
        }
        guard status.owner == Accounts.effectiveUser || status.owner == access.user || place.isClosed(to: status.owner) else {
            throw refuse(Errno.exists, "\(path) was left by \(Accounts.userName(status.owner)); remove it, or choose another path")
        }
        // Without the lock, another one may just be making it.
        guard place.isLocked else {
            throw refuse(Errno.exists, "\(path) seems to have been left, but another process keeps \(Files.parent(path)) locked; remove the socket if nobody uses it, or choose another path")
        }
        try Files.remove(place.file)
    }

    /// Who is behind a socket.
    private enum Holder {
        case nobody
        /// 0 if it cannot be told which.
        case process(Int32)
        /// We may not ask.
        case secret
    }

    private static func holder(of path: UnixPath, _ kind: Kind) -> Holder {
        guard let socket = try? kind == .stream ? UnixSocket.stream() : UnixSocket.datagram() else { return .process(0) }
        do throws(SystemError) {
            try socket.connect(to: path)
        } catch {
            switch error.code {
            case Errno.refused, Errno.noEntry: return .nobody
            case Errno.accessDenied: return .secret
            default: return .process(0)
            }
        }
        return .process(kind == .stream ? (try? socket.peerCredentials())?.process ?? 0 : 0)
    }

    /// Removes the socket, unless somebody has put something else in its place.
    package func remove() {
        let place = DoorPlace(path, isLocked: true)
        guard let identity, let there = try? Files.status(place.file, followLinks: false), (there.device, there.inode) == identity else { return }
        try? Files.remove(place.file)
    }
}
