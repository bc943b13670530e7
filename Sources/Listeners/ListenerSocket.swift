// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing

/// A unix socket at a path that guests connect to. `remove` removes the path, if it is still this socket's.
package final class ListenerSocket: Sendable {
    /// How clients reach the socket, and how frames are delimited there.
    package enum Kind: CaseIterable, Sendable {
        /// SOCK_STREAM: each client connects, and a length precedes each frame.
        case stream
        /// SOCK_DGRAM: all clients send datagrams to one socket; the source address identifies the client.
        case datagram
        /// SOCK_SEQPACKET: each client connects, and sends one frame per packet. Linux only.
        case sequencedPacket

        /// The name in options and messages.
        package var name: String {
            switch self {
            case .stream: "stream"
            case .datagram: "dgram"
            case .sequencedPacket: "seqpacket"
            }
        }

        /// Clients connect, and the socket accepts them.
        package var hasConnections: Bool { self != .datagram }

        /// A socket of this kind, which the caller owns.
        package func makeSocket() throws(SystemError) -> Descriptor {
            switch self {
            case .stream: try Socket.unixStream()
            case .datagram: try Socket.unixDatagram()
            case .sequencedPacket: try Socket.unixSequencedPacket()
            }
        }
    }

    /// Decides how frames are delimited: by a length in a stream, else one frame per datagram or packet.
    package let kind: Kind
    /// The absolute path; for an inherited socket as the caller gave it.
    package let path: String
    /// Listens for connections, or receives the datagrams of all clients. Owned by this object.
    package let socket: Descriptor
    /// The bound socket; nil for an inherited one.
    private let bound: DirectoryEntry?

    /// Makes the socket, replacing one whose process has ended, and listens on one that clients connect to.
    /// - Parameter isLocked: this process holds the directory's lock already, for its switch.
    /// - Throws: the reason; a failure leaves nothing behind.
    package init(_ kind: Kind, at path: String, access: ListenerAccess, isLocked: Bool = false) throws(ListenerError) {
        self.kind = kind
        self.path = Files.absolute(path)
        do throws(SystemError) {
            _ = try UnixPath(self.path)
            var socket = try ListenerSocket.makeSocket(kind)
            // Locked until the socket listens: one that is bound and does not listen yet looks abandoned.
            let place = try SocketDirectory(self.path, isLocked: isLocked)
            do throws(SystemError) {
                try ListenerSocket.bind(socket, place, kind, access)
            } catch {
                guard error.code == Errno.addressInUse else { throw error }
                try ListenerSocket.clear(place, self.path, kind, access)
                socket = try ListenerSocket.makeSocket(kind)
                try ListenerSocket.bind(socket, place, kind, access)
            }
            bound = try DirectoryEntry(place.name, in: place.directory)
            self.socket = socket
        } catch {
            switch error.code {
            case Errno.busy: throw ListenerError(.occupied, error.operation)
            case Errno.exists: throw ListenerError(.notOurs, error.operation)
            default: throw ListenerError(error)
            }
        }
    }

    /// Takes over a socket that the service manager has bound and listens on. Its path stays.
    package init(_ kind: Kind, inheriting socket: consuming Descriptor, path: String) {
        self.kind = kind
        self.path = path
        self.socket = socket
        bound = nil
    }

    private static func makeSocket(_ kind: Kind) throws(SystemError) -> Descriptor {
        let socket = try kind.makeSocket()
        if kind == .datagram { socket.setBuffers(send: 1 << 20, receive: 4 << 20) }
        return socket
    }

    private static func bind(
        _ socket: borrowing Descriptor, _ place: borrowing SocketDirectory, _ kind: Kind, _ access: ListenerAccess
    ) throws(SystemError) {
        let own = Directory.SocketAccess(mode: access.mode, user: access.user, group: access.group)
        // The backlog is large enough for all guests of a host that start together.
        try place.directory.bind(socket, at: place.name, own, backlog: kind.hasConnections ? 256 : nil, bindsPath: true)
    }

    /// Removes the socket at `path` if its process has ended and this process may replace it.
    /// - Throws: `Errno.busy` or `Errno.exists`, with the whole message in place of the operation.
    private static func clear(
        _ place: borrowing SocketDirectory, _ path: String, _ kind: Kind, _ access: ListenerAccess
    ) throws(SystemError) {
        func refuse(_ code: Int32, _ text: String) -> SystemError { SystemError(code: code, text) }
        let status = try place.directory.status(of: place.name)
        guard status.kind == .socket else {
            throw refuse(Errno.exists, "\(path) is there already, and no socket; choose another path")
        }
        // Without the lock, another process may be creating it.
        if case .unused = holder(in: place, kind) { place.settle() }
        let deadline = BootClock.now + SocketDirectory.bindingTimeout
        search: while true {
            switch holder(in: place, kind) {
            case .unused: break search
            case .process(let number):
                // A child of a killed process still has the socket until it calls exec.
                if number > 0, !ProcessTable.isAlive(number), BootClock.now < deadline {
                    BootClock.sleep(.milliseconds(10))
                    continue
                }
                let name = ProcessTable.isAlive(number) ? " (process \(number))" : ""
                throw refuse(Errno.busy, "\(path) is served already\(name); stop that process, or choose another path")
            case .secret:
                throw refuse(
                    Errno.exists,
                    """
                    \(path) is a socket of \(UserDatabase.userName(status.owner)) that is closed to \
                    \(UserDatabase.userName(CurrentProcess.effectiveUser)); choose another path
                    """
                )
            }
        }
        guard
            status.owner == CurrentProcess.effectiveUser || status.owner == access.user
                || place.isClosed(to: status.owner)
        else {
            throw refuse(
                Errno.exists,
                """
                \(path) is an unused socket of \(UserDatabase.userName(status.owner)); remove it, or choose another \
                path
                """
            )
        }
        // Another process may have replaced it meanwhile.
        if place.directory.has(place.name, status) { try place.directory.remove(place.name) }
    }

    /// The process that uses a socket.
    private enum Holder {
        /// No process has it open.
        case unused
        /// 0 if the process is unknown.
        case process(Int32)
        /// This process may not connect to the socket.
        case secret
    }

    private static func holder(in place: borrowing SocketDirectory, _ kind: Kind) -> Holder {
        guard let socket = try? kind.makeSocket() else { return .process(0) }
        do throws(SystemError) {
            try place.directory.connect(socket, to: place.name)
        } catch {
            switch error.code {
            case Errno.refused, Errno.noEntry: return .unused
            case Errno.accessDenied: return .secret
            default: return .process(0)
            }
        }
        return .process(kind.hasConnections ? (try? socket.peerCredentials())?.process ?? 0 : 0)
    }

    /// Removes the socket's path, unless another file has taken its place.
    package func remove() { bound?.remove() }
}
