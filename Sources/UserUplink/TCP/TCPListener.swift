// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Timing
import Wire

/// An address and a port of the host.
struct HostPort: Hashable {
    let bind: IPAddress
    let number: UInt16
}

/// A published TCP port of the host: a listening socket whose clients are connected to a guest's port.
///
/// Follows the rule of all accept loops in this program (`Acceptance`): a client that cannot be accepted, mostly for
/// lack of descriptors, stays in the queue and keeps the socket readable. The socket is therefore not watched for
/// `Acceptance.pause`.
final class TCPListener {
    /// Clients accepted for one event.
    static let acceptBatch = 64

    let socket: Descriptor
    let hostPort: HostPort
    /// Unspecified while the followed guest has no lease.
    private(set) var guest: IPAddress
    /// The guest to follow, if the port was published for a hardware address or a host name.
    private let followed: FollowedGuest?
    /// The guest's port.
    let port: UInt16
    private var isWatched = false

    init(
        _ socket: consuming Descriptor, at hostPort: HostPort, to guest: IPAddress, _ port: UInt16,
        following followed: FollowedGuest?
    ) {
        self.socket = socket
        self.hostPort = hostPort
        self.guest = guest
        self.followed = followed
        self.port = port
    }

    /// Watches the socket, unless it is watched already.
    func watch(_ poller: borrowing Poller, token: UInt64) {
        if isWatched { return }
        isWatched = (try? poller.add(socket.raw, token: token, for: .readable)) != nil
    }

    /// Stops watching after a failed accept. The caller calls `watch` again after `Acceptance.pause`.
    func pause(_ poller: borrowing Poller) {
        poller.remove(socket.raw)
        isWatched = false
    }

    /// A lease was given.
    func note(lease address: IPv4Address, to client: MACAddress, named name: GuestName?) {
        guard let followed else { return }
        guest = followed.address(from: guest, after: address, of: client, named: name)
    }
}

/// All published TCP ports.
struct TCPListeners {
    /// Set in the tokens of listening sockets.
    static let tokenFlag: UInt64 = 1 << 63

    /// An ended one leaves its place empty, because tokens are indices.
    private var listeners: [TCPListener?] = []
    /// When paused listeners are watched again; `distantFuture` if none is paused.
    private(set) var resumeDeadline = Instant.distantFuture

    /// Listens on a port of the host for a guest's.
    /// - Parameter followed: follow the lease of this guest instead of a fixed address.
    mutating func publish(
        _ bind: IPAddress, _ hostPort: UInt16, to guest: IPAddress, _ port: UInt16,
        following followed: FollowedGuest?,
        _ poller: borrowing Poller
    ) throws(SystemError) {
        let socket = try Socket.tcp(ipv6: bind.isIPv6)
        try socket.bind(to: SocketAddress(bind, port: hostPort), reuse: true)
        try socket.listen(backlog: 256)
        let listener = TCPListener(
            socket, at: HostPort(bind: bind, number: hostPort), to: guest, port, following: followed)
        let index = listeners.firstIndex { $0 == nil } ?? listeners.count
        if index == listeners.count { listeners.append(listener) } else { listeners[index] = listener }
        watch(index, poller)
    }

    /// Stops listening on a port of the host.
    /// - Returns: whether it was published.
    mutating func unpublish(_ bind: IPAddress, _ hostPort: UInt16, _ poller: borrowing Poller) -> Bool {
        let port = HostPort(bind: bind, number: hostPort)
        guard let index = listeners.firstIndex(where: { $0?.hostPort == port }), let listener = listeners[index]
        else { return false }
        listener.pause(poller)
        listeners[index] = nil
        return true
    }

    /// A lease was given: ports published for the guest lead there.
    func note(lease address: IPv4Address, to hardware: MACAddress, named name: GuestName?) {
        for listener in listeners { listener?.note(lease: address, to: hardware, named: name) }
    }

    /// Watches paused listeners again when their pause is over.
    mutating func resume(_ poller: borrowing Poller, now: Instant) {
        guard resumeDeadline <= now else { return }
        resumeDeadline = .distantFuture
        for index in listeners.indices { watch(index, poller) }
    }

    private func watch(_ index: Int, _ poller: borrowing Poller) {
        listeners[index]?.watch(poller, token: TCPListeners.tokenFlag | UInt64(index))
    }

    /// Accepts clients of the listener that an event belongs to.
    /// - Parameter body: takes each client, with its address and the listener.
    mutating func accept(
        _ token: UInt64, _ poller: borrowing Poller, now: Instant,
        _ body: (consuming Descriptor, SocketAddress, TCPListener) -> Void
    ) {
        guard let listener = listeners[Int(token & ~TCPListeners.tokenFlag)] else { return }
        for _ in 0..<TCPListener.acceptBatch {
            switch listener.socket.acceptClient() {
            case .client(let socket):
                guard let peer = socket.internetPeer else { continue }
                socket.prepareForRelay()
                body(socket, peer, listener)
            case .none: return
            case .failed:
                listener.pause(poller)
                resumeDeadline = now + Acceptance.pause
                return
            }
        }
    }
}
