// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// The gateway's IPv6 addresses: those that are known from the start, and those that the gateway has used.
@safe
struct GatewayAddresses: ~Copyable {
    private struct Entry: BitwiseCopyable {
        var address: IPv6Address
        /// `permanent` for one that was known from the start.
        var lastSeen: CoarseInstant

        static let permanent = CoarseInstant.distantFuture
    }

    /// Addresses that are kept at most.
    static let capacity = 16
    /// The time after which an address that the gateway has not used again is free for guests.
    static let lifetime = TimeAmount.hours(1)

    private let entries: UnsafeMutablePointer<Entry>
    private(set) var count = 0

    init() { unsafe entries = .allocate(capacity: GatewayAddresses.capacity) }

    deinit { unsafe entries.deallocate() }

    func contains(_ address: IPv6Address, now: CoarseInstant) -> Bool {
        for index in 0..<count where unsafe entries[index].address == address {
            return unsafe entries[index].lastSeen == Entry.permanent
                || now - entries[index].lastSeen < GatewayAddresses.lifetime
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

    /// Records that the gateway uses an address.
    mutating func record(_ address: IPv6Address, now: CoarseInstant) {
        var index = count
        for other in 0..<count {
            if unsafe entries[other].address == address {
                if unsafe entries[other].lastSeen != Entry.permanent { unsafe entries[other].lastSeen = now }
                return
            }
            if unsafe count == GatewayAddresses.capacity && entries[other].lastSeen != Entry.permanent {
                if unsafe index == count || entries[other].lastSeen < entries[index].lastSeen { index = other }
            }
        }
        if count < GatewayAddresses.capacity { count += 1 }
        unsafe entries[index] = Entry(address: address, lastSeen: now)
    }
}
