// SPDX-License-Identifier: Apache-2.0
import Wire

/// The guest in whose share something counts. A guest can choose among addresses that are not leased to others, but not
/// its port of the switch.
package struct DNSGuest: Hashable, Sendable {
    /// Of the switch; 0 where it is not known.
    package let port: UInt16
    package let address: IPv4Address

    package init(port: UInt16 = 0, address: IPv4Address) {
        self.port = port
        self.address = address
    }
}

/// Max-min fair shares of a bounded resource: counts what each guest holds, and chooses the guest that must give one up
/// when the resource is exhausted.
package struct GuestShares: Sendable {
    private var ports: [UInt16: Int] = [:]
    private var guests: [DNSGuest: Int] = [:]
    package private(set) var count = 0

    package init() {}

    package func held(by guest: DNSGuest) -> Int { guests[guest] ?? 0 }

    package mutating func add(_ guest: DNSGuest) {
        ports[guest.port, default: 0] += 1
        guests[guest, default: 0] += 1
        count += 1
    }

    /// - Precondition: `guest` has one.
    package mutating func remove(_ guest: DNSGuest) {
        precondition(held(by: guest) > 0)
        count -= 1
        ports[guest.port]! -= 1
        if ports[guest.port] == 0 { ports[guest.port] = nil }
        guests[guest]! -= 1
        if guests[guest] == 0 { guests[guest] = nil }
    }

    /// Which guest has to give one up for another of `guest`: the one with the most behind the port with the most. nil
    /// if `guest` would take from one that has no more than itself.
    package func victim(for guest: DNSGuest) -> DNSGuest? {
        guard let (port, most) = ports.max(by: { $0.value < $1.value }) else { return nil }
        if port != guest.port && !isUnfair(most, ports[guest.port] ?? 0) { return nil }
        guard let (found, held) = guests.filter({ $0.key.port == port }).max(by: { $0.value < $1.value }) else {
            return nil
        }
        if port == guest.port && !isUnfair(held, self.held(by: guest)) { return nil }
        return found
    }

    /// One that has nothing yet takes from any; two that are even afterwards do not take from each other in turn.
    private func isUnfair(_ most: Int, _ own: Int) -> Bool { most > own + (own == 0 ? 0 : 1) }
}
