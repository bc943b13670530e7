// SPDX-License-Identifier: Apache-2.0
import Logging
import Platform
import Uplinks
import Wire

/// The routing rule that keeps a guest network reachable beside those of VPNs: added, moved and removed as they come
/// and go.
final class GuestRoute {
    private let network: IPv4Network
    private let record: RunRecord
    private let logger: Logger
    /// The preference of the rule that we have added.
    private var preference: UInt32?
    private var hasReported = false

    init(_ network: IPv4Network, record: RunRecord, logger: Logger) {
        self.network = network
        self.record = record
        self.logger = logger
    }

    func refresh() {
        guard let rules = try? NetworkInterfaces.rules() else { return }
        let obstacle = PolicyRouting.obstacle(in: rules), wanted = PolicyRouting.preference(among: rules)
        if let current = preference,
            wanted != current
                || !rules.contains(RoutingRule(preference: current, table: Route.mainTable, destination: network))
        {
            remove(current)
            if wanted == nil {
                logger.info("the routing rule \(current) for \(network) is needed no longer; it is removed")
            }
        }
        if obstacle != nil && wanted == nil {
            if !hasReported {
                logger.warning(
                    "a routing rule of preference 1 comes before any that could be added; host and guests of \(network) may not reach each other; move it with: sudo ip rule"
                )
            }
            hasReported = true
            return
        }
        hasReported = false
        guard preference == nil, let wanted, let obstacle else { return }
        do throws(SystemError) {
            try record.add(.rule(network, preference: wanted))
            try NetworkInterfaces.change(ruleFor: network, preference: wanted, isAdded: true)
            preference = wanted
            logger.notice(
                "routing rule \(obstacle.preference) looks up table \(obstacle.table ?? 0) before the main table; a rule at \(wanted) keeps \(network) reachable, until the end"
            )
        } catch {
            logger.warning("\(error); guests may be cut off by routing rule \(obstacle.preference)")
        }
    }

    private func remove(_ current: UInt32) {
        try? NetworkInterfaces.change(ruleFor: network, preference: current, isAdded: false)
        try? record.forget(.rule(network, preference: current))
        preference = nil
    }
}
