// SPDX-License-Identifier: Apache-2.0
import Platform
import Uplinks

/// The nftables tables of one guest network, as they are in the kernel: applied, compared with what is there, removed.
///
/// On Linux 5.12 and later the table belongs to this process: a `flush ruleset` of another program passes it by, and
/// the kernel refuses its deletion. Before that, and where libnftables is missing, any program may remove it, which
/// `check` detects.
final class GuestFirewall {
    /// What has become of the tables.
    enum Condition: Equatable {
        case intact
        /// Another program has changed or removed this one. `opens` if guests or other hosts may now pass where they
        /// may not.
        case changed(String, opens: Bool)
    }

    /// After so many changes by other programs within a minute they are not repaired again.
    private static let repairLimit = 3

    private let nftables = NFTables()
    var rules: Firewall
    private var isOwned = false
    private var isApplied = false
    /// The listing of each table, taken right after it was applied.
    private var listings: [String: String] = [:]
    /// The second table was removed too often.
    private var hasGuardTable = true
    /// When other programs changed the tables, in nanoseconds of the monotonic clock.
    private var changes: [UInt64] = []

    init(_ rules: Firewall) { self.rules = rules }

    /// All names of tables that `apply` may make.
    var tables: [String] { rules.tables(isOwned: nftables.canOwnTables) }

    /// Brings the kernel's tables in line with `rules`, in one transaction.
    func apply() throws(NFTables.Failure) {
        if isApplied {
            try nftables.run(rules.script(isOwned: isOwned))
        } else {
            // What a killed instance may have left under this name has no owner, and cannot be given one.
            try nftables.run(Firewall.removalScript(table: rules.table))
            isOwned = nftables.canOwnTables && (try? nftables.run(rules.script(isOwned: true))) != nil
            // Linux 5.10 and 5.11 have no owners.
            if !isOwned { try nftables.run(rules.script(isOwned: false)) }
            isApplied = true
        }
        for table in watched { listings[table] = nftables.listing(of: table) }
    }

    func check() -> Condition {
        guard isApplied else { return .intact }
        let changed = watched.filter { nftables.listing(of: $0) != listings[$0] }
        // The first one is the one with the guests' rules.
        return changed.first.map { .changed($0, opens: $0 == rules.table) } ?? .intact
    }

    private var watched: [String] { rules.tables(isOwned: isOwned).filter { hasGuardTable || $0 == rules.table } }

    /// Leaves the second table, whose rules the first one has too, removed as it is.
    func leaveGuards() { hasGuardTable = false }

    /// Counts a change by another program.
    /// - Returns: false if there were too many within a minute.
    func mayRepair(now: UInt64) -> Bool {
        changes.removeAll { $0 + 60 * MonotonicClock.second < now }
        changes.append(now)
        return changes.count < Self.repairLimit
    }

    /// Removes the tables.
    func remove() throws(NFTables.Failure) {
        guard isApplied else { return }
        isApplied = false
        for table in rules.tables(isOwned: isOwned) {
            // The removal script names the table without its owner's flag, which the kernel refuses for one that is
            // owned.
            try nftables.run(
                isOwned && table == rules.table ? "delete table inet \(table)\n" : Firewall.removalScript(table: table))
        }
    }
}
