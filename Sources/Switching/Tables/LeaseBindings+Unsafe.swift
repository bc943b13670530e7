// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

/// Which hardware address an IPv4 address was leased to (what DHCP snooping records): an open-addressing hash table,
/// looked up for frames and changed by commands only. It holds `limit` leases; beyond that, those that end first are
/// removed.
@safe
struct LeaseBindings: ~Copyable {
    struct Holder: BitwiseCopyable {
        let hardware: MACAddress
        let until: Instant

        /// - Parameter now: seconds of the clock.
        func isCurrent(at now: CoarseInstant) -> Bool { until.coarse > now }
    }

    /// Bindings that are kept at most.
    static let limit = 65_536
    private static let smallest = 256

    /// By slot; 0 for a free one.
    private var addresses: UnsafeMutablePointer<UInt32>
    private var holders: UnsafeMutablePointer<Holder>
    /// A power of two.
    private var capacity: Int
    private(set) var count = 0
    /// Keeps guests from choosing addresses that collide.
    private let seed: UInt64 = Random.value() | 1

    init() {
        capacity = LeaseBindings.smallest
        unsafe addresses = .allocate(capacity: capacity)
        unsafe addresses.initialize(repeating: 0, count: capacity)
        unsafe holders = .allocate(capacity: capacity)
    }

    deinit {
        unsafe addresses.deallocate()
        unsafe holders.deallocate()
    }

    private func first(_ address: IPv4Address) -> Int {
        Int(truncatingIfNeeded: (UInt64(address.value) &* seed) >> 40) & (capacity - 1)
    }

    /// The slot of an address, or the free one in which it belongs. There is always a free one.
    private func slot(of address: IPv4Address) -> Int {
        var slot = first(address)
        while unsafe addresses[slot] != 0 && addresses[slot] != address.value { slot = (slot + 1) & (capacity - 1) }
        return slot
    }

    func holder(of address: IPv4Address) -> Holder? {
        let slot = slot(of: address)
        return unsafe addresses[slot] == 0 ? nil : holders[slot]
    }

    /// Binds an address. Allocates if the table has to grow.
    mutating func bind(_ address: IPv4Address, _ holder: Holder, now: CoarseInstant) {
        guard address != .any else { return }
        var slot = slot(of: address)
        if unsafe addresses[slot] == 0 {
            guard holder.isCurrent(at: now) else { return }
            if (count + 1) * 2 > capacity {
                rebuild(now: now)
                slot = self.slot(of: address)
            }
            unsafe addresses[slot] = address.value
            count += 1
        }
        unsafe holders[slot] = holder
    }

    /// Removes expired bindings, and doubles the table if that frees less than half.
    private mutating func rebuild(now: CoarseInstant) {
        var kept: [(address: UInt32, holder: Holder)] = []
        for slot in 0..<capacity where unsafe addresses[slot] != 0 && holders[slot].isCurrent(at: now) {
            unsafe kept.append((addresses[slot], holders[slot]))
        }
        if kept.count >= LeaseBindings.limit {
            // An eighth at a time, so that not every new binding rebuilds the table.
            kept.sort { $0.holder.until > $1.holder.until }
            kept.removeLast(kept.count - LeaseBindings.limit / 8 * 7)
        }
        unsafe addresses.deallocate()
        unsafe holders.deallocate()
        if kept.count * 4 > capacity && capacity < LeaseBindings.limit * 2 { capacity *= 2 }
        unsafe addresses = .allocate(capacity: capacity)
        unsafe addresses.initialize(repeating: 0, count: capacity)
        unsafe holders = .allocate(capacity: capacity)
        count = kept.count
        for (address, holder) in kept {
            let slot = slot(of: IPv4Address(address))
            unsafe addresses[slot] = address
            unsafe holders[slot] = holder
        }
    }
}
