// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// Which hardware address an IPv4 address was leased to: an open-addressing hash table that is looked up for frames,
/// and changed by the control thread only. It holds `limit` leases; beyond that, those that end first are forgotten.
@safe
struct LeaseOwners: ~Copyable {
    struct Owner: BitwiseCopyable {
        let hardware: MACAddress
        /// Nanoseconds of the monotonic clock.
        let until: UInt64

        /// - Parameter now: seconds of that clock.
        func isRunning(at now: UInt32) -> Bool { until / MonotonicClock.second > UInt64(now) }
    }

    /// Leases that are held at most.
    static let limit = 65_536
    private static let smallest = 256

    /// 0 is a free place.
    private var addresses: UnsafeMutablePointer<UInt32>
    private var owners: UnsafeMutablePointer<Owner>
    /// A power of two.
    private var capacity: Int
    private(set) var count = 0
    /// So that guests cannot choose addresses that stand in one another's way.
    private let seed: UInt64 = Random.value() | 1

    init() {
        capacity = LeaseOwners.smallest
        unsafe addresses = .allocate(capacity: capacity)
        unsafe addresses.initialize(repeating: 0, count: capacity)
        unsafe owners = .allocate(capacity: capacity)
    }

    deinit {
        unsafe addresses.deallocate()
        unsafe owners.deallocate()
    }

    private func first(_ address: IPv4Address) -> Int {
        Int(truncatingIfNeeded: (UInt64(address.value) &* seed) >> 40) & (capacity - 1)
    }

    /// The place of an address, or the free one where it would be. There is always a free one.
    private func place(of address: IPv4Address) -> Int {
        var place = first(address)
        while unsafe addresses[place] != 0 && addresses[place] != address.value { place = (place + 1) & (capacity - 1) }
        return place
    }

    func owner(of address: IPv4Address) -> Owner? {
        let place = place(of: address)
        return unsafe addresses[place] == 0 ? nil : owners[place]
    }

    /// Notes whose an address is. Allocates where the table has to grow.
    mutating func note(_ address: IPv4Address, _ owner: Owner, now: UInt32) {
        guard address != .any else { return }
        var place = place(of: address)
        if unsafe addresses[place] == 0 {
            guard owner.isRunning(at: now) else { return }
            if (count + 1) * 2 > capacity {
                rebuild(now: now)
                place = self.place(of: address)
            }
            unsafe addresses[place] = address.value
            count += 1
        }
        unsafe owners[place] = owner
    }

    /// Forgets what is over, and doubles the table where that is less than half.
    private mutating func rebuild(now: UInt32) {
        var kept: [(address: UInt32, owner: Owner)] = []
        for place in 0..<capacity where unsafe addresses[place] != 0 && owners[place].isRunning(at: now) {
            unsafe kept.append((addresses[place], owners[place]))
        }
        if kept.count >= LeaseOwners.limit {
            // Some at a time, so that this is not done for each of them.
            kept.sort { $0.owner.until > $1.owner.until }
            kept.removeLast(kept.count - LeaseOwners.limit / 8 * 7)
        }
        unsafe addresses.deallocate()
        unsafe owners.deallocate()
        if kept.count * 4 > capacity && capacity < LeaseOwners.limit * 2 { capacity *= 2 }
        unsafe addresses = .allocate(capacity: capacity)
        unsafe addresses.initialize(repeating: 0, count: capacity)
        unsafe owners = .allocate(capacity: capacity)
        count = kept.count
        for (address, owner) in kept {
            let place = place(of: IPv4Address(address))
            unsafe addresses[place] = address
            unsafe owners[place] = owner
        }
    }
}

/// The gateway's IPv6 addresses: those that are known from the start, and those that the gateway was seen to use.
@safe
struct GatewayAddresses: ~Copyable {
    private struct Entry: BitwiseCopyable {
        var address: IPv6Address
        /// Seconds; `permanent` for one that was known from the start.
        var lastSeen: UInt32

        static let permanent = UInt32.max
    }

    /// Addresses that are held at most.
    static let capacity = 16
    /// Seconds after which an address that was not seen again may be another's.
    static let patience: UInt32 = 3600

    private let entries: UnsafeMutablePointer<Entry>
    private(set) var count = 0

    init() { unsafe entries = .allocate(capacity: GatewayAddresses.capacity) }

    deinit { unsafe entries.deallocate() }

    func contains(_ address: IPv6Address, now: UInt32) -> Bool {
        for place in 0..<count where unsafe entries[place].address == address {
            return unsafe entries[place].lastSeen == Entry.permanent
                || now &- entries[place].lastSeen < GatewayAddresses.patience
        }
        return false
    }

    /// Replaces all by those that are known from the start.
    mutating func reset(to addresses: [IPv6Address]) {
        count = 0
        for address in addresses.prefix(GatewayAddresses.capacity / 2) {
            unsafe entries[count] = Entry(address: address, lastSeen: Entry.permanent)
            count += 1
        }
    }

    /// The gateway uses this address.
    mutating func saw(_ address: IPv6Address, now: UInt32) {
        var place = count
        for other in 0..<count {
            if unsafe entries[other].address == address {
                if unsafe entries[other].lastSeen != Entry.permanent { unsafe entries[other].lastSeen = now }
                return
            }
            if unsafe count == GatewayAddresses.capacity && entries[other].lastSeen != Entry.permanent {
                if unsafe place == count || entries[other].lastSeen < entries[place].lastSeen { place = other }
            }
        }
        if count < GatewayAddresses.capacity { count += 1 }
        unsafe entries[place] = Entry(address: address, lastSeen: now)
    }
}
