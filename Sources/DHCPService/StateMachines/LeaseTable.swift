// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Timing
import Wire

/// The addresses of one pool and the clients that hold them.
///
/// A lease that has ended stays in the table, so that its client gets the same address again, until the address is
/// needed. Addresses are reused in this order: those never used, ascending; those whose lease ended longest ago; those
/// of clients whose port is detached, the longest detached first. An offer is a weak claim: it keeps an address from
/// being offered to two clients in a row, but when nothing else is left the oldest offers are offered again, so that
/// clients that send DISCOVER and never REQUEST cannot exhaust the pool.
///
/// One hardware address has one lease as long as that is safe: a client without a lease gets the lease of another
/// client identifier of its hardware address, such as a boot ROM's. RFC 4361 permits several clients at one hardware
/// address; the server's probe distinguishes them, because a running client answers it.
package struct LeaseTable: Sendable {
    /// Addresses of the largest pool, which bounds the memory that a flood of forged clients can take.
    package static let maximumPool = 65_536
    /// How long an offer is kept for its client.
    static let offerTime = TimeAmount.seconds(30)
    /// How long an address that is in use without a lease is not assigned.
    static let quarantineTime = TimeAmount.minutes(10)
    /// A trunk port may hold this many times the free addresses; a guest port as many as are free.
    private static let trunkShare = 4

    /// The port of a lease's client.
    package enum Presence: Equatable, Sendable {
        case at(ClientPort)
        /// Its port has been gone since then; `distantFuture` for a client that was not seen since a restart.
        case gone(since: Instant)
    }

    struct Entry: Sendable {
        var lease: Lease?
        /// Of the client of `lease`.
        var presence = Presence.at(.network)
        var offeredTo: ClientIdentity?
        var offeredHardware = MACAddress.zero
        var offerEnds = Instant.distantPast
        /// Not assigned until then, because a host uses it without a lease.
        var quarantineEnds = Instant.distantPast
        /// The port of that host.
        var quarantinedBy: ClientPort?

        func isRunning(_ now: Instant) -> Bool { (lease?.expires ?? .distantPast) > now }

        var goneSince: Instant? { if case .gone(let since) = presence { since } else { nil } }
    }

    /// The first address of the pool.
    package let first: IPv4Address
    /// The last address of the pool.
    package let last: IPv4Address
    var entries: [IPv4Address: Entry] = [:]
    private var addresses: [ClientIdentity: IPv4Address] = [:]
    private var offers: [ClientIdentity: IPv4Address] = [:]
    /// Where the lease is that has a name; no other lease has it.
    private var names: [GuestName: IPv4Address] = [:]
    /// The same by hardware address.
    private var named: [MACAddress: IPv4Address] = [:]
    /// The lowest address that was never leased or offered and is not reserved.
    var firstUnused: IPv4Address
    /// Reserved addresses, in the pool or outside.
    var reservations: [MACAddress: IPv4Address] = [:]
    var reservedFor: [IPv4Address: MACAddress] = [:]
    var reservedInPool = 0

    /// An empty table. The pool is cut at `maximumPool` addresses.
    package init(first: IPv4Address, last: IPv4Address, reservations: [AddressReservation] = []) {
        self.first = first
        self.last = min(max(first, last), first.advanced(by: LeaseTable.maximumPool - 1))
        firstUnused = first
        for one in reservations {
            self.reservations[one.hardware] = one.address
            reservedFor[one.address] = one.hardware
        }
        reservedInPool = reservedFor.keys.count { isInPool($0) }
        skipUsed()
    }

    /// Addresses of the pool.
    package var size: Int { Int(last.value - first.value) + 1 }

    func isInPool(_ address: IPv4Address) -> Bool { first <= address && address <= last }

    /// Whether `address` is in the pool or reserved.
    package func contains(_ address: IPv4Address) -> Bool { isInPool(address) || reservedFor[address] != nil }

    /// Whether `address` is reserved for this hardware address.
    package func isReserved(_ address: IPv4Address, for hardware: MACAddress) -> Bool {
        reservedFor[address] == hardware
    }

    // MARK: Leases

    /// The lease of a client, active or ended.
    package func lease(of client: ClientIdentity) -> Lease? { addresses[client].flatMap { entries[$0]?.lease } }

    /// The lease on an address, active or ended.
    package func lease(on address: IPv4Address) -> Lease? { entries[address]?.lease }

    /// The port of the client of the lease on `address`; nil without a lease.
    package func presence(on address: IPv4Address) -> Presence? {
        entries[address]?.lease == nil ? nil : entries[address]?.presence
    }

    /// All leases, ended ones included, in the order of their addresses.
    package var leases: [Lease] { entries.values.compactMap(\.lease).sorted { $0.address < $1.address } }

    /// The number of active leases.
    package func running(at now: Instant) -> Int { entries.values.count { $0.isRunning(now) } }

    /// Whether the client, or another client identifier of its hardware address, has an active lease on `address`.
    package func isHeld(_ address: IPv4Address, by applicant: Applicant, now: Instant) -> Bool {
        guard let entry = entries[address], let lease = entry.lease, lease.expires > now else { return false }
        return lease.hardware == applicant.hardware && (lease.client == applicant.client || isHere(entry, applicant))
    }

    /// Whether `address` is leased to another client identifier, though perhaps of the same hardware address.
    func isLeasedToAnother(_ address: IPv4Address, than client: ClientIdentity, now: Instant) -> Bool {
        guard let lease = entries[address]?.lease else { return false }
        return lease.expires > now && lease.client != client
    }

    /// Whether the client of the lease on `address` is at another port that is attached.
    func isElsewhere(_ address: IPv4Address, than port: ClientPort) -> Bool {
        if case .at(let other)? = presence(on: address), other.kind != .network { other != port } else { false }
    }

    private func isHere(_ entry: Entry, _ applicant: Applicant) -> Bool {
        entry.goneSince != nil || entry.presence == .at(applicant.port)
    }

    /// The lease that runs and has this name.
    package func holder(of name: GuestName, now: Instant) -> Lease? {
        names[name].flatMap { entries[$0]?.lease }.flatMap { $0.expires > now ? $0 : nil }
    }

    /// The name of the guest with this hardware address.
    func name(of hardware: MACAddress, now: Instant) -> GuestName? {
        let lease = named[hardware].flatMap { entries[$0]?.lease }
        return lease.flatMap { $0.hardware == hardware && $0.expires > now ? $0.name : nil }
    }

    mutating func forgetName(on address: IPv4Address) {
        guard let lease = entries[address]?.lease, let name = lease.name else { return }
        names[name] = nil
        named[lease.hardware] = nil
        entries[address]!.lease!.name = nil
    }

    /// Makes `lease` the one of its client and its address, and the only one with its name. Also restores leases after
    /// a restart.
    /// - Parameter presence: where its client is, unless that is known already.
    package mutating func commit(_ lease: Lease, presence: Presence = .at(.network)) {
        guard contains(lease.address) else { return }
        withdrawOffer(from: lease.client)
        for address in [addresses[lease.client], lease.address, lease.name.flatMap { names[$0] }] {
            if let address { forgetName(on: address) }
        }
        if let before = addresses[lease.client], before != lease.address { entries[before]?.lease = nil }
        var entry = entry(lease.address)
        if let other = entry.lease, other.client != lease.client { addresses[other.client] = nil }
        if let other = entry.offeredTo { offers[other] = nil }
        let isSame = entry.lease?.client == lease.client && entry.lease?.hardware == lease.hardware
        if !isSame || entry.goneSince != nil || entry.presence == .at(.network) { entry.presence = presence }
        entry.lease = lease
        if let name = lease.name { (names[name], named[lease.hardware]) = (lease.address, lease.address) }
        entry.offeredTo = nil
        entry.offerEnds = .distantPast
        entries[lease.address] = entry
        addresses[lease.client] = lease.address
    }

    /// Ends a lease now; its client stays recorded, its name becomes free.
    package mutating func end(_ address: IPv4Address, now: Instant) {
        guard let expires = entries[address]?.lease?.expires else { return }
        forgetName(on: address)
        entries[address]!.lease!.expires = min(now, expires)
    }

    /// A host uses `address` without a lease: the address is not assigned for `quarantineTime`, and its lease is
    /// removed.
    /// - Parameter port: of that host, or of the client that reported it.
    package mutating func quarantine(_ address: IPv4Address, by port: ClientPort, now: Instant) {
        guard contains(address) else { return }
        forgetName(on: address)
        var entry = entry(address)
        if let client = entry.lease?.client { addresses[client] = nil }
        if let client = entry.offeredTo { offers[client] = nil }
        entry = Entry()
        entry.quarantineEnds = now + LeaseTable.quarantineTime
        entry.quarantinedBy = port
        entries[address] = entry
    }

    // MARK: Ports

    /// The client of the lease on `address` was seen at `port`, after its port was detached.
    package mutating func noteClient(of address: IPv4Address, at port: ClientPort) {
        if entries[address]?.goneSince != nil { entries[address]!.presence = .at(port) }
    }

    /// A port was detached: its clients are gone, and quarantines that it caused end.
    package mutating func portDetached(_ number: UInt16, now: Instant) {
        for (address, entry) in entries {
            if case .at(let port) = entry.presence, port.number == number, port.kind != .network {
                entries[address]!.presence = .gone(since: now)
            }
            if let port = entry.quarantinedBy, port.number == number, port.kind != .network {
                entries[address]!.quarantineEnds = .distantPast
                entries[address]!.quarantinedBy = nil
            }
        }
    }

    /// The number of addresses of the pool that count for a port, and of those that are free. A lease counts for the
    /// port of its client, an address in quarantine for the port that caused it.
    package func usage(of port: ClientPort, now: Instant) -> (held: Int, free: Int) {
        var held = 0, taken = reservedInPool
        for (address, entry) in entries where reservedFor[address] == nil && isInPool(address) {
            if entry.quarantineEnds > now {
                taken += 1
                if entry.quarantinedBy == port { held += 1 }
            } else if entry.isRunning(now), entry.goneSince == nil {
                taken += 1
                if entry.presence == .at(port) { held += 1 }
            }
        }
        return (held, size - taken)
    }

    /// Whether one more address may count for a port. A guest port holds at most as many addresses as are free (the
    /// dynamic threshold of shared buffers, Choudhury and Hahne 1998), so that there is always one for a new port.
    package func hasRoom(for port: ClientPort, now: Instant) -> Bool {
        if port.kind == .network { return true }
        let (held, free) = usage(of: port, now: now)
        return held < (port.kind == .guest ? free : free * LeaseTable.trunkShare)
    }

    // MARK: Choosing

    /// Whether reservations permit this address for a client: its reserved one while that is free, else one that is not
    /// reserved.
    package func suits(_ address: IPv4Address, _ applicant: Applicant, now: Instant) -> Bool {
        guard let reserved = reservations[applicant.hardware] else { return reservedFor[address] == nil }
        return address == reserved || (reservedFor[address] == nil && !isFree(reserved, for: applicant, now: now))
    }

    /// Whether `address` is in the pool and no other client holds it.
    /// - Parameter evicting: leases of clients whose port is detached do not count.
    package func isFree(_ address: IPv4Address, for applicant: Applicant, evicting: Bool = false, now: Instant) -> Bool
    {
        guard contains(address) else { return false }
        guard let entry = entries[address] else { return true }
        if entry.quarantineEnds > now { return false }
        guard let lease = entry.lease, lease.expires > now, lease.client != applicant.client else { return true }
        return (lease.hardware == applicant.hardware && isHere(entry, applicant))
            || (evicting && entry.goneSince != nil)
    }

    private func isFit(
        _ address: IPv4Address, _ applicant: Applicant, _ excluded: [IPv4Address], evicting: Bool = false,
        _ now: Instant
    ) -> Bool {
        !excluded.contains(address) && isFree(address, for: applicant, evicting: evicting, now: now)
            && suits(address, applicant, now: now)
    }

    /// The address that a client already has a relation to: its reserved one, else its lease, else its offer.
    func knownAddress(for applicant: Applicant, excluding excluded: [IPv4Address], now: Instant) -> IPv4Address? {
        if let reserved = reservations[applicant.hardware], !excluded.contains(reserved),
            isFree(reserved, for: applicant, now: now)
        {
            return reserved
        }
        if let own = addresses[applicant.client], isFit(own, applicant, excluded, now) { return own }
        // The offered address may be leased to a client whose port is detached.
        if let offered = offer(to: applicant.client, now: now), isFit(offered, applicant, excluded, evicting: true, now)
        {
            return offered
        }
        return nil
    }

    /// An address for a client without one: that of its hardware address, else the requested one, else one that was
    /// never used, else the one unused for longest.
    /// - Parameter fromEnd: search for an unused one from the end of the pool.
    func newAddress(
        for applicant: Applicant, requested: IPv4Address?, fromEnd: Bool = false, excluding excluded: [IPv4Address],
        now: Instant
    ) -> IPv4Address? {
        if let shared = addressOfHardware(applicant, excluded, now) { return shared }
        if let requested, isFit(requested, applicant, excluded, now), !isOffered(requested, now: now) {
            return requested
        }
        if let unused = fromEnd ? lastUnused : firstUnused, unused <= last, !excluded.contains(unused) { return unused }
        return leastRecent(for: applicant, excluded, now)
    }

    /// The address of another client identifier of the same hardware address; the latest lease counts.
    private func addressOfHardware(_ applicant: Applicant, _ excluded: [IPv4Address], _ now: Instant) -> IPv4Address? {
        var best: Lease?
        for (address, entry) in entries {
            guard let lease = entry.lease, lease.hardware == applicant.hardware, isHere(entry, applicant),
                !isOffered(address, now: now)
            else { continue }
            guard isFit(address, applicant, excluded, now) else { continue }
            if best.map({ ($0.expires, $0.address) < (lease.expires, address) }) ?? true { best = lease }
        }
        return best?.address
    }

    private func leastRecent(for applicant: Applicant, _ excluded: [IPv4Address], _ now: Instant) -> IPv4Address? {
        typealias Candidate = (since: Instant, expires: Instant, address: IPv4Address)
        var vacant: Candidate?, gone: Candidate?, offered: Candidate?
        func note(_ candidate: Candidate, in best: inout Candidate?) {
            if best.map({ candidate < $0 }) ?? true { best = candidate }
        }
        for (address, entry) in entries where isFit(address, applicant, excluded, evicting: true, now) {
            let expires = entry.lease?.expires ?? .distantPast
            if entry.offerEnds > now {
                note((entry.offerEnds, expires, address), in: &offered)
            } else if !entry.isRunning(now) {
                note((expires, expires, address), in: &vacant)
            } else if let since = entry.goneSince {
                note((since, expires, address), in: &gone)
            }
        }
        return (vacant ?? gone ?? offered)?.address
    }

    private var lastUnused: IPv4Address? {
        var address = last
        while address > first && (entries[address] != nil || reservedFor[address] != nil) {
            address = address.advanced(by: -1)
        }
        return entries[address] == nil && reservedFor[address] == nil ? address : nil
    }

    // MARK: Offers

    /// The address that is offered to `client`.
    package func offer(to client: ClientIdentity, now: Instant) -> IPv4Address? {
        guard let address = offers[client], let entry = entries[address], entry.offeredTo == client,
            entry.offerEnds > now
        else { return nil }
        return address
    }

    /// Whether `address` is offered to this client at this hardware address.
    package func isOffered(
        _ address: IPv4Address, to client: ClientIdentity, hardware: MACAddress, now: Instant
    ) -> Bool {
        offer(to: client, now: now) == address && entries[address]?.offeredHardware == hardware
    }

    /// Whether `address` is offered to a client.
    func isOffered(_ address: IPv4Address, now: Instant) -> Bool { (entries[address]?.offerEnds ?? .distantPast) > now }

    /// Reserves `address` for `client` for `offerTime`.
    package mutating func offer(_ address: IPv4Address, to client: ClientIdentity, hardware: MACAddress, now: Instant) {
        if let before = offers[client], before != address { withdrawOffer(from: client) }
        var entry = entry(address)
        if let other = entry.offeredTo, other != client { offers[other] = nil }
        entry.offeredTo = client
        entry.offeredHardware = hardware
        entry.offerEnds = now + LeaseTable.offerTime
        entries[address] = entry
        offers[client] = address
    }

    /// Ends the offer to `client`.
    package mutating func withdrawOffer(from client: ClientIdentity) {
        guard let address = offers.removeValue(forKey: client) else { return }
        if entries[address]?.offeredTo == client {
            entries[address]!.offeredTo = nil
            entries[address]!.offerEnds = .distantPast
        }
    }

    private mutating func entry(_ address: IPv4Address) -> Entry {
        if let entry = entries[address] { return entry }
        entries[address] = Entry()
        skipUsed()
        return Entry()
    }

    mutating func skipUsed() {
        while firstUnused <= last && (entries[firstUnused] != nil || reservedFor[firstUnused] != nil) {
            firstUnused = firstUnused.advanced(by: 1)
        }
    }
}
