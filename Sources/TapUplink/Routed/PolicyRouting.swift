// SPDX-License-Identifier: Apache-2.0
import Platform

/// Chooses the preference of the routing rule that keeps a guest network reachable if other rules, such as those of
/// VPNs, precede the main table.
///
/// The rule is `to NETWORK lookup main suppress_prefixlength 0`: it applies to packets to guests only, and only if the
/// main table has a more specific route than the default route. Packets of guests follow the host's rules as before, so
/// that none bypasses a VPN.
enum PolicyRouting {
    /// Preferences of the kernel's own rules for the main and the default table; rules after them are no obstacle.
    private static let main: UInt32 = 32_766
    private static let localTable: UInt32 = 255, defaultTable: UInt32 = 253

    /// The first rule that may divert packets to guests.
    static func obstacle(in rules: [RoutingRule]) -> RoutingRule? {
        rules.filter { rule in
            guard rule.preference > 0, rule.preference < main, !rule.isVRF else { return false }
            // A rule without a table rejects packets, on purpose.
            guard let table = rule.table else { return false }
            return ![Route.mainTable, localTable, defaultTable].contains(table)
        }.min { $0.preference < $1.preference }
    }

    /// The preference for the rule; nil if none is needed, or no preference is lower than the obstacle's.
    static func preference(among rules: [RoutingRule]) -> UInt32? {
        obstacle(in: rules).flatMap { $0.preference > 1 ? $0.preference - 1 : nil }
    }
}
