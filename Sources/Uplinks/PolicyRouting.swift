// SPDX-License-Identifier: Apache-2.0
import Platform

/// The routing rule that keeps a guest network reachable where other rules come before the main table, as those of VPNs
/// do.
///
/// It is `to NETWORK lookup main suppress_prefixlength 0`: it concerns packets to guests only, and only those for which
/// the main table has more than a default route. Packets of guests follow the host's rules as before, so that none
/// leaves past a VPN.
package enum PolicyRouting {
    /// Preferences of the kernel's own rules for the main and the default table; what comes behind them is no obstacle.
    private static let main: UInt32 = 32_766
    private static let localTable: UInt32 = 255, defaultTable: UInt32 = 253

    /// The first rule that may lead packets to guests elsewhere.
    package static func obstacle(in rules: [RoutingRule]) -> RoutingRule? {
        rules.filter { rule in
            guard rule.preference > 0, rule.preference < main, !rule.isVRF else { return false }
            // What refuses packets is the administrator's will.
            guard let table = rule.table else { return false }
            return ![Route.mainTable, localTable, defaultTable].contains(table)
        }.min { $0.preference < $1.preference }
    }

    /// The preference of the rule; nil if none is needed, or none comes before the obstacle.
    package static func preference(among rules: [RoutingRule]) -> UInt32? {
        obstacle(in: rules).flatMap { $0.preference > 1 ? $0.preference - 1 : nil }
    }
}
