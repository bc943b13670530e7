// SPDX-License-Identifier: Apache-2.0
import HostFirewall
import NetworkModel
import Testing
import Wire

private let neighbours = "guests' neighbour discovery, so that they do not find the gateway over IPv6"
private let pings = "guests' pings of the gateway", pings6 = "guests' pings of the gateway over IPv6"

private let inspector = HostFirewallInspector(
    tap: "vmnet0", network: GuestNetwork(gateway: IPv4Address("192.168.105.1")!, prefixLength: 24), egress: "wan",
    network6: IPv6Network(containing: IPv6Address("fd12::")!, prefixLength: 64))

private func chain(_ family: String, _ table: String = "m", policy: String = "accept", _ rules: String...) -> String {
    "table \(family) \(table) {\n\tchain c {\n\t\ttype filter hook input priority filter; policy \(policy);\n"
        + "\(rules.map { "\t\t\($0)\n" }.joined())\t}\n}\n"
}

private func found(_ listing: String) -> [String] { inspector.findings(in: Ruleset(nft: listing)).map(\.effect) }

/// Rules of other programs for packets to the gateway.
@Suite struct GatewayRuleTests {
    @Test func policyThatDropsNeighbourDiscoveryIsFound() {
        let replies = "ct state established,related accept"
        #expect(found(chain("ip6", policy: "drop", replies)) == [neighbours])
        #expect(found(chain("inet", policy: "drop", replies)) == [pings, neighbours])
        #expect(found(chain("ip", policy: "drop", replies)) == [pings])
        #expect(found(chain("ip6", "vde_vmnet_vmnet0", policy: "drop")).isEmpty)
        let commands = inspector.findings(in: Ruleset(nft: chain("inet", policy: "drop", replies))).map(\.commands)
        let types = "icmpv6 type '{ nd-neighbor-solicit, nd-neighbor-advert, echo-request }'"
        #expect(
            commands == [
                ["nft insert rule inet m c iifname vmnet0 icmp type echo-request accept"],
                ["nft insert rule inet m c iifname vmnet0 \(types) accept"],
            ])
        // The remedies remove the findings.
        let remedied = chain(
            "inet", policy: "drop", "iifname \"vmnet0\" icmp type echo-request accept",
            "iifname \"vmnet0\" icmpv6 type { echo-request, nd-neighbor-solicit, nd-neighbor-advert } accept")
        #expect(found(remedied).isEmpty)
    }

    /// Each rule precedes the policy to drop.
    @Test(arguments: [
        ("icmpv6 type { 128-130, 135-136 } accept", []),
        ("icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept", [pings6]),
        ("icmpv6 type nd-neighbor-solicit accept", [neighbours]),
        ("icmpv6 type nd-neighbor-advert accept", [neighbours]),
        ("icmpv6 type echo-request accept", [neighbours]),
        ("icmpv6 type != nd-router-advert accept", []),
        ("meta l4proto ipv6-icmp accept", []),
        ("ip6 nexthdr ipv6-icmp accept", []),
        ("meta l4proto { icmp, 58 } accept", []),
        ("iifname \"eth0\" meta l4proto ipv6-icmp accept", [neighbours]),
        // Conntrack leaves neighbour discovery alone.
        ("ct state untracked accept", [pings6]),
        ("ct state new accept", [neighbours]),
        ("ct state invalid drop", [neighbours]),
        ("ip6 daddr ff02::/16 accept", [neighbours]),
        ("ip6 daddr { ff02::/16, fd12::1 } accept", []),
        ("fib daddr type multicast accept", [neighbours]),
        ("fib daddr type { local, multicast } accept", []),
        // A type that is not understood may be that of any message.
        ("icmpv6 type < 200 accept", []),
    ])
    func messageTypesAreEvaluated(rule: String, effects: [String]) {
        #expect(found(chain("ip6", policy: "drop", rule)) == effects)
    }

    @Test func ruleThatDropsOneMessageIsFound() {
        #expect(found(chain("ip6", "m", "icmpv6 type nd-neighbor-advert drop")) == [neighbours])
        #expect(found(chain("inet", "m", "icmpv6 type echo-request drop")) == [pings6])
        #expect(found(chain("inet", "m", "icmp type echo-request drop")) == [pings])
        #expect(found(chain("inet", "m", "icmpv6 type nd-router-solicit drop")).isEmpty)
        #expect(
            found(chain("inet", "m", "udp dport { 53, 67, 547 } drop")).isEmpty, "these are no packets of the kernel")
    }

    @Test func legacyMessageTypesAreEvaluated() {
        func effects(_ rules: String...) -> [String] {
            let text = "*filter\n:INPUT DROP [0:0]\n\(rules.map { "-A INPUT \($0)\n" }.joined())COMMIT\n"
            return inspector.findings(in: Ruleset(iptables: text, isIPv6: true)).map(\.effect)
        }
        #expect(effects() == [neighbours])
        #expect(effects("-i vmnet0 -p ipv6-icmp -j ACCEPT").isEmpty)
        #expect(
            effects(
                "-p ipv6-icmp -m icmp6 --icmpv6-type 135 -j ACCEPT",
                "-p ipv6-icmp -m icmp6 --icmpv6-type 136 -j ACCEPT") == [pings6])
        let text = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p icmp -m icmp --icmp-type 8 -j ACCEPT\nCOMMIT\n"
        #expect(inspector.findings(in: Ruleset(iptables: text)).isEmpty)
        let found = inspector.findings(in: Ruleset(iptables: "*filter\n:INPUT DROP [0:0]\nCOMMIT\n", isIPv6: true))
        #expect(found[0].commands == ["ip6tables -I INPUT -i vmnet0 -p ipv6-icmp -j ACCEPT"])
    }
}
