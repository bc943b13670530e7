// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

/// The clients of published UDP ports: how each appears to its guest, and how the guest's answers get back to it.
///
/// A client is an address and port outside together with the address of this host that it has sent to, so that answers
/// come from there. Bounded: the client that was idle longest makes room.
struct DatagramClients: Sendable {
    /// Where a client is.
    struct Route: Hashable, Sendable {
        /// The listener's index.
        let listener: Int
        let peer: SocketAddress
        /// The address of this host that the client has sent to; nil leaves the choice to the system.
        let local: SocketAddress?
    }

    /// A client at a listener, whichever address of this host it has sent to.
    private struct Client: Hashable {
        let listener: Int
        let peer: SocketAddress

        init(_ route: Route) { self.init(listener: route.listener, peer: route.peer) }

        init(listener: Int, peer: SocketAddress) {
            self.listener = listener
            self.peer = peer
        }
    }

    /// Seconds without a datagram in either direction after which a client is removed, as in DatagramFlow.
    private static let lifetime = TimeAmount.seconds(300)

    private var table = FlowTable(capacity: 8192)
    /// By the index in `table`.
    private var clients: [(route: Route, key: FlowKey)?] = []
    private var indices: [Route: Int] = [:]
    /// The last one of each client.
    private var latest: [Client: Int] = [:]

    /// Current number of clients.
    var count: Int { table.count }

    /// The clients as their guests see them, `limit` at most.
    func keys(limit: Int) -> [FlowKey] { Array(clients.lazy.compactMap { $0?.key }.prefix(limit)) }

    /// The client to which a guest's datagram goes; nil if it goes to none.
    mutating func route(of key: FlowKey, now: Instant) -> Route? {
        guard count > 0, let index = table.find(key, now: now) else { return nil }
        return clients[index]?.route
    }

    /// The key of a client's datagrams for its guest.
    /// - Parameters:
    ///   - guest: the guest's address and port.
    ///   - visible: the client's address as the guest sees it. Clients that share it and their port get other ports.
    /// - Returns: nil if no port is left.
    mutating func key(
        of route: Route, for guest: (IPAddress, port: UInt16), visible: IPAddress, by owner: GuestOwner, now: Instant
    ) -> FlowKey? {
        if let index = indices[route], let known = clients[index]?.key {
            // Otherwise the port has followed its guest's lease.
            if known.guestAddress == guest.0 {
                table.markActive(index, now: now)
                return known
            }
            remove(index)
        }
        var key = FlowKey(IPProtocol.udp, guest: guest.0, guest.port, remote: visible, route.peer.port)
        for _ in 0..<16 where table.contains(key) {
            key = FlowKey(
                IPProtocol.udp, guest: guest.0, guest.port, remote: visible, UInt16.random(in: 32_768...65_535))
        }
        guard !table.contains(key) else { return nil }
        let (index, evicted) = table.insert(key, by: owner, now: now)
        if index == clients.count { clients.append(nil) }
        if evicted, let old = clients[index] { forget(index, old.route) }
        clients[index] = (route, key)
        indices[route] = index
        latest[Client(route)] = index
        return key
    }

    /// The key of a client of a listener, whichever address of this host it has sent to; of several, the one
    /// whose first datagram came last.
    func key(of peer: SocketAddress, at listener: Int) -> FlowKey? {
        latest[Client(listener: listener, peer: peer)].flatMap { clients[$0]?.key }
    }

    private mutating func forget(_ index: Int, _ route: Route) {
        indices[route] = nil
        if latest[Client(route)] == index { latest[Client(route)] = nil }
    }

    private mutating func remove(_ index: Int) {
        guard let client = clients[index] else { return }
        table.remove(client.key)
        forget(index, client.route)
        clients[index] = nil
    }

    /// Removes the clients of a listener.
    mutating func removeAll(of listener: Int) {
        for index in clients.indices where clients[index]?.route.listener == listener { remove(index) }
    }

    /// Removes idle clients.
    mutating func expire(now: Instant) {
        for index in clients.indices
        where clients[index] != nil && now.coarse - table.lastSeen(index) >= DatagramClients.lifetime {
            remove(index)
        }
    }
}
