// SPDX-License-Identifier: Apache-2.0
import HostChanges
import Logging
import Platform
import Wire

/// The routing rule that keeps a guest network reachable beside the rules of VPNs. It is added, moved and removed as
/// those rules change.
final class GuestRoute {
    private let network: RuleNetwork
    private let log: UndoLog
    private let logger: Logger
    /// The preference of the rule that was added; nil if there is none.
    private var preference: UInt32?
    private var hasReported = false

    init(_ network: RuleNetwork, log: UndoLog, logger: Logger) {
        self.network = network
        self.log = log
        self.logger = logger
    }

    /// Brings the rule in line with the host's routing rules.
    func refresh() {
        guard let rules = try? NetworkInterfaces.rules(ofIPv6: network.isIPv6) else { return }
        let obstacle = PolicyRouting.obstacle(in: rules), wanted = PolicyRouting.preference(among: rules)
        if let current = preference,
            wanted != current
                || !rules.contains(where: { isOwn($0, at: current) })
        {
            remove(current)
            if wanted == nil {
                logger.info("the routing rule \(current) for \(network) is no longer needed; it is removed")
            }
        }
        if obstacle != nil && wanted == nil {
            if !hasReported {
                logger.warning(
                    """
                    no routing rule can be added before one of preference 1; the host and guests of \(network) may not \
                    reach each other; move that rule with: sudo ip rule
                    """
                )
            }
            hasReported = true
            return
        }
        hasReported = false
        guard preference == nil, let wanted, let obstacle else { return }
        do throws(SystemError) {
            try log.add(.rule(network, preference: wanted))
            try NetworkInterfaces.change(ruleFor: network, preference: wanted, isAdded: true)
            preference = wanted
            logger.notice(
                """
                routing rule \(obstacle.preference) looks up table \(obstacle.table ?? 0) before the main table; a \
                rule at \(wanted) keeps \(network) reachable while vde_vmnet runs
                """
            )
        } catch {
            logger.warning("\(error); guests may be cut off by routing rule \(obstacle.preference)")
        }
    }

    private func isOwn(_ rule: RoutingRule, at preference: UInt32) -> Bool {
        guard rule.preference == preference, rule.table == Route.mainTable else { return false }
        if case .ipv4(let network) = network { return rule.destination == network }
        return true
    }

    private func remove(_ current: UInt32) {
        try? NetworkInterfaces.change(ruleFor: network, preference: current, isAdded: false)
        try? log.forget(.rule(network, preference: current))
        preference = nil
    }
}
