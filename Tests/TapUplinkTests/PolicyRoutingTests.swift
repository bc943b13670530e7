// SPDX-License-Identifier: Apache-2.0
import Platform
import Testing

@testable import TapUplink

@Suite struct PolicyRoutingTests {
    private static let kernel = [
        RoutingRule(preference: 0, table: 255), RoutingRule(preference: 32_766, table: 254),
        RoutingRule(preference: 32_767, table: 253),
    ]

    private func preference(_ rules: RoutingRule...) -> UInt32? { PolicyRouting.preference(among: Self.kernel + rules) }

    @Test func kernelRulesNeedNoRule() {
        #expect(preference() == nil)
    }

    @Test func ownRulePrecedesTheFirstRuleOfAVPN() {
        #expect(preference(RoutingRule(preference: 5270, table: 52)) == 5269)
        // Tailscale: marked packets by main, default, then refused; all others by table 52.
        #expect(
            preference(
                RoutingRule(preference: 5210, table: 254), RoutingRule(preference: 5230, table: 253),
                RoutingRule(preference: 5250, table: nil), RoutingRule(preference: 5270, table: 52)) == 5269)
        #expect(preference(RoutingRule(preference: 1, table: 100)) == nil, "nothing comes before it")
    }

    @Test func ownRulesAndVRFRulesNeedNoRule() {
        // An administrator's `to NETWORK prohibit` stays as it is.
        #expect(preference(RoutingRule(preference: 100, table: nil)) == nil)
        #expect(preference(RoutingRule(preference: 5269, table: 254)) == nil)
        #expect(preference(RoutingRule(preference: 1000, table: nil, isVRF: true)) == nil)
        #expect(preference(RoutingRule(preference: 40_000, table: 7)) == nil)
    }

    @Test func routingRulesOfHostAreRead() throws {
        let rules = try NetworkInterfaces.rules()
        #expect(rules.contains(RoutingRule(preference: 32_766, table: Route.mainTable)))
    }
}
