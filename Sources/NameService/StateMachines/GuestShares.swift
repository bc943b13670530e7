// SPDX-License-Identifier: Apache-2.0
import Wire

/// The guest in whose share a query or connection counts. A guest can choose any address that is not leased to another,
/// but not its switch port.
package struct DNSGuest: Hashable, Sendable {
    /// The switch port; 0 if it is unknown.
    package let port: UInt16
    /// The source address, an IPv4 address in the low bits.
    package let address: IPv6Address

    /// A guest at a port.
    package init(port: UInt16 = 0, address: IPv6Address) {
        self.port = port
        self.address = address
    }

    /// A guest with an IPv4 address.
    package init(port: UInt16 = 0, address: IPv4Address) {
        self.init(port: port, address: IPv6Address(embedding: address))
    }
}

/// Max-min fair shares of a bounded resource: counts the units that each guest holds, and chooses the guest that gives
/// one up when the resource is exhausted.
package struct GuestShares: Sendable {
    private var ports: [UInt16: Int] = [:]
    private var guests: [DNSGuest: Int] = [:]
    /// Units that all guests hold.
    package private(set) var count = 0

    /// No guest holds a unit.
    package init() {}

    /// Units that `guest` holds.
    package func held(by guest: DNSGuest) -> Int { guests[guest] ?? 0 }

    /// Gives a unit to `guest`.
    package mutating func add(_ guest: DNSGuest) {
        ports[guest.port, default: 0] += 1
        guests[guest, default: 0] += 1
        count += 1
    }

    /// Takes a unit from `guest`.
    /// - Precondition: `guest` holds one.
    package mutating func remove(_ guest: DNSGuest) {
        precondition(held(by: guest) > 0)
        count -= 1
        ports[guest.port]! -= 1
        if ports[guest.port] == 0 { ports[guest.port] = nil }
        guests[guest]! -= 1
        if guests[guest] == 0 { guests[guest] = nil }
    }

    /// The guest that gives up a unit so that `guest` gets one: the guest with the most behind the port with the most.
    /// If that port has no more than the guest's, the guest with the most behind the guest's own port. Nil if that one
    /// has no more than `guest` would.
    package func victim(for guest: DNSGuest) -> DNSGuest? {
        guard let (port, most) = ports.max(by: { $0.value < $1.value }) else { return nil }
        let isOther = port != guest.port && isUnfair(most, ports[guest.port] ?? 0)
        let source = isOther ? port : guest.port
        guard let (found, held) = guests.filter({ $0.key.port == source }).max(by: { $0.value < $1.value }) else {
            return nil
        }
        if !isOther && !isUnfair(held, self.held(by: guest)) { return nil }
        return found
    }

    /// A holder without a unit takes from any other. Two that would be even afterwards do not take from each other, so
    /// that they do not alternate.
    private func isUnfair(_ most: Int, _ own: Int) -> Bool { most > own + (own == 0 ? 0 : 1) }
}
