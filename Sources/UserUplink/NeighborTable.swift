// SPDX-License-Identifier: Apache-2.0
import Wire

/// Which hardware address speaks for which address of the guests' network. The first that uses an address keeps it for as long as it does; a
/// lease of ours outranks that.
package struct NeighborTable<Address: Hashable & Sendable>: Sendable {
    private struct Neighbor: Sendable {
        var hardware: MACAddress
        /// Seconds.
        var lastSeen: UInt64
        /// Until then it is a lease's; 0 for none.
        var leasedUntil: UInt64 = 0
    }

    /// Addresses that are remembered, and how many of them one hardware address may have without a lease.
    private let capacity: Int
    private let perHardware: Int
    /// Seconds after which an address that nobody uses may be another's.
    private static var patience: UInt64 { 60 }

    private var neighbors: [Address: Neighbor] = [:]
    private var counts: [MACAddress: Int] = [:]

    package init(capacity: Int = 4096, perHardware: Int = 16) {
        self.capacity = capacity
        self.perHardware = perHardware
    }

    /// Whether `hardware` may speak for `address`; if so, it is seen to.
    package mutating func admits(_ hardware: MACAddress, as address: Address, now: UInt64) -> Bool {
        if let known = neighbors[address] {
            if known.hardware == hardware {
                if known.lastSeen != now { neighbors[address]!.lastSeen = now }
                return true
            }
            guard known.leasedUntil <= now, known.lastSeen + Self.patience < now else { return false }
            remove(address)
        }
        if counts[hardware, default: 0] >= perHardware || neighbors.count >= capacity {
            expire(now)
            guard counts[hardware, default: 0] < perHardware, neighbors.count < capacity else { return false }
        }
        insert(address, Neighbor(hardware: hardware, lastSeen: now))
        return true
    }

    /// A lease was given: from now on `address` is this client's.
    package mutating func lease(_ address: Address, to hardware: MACAddress, until end: UInt64, now: UInt64) {
        remove(address)
        if neighbors.count >= capacity { expire(now) }
        guard neighbors.count < capacity else { return }
        insert(address, Neighbor(hardware: hardware, lastSeen: now, leasedUntil: end))
    }

    package func hardware(of address: Address) -> MACAddress? { neighbors[address]?.hardware }

    private mutating func insert(_ address: Address, _ neighbor: Neighbor) {
        neighbors[address] = neighbor
        if neighbor.leasedUntil == 0 { counts[neighbor.hardware, default: 0] += 1 }
    }

    private mutating func remove(_ address: Address) {
        guard let old = neighbors.removeValue(forKey: address), old.leasedUntil == 0 else { return }
        counts[old.hardware]! -= 1
        if counts[old.hardware] == 0 { counts[old.hardware] = nil }
    }

    private mutating func expire(_ now: UInt64) {
        for (address, neighbor) in neighbors where neighbor.leasedUntil <= now && neighbor.lastSeen + Self.patience < now { remove(address) }
    }
}
