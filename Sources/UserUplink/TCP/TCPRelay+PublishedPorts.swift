// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Timing
import Uplink
import Wire

// Connections of clients to the host's published ports.

extension TCPRelay {
    /// Listens on a port of the host for a guest's. Clients are accepted from the first `serve` on.
    /// - Parameter followed: follow the lease of this guest instead of a fixed address.
    func publish(
        _ bind: IPAddress, _ hostPort: UInt16, to guest: IPAddress, _ port: UInt16,
        following followed: FollowedGuest? = nil
    ) throws(SystemError) {
        try listeners.publish(bind, hostPort, to: guest, port, following: followed, poller)
    }

    /// A lease was given: ports published for the guest lead there.
    func note(lease address: IPv4Address, to hardware: MACAddress, named name: GuestName?) {
        listeners.note(lease: address, to: hardware, named: name)
    }

    /// Opens a connection to a guest for a client of a published port.
    func openInbound(
        _ socket: consuming Descriptor, from peer: SocketAddress, at listener: TCPListener,
        _ neighbors: GuestNeighbors
    ) {
        let guest = listener.guest
        guard !guest.isUnspecified else {
            context.note(unreached: .noLease(hostPort: listener.hostPort.number, .tcp))
            return socket.resetWhenClosed()
        }
        guard let remote = policy.visibleAddress(of: peer) else { return socket.resetWhenClosed() }
        var key = FlowKey(IPProtocol.tcp, guest: guest, listener.port, remote: remote, peer.port)
        for _ in 0..<16 where table.find(key, now: context.now) != nil {
            key = FlowKey(
                IPProtocol.tcp, guest: guest, listener.port, remote: remote, UInt16.random(in: 32_768...65_535))
        }
        guard table.find(key, now: context.now) == nil else { return socket.resetWhenClosed() }
        let endpoints = TCPEndpoints(
            key: key, gatewayHardware: gatewayHardware, guestHardware: neighbors.hardware(of: guest))
        let owner = neighbors.owner(of: guest) ?? .address(key.guest)
        add(TCPConnection(endpoints, of: owner, acceptedFrom: socket, context), from: listener.hostPort)
    }

    /// Looks for the guest that a client of a published port connects to. Resets the client if it is not there.
    func searchGuest(of connection: TCPConnection, _ neighbors: GuestNeighbors) {
        guard var presence = connection.presence else { return }
        let address = connection.endpoints.key.guestAddress
        if connection.endpoints.guestHardware == nil, let hardware = neighbors.hardware(of: address) {
            connection.endpoints.guestHardware = hardware
            // The SYNs before were not sent.
            connection.retries = 0
            connection.timer = context.now
        }
        guard presence.deadline <= context.now else { return }
        switch presence.look(lastSeen: neighbors.lastSeen(of: address), now: context.now) {
        case .present: connection.presence = nil
        case .search(let requests):
            connection.presence = presence
            if requests { effects.append(.resolve(address)) }
        case .absent:
            context.note(unreached: .absent(address, port: connection.endpoints.key.guestPort, .tcp))
            connection.resetSocket(&context)
        }
    }
}
