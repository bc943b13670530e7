// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Testing
import Wire

@testable import HostFirewall

private let inspector = HostFirewallInspector(
    tap: "vmnet0", network: GuestNetwork(gateway: IPv4Address("192.168.105.1")!, prefixLength: 24), egress: "wan",
    network6: IPv6Network(containing: IPv6Address("fd12::")!, prefixLength: 64), egress6: "wan6")

private func chain(
    _ family: String, _ hook: String, _ rules: String..., policy: String = "accept", type: String = "filter"
) -> String {
    "table \(family) m {\n\tchain c {\n\t\ttype \(type) hook \(hook) priority filter; policy \(policy);\n"
        + "\(rules.map { "\t\t\($0)\n" }.joined())\t}\n\tchain drops {\n\t\tdrop\n\t}\n}\n"
}

private func assessment(_ listing: String, sets: NamedSets? = nil) -> HostFirewallInspector.Assessment {
    inspector.assessment(of: Ruleset(nft: listing), sets: sets)
}

private let outside = "what guests send to the outside", outside6 = "what guests send to the outside over IPv6"
private let neighbours = "guests' neighbour discovery, so that they do not find the gateway over IPv6"

/// Conditions of other programs' rules that cannot be evaluated, and hooks beside the usual ones.
@Suite struct ForeignConditionTests {
    @Test(arguments: [
        "meta cgroup 7 drop", "socket transparent 1 drop", "ether saddr 52:54:00:00:00:01 reject",
        "meta cgroup 7 jump drops", "ip saddr @some drop", "ip saddr != @some drop", "xt match \"physdev\" drop",
    ])
    func ruleThatIsNotUnderstoodIsCounted(rule: String) throws {
        let found = assessment(chain("ip", "forward", rule))
        #expect(found.findings.isEmpty && found.doubtful == 1)
        let place = try #require(found.firstDoubtful)
        #expect((place.family, place.table, place.chain, place.index) == ("ip", "m", "c", 0))
    }

    @Test(arguments: [
        // It cannot drop anything.
        "meta cgroup 7 accept", "meta cgroup 7 counter packets 0 bytes 0", "meta cgroup 7 jump missing",
        // It is for other packets.
        "iifname \"eth7\" meta cgroup 7 drop", "udp dport 53 meta cgroup 7 drop", "ct state invalid meta cgroup 7 drop",
        // It is for some packets of each guest, or for none.
        "limit rate over 10/second burst 5 packets drop", "tcp flags != syn / fin,syn,rst,ack ct state new drop",
        "tcp flags & (fin | syn) == fin | syn drop", "ct count over 100 drop", "meta length 1400-1500 drop",
        "fib saddr . iif oif missing drop", "fib saddr . mark . iif oif missing drop", "meta pkttype broadcast drop",
        "add @meter { ip saddr limit rate over 10/minute } drop", "xt match \"recent\" counter packets 0 bytes 0 drop",
        "ip ttl 1 drop", "ip ttl { 1, 2 } drop", "ip ttl 1-30 drop", "ip ttl > 254 drop",
        "ip frag-off & 0x1fff != 0 drop",
        "meta mark 0x00000007 drop", "meta mark != 0x00000000 drop", "meta mark & 0x000000ff == 0x00000007 drop",
        "ct mark 0x00000001 drop", "meta mark set 0x00000001",
    ])
    func ruleThatIsHarmlessIsNotCounted(rule: String) {
        #expect(assessment(chain("ip", "forward", rule)) == HostFirewallInspector.Assessment(), "\(rule)")
    }

    @Test func rulesAreCountedOnce() {
        let found = assessment(
            chain("inet", "forward", "meta cgroup 7 drop", "meta cgroup 8 drop", "drop")
                + chain("ip6", "input", "meta cgroup 7 drop"))
        #expect(found.findings.map(\.effect) == [outside] && found.doubtful == 3)
    }

    @Test(arguments: [
        ("ip ttl < 255 drop", outside), ("ip6 hoplimit < 255 drop", outside6), ("ip ttl != 1 drop", outside),
        ("ip6 hoplimit <= 254 drop", outside6), ("meta mark 0x00000000 drop", outside),
        ("meta nfproto ipv6 meta mark & 0x000000ff == 0x00000000 drop", outside6), ("ct mark 0x00000000 drop", outside),
        ("meta pkttype host drop", outside), ("ip daddr 192.0.0.0/2 meta mark set 0x00000001 drop", outside),
    ])
    func conditionThatPacketsOfAllGuestsMeetIsEvaluated(rule: String, effect: String) {
        let found = assessment(chain("inet", "forward", rule))
        #expect(found.findings.map(\.effect) == [effect] && found.doubtful == 0, "\(rule)")
    }

    @Test func marksThatOtherRulesSetAreNotKnown() {
        for setting in ["meta mark set 0x00000001", "ct mark set meta mark", "xt target \"MARK\""] {
            let found = assessment(chain("ip", "forward", "meta mark 0x00000000 drop") + chain("ip", "output", setting))
            #expect(found.findings.isEmpty && found.doubtful == 1, "\(setting)")
            // Marks are for some packets, such as those of Kubernetes that are to be dropped.
            let marked = chain("ip", "output", setting)
            let rule = "meta mark & 0x00008000 == 0x00008000"
            #expect(assessment(chain("ip", "forward", "\(rule) drop") + marked).doubtful == 0, "\(setting)")
            #expect(
                assessment(chain("ip", "forward", "\(rule) accept", policy: "drop") + marked)
                    == HostFirewallInspector.Assessment(), "\(setting)")
        }
    }

    @Test func neighbourDiscoveryHasItsOwnHopLimit() {
        #expect(assessment(chain("ip6", "input", "ip6 hoplimit < 255 drop")).findings.isEmpty)
        #expect(assessment(chain("ip6", "input", "ip6 hoplimit 255 drop")).findings.map(\.effect) == [neighbours])
    }

    @Test(arguments: ["prerouting", "forward", "postrouting"])
    func everyHookOnTheWayIsTraced(hook: String) {
        #expect(assessment(chain("ip6", hook, "ip6 saddr fd12::/64 drop")).findings.map(\.effect) == [outside6])
        #expect(assessment(chain("inet", hook, "meta nfproto ipv4 drop")).findings.map(\.effect) == [outside])
        #expect(assessment(chain("ip", hook, policy: "drop")).findings.map(\.effect) == [outside])
        #expect(assessment(chain("inet", hook, "iifname \"eth7\" drop")).findings.isEmpty)
        #expect(assessment(chain("ip", hook, "drop", type: "nat")).findings.isEmpty)
        #expect(
            assessment(chain("ip", hook, "oifname \"wan\" drop")).findings.map(\.effect)
                == (hook == "prerouting" ? [] : [outside]), "no route before the routing")
    }

    @Test func remediesAreThoseOfTheHook() {
        func commands(_ listing: String) -> [String] { assessment(listing).findings.flatMap(\.commands) }
        #expect(
            commands(chain("inet", "prerouting", policy: "drop")) == ["nft insert rule inet m c iifname vmnet0 accept"])
        #expect(
            commands(chain("ip", "postrouting", policy: "drop")) == [
                "nft insert rule ip m c iifname vmnet0 accept",
                "nft insert rule ip m c oifname vmnet0 ct state established,related accept",
            ])
        func iptables(_ family: String, _ table: String, _ name: String, _ hook: String) -> [String] {
            commands(
                "table \(family) \(table) {\n\tchain \(name) {\n\t\ttype filter hook \(hook) priority raw; policy "
                    + "drop;\n\t}\n}\n")
        }
        #expect(
            iptables("ip", "raw", "PREROUTING", "prerouting") == [
                "iptables -t raw -I PREROUTING -i vmnet0 -j ACCEPT"
            ])
        #expect(
            iptables("ip6", "mangle", "POSTROUTING", "postrouting") == [
                "ip6tables -t mangle -I POSTROUTING -s fd12::/64 -j ACCEPT",
                "ip6tables -t mangle -I POSTROUTING -o vmnet0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            ])
    }

    @Test func namedSetsAreLookedUp() {
        var queries: [String] = []
        let sets = NamedSets { query in
            queries.append("\(query.family) \(query.table) \(query.set) \(query.address)")
            return query.set == "lost" ? nil : query.address.hasPrefix("fd12::") || query.address.hasPrefix("192.168.")
        }
        func effects(_ family: String, _ rule: String) -> [String] {
            assessment(chain(family, "forward", rule), sets: sets).findings.map(\.effect)
        }
        #expect(effects("ip6", "ip6 saddr @guests drop") == [outside6])
        #expect(queries.contains("ip6 m guests fd12::2"))
        #expect(effects("inet", "ip saddr @guests drop") == [outside])
        #expect(effects("inet", "ip saddr != @guests ct state new drop").isEmpty)
        #expect(effects("inet", "ip daddr != @guests ct state new drop") == [outside])
        #expect(effects("inet", "ip daddr { 198.51.100.0/24, @guests } drop") == [outside])
        #expect(assessment(chain("ip", "forward", "ip saddr @lost drop"), sets: sets).doubtful == 1)
        // The same is not looked up twice, and not without end.
        #expect(Set(queries).count == queries.count)
        for number in 0..<100 { _ = effects("ip", "ip saddr @set\(number) drop") }
        #expect(queries.count == 64)
    }
}
