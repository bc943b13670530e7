// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Timing
import Wire

// Datagrams of clients to the host's published ports, and the guests' answers.

extension DatagramRelay {
    /// Set in the tokens of listeners.
    static let listenerFlag: UInt64 = 1 << 63

    /// Receives on a port of the host for a guest's. Its clients are served from the first `serve` on.
    /// - Parameter followed: follow the lease of this guest instead of a fixed address.
    func publish(
        _ bind: IPAddress, _ hostPort: UInt16, to guest: IPAddress, _ port: UInt16,
        following followed: FollowedGuest? = nil
    ) throws(SystemError) {
        let listener = try DatagramListener(at: bind, hostPort, to: guest, port, following: followed)
        let index = listeners.firstIndex { $0 == nil } ?? listeners.count
        try poller.add(
            listener.socket.raw, token: DatagramRelay.listenerFlag | UInt64(index), for: .readable)
        if index == listeners.count { listeners.append(listener) } else { listeners[index] = listener }
    }

    /// Stops receiving on a port of the host, and removes its clients.
    func unpublish(_ bind: IPAddress, _ hostPort: UInt16) {
        guard let index = listeners.firstIndex(where: { $0?.bind == bind && $0?.hostPort == hostPort }),
            let listener = listeners[index]
        else { return }
        flush()
        poller.remove(listener.socket.raw)
        clients.removeAll(of: index)
        listeners[index] = nil
    }

    /// A lease was given: ports published for the guest lead there.
    func note(lease address: IPv4Address, to hardware: MACAddress, named name: GuestName?) {
        for listener in listeners { listener?.note(lease: address, to: hardware, named: name) }
    }

    /// Whether a datagram of a guest answers a client: it passes, whatever the policy refuses.
    func hasClient(_ key: FlowKey) -> Bool { clients.route(of: key, now: now) != nil }

    /// Receives a batch of datagrams of clients. Returns their cost in bytes.
    func receive(at index: Int, _ listener: DatagramListener, _ neighbors: GuestNeighbors) -> Int {
        let count = listener.receive(into: &buffer)
        guard count > 0 else {
            if count != -Int(Errno.again) { _ = takeErrors(of: listener) }
            return 0
        }
        if nextSweep == .distantFuture { nextSweep = now + DatagramRelay.sweepInterval }
        let guest = listener.guest
        guard !guest.isUnspecified else {
            for number in 0..<count {
                unreached.note(.noLease(hostPort: listener.hostPort, .udp), buffer.joinedCount(number))
            }
            return 0
        }
        let hardware = neighbors.hardware(of: guest), owner = neighbors.owner(of: guest) ?? .unknown
        var bytes = 0
        for number in 0..<count {
            bytes += cost(of: number)
            let route = DatagramClients.Route(
                listener: index, peer: buffer.peer(number), local: buffer.local(number))
            guard let visible = policy.visibleAddress(of: route.peer),
                let key = clients.key(
                    of: route, for: (guest, listener.port), visible: visible, by: owner, now: now)
            else {
                drops[.unsolicited, default: 0] += buffer.joinedCount(number)
                continue
            }
            if let hardware {
                deliver(number, key, hardware)
                continue
            }
            for place in 0..<buffer.joinedCount(number)
            where waiting.append(
                buffer.payload(number, place), key, hops: buffer.hops(number),
                trafficClass: buffer.trafficClass(number), now: now)
            {
                effects.append(.resolve(guest))
            }
        }
        return bytes
    }

    /// Sends the datagrams whose guest has answered by now, and gives up those whose guest does not.
    func serveWaiting(_ neighbors: GuestNeighbors) {
        if waiting.isEmpty { return }
        let (ready, expired, requests) = waiting.take(now: now) { neighbors.hardware(of: $0.guestAddress) != nil }
        for entry in ready {
            guard let hardware = neighbors.hardware(of: entry.key.guestAddress) else { continue }
            deliver(entry.payload.rawSpan, entry.key, hardware, hops: entry.hops, entry.trafficClass)
        }
        if let last = expired.last {
            unreached.note(
                .absent(last.key.guestAddress, port: last.key.guestPort, .udp), expired.count)
        }
        for guest in requests { effects.append(.resolve(guest)) }
    }
}

/// Clients of published ports that have not reached their guest: the last one, and how many there were.
struct UnreachedGuests: Sendable {
    private(set) var last: UnreachedGuest?
    private(set) var count = 0

    mutating func note(_ guest: UnreachedGuest, _ count: Int = 1) {
        last = guest
        self.count += count
    }

    /// Returns them, and removes them.
    mutating func take() -> (last: UnreachedGuest, count: Int)? {
        guard let last else { return nil }
        defer { self = UnreachedGuests() }
        return (last, count)
    }
}
