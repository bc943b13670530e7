// SPDX-License-Identifier: Apache-2.0
import Wire

/// Two ends of a conversation. IPv4 addresses are in the low bits of their halves.
package struct FlowKey: Hashable, Sendable {
    var guest: IPv6Address
    var remote: IPv6Address
    /// Guest's port, remote port, protocol.
    private var ports: UInt64

    package init(
        _ protocolNumber: UInt8, guest: IPv6Address, _ guestPort: UInt16, remote: IPv6Address, _ remotePort: UInt16
    ) {
        self.guest = guest
        self.remote = remote
        ports = UInt64(guestPort) << 32 | UInt64(remotePort) << 16 | UInt64(protocolNumber)
    }

    var guestPort: UInt16 { UInt16(truncatingIfNeeded: ports >> 32) }
    var remotePort: UInt16 { UInt16(truncatingIfNeeded: ports >> 16) }
    /// Guests' IPv6 addresses have a prefix.
    var isIPv6: Bool { guest.high != 0 }
}

/// The conversations between guests and the outside. When there are too many, the guest with the most of them loses the
/// one that has been idle for longest: a flood costs its sender, from however many addresses.
package struct FlowTable: Sendable {
    private struct Flow: Sendable {
        var key: FlowKey
        /// The guest that it is charged to.
        let owner: GuestOwner
        /// Seconds.
        var lastSeen: UInt64
        // Places of the guest's next older and next younger one; -1 for none.
        var older = -1
        var younger = -1
    }

    /// A guest's, by age.
    private struct Queue: Sendable {
        var oldest = -1
        var youngest = -1
        var count = 0
    }

    package let capacity: Int
    private var places: [FlowKey: Int] = [:]
    private var flows: [Flow] = []
    private var free: [Int] = []
    private var queues: [GuestOwner: Queue] = [:]
    /// Most packets belong to the flow of the one before.
    private var last: (key: FlowKey, place: Int)?

    package init(capacity: Int) { self.capacity = capacity }

    package var count: Int { places.count }

    /// The place of a flow, which stays its own until it is removed; it counts as seen.
    package mutating func find(_ key: FlowKey, now: UInt64) -> Int? {
        let place: Int
        if let last, last.key == key {
            place = last.place
        } else {
            guard let found = places[key] else { return nil }
            place = found
            last = (key, found)
        }
        touch(place, now: now)
        return place
    }

    /// The flow at `place` counts as seen.
    package mutating func touch(_ place: Int, now: UInt64) {
        guard flows[place].lastSeen != now else { return }
        flows[place].lastSeen = now
        unlink(place)
        link(place)
    }

    /// Adds a flow. Returns its place, and whether another had to go for it: then it is that one's place.
    /// - Parameter owner: the guest that it is charged to; nil: the guest that has the address.
    package mutating func insert(
        _ key: FlowKey, by owner: GuestOwner? = nil, now: UInt64
    ) -> (place: Int, isAnothers: Bool) {
        var isAnothers = false
        if places.count >= capacity, let victim = queues.values.max(by: { $0.count < $1.count }) {
            remove(flows[victim.oldest].key)
            isAnothers = true
        }
        let flow = Flow(key: key, owner: owner ?? .address(key.guest), lastSeen: now)
        let place: Int
        if let reused = free.popLast() {
            place = reused
            flows[place] = flow
        } else {
            place = flows.count
            flows.append(flow)
        }
        places[key] = place
        link(place)
        return (place, isAnothers)
    }

    package mutating func remove(_ key: FlowKey) {
        guard let place = places.removeValue(forKey: key) else { return }
        unlink(place)
        free.append(place)
        last = nil
    }

    private mutating func link(_ place: Int) {
        var queue = queues[flows[place].owner] ?? Queue()
        flows[place].older = queue.youngest
        flows[place].younger = -1
        if queue.youngest >= 0 { flows[queue.youngest].younger = place }
        queue.youngest = place
        if queue.oldest < 0 { queue.oldest = place }
        queue.count += 1
        queues[flows[place].owner] = queue
    }

    private mutating func unlink(_ place: Int) {
        let flow = flows[place]
        guard var queue = queues[flow.owner] else { return }
        if flow.older >= 0 { flows[flow.older].younger = flow.younger } else { queue.oldest = flow.younger }
        if flow.younger >= 0 { flows[flow.younger].older = flow.older } else { queue.youngest = flow.older }
        queue.count -= 1
        queues[flow.owner] = queue.count > 0 ? queue : nil
    }
}

/// What the library keeps a socket for until some time after its last use, and which nothing makes it close: a guest's
/// port of UDP, or a series of pings. More than fit are refused.
package struct LingeringPorts: Sendable {
    package struct Key: Hashable, Sendable {
        let guest: IPv6Address
        let port: UInt16
        let protocolNumber: UInt8
    }

    private struct Use: Sendable {
        var last: UInt64
        let owner: GuestOwner
    }

    /// Seconds for which libslirp keeps one (its SO_EXPIRE is 240).
    private static let patience: UInt64 = 245

    private var uses: [Key: Use] = [:]
    private var share: FairShare
    private var nextSweep: UInt64 = 0
    private var last: (key: Key, now: UInt64)?

    package init(capacity: Int) { share = FairShare(capacity: capacity) }

    package var count: Int { uses.count }

    /// Whether a datagram may be sent from there. No guest has more than it leaves for the others.
    /// - Parameter owner: the guest that it is charged to; nil: the guest that has the address.
    package mutating func admit(
        _ guest: IPv6Address, port: UInt16, _ protocolNumber: UInt8, by owner: GuestOwner? = nil, now: UInt64
    ) -> Bool {
        let key = Key(guest: guest, port: port, protocolNumber: protocolNumber)
        if let last, last.key == key, last.now == now { return true }
        if uses[key] != nil {
            uses[key]!.last = now
        } else {
            if now >= nextSweep { sweep(now) }
            let owner = owner ?? .address(guest)
            guard share.hasRoom(for: owner) else { return false }
            share.add(owner)
            uses[key] = Use(last: now, owner: owner)
        }
        last = (key, now)
        return true
    }

    func contains(_ guest: IPv6Address, port: UInt16, _ protocolNumber: UInt8) -> Bool {
        uses[Key(guest: guest, port: port, protocolNumber: protocolNumber)] != nil
    }

    private mutating func sweep(_ now: UInt64) {
        nextSweep = now + 10
        for (key, use) in uses where use.last + Self.patience < now {
            uses[key] = nil
            share.remove(use.owner)
        }
    }
}
