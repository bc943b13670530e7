// SPDX-License-Identifier: Apache-2.0
import Wire

/// The guest to which something is charged. Addresses are no measure: a guest makes up as many as it likes.
package enum GuestOwner: Hashable, Sendable {
    /// All that is behind one port.
    case port(UInt16)
    /// A client with a lease, behind a port that it shares with others.
    case hardware(MACAddress)
    /// Where neither is known.
    case address(IPv6Address)
    case unknown

    init(_ address: IPv4Address) { self = .address(IPv6Address(0, UInt64(address.value))) }
}

/// What several guests take of one bounded whole. None has more than it leaves for the others (the dynamic threshold of
/// shared buffers, Choudhury and Hahne 1998): a guest without any finds room, however many another has taken.
struct FairShare: Sendable {
    let capacity: Int
    private(set) var total = 0
    private var counts: [GuestOwner: Int] = [:]

    init(capacity: Int) { self.capacity = capacity }

    func hasRoom(for owner: GuestOwner) -> Bool { counts[owner, default: 0] < capacity - total }

    mutating func add(_ owner: GuestOwner) {
        total += 1
        counts[owner, default: 0] += 1
    }

    mutating func remove(_ owner: GuestOwner) {
        guard let count = counts[owner] else { return }
        total -= 1
        counts[owner] = count > 1 ? count - 1 : nil
    }

    mutating func removeAll() {
        total = 0
        counts.removeAll(keepingCapacity: true)
    }
}
