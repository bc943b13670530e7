// SPDX-License-Identifier: Apache-2.0
import Wire

/// Which hardware address speaks for which address of the guests' network. The first that uses an address keeps it for
/// as long as it does; a lease of ours outranks that.
///
/// An address without a lease may move, as one does that two machines share for the case that one fails: the hardware
/// address that has it is asked whether it still uses it, and without an answer the one that claims it gets it.
package struct NeighborTable<Address: Hashable & Sendable>: Sendable {
    private struct Neighbor: Sendable {
        var hardware: MACAddress
        var owner: GuestOwner
        /// Seconds.
        var lastSeen: UInt64
        /// Until then it is a lease's; 0 for none.
        var leasedUntil: UInt64 = 0
        /// When it was asked last.
        var lastAsked: UInt64?
    }

    /// A claim of an address that another hardware address has.
    private struct Claim: Sendable {
        let hardware: MACAddress
        let owner: GuestOwner
        let since: UInt64
    }

    /// What becomes of a claim.
    package enum Admission: Equatable, Sendable {
        case admitted
        case refused
        /// Another hardware address has it, and is to be asked whether it still uses it.
        case contested(MACAddress)
    }

    /// How many addresses one hardware address may have without a lease.
    private let perHardware: Int
    /// Seconds after which an address that nobody uses may be another's.
    private static var patience: UInt64 { 60 }
    /// Seconds, the one that has just begun included, that a guest has for its answer.
    private static var answerTime: UInt64 { 2 }
    /// Claims that wait for an answer at a time.
    private static var claimCapacity: Int { 64 }

    private var neighbors: [Address: Neighbor] = [:]
    private var counts: [MACAddress: Int] = [:]
    /// Of addresses without a lease.
    private var share: FairShare
    private var claims: [Address: Claim] = [:]
    private var lastExpiry: UInt64?
    private var claimShare = FairShare(capacity: NeighborTable.claimCapacity)

    /// - Parameter capacity: addresses without a lease that are remembered.
    package init(capacity: Int = 4096, perHardware: Int = 16) {
        self.perHardware = perHardware
        share = FairShare(capacity: capacity)
    }

    /// Whether `address` is known to be this hardware address's; if so, it is seen to use it.
    package mutating func knows(_ hardware: MACAddress, as address: Address, now: UInt64) -> Bool {
        guard let known = neighbors[address], known.hardware == hardware else { return false }
        if known.lastSeen != now { neighbors[address]!.lastSeen = now }
        if !claims.isEmpty { forgetClaim(on: address) }
        return true
    }

    /// Whether `hardware` may speak for `address`, of which that was not known.
    /// - Parameter hasLease: it has a lease of ours, and so finds room however many others there are.
    package mutating func claim(
        _ hardware: MACAddress, as address: Address, by owner: GuestOwner, hasLease: Bool = false, now: UInt64
    ) -> Admission {
        if let known = neighbors[address] {
            guard known.leasedUntil <= now else { return .refused }
            guard known.lastSeen + Self.patience < now else {
                return contest(address, Claim(hardware: hardware, owner: owner, since: now), known, now)
            }
            remove(address)
        }
        return insert(address, hardware, owner, hasLease: hasLease, now) ? .admitted : .refused
    }

    private mutating func contest(_ address: Address, _ claim: Claim, _ known: Neighbor, _ now: UInt64) -> Admission {
        // Once a second, however often an address is claimed.
        guard claims[address] == nil, known.lastAsked != now, claimShare.hasRoom(for: claim.owner) else {
            return .refused
        }
        claims[address] = claim
        claimShare.add(claim.owner)
        neighbors[address]!.lastAsked = now
        return .contested(known.hardware)
    }

    private mutating func forgetClaim(on address: Address) {
        if let claim = claims.removeValue(forKey: address) { claimShare.remove(claim.owner) }
    }

    /// Whether claims wait for an answer.
    package var hasClaims: Bool { !claims.isEmpty }

    /// Decides about claims that have waited for long enough; to be called once a second.
    /// - Returns: who is to be asked again.
    package mutating func settle(now: UInt64) -> [(address: Address, hardware: MACAddress)] {
        var again: [(address: Address, hardware: MACAddress)] = []
        for (address, claim) in claims {
            guard let known = neighbors[address], known.leasedUntil <= now else {
                forgetClaim(on: address)
                continue
            }
            if claim.since + Self.answerTime <= now {
                forgetClaim(on: address)
                remove(address)
                _ = insert(address, claim.hardware, claim.owner, hasLease: false, now)
            } else if claim.since < now {
                again.append((address, known.hardware))
            }
        }
        return again
    }

    /// A lease was given: from now on `address` is this client's.
    package mutating func lease(
        _ address: Address, to hardware: MACAddress, by owner: GuestOwner = .unknown, until end: UInt64, now: UInt64
    ) {
        remove(address)
        forgetClaim(on: address)
        // There are no more of these than addresses to lease.
        put(address, Neighbor(hardware: hardware, owner: owner, lastSeen: now, leasedUntil: end))
    }

    package func hardware(of address: Address) -> MACAddress? { neighbors[address]?.hardware }

    package func owner(of address: Address) -> GuestOwner? { neighbors[address]?.owner }

    private mutating func insert(
        _ address: Address, _ hardware: MACAddress, _ owner: GuestOwner, hasLease: Bool, _ now: UInt64
    ) -> Bool {
        func mayHaveMore() -> Bool {
            counts[hardware, default: 0] < perHardware && (hasLease || share.hasRoom(for: owner))
        }
        if !mayHaveMore() {
            expire(now)
            guard mayHaveMore() else { return false }
        }
        put(address, Neighbor(hardware: hardware, owner: owner, lastSeen: now))
        return true
    }

    private mutating func put(_ address: Address, _ neighbor: Neighbor) {
        neighbors[address] = neighbor
        guard neighbor.leasedUntil == 0 else { return }
        counts[neighbor.hardware, default: 0] += 1
        share.add(neighbor.owner)
    }

    private mutating func remove(_ address: Address) {
        guard let old = neighbors.removeValue(forKey: address), old.leasedUntil == 0 else { return }
        counts[old.hardware]! -= 1
        if counts[old.hardware] == 0 { counts[old.hardware] = nil }
        share.remove(old.owner)
    }

    private mutating func expire(_ now: UInt64) {
        guard lastExpiry != now else { return }
        lastExpiry = now
        for (address, neighbor) in neighbors
        where neighbor.leasedUntil <= now && neighbor.lastSeen + Self.patience < now { remove(address) }
    }
}
