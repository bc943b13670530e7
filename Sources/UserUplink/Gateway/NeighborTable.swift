// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// Which hardware address may use which address of the guests' network. The first one that uses an address keeps it for
/// as long as it does; a lease of this network's DHCP server outranks that.
///
/// An address without a lease may move, as a virtual address of a failover pair does. When another hardware address
/// claims it, the holder is probed, and without an answer the claimant gets it.
package struct NeighborTable<Address: Hashable & Sendable>: Sendable {
    private struct Neighbor: Sendable {
        var hardware: MACAddress
        var owner: GuestOwner
        var lastSeen: CoarseInstant
        /// The end of the lease; `distantPast` for none.
        var leasedUntil = Instant.distantPast
        var lastProbed: CoarseInstant?
    }

    /// A claim of an address that another hardware address holds.
    private struct Claim: Sendable {
        let hardware: MACAddress
        let owner: GuestOwner
        let since: CoarseInstant
    }

    /// The decision about a claim.
    package enum Admission: Equatable, Sendable {
        case admitted
        case refused
        /// Another hardware address holds the address, and is to be probed.
        case contested(MACAddress)
    }

    /// As many as the switch permits at a port (`GuestRules.addressLimit`).
    private static var guestShare: Int { 32 }

    /// Addresses without a lease that one hardware address may hold.
    private let perHardware: Int
    /// The time without use after which an address is free for another hardware address.
    private static var staleAfter: TimeAmount { .seconds(60) }
    /// The time without use after which a hardware address that holds all that it may gets another address in its
    /// place, as at a port of the switch (`SourceBindings.leastUse`): guests replace temporary addresses (RFC 8981).
    private static var replaceableAfter: TimeAmount { .seconds(5) }
    /// The time, with the current second, in which the holder of a contested address must answer.
    private static var probeTimeout: TimeAmount { .seconds(2) }
    /// Contested addresses at a time.
    private static var claimCapacity: Int { 64 }

    private var neighbors: [Address: Neighbor] = [:]
    /// Addresses without a lease, by hardware address and by owner.
    private var held: [MACAddress: [Address]] = [:]
    private var share: FairShare
    private var claims: [Address: Claim] = [:]
    private var claimShare = FairShare(capacity: NeighborTable.claimCapacity)
    private var lastExpiry: CoarseInstant?

    /// - Parameters:
    ///   - capacity: addresses without a lease.
    ///   - perHardware: those of one hardware address.
    package init(capacity: Int = 4096, perHardware: Int = NeighborTable.guestShare) {
        self.perHardware = perHardware
        share = FairShare(capacity: capacity)
    }

    /// Whether `hardware` holds `address`. If so, the address was used now.
    package mutating func refresh(_ hardware: MACAddress, as address: Address, now: Instant) -> Bool {
        guard let known = neighbors[address], known.hardware == hardware else { return false }
        let second = now.coarse
        if known.lastSeen != second { neighbors[address]!.lastSeen = second }
        if !claims.isEmpty { removeClaim(on: address) }
        return true
    }

    /// Decides whether `hardware` may use `address`, which it does not hold.
    /// - Parameters:
    ///   - owner: the guest to charge.
    ///   - hasLease: the client has a lease, and so finds room however many others there are.
    package mutating func claim(
        _ hardware: MACAddress, as address: Address, by owner: GuestOwner, hasLease: Bool = false, now: Instant
    ) -> Admission {
        let second = now.coarse
        if let known = neighbors[address] {
            guard known.leasedUntil <= now else { return .refused }
            guard known.lastSeen + Self.staleAfter < second else {
                return contest(address, Claim(hardware: hardware, owner: owner, since: second), known, second)
            }
            remove(address)
        }
        return insert(address, hardware, owner, hasLease: hasLease, now) ? .admitted : .refused
    }

    private mutating func contest(
        _ address: Address, _ claim: Claim, _ known: Neighbor, _ second: CoarseInstant
    ) -> Admission {
        // One probe a second, however often the address is claimed.
        guard claims[address] == nil, known.lastProbed != second, claimShare.hasRoom(for: claim.owner) else {
            return .refused
        }
        claims[address] = claim
        claimShare.add(claim.owner)
        neighbors[address]!.lastProbed = second
        return .contested(known.hardware)
    }

    private mutating func removeClaim(on address: Address) {
        if let claim = claims.removeValue(forKey: address) { claimShare.remove(claim.owner) }
    }

    /// Whether claims are undecided.
    package var hasClaims: Bool { !claims.isEmpty }

    /// Decides the claims whose probe was not answered in time. To be called once a second.
    /// - Returns: the holders to probe again.
    package mutating func settleClaims(now: Instant) -> [(address: Address, hardware: MACAddress)] {
        let second = now.coarse
        var probes: [(address: Address, hardware: MACAddress)] = []
        for (address, claim) in claims {
            guard let known = neighbors[address], known.leasedUntil <= now else {
                removeClaim(on: address)
                continue
            }
            if claim.since + Self.probeTimeout <= second {
                removeClaim(on: address)
                remove(address)
                _ = insert(address, claim.hardware, claim.owner, hasLease: false, now)
            } else if claim.since < second {
                probes.append((address, known.hardware))
            }
        }
        return probes
    }

    /// A lease was given: `address` belongs to this client until then.
    package mutating func lease(
        _ address: Address, to hardware: MACAddress, by owner: GuestOwner = .unknown, until end: Instant, now: Instant
    ) {
        remove(address)
        removeClaim(on: address)
        // The number of addresses to lease bounds these.
        put(address, Neighbor(hardware: hardware, owner: owner, lastSeen: now.coarse, leasedUntil: end))
    }

    /// The hardware address that uses `address`; nil if none is known.
    package func hardware(of address: Address) -> MACAddress? { neighbors[address]?.hardware }

    /// The second in which the holder of `address` has used it last; nil if none is known.
    func lastSeen(of address: Address) -> CoarseInstant? { neighbors[address]?.lastSeen }

    /// The guest that is charged for an address.
    package func owner(of address: Address) -> GuestOwner? { neighbors[address]?.owner }

    private mutating func insert(
        _ address: Address, _ hardware: MACAddress, _ owner: GuestOwner, hasLease: Bool, _ now: Instant
    ) -> Bool {
        func hasRoom() -> Bool {
            held[hardware, default: []].count < perHardware && (hasLease || share.hasRoom(for: owner))
        }
        if !hasRoom() { expire(now) }
        if !hasRoom() { removeLeastRecentlyUsed(of: hardware, now.coarse) }
        guard hasRoom() else { return false }
        put(address, Neighbor(hardware: hardware, owner: owner, lastSeen: now.coarse))
        return true
    }

    private mutating func put(_ address: Address, _ neighbor: Neighbor) {
        neighbors[address] = neighbor
        guard neighbor.leasedUntil == .distantPast else { return }
        held[neighbor.hardware, default: []].append(address)
        share.add(neighbor.owner)
    }

    private mutating func remove(_ address: Address) {
        guard let old = neighbors.removeValue(forKey: address), old.leasedUntil == .distantPast else { return }
        held[old.hardware]!.removeAll { $0 == address }
        if held[old.hardware]!.isEmpty { held[old.hardware] = nil }
        share.remove(old.owner)
    }

    /// Removes the address without a lease that a hardware address has used longest ago, unless that was just now.
    private mutating func removeLeastRecentlyUsed(of hardware: MACAddress, _ second: CoarseInstant) {
        var oldest: (address: Address, lastSeen: CoarseInstant)?
        for address in held[hardware] ?? [] {
            let lastSeen = neighbors[address]!.lastSeen
            if lastSeen < oldest?.lastSeen ?? .distantFuture { oldest = (address, lastSeen) }
        }
        if let oldest, oldest.lastSeen + Self.replaceableAfter <= second { remove(oldest.address) }
    }

    /// Removes stale addresses, once a second at most.
    private mutating func expire(_ now: Instant) {
        let second = now.coarse
        guard lastExpiry != second else { return }
        lastExpiry = second
        for (address, neighbor) in neighbors
        where neighbor.leasedUntil <= now && neighbor.lastSeen + Self.staleAfter < second { remove(address) }
    }
}
