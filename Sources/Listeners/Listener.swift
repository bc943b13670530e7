// SPDX-License-Identifier: Apache-2.0
import Platform

/// Who may come in through a listener.
package struct ListenerAccess: Equatable, Sendable {
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
package final class Listener: Sendable {
    package enum Kind: Sendable {
        /// Clients connect; each then has a connection of its own.
        case stream
        /// Clients send; each is known by its address.
        case datagram
    }

    package let kind: Kind
    package let path: String
    package let socket: Descriptor
    /// Where it was bound, and what was; nil if that was not done here.
    private let bound: Bound?

    private final class Bound: Sendable {
        let directory: Directory
        let name: String
        let status: FileStatus

        init(_ directory: consuming Directory, _ name: String, _ status: FileStatus) {
            self.directory = directory
            self.name = name
            self.status = status
        }
    }

    /// Makes the socket, in place of one that a process which is gone has left, and for a stream listens.
    /// - Parameter isLocked: this process holds the lock of the directory already, as that of its switch.
    /// - Throws: why not; nothing is left behind then.
    package init(_ kind: Kind, at path: String, access: ListenerAccess, isLocked: Bool = false) throws(ListenerError) {
        self.kind = kind
        self.path = Files.absolute(path)
        do throws(SystemError) {
            _ = try UnixPath(self.path)
            var socket = try Listener.makeSocket(kind)
            // Held until the socket answers: one that is bound and does not listen yet looks like one that was left.
            let place = try SocketDirectory(self.path, isLocked: isLocked)
            do throws(SystemError) {
                try Listener.bind(socket, place, kind, access)
            } catch {
                guard error.code == Errno.addressInUse else { throw error }
                try Listener.clear(place, self.path, kind, access)
                socket = try Listener.makeSocket(kind)
                try Listener.bind(socket, place, kind, access)
            }
            bound = Bound(try place.directory.again(), place.name, try place.directory.status(of: place.name))
            self.socket = socket
        } catch {
            switch error.code {
            case Errno.busy: throw ListenerError(.occupied, error.operation)
            case Errno.exists: throw ListenerError(.notOurs, error.operation)
            default: throw ListenerError(error)
            }
        }
    }

    /// A socket that was bound, and if need be is listened at, by who started us. The path is not ours to remove.
    package init(_ kind: Kind, inheriting socket: consuming Descriptor, path: String) {
        self.kind = kind
        self.path = path
        self.socket = socket
        bound = nil
    }

    private static func makeSocket(_ kind: Kind) throws(SystemError) -> Descriptor {
        let socket = try kind == .stream ? UnixSocket.stream() : UnixSocket.datagram()
        if kind == .datagram { socket.setBuffers(send: 1 << 20, receive: 4 << 20) }
        return socket
    }

    private static func bind(
        _ socket: borrowing Descriptor, _ place: borrowing SocketDirectory, _ kind: Kind, _ access: ListenerAccess
    ) throws(SystemError) {
        let own = Directory.SocketAccess(mode: access.mode, user: access.user, group: access.group)
        // With room for all machines of a host that starts them together.
        try place.directory.place(socket, at: place.name, own, backlog: kind == .stream ? 256 : nil, bindsPath: true)
    }

    /// Removes what is at `path` if it is a socket that a dead process of ours has left.
    /// - Throws: "busy" or "exists" with the whole message in place of the operation.
    private static func clear(
        _ place: borrowing SocketDirectory, _ path: String, _ kind: Kind, _ access: ListenerAccess
    ) throws(SystemError) {
        func refuse(_ code: Int32, _ text: String) -> SystemError { SystemError(code: code, text) }
        let status = try place.directory.status(of: place.name)
        guard status.kind == .socket else {
            throw refuse(Errno.exists, "\(path) is there already, and no socket; choose another path")
        }
        // Without the lock, another one may just be making it.
        if case .nobody = holder(in: place, kind) { place.settle() }
        let deadline = MonotonicClock.now + SocketDirectory.patience
        search: while true {
            switch holder(in: place, kind) {
            case .nobody: break search
            case .process(let number):
                // A child of one that was killed may have its socket for a moment, until it starts a program.
                if number > 0, !Accounts.isAlive(number), MonotonicClock.now < deadline {
                    MonotonicClock.sleep(10 * MonotonicClock.millisecond)
                    continue
                }
                let name = Accounts.isAlive(number) ? " (process \(number))" : ""
                throw refuse(Errno.busy, "\(path) is served already\(name); stop that first, or choose another path")
            case .secret:
                throw refuse(
                    Errno.exists,
                    "\(path) is a socket of \(Accounts.userName(status.owner)) that is closed to \(Accounts.userName(Accounts.effectiveUser)); choose another path"
                )
            }
        }
        guard status.owner == Accounts.effectiveUser || status.owner == access.user || place.isClosed(to: status.owner)
        else {
            throw refuse(
                Errno.exists,
                "\(path) was left by \(Accounts.userName(status.owner)); remove it, or choose another path")
        }
        // Another one that was started at the same time may have replaced it by now.
        if place.directory.has(place.name, status) { try place.directory.remove(place.name) }
    }

    /// Who is behind a socket.
    private enum Holder {
        case nobody
        /// 0 if it cannot be told which.
        case process(Int32)
        /// We may not ask.
        case secret
    }

    private static func holder(in place: borrowing SocketDirectory, _ kind: Kind) -> Holder {
        guard let socket = try? kind == .stream ? UnixSocket.stream() : UnixSocket.datagram() else {
            return .process(0)
        }
        do throws(SystemError) {
            try place.directory.connect(socket, to: place.name)
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
        if let bound, bound.directory.has(bound.name, bound.status) { try? bound.directory.remove(bound.name) }
    }
}
