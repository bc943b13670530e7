// SPDX-License-Identifier: Apache-2.0
import Wire

/// The addresses of one pool and who has them.
///
/// A lease that has ended is remembered, so that its client finds its address again, until the address is needed: never used addresses go
/// first, in order, then those whose lease ended longest ago. An offer is a weak claim. It keeps an address from being offered twice in a
/// row, but where nothing else is left, the oldest offers are offered anew: clients that discover and never request cannot empty the pool.
package struct LeaseTable: Sendable {
    /// A pool does not grow beyond this, so that a flood of made-up clients is bounded by memory that is there.
    package static let maximumPool = 65_536
    /// How long an offer is kept for its client, in nanoseconds.
    static let offerTime: UInt64 = 30_000_000_000
    /// How long an address that somebody uses without a lease is left alone, in nanoseconds.
    static let quarantineTime: UInt64 = 600_000_000_000

    private struct Entry: Sendable {
        var lease: Lease?
        var offeredTo: ClientIdentity?
        var offeredHardware = MACAddress.zero
        var offerEnds: UInt64 = 0
        /// In use by somebody without a lease until then.
        var quarantineEnds: UInt64 = 0
    }

    package let first: IPv4Address
    package let last: IPv4Address
    private var entries: [IPv4Address: Entry] = [:]
    private var addresses: [ClientIdentity: IPv4Address] = [:]
    private var offers: [ClientIdentity: IPv4Address] = [:]
    /// The lowest address that nobody has had or been offered, and that is nobody's own.
    private var firstUnused: IPv4Address
    /// Addresses that belong to machines, in the pool or outside.
    private var reservations: [MACAddress: IPv4Address] = [:]
    private var owners: [IPv4Address: MACAddress] = [:]

    package init(first: IPv4Address, last: IPv4Address, reservations: [AddressReservation] = []) {
        self.first = first
        self.last = min(max(first, last), first.advanced(by: LeaseTable.maximumPool - 1))
        firstUnused = first
        for one in reservations {
            self.reservations[one.hardware] = one.address
            owners[one.address] = one.hardware
        }
        skipUsed()
    }

    package var size: Int { Int(last.value - first.value) + 1 }

    package func contains(_ address: IPv4Address) -> Bool { (first <= address && address <= last) || owners[address] != nil }

    /// Whether a machine may have this address: its own, while that is to be had; else one that is nobody's own.
    package func suits(_ address: IPv4Address, _ client: ClientIdentity, hardware: MACAddress, now: UInt64) -> Bool {
        guard let own = reservations[hardware] else { return owners[address] == nil }
        return address == own || (owners[address] == nil && !isFree(own, for: client, now: now))
    }

    /// The lease of a client, current or ended.
    package func lease(of client: ClientIdentity) -> Lease? { addresses[client].flatMap { entries[$0]?.lease } }

    /// The lease on an address, current or ended.
    package func lease(on address: IPv4Address) -> Lease? { entries[address]?.lease }

    package func offer(to client: ClientIdentity, now: UInt64) -> IPv4Address? {
        guard let address = offers[client], let entry = entries[address], entry.offeredTo == client, entry.offerEnds > now else { return nil }
        return address
    }

    /// True if `address` is offered to this client, which asked from this hardware.
    package func isOffered(_ address: IPv4Address, to client: ClientIdentity, hardware: MACAddress, now: UInt64) -> Bool {
        offer(to: client, now: now) == address && entries[address]?.offeredHardware == hardware
    }

    /// All leases, ended ones included, in the order of their addresses.
    package var leases: [Lease] { entries.values.compactMap(\.lease).sorted { $0.address < $1.address } }

    /// How many leases run.
    package func running(at now: UInt64) -> Int { entries.values.count { ($0.lease?.expires ?? 0) > now } }

    /// True if `address` may be given to `client`: in the pool, and nobody else holds it.
    package func isFree(_ address: IPv4Address, for client: ClientIdentity, now: UInt64) -> Bool {
        guard contains(address) else { return false }
        guard let entry = entries[address] else { return true }
        if entry.quarantineEnds > now { return false }
        guard let lease = entry.lease else { return true }
        return lease.client == client || lease.expires <= now
    }

    /// The address to offer a client: the one that belongs to its hardware, else the one it had, else the one it asks for, else a fresh one,
    /// else the one unused for longest.
    package func candidate(for client: ClientIdentity, hardware: MACAddress, asking: IPv4Address?, now: UInt64) -> IPv4Address? {
        func isFit(_ address: IPv4Address) -> Bool { isFree(address, for: client, now: now) && suits(address, client, hardware: hardware, now: now) }
        if let reserved = reservations[hardware], isFree(reserved, for: client, now: now) { return reserved }
        if let own = addresses[client], isFit(own) { return own }
        if let offered = offer(to: client, now: now), isFit(offered) { return offered }
        if let asking, isFit(asking), (entries[asking]?.offerEnds ?? 0) <= now { return asking }
        if firstUnused <= last { return firstUnused }
        var best: (address: IPv4Address, since: UInt64)?
        var oldestOffer: (address: IPv4Address, since: UInt64)?
        for (address, entry) in entries where isFit(address) {
            let since = entry.lease?.expires ?? 0
            if entry.offerEnds > now {
                if oldestOffer == nil || (entry.offerEnds, address) < (oldestOffer!.since, oldestOffer!.address) { oldestOffer = (address, entry.offerEnds) }
            } else if best == nil || (since, address) < (best!.since, best!.address) {
                best = (address, since)
            }
        }
        return best?.address ?? oldestOffer?.address
    }

    /// Sets `address` aside for `client` for a while.
    package mutating func offer(_ address: IPv4Address, to client: ClientIdentity, hardware: MACAddress, now: UInt64) {
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
            entries[address]!.offerEnds = 0
        }
    }

    /// Makes `lease` the one of its client and its address. Also restores leases after a restart.
    package mutating func commit(_ lease: Lease) {
        guard contains(lease.address) else { return }
        withdrawOffer(from: lease.client)
        if let before = addresses[lease.client], before != lease.address { entries[before]?.lease = nil }
        var entry = entry(lease.address)
        if let other = entry.lease, other.client != lease.client { addresses[other.client] = nil }
        if let other = entry.offeredTo { offers[other] = nil }
        entry.lease = lease
        entry.offeredTo = nil
        entry.offerEnds = 0
        entries[lease.address] = entry
        addresses[lease.client] = lease.address
    }

    /// Ends a lease now; the client is still remembered.
    package mutating func end(_ address: IPv4Address, now: UInt64) {
        guard let expires = entries[address]?.lease?.expires else { return }
        entries[address]!.lease!.expires = min(now, expires)
    }

    /// Somebody uses `address` without a lease: leave it alone for a while, and forget who had it.
    package mutating func quarantine(_ address: IPv4Address, now: UInt64) {
        guard contains(address) else { return }
        var entry = entry(address)
        if let client = entry.lease?.client { addresses[client] = nil }
        if let client = entry.offeredTo { offers[client] = nil }
        entry = Entry()
        entry.quarantineEnds = now + LeaseTable.quarantineTime
        entries[address] = entry
    }

    private mutating func entry(_ address: IPv4Address) -> Entry {
        if let entry = entries[address] { return entry }
        entries[address] = Entry()
        skipUsed()
        return Entry()
    }

    private mutating func skipUsed() {
        while firstUnused <= last && (entries[firstUnused] != nil || owners[firstUnused] != nil) { firstUnused = firstUnused.advanced(by: 1) }
    }
}
