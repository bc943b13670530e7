// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Timing
import Wire

/// The nftables tables of one guest network, as they are in the kernel: applied, compared with what is there, removed.
///
/// On Linux 5.12 and later this process owns the table: a `flush ruleset` of another program skips it, and the kernel
/// refuses its deletion. On earlier kernels, or without libnftables, any program may remove it, which `check` detects.
package final class GuestFirewall {
    /// The state of the tables in the kernel.
    package enum Condition: Equatable {
        case intact
        /// Another program has changed or removed a table. `opens` if packets may now pass that the rules would drop.
        case changed(String, opens: Bool)
    }

    /// After this many changes by other programs within a minute, the tables are not repaired again.
    private static let repairLimit = 3

    private let nftables = NFTables()
    /// The rules that should exist. `apply` brings the kernel in line with them.
    package var rules: NATTable
    /// Refused packets that tables which were replaced have counted.
    private var refusedBefore = 0
    /// The table in the kernel has the counter of refused packets.
    private var hasCounter = false
    /// Addresses of names, as elements of the first table's sets.
    package private(set) var pins = PinTable()
    private var isOwned = false
    private var isApplied = false
    /// What pins of an earlier network have opened was removed.
    private var hasRemovedPinned = false
    /// The listing of each table, taken right after it was applied.
    private var listings: [String: String] = [:]
    /// Whether the second table is checked and repaired.
    private var hasGuardTable = true
    /// When other programs changed the tables, within the last minute.
    private var changes: [Instant] = []

    /// Touches nothing yet.
    package init(_ rules: NATTable) { self.rules = rules }

    /// The names of all tables that `apply` may make.
    package var tables: [String] { rules.tables(isOwned: nftables.canOwnTables) }

    /// Brings the kernel's tables in line with `rules`, in one transaction. Pins that the policy of `rules` does not
    /// allow any more end.
    /// - Parameter now: when pins are that still hold.
    package func apply(now: Instant = BootClock.now) throws(UnclassifiedError) {
        if isApplied {
            guard !rules.lacksNames else { throw UnclassifiedError(GuestFirewall.need) }
            var kept = pins
            _ = kept.retain(rules.egress)
            let elements = rules.script(pinning: kept.pins(now: now), now: now)
            let refused = refusedNow
            try nftables.run(rules.script(isOwned: isOwned) + elements)
            refusedBefore += refused
            pins = kept
        } else {
            // A table that a killed instance left under this name has no owner, and cannot get one.
            try nftables.run(NATTable.removalScript(table: rules.table))
            try applyFirst()
            isApplied = true
        }
        hasCounter = rules.countsRefusals && !rules.isClosed
        removePinned()
        for table in watched { listings[table] = nftables.listing(of: table) }
    }

    /// The kernel may still have connections that pins of the network before have opened. Their labels can be those of
    /// this one's pins, so that they would pass without a pin.
    private func removePinned() {
        guard rules.hasPins, !hasRemovedPinned else { return }
        hasRemovedPinned = true
        // Without the module nf_conntrack_netlink they stay. A new network begins with another label then, mostly.
        _ = try? ConnectionTracking.remove(from: (rules.network, rules.network6), labels: ConnectionLabel.pins)
    }

    /// A small kernel has no conntrack labels, no zones, or no named counters.
    private func applyFirst() throws(UnclassifiedError) {
        do throws(UnclassifiedError) {
            try applyAll()
        } catch {
            guard NFTables.isLack(error) else { throw error }
            for counts in [true, false] {
                rules.countsRefusals = counts
                for (labels, zones) in [(true, true), (false, true), (true, false), (false, false)] {
                    rules.hasConnectionLabels = labels
                    rules.separatesGuests = zones
                    if !rules.lacksNames && (try? applyAll()) != nil { return }
                }
            }
            guard rules.hasPins else { throw error }
            throw UnclassifiedError("\(error); \(GuestFirewall.need)")
        }
    }

    private static let need = """
        names in the egress policy need a kernel with conntrack labels and zones (CONFIG_NF_CONNTRACK_LABELS, \
        CONFIG_NF_CONNTRACK_ZONES, module nft_hash); allow addresses instead, or use --uplink user
        """

    private func applyAll() throws(UnclassifiedError) {
        isOwned = nftables.canOwnTables && (try? nftables.run(rules.script(isOwned: true))) != nil
        // Linux before 5.12 has no table owners.
        if !isOwned { try nftables.run(rules.script(isOwned: false)) }
    }

    /// Has refused packets logged to a group of NFLOG, or no longer. Nothing else of the tables changes.
    package func setLogGroup(_ group: UInt16?) throws(UnclassifiedError) {
        guard group != rules.logGroup else { return }
        let before = rules.logGroup
        rules.logGroup = group
        guard isApplied else { return }
        // What another program has changed is found by `check`, and is not taken for this change.
        let isIntact = isOwned || nftables.listing(of: rules.table) == listings[rules.table]
        do throws(UnclassifiedError) {
            try nftables.run(rules.reportScript)
        } catch {
            rules.logGroup = before
            throw error
        }
        if isIntact { listings[rules.table] = nftables.listing(of: rules.table) }
    }

    /// Pins addresses of a name for one guest.
    package func pin(
        _ pins: [EgressPin], of name: DNSName, until expires: Instant, now: Instant
    ) throws(UnclassifiedError) {
        let before = self.pins
        let change = self.pins.insert(pins, of: name, until: expires, now: now)
        guard isApplied, change != PinTable.Change() else { return }
        do throws(UnclassifiedError) {
            try nftables.run(
                rules.script(unpinning: change.removed)
                    + rules.script(pinning: change.added.map { ($0, expires) }, now: now))
        } catch {
            self.pins = before
            throw error
        }
    }

    /// Packets that the policy has refused; nil if they are not counted.
    package var refusedPackets: Int? {
        guard hasCounter else { return nil }
        // Nothing is counted while nothing is refused, and each look runs nftables.
        return refusedBefore + (rules.egress.isDenying || rules.egress.deniesPrivate ? refusedNow : 0)
    }

    private var refusedNow: Int {
        guard isApplied, hasCounter else { return 0 }
        return nftables.packets(of: NATTable.refusalCounter, in: rules.table) ?? 0
    }

    /// Compares the kernel's tables with those that were applied.
    package func check() -> Condition {
        guard isApplied else { return .intact }
        let changed = watched.filter { nftables.listing(of: $0) != listings[$0] }
        // The first table has the guests' rules.
        return changed.first.map { .changed($0, opens: $0 == rules.table) } ?? .intact
    }

    private var watched: [String] { rules.tables(isOwned: isOwned).filter { hasGuardTable || $0 == rules.table } }

    /// Accepts that the second table is gone. The first table contains its rules as well.
    package func leaveGuards() { hasGuardTable = false }

    /// Counts a change by another program.
    /// - Returns: false if there were too many within a minute.
    package func mayRepair(now: Instant) -> Bool {
        changes.removeAll { $0 + .minutes(1) < now }
        changes.append(now)
        return changes.count < Self.repairLimit
    }

    /// Removes the tables.
    package func remove() throws(UnclassifiedError) {
        guard isApplied else { return }
        isApplied = false
        for table in rules.tables(isOwned: isOwned) {
            // The removal script first makes the table without the owner flag, which the kernel rejects for a table
            // that has an owner.
            try nftables.run(
                isOwned && table == rules.table ? "delete table inet \(table)\n" : NATTable.removalScript(table: table))
        }
    }
}
