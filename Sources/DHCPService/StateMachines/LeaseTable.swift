// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Timing
import Wire

/// The addresses of one pool and who has them.
///
/// A lease that has ended is remembered, so that its client finds its address again, until the address is needed: never
/// used addresses go first, in order, then those whose lease ended longest ago, then those of clients whose port is
/// gone, the one that has been gone for longest first. An offer is a weak claim. It keeps an address from being offered
/// twice in a row, but where nothing else is left, the oldest offers are offered again: clients that discover and never
/// request cannot empty the pool.
///
/// One hardware address has one lease for as long as that is safe: a client without a lease gets that of another client
/// identifier of its hardware address, such as a boot ROM's. RFC 4361 permits several clients at one hardware address;
/// the server's probe tells them apart, for they answer it.
package struct LeaseTable: Sendable {
    /// A pool does not grow beyond this, so that a flood of made-up clients is bounded by memory that is there.
    package static let maximumPool = 65_536
    /// How long an offer is kept for its client.
    static let offerTime = TimeAmount.seconds(30)
    /// How long an address that is in use without a lease is not assigned.
    static let quarantineTime = TimeAmount.minutes(10)
    /// A trunk's leases may be so many times the addresses that are left for other ports. A guest's may be as many.
    private static let trunkShare = 4

    /// Where the client of a lease is.
    package enum Presence: Equatable, Sendable {
        case at(ClientPort)
        /// Its port has been gone since then; `distantFuture` for a client that was not seen since a restart.
        case gone(since: Instant)
    }

    private struct Entry: Sendable {
        var lease: Lease?
        /// Of the lease's client.
        var presence = Presence.at(.network)
        var offeredTo: ClientIdentity?
        var offeredHardware = MACAddress.zero
        var offerEnds = Instant.distantPast
        /// In use by somebody without a lease until then.
        var quarantineEnds = Instant.distantPast
        /// The port whose claim is the reason.
        var quarantinedBy: ClientPort?

        func isRunning(_ now: Instant) -> Bool { (lease?.expires ?? .distantPast) > now }

        var goneSince: Instant? { if case .gone(let since) = presence { since } else { nil } }
    }

    package let first: IPv4Address
    package let last: IPv4Address
    private var entries: [IPv4Address: Entry] = [:]
    private var addresses: [ClientIdentity: IPv4Address] = [:]
    private var offers: [ClientIdentity: IPv4Address] = [:]
    /// Where the lease is that has a name; no other lease has it.
    private var names: [GuestName: IPv4Address] = [:]
    /// The lowest address that nobody has had or been offered, and that is nobody's own.
    private var firstUnused: IPv4Address
    /// Addresses that belong to machines, in the pool or outside.
    private var reservations: [MACAddress: IPv4Address] = [:]
    private var owners: [IPv4Address: MACAddress] = [:]
    private var ownedInPool = 0

    package init(first: IPv4Address, last: IPv4Address, reservations: [AddressReservation] = []) {
        self.first = first
        self.last = min(max(first, last), first.advanced(by: LeaseTable.maximumPool - 1))
        firstUnused = first
        for one in reservations {
            self.reservations[one.hardware] = one.address
            owners[one.address] = one.hardware
        }
        ownedInPool = owners.keys.count { isInPool($0) }
        skipUsed()
    }

    package var size: Int { Int(last.value - first.value) + 1 }

    private func isInPool(_ address: IPv4Address) -> Bool { first <= address && address <= last }

    package func contains(_ address: IPv4Address) -> Bool { isInPool(address) || owners[address] != nil }

    /// Whether `address` belongs to the machine with this hardware address.
    package func isReserved(_ address: IPv4Address, for hardware: MACAddress) -> Bool { owners[address] == hardware }

    // MARK: Leases

    /// The lease of a client, current or ended.
    package func lease(of client: ClientIdentity) -> Lease? { addresses[client].flatMap { entries[$0]?.lease } }

    /// The lease on an address, current or ended.
    package func lease(on address: IPv4Address) -> Lease? { entries[address]?.lease }

    package func presence(on address: IPv4Address) -> Presence? {
        entries[address]?.lease == nil ? nil : entries[address]?.presence
    }

    /// All leases, ended ones included, in the order of their addresses.
    package var leases: [Lease] { entries.values.compactMap(\.lease).sorted { $0.address < $1.address } }

    /// How many leases run.
    package func running(at now: Instant) -> Int { entries.values.count { $0.isRunning(now) } }

    /// Whether the client, or another client identifier of its hardware address, holds `address` now.
    package func isHeld(_ address: IPv4Address, by applicant: Applicant, now: Instant) -> Bool {
        guard let entry = entries[address], let lease = entry.lease, lease.expires > now else { return false }
        return lease.hardware == applicant.hardware && (lease.client == applicant.client || isHere(entry, applicant))
    }

    /// Whether `address` is leased to another client identifier, though perhaps of the same hardware address.
    func isLeasedToAnother(_ address: IPv4Address, than client: ClientIdentity, now: Instant) -> Bool {
        guard let lease = entries[address]?.lease else { return false }
        return lease.expires > now && lease.client != client
    }

    /// Whether the client of the lease on `address` is at another port, which is there.
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

    private mutating func forgetName(on address: IPv4Address) {
        guard let name = entries[address]?.lease?.name else { return }
        names[name] = nil
        entries[address]!.lease!.name = nil
    }

    /// Makes `lease` the one of its client and its address, and the only one with its name. Also restores leases after a
    /// restart.
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
        if let name = lease.name { names[name] = lease.address }
        entry.offeredTo = nil
        entry.offerEnds = .distantPast
        entries[lease.address] = entry
        addresses[lease.client] = lease.address
    }

    /// Ends a lease now; the client is still remembered, its name is free.
    package mutating func end(_ address: IPv4Address, now: Instant) {
        guard let expires = entries[address]?.lease?.expires else { return }
        forgetName(on: address)
        entries[address]!.lease!.expires = min(now, expires)
    }

    /// Somebody uses `address` without a lease: leave it alone for a while, and forget who had it.
    /// - Parameter port: where that was said.
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

    /// The client of the lease on `address` was seen at `port`, perhaps again.
    package mutating func noteClient(of address: IPv4Address, at port: ClientPort) {
        if entries[address]?.goneSince != nil { entries[address]!.presence = .at(port) }
    }

    /// A port is gone, and with it the clients there and what was claimed there.
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

    /// How many addresses of the pool count for a port, and how many are left: a lease counts for the port where its
    /// client is, an address in quarantine for the port where that was said.
    package func usage(of port: ClientPort, now: Instant) -> (held: Int, free: Int) {
        var held = 0, taken = ownedInPool
        for (address, entry) in entries where owners[address] == nil && isInPool(address) {
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

    /// Whether one more address may count for a port. No guest's port takes more than it leaves for the others (the
    /// dynamic threshold of shared buffers, Choudhury and Hahne 1998), so that a port without any finds one.
    package func hasRoom(for port: ClientPort, now: Instant) -> Bool {
        if port.kind == .network { return true }
        let (held, free) = usage(of: port, now: now)
        return held < (port.kind == .guest ? free : free * LeaseTable.trunkShare)
    }

    // MARK: Choosing

    /// Whether a machine may have this address: its own, while that is to be had; else one that no other machine owns.
    package func suits(_ address: IPv4Address, _ applicant: Applicant, now: Instant) -> Bool {
        guard let own = reservations[applicant.hardware] else { return owners[address] == nil }
        return address == own || (owners[address] == nil && !isFree(own, for: applicant, now: now))
    }

    /// True if `address` may be given to a client: in the pool, and held by no other client.
    /// - Parameter evicting: leases of clients whose port is gone do not count.
    package func isFree(_ address: IPv4Address, for applicant: Applicant, evicting: Bool = false, now: Instant) -> Bool {
        guard contains(address) else { return false }
        guard let entry = entries[address] else { return true }
        if entry.quarantineEnds > now { return false }
        guard let lease = entry.lease, lease.expires > now, lease.client != applicant.client else { return true }
        return (lease.hardware == applicant.hardware && isHere(entry, applicant))
            || (evicting && entry.goneSince != nil)
    }

    private func isFit(
        _ address: IPv4Address, _ applicant: Applicant, _ excluded: [IPv4Address], evicting: Bool = false, _ now: Instant
    ) -> Bool {
        !excluded.contains(address) && isFree(address, for: applicant, evicting: evicting, now: now)
            && suits(address, applicant, now: now)
    }

    /// The address with which a client has to do already: the one that belongs to its hardware, else the one it had,
    /// else the one it was offered.
    func knownAddress(for applicant: Applicant, excluding excluded: [IPv4Address], now: Instant) -> IPv4Address? {
        if let reserved = reservations[applicant.hardware], !excluded.contains(reserved),
            isFree(reserved, for: applicant, now: now)
        {
            return reserved
        }
        if let own = addresses[applicant.client], isFit(own, applicant, excluded, now) { return own }
        // An offer may be of an address whose client's port is gone.
        if let offered = offer(to: applicant.client, now: now), isFit(offered, applicant, excluded, evicting: true, now)
        {
            return offered
        }
        return nil
    }

    /// An address for a client that has to do with none: that of its hardware address, else the one it asks for, else a
    /// newAddress one, else the one unused for longest.
    /// - Parameter fromEnd: newAddress ones are taken from the end of the pool.
    func newAddress(
        for applicant: Applicant, asking: IPv4Address?, fromEnd: Bool = false, excluding excluded: [IPv4Address],
        now: Instant
    ) -> IPv4Address? {
        if let shared = addressOfHardware(applicant, excluded, now) { return shared }
        if let asking, isFit(asking, applicant, excluded, now), !isOffered(asking, now: now) { return asking }
        if let unused = fromEnd ? lastUnused : firstUnused, unused <= last, !excluded.contains(unused) { return unused }
        return leastRecent(for: applicant, excluded, now)
    }

    /// The address that another client identifier of the same hardware address has, or had last.
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
        while address > first && (entries[address] != nil || owners[address] != nil) {
            address = address.advanced(by: -1)
        }
        return entries[address] == nil && owners[address] == nil ? address : nil
    }

    // MARK: Offers

    package func offer(to client: ClientIdentity, now: Instant) -> IPv4Address? {
        guard let address = offers[client], let entry = entries[address], entry.offeredTo == client,
            entry.offerEnds > now
        else { return nil }
        return address
    }

    /// True if `address` is offered to this client, which asked from this hardware.
    package func isOffered(_ address: IPv4Address, to client: ClientIdentity, hardware: MACAddress, now: Instant) -> Bool
    {
        offer(to: client, now: now) == address && entries[address]?.offeredHardware == hardware
    }

    /// True if `address` is offered to any client.
    func isOffered(_ address: IPv4Address, now: Instant) -> Bool { (entries[address]?.offerEnds ?? .distantPast) > now }

    /// Sets `address` aside for `client` for a while.
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

    private mutating func skipUsed() {
        while firstUnused <= last && (entries[firstUnused] != nil || owners[firstUnused] != nil) {
            firstUnused = firstUnused.advanced(by: 1)
        }
    }
}
