// SPDX-License-Identifier: Apache-2.0
import Platform

/// A socket that systemd or launchd has created and passed to this process (socket activation).
package struct ActivatedSocket: Equatable, Sendable {
    /// What the socket is used for. The socket itself shows it (SO_TYPE, SO_ACCEPTCONN, a peer).
    package enum Kind: Equatable, Sendable {
        case listener(ListenerSocket.Kind)
        /// A connected socket, of a socket unit with `Accept=yes`.
        case connection(InheritedDescriptor)
    }

    /// The descriptor's number. Not owned.
    package let raw: Int32
    /// Decides how the daemon uses the socket.
    package let kind: Kind
    /// The path that the socket is bound to; empty if it has none.
    package let path: String

    /// vhost-user front ends use the socket: the service manager calls it `vhost-user` (`FileDescriptorName=`).
    package let isVhostUser: Bool

    /// The name of a socket for vhost-user front ends.
    package static let vhostUserName = "vhost-user"

    /// The descriptors from launchd, which hands them out only once.
    private static let launchd = Mutex<[Int32]?>(nil)

    /// All activated sockets. Does not take ownership.
    /// - Throws: if one of them cannot be a listener.
    package static func all() throws(ListenerError) -> [ActivatedSocket] {
        let fromLaunchd = launchd.withLock { known in
            let found = known ?? SocketActivation.fromLaunchd("stream") + SocketActivation.fromLaunchd("dgram")
            known = found
            return found
        }
        var sockets: [ActivatedSocket] = []
        for socket in SocketActivation.fromSystemd() {
            sockets.append(try ActivatedSocket(socket.raw, isVhostUser: socket.name == vhostUserName))
        }
        for raw in fromLaunchd { sockets.append(try ActivatedSocket(raw)) }
        return sockets
    }

    /// Examines descriptor `raw`, without taking ownership.
    /// - Throws: `unsuitable` if it is not a unix socket, or one for connections that neither listens nor is connected.
    package init(_ raw: Int32, isVhostUser: Bool = false) throws(ListenerError) {
        self.raw = raw
        self.isVhostUser = isVhostUser
        path = SocketActivation.path(of: raw)
        guard let found = try? SocketKind(of: raw), found.isUnix, let listenerKind = found.listenerKind else {
            throw ListenerError(
                .unsuitable,
                """
                the service manager has passed descriptor \(raw), which is not a unix socket; set ListenStream, \
                ListenDatagram or ListenSequentialPacket to a path
                """
            )
        }
        guard found.isStream || !isVhostUser else {
            throw ListenerError(
                .unsuitable,
                """
                the service manager has passed descriptor \(raw) as vhost-user, and it is no stream socket; set \
                ListenStream to the path
                """)
        }
        guard found.isConnected || found.isListening || !listenerKind.hasConnections else {
            throw ListenerError(
                .unsuitable,
                """
                the service manager has passed descriptor \(raw), a \(listenerKind.name) socket that does not listen; \
                set Accept=no
                """
            )
        }
        kind = found.isConnected ? .connection(try InheritedDescriptor(raw)) : .listener(listenerKind)
    }
}
