// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// The pins of all guests, each with the name that led to it and its end.
///
/// Bounded per name, per guest and in all: a name whose addresses change with each answer loses its oldest pins, and a
/// guest that fills its share its own.
package struct PinTable: Sendable {
    /// Bounds.
    package struct Limits: Sendable {
        /// Pins of one name of one guest: addresses of an answer, for each scope.
        package var perName = 64
        /// Pins of one guest.
        package var perGuest = 1024
        /// Pins of all guests.
        package var total = 16_384

        /// The usual bounds.
        package init() {}
    }

    /// What an insertion has changed.
    package struct Change: Equatable, Sendable {
        /// New, or with another end.
        package var added: [EgressPin] = []
        /// Evicted by the new ones.
        package var removed: [EgressPin] = []

        /// Nothing.
        package init() {}
    }

    private struct Entry: Sendable {
        var name: DNSName
        var expires: Instant
        var serial: UInt64
        /// Another name has led to the address before.
        var isShared = false
    }

    private let limits: Limits
    private var guests: [MACAddress: [EgressPin: Entry]] = [:]
    private var serial: UInt64 = 0
    /// Pins, expired ones included.
    package private(set) var count = 0

    package init(limits: Limits = Limits()) { self.limits = limits }

    // MARK: Lookup

    /// Whether a pin of this guest has not expired.
    package func contains(_ pin: EgressPin, now: Instant) -> Bool {
        guard let entry = guests[pin.guest]?[pin] else { return false }
        return now < entry.expires
    }

    /// Whether a guest may send to a port of an address.
    package func allowsTCP(_ guest: MACAddress, _ address: IPAddress, _ port: UInt16, now: Instant) -> Bool {
        guard guests[guest] != nil else { return false }
        return contains(EgressPin(guest: guest, address: address, scope: .tcp(port)), now: now)
            || !EgressPin.resolverPorts.contains(port) && allowsPing(guest, address, now: now)
    }

    /// The same for UDP.
    /// - Parameter isExact: only a pin for this port counts.
    package func allowsUDP(
        _ guest: MACAddress, _ address: IPAddress, _ port: UInt16, isExact: Bool = false, now: Instant
    ) -> Bool {
        guard guests[guest] != nil else { return false }
        return contains(EgressPin(guest: guest, address: address, scope: .udp(port)), now: now)
            || !isExact && !EgressPin.resolverPorts.contains(port) && port != EgressPin.quicPort
                && allowsPing(guest, address, now: now)
    }

    /// Whether a guest may ping an address.
    package func allowsPing(_ guest: MACAddress, _ address: IPAddress, now: Instant) -> Bool {
        contains(EgressPin(guest: guest, address: address, scope: .everyPort), now: now)
    }

    /// The pins that have not expired, with their ends.
    package func pins(now: Instant) -> [(pin: EgressPin, expires: Instant)] {
        guests.values.flatMap { $0.filter { now < $0.value.expires }.map { ($0.key, $0.value.expires) } }
    }

    /// A name that has led a guest to an address, not long ago; nil if none is known.
    package func name(leading guest: MACAddress, to address: IPAddress) -> DNSName? {
        guests[guest]?.filter { $0.key.address == address }.max { $0.value.serial < $1.value.serial }?.value.name
    }

    /// The name that has led a guest to an address, if there is one only.
    package func soleName(leading guest: MACAddress, to address: IPAddress) -> DNSName? {
        let entries = (guests[guest] ?? [:]).filter { $0.key.address == address }.values
        guard let name = entries.first?.name, entries.allSatisfy({ $0.name == name && !$0.isShared }) else {
            return nil
        }
        return name
    }

    /// Completes a refusal by the name that has led the guest to the address.
    package func named(_ refusal: EgressRefusal) -> EgressRefusal {
        var refusal = refusal
        if refusal.name == nil, let guest = refusal.hardware, let address = refusal.address {
            refusal.name = name(leading: guest, to: address)?.description
        }
        return refusal
    }

    // MARK: Changes

    /// Pins addresses of one name for one guest. A pin that exists ends later, never earlier.
    /// - Parameter pins: of one guest. Those beyond the bound of a name are left out.
    package mutating func insert(
        _ pins: [EgressPin], of name: DNSName, until expires: Instant, now: Instant
    ) -> Change {
        guard let guest = pins.first?.guest else { return Change() }
        var change = Change()
        for pin in pins.prefix(limits.perName) where pin.guest == guest {
            serial += 1
            if let known = guests[guest]?[pin] {
                guests[guest]![pin] = Entry(
                    name: name, expires: max(known.expires, expires), serial: serial,
                    isShared: known.isShared || known.name != name)
                if known.expires < expires { change.added.append(pin) }
                continue
            }
            makeRoom(for: guest, name, now: now, &change)
            guests[guest, default: [:]][pin] = Entry(name: name, expires: expires, serial: serial)
            count += 1
            change.removed.removeAll { $0 == pin }
            change.added.append(pin)
        }
        return change
    }

    /// Removes pins that the policy does not allow any more.
    package mutating func retain(_ policy: EgressPolicy) -> [EgressPin] {
        var removed: [EgressPin] = []
        for (guest, pins) in guests {
            for (pin, entry) in pins where !policy.scopes(of: entry.name).contains(pin.scope) {
                remove(pin, of: guest)
                removed.append(pin)
            }
        }
        return removed
    }

    private mutating func makeRoom(for guest: MACAddress, _ name: DNSName, now: Instant, _ change: inout Change) {
        let own = guests[guest] ?? [:]
        if own.count >= limits.perGuest { removeExpired(of: guest, now: now) }
        let sameName = own.filter { $0.value.name == name }
        if sameName.count >= limits.perName, let oldest = PinTable.oldest(of: sameName) {
            evict(oldest, of: guest, &change)
        }
        if let pins = guests[guest], pins.count >= limits.perGuest, let oldest = PinTable.oldest(of: pins) {
            evict(oldest, of: guest, &change)
        }
        guard count >= limits.total else { return }
        for guest in Array(guests.keys) { removeExpired(of: guest, now: now) }
        guard count >= limits.total, let (most, pins) = guests.max(by: { $0.value.count < $1.value.count }),
            let oldest = PinTable.oldest(of: pins)
        else { return }
        evict(oldest, of: most, &change)
    }

    private static func oldest(of pins: [EgressPin: Entry]) -> EgressPin? {
        pins.min { $0.value.serial < $1.value.serial }?.key
    }

    private mutating func evict(_ pin: EgressPin, of guest: MACAddress, _ change: inout Change) {
        remove(pin, of: guest)
        change.added.removeAll { $0 == pin }
        change.removed.append(pin)
    }

    private mutating func removeExpired(of guest: MACAddress, now: Instant) {
        for (pin, entry) in guests[guest] ?? [:] where entry.expires <= now { remove(pin, of: guest) }
    }

    private mutating func remove(_ pin: EgressPin, of guest: MACAddress) {
        guard guests[guest]?.removeValue(forKey: pin) != nil else { return }
        count -= 1
        if guests[guest]?.isEmpty == true { guests[guest] = nil }
    }
}
