// SPDX-License-Identifier: Apache-2.0
import HostFirewall
import NetworkModel
import Testing
import Timing
import Wire

private func network(_ text: String) -> IPv4Network {
    let parts = text.split(separator: "/")
    return IPv4Network(containing: IPv4Address(parts[0])!, prefixLength: Int(parts[1])!)
}

@Suite struct NATTableTests {
    private let firewall = NATTable(tap: "vmnet0", index: 7, network: network("192.168.105.0/24"))

    @Test func tableIsReplacedInOneTransaction() {
        let lines = firewall.script(isOwned: false).split(separator: "\n")
        #expect(lines[0] == "table inet vde_vmnet_vmnet0 { }")
        #expect(lines[1] == "delete table inet vde_vmnet_vmnet0")
        #expect(lines[2] == "table inet vde_vmnet_vmnet0 {")
        #expect(firewall.script(isOwned: false).contains("ip saddr 192.168.105.0/24 oif != 7"))
        #expect(!firewall.script(isOwned: false).contains("eth0"))
    }

    @Test func restrictedInterfacesForwardForGuestsOnly() {
        var restricted = firewall
        restricted.restrictedInterfaces = ["eth0"]
        let rule = "iifname \"eth0\" meta oifgroup != 30308 drop"
        #expect(restricted.script(isOwned: false).contains("meta nfproto ipv4 \(rule)"))
        #expect(!restricted.script(isOwned: false).contains("meta nfproto ipv6 \(rule)"))
        restricted.restrictedInterfaces6 = ["eth0"]
        #expect(restricted.script(isOwned: true).contains("meta nfproto ipv6 \(rule)"))
        #expect(restricted != firewall)
    }

    /// The host answers such a ping by its default route.
    @Test func stationsWithoutAddressSolicitOnly() {
        #expect(
            firewall.script(isOwned: false).contains(
                "    iif 7 ip6 saddr :: icmpv6 type != { 131, 132, 133, 135, 143 } drop\n"))
    }

    @Test func prefixOfGuestsLeavesByNAT() {
        var six = firewall
        #expect(!six.script(isOwned: false).contains("ip6 saddr fd00"))
        six.network6 = IPv6Network(containing: IPv6Address("fd00:1:2:3::")!, prefixLength: 64)
        #expect(
            six.script(isOwned: false).contains(
                "    ip6 saddr fd00:1:2:3::/64 oif != 7 ip6 daddr != { fd00:1:2:3::/64, fe80::/10, ff00::/8 } "
                    + "masquerade\n"))
        six.gateways6 = [IPv6Address("fd00:1:2:3::1")!]
        six.egress.isDenying = true
        #expect(six.script(isOwned: false).contains("iif 7 ip6 daddr fd00:1:2:3::1 icmpv6 type echo-request accept"))
        six.isClosed = true
        #expect(!six.script(isOwned: false).contains("masquerade"))
    }

    /// NAT leaves their source alone.
    @Test func packetsOfNoConnectionAreDropped() {
        var six = firewall
        let rule = "    iif 7 ip saddr 192.168.105.0/24 ct state invalid drop\n"
        #expect(six.script(isOwned: false).contains(rule) && !six.script(isOwned: false).contains("ip6 saddr fd00"))
        six.network6 = IPv6Network(containing: IPv6Address("fd00:1:2:3::")!, prefixLength: 64)
        #expect(six.script(isOwned: false).contains("    iif 7 ip6 saddr fd00:1:2:3::/64 ct state invalid drop\n"))
    }

    @Test func hostRoutesNothingBetweenGuests() {
        var six = firewall
        let rule = "    iif 7 oif 7 ip daddr 192.168.105.0/24 ct status & dnat == 0 drop\n"
        #expect(six.script(isOwned: false).contains(rule) && !six.script(isOwned: false).contains("oif 7 ip6 daddr"))
        six.network6 = IPv6Network(containing: IPv6Address("fd00:1:2:3::")!, prefixLength: 64)
        #expect(
            six.script(isOwned: false).contains(
                "    iif 7 oif 7 ip6 daddr fd00:1:2:3::/64 ct status & dnat == 0 drop\n"))
    }

    /// What a guest sends belongs to connections of its hardware address only.
    @Test func connectionsAreOfOneHardwareAddress() {
        let rule = "    iif 7 ct original zone set jhash ether saddr mod 65535 seed 1 offset 1\n"
        let script = firewall.script(isOwned: false)
        #expect(script.contains(rule))
        var changed = firewall
        changed.separatesGuests = false
        #expect(!changed.script(isOwned: false).contains("zone"))
        changed = firewall
        changed.isClosed = true
        #expect(!changed.script(isOwned: false).contains("zone"))
    }

    @Test func namesHaveSetsAndRules() {
        var named = firewall
        named.egress.isDenying = true
        #expect(!named.hasPins && !named.script(isOwned: false).contains("set pins"))
        named.egress.allowed = ["site.example:443", "*.debian.example", "198.51.100.7"].compactMap {
            AllowedDestination($0)
        }
        let script = named.script(isOwned: true)
        for line in [
            "set pins4 { typeof ether saddr . ip daddr . meta l4proto . th dport; size 65536; flags timeout; }",
            "set hosts6 { typeof ether saddr . ip6 daddr; size 65536; flags timeout; }",
            "iif 7 ct direction original ct state established ct label 71 accept",
            "iif 7 ether saddr . ip daddr . meta l4proto . th dport @pins4 ct label set 71 accept",
            "iif 7 meta l4proto { 6, 17 } th dport { 53, 853 } goto refused", "iif 7 udp dport 443 goto refused",
            "iif 7 ip daddr 198.51.100.7/32 accept",
        ] {
            #expect(script.contains(line), "\(line)")
        }
        #expect(!script.contains("example"))
        // 31 bits, in turn, of which each TAP begins with another; others are for TAPs and for refused connections.
        named.flowGeneration = 32
        #expect(named.script(isOwned: true).contains("ct label set 65 accept"))
        let next = (1...31).map { NATTable(tap: "vmnet0", index: $0, network: firewall.network).flowGeneration }
        #expect(Set(next).count == 31)
    }

    @Test func refusedPacketsAreLoggedAtALimitedRate() {
        var logging = firewall
        logging.egress.isDenying = true
        logging.egress.allowed = [AllowedDestination("site.example")!]
        #expect(!logging.script(isOwned: true).contains("log group"))
        logging.logGroup = 22_017
        let script = logging.script(isOwned: true)
        #expect(
            script.contains("update @senders { ether saddr limit rate 10/second burst 20 packets } log group 22017"))
        for line in ["iif 7 udp dport 443 goto refused", "    iif 7 goto refused\n"] {
            #expect(script.contains(line), "\(line)")
        }
    }

    @Test func refusedPacketsAreCounted() {
        var denying = firewall
        denying.egress.isDenying = true
        let script = denying.script(isOwned: true)
        #expect(
            script.contains(
                "  counter refused { }\n  chain reports {\n  }\n  chain refused {\n    counter name refused\n"
                    + "    jump reports\n    goto rejected\n"))
        #expect(!script.contains("senders"))
        // A small kernel has no named counters.
        denying.countsRefusals = false
        #expect(denying.script(isOwned: true).contains("  chain refused {\n    jump reports\n    goto rejected\n"))
        #expect(!denying.script(isOwned: true).contains("counter"))
        denying.isClosed = true
        #expect(!denying.script(isOwned: true).contains("refused"))
    }

    @Test func refusedConnectionsAreReset() {
        var denying = firewall
        denying.egress.isDenying = true
        let lines = denying.script(isOwned: true).split(separator: "\n").map {
            $0.drop { $0 == " " }
        }
        for line in [
            "ct label set 127", "meta l4proto 6 reject with tcp reset", "reject with icmpx admin-prohibited",
            "iif 7 ct direction reply ct label 127 tcp flags & rst == 0 reject with tcp reset",
            "oif 7 ct direction reply ct label 127 tcp flags & rst == 0 reject with tcp reset",
            "oif 7 ct direction original ct state established ct status dnat meta l4proto 6 goto rejected",
            "type filter hook output priority filter; policy accept;",
        ] {
            #expect(lines.contains { $0 == line }, "\(line)")
        }
        denying.hasConnectionLabels = false
        #expect(!denying.script(isOwned: true).contains("ct label"))
        #expect(denying.script(isOwned: true).contains("meta l4proto 6 reject with tcp reset"))
    }

    @Test func errorsQuoteConnectionsOfTheTAP() {
        var closed = firewall
        closed.isClosed = true
        for rules in [firewall, closed] {
            let script = rules.script(isOwned: true)
            for text in [
                "  chain errors {\n    ct label 102 ct label 111 accept\n    drop\n  }\n",
                """
                    type filter hook prerouting priority mangle; policy accept;
                    iif != 7 accept
                    icmp type { 3, 4, 5, 11, 12 } goto errors
                    icmpv6 type < 128 goto errors
                    ct state new,established ct label set 102 ct label set 111

                """,
                """
                    type filter hook postrouting priority mangle; policy accept;
                    oif != 7 accept
                    ct state new,established ct label set 102 ct label set 111

                """,
            ] {
                #expect(script.contains(text), "\(script)")
            }
        }
        // A small kernel has no labels.
        closed.hasConnectionLabels = false
        #expect(
            !closed.script(isOwned: true).contains("ct label") && !closed.script(isOwned: true).contains("icmp type"))
    }

    /// A guest of one network does not quote connections of another one.
    @Test func marksOfTAPsDiffer() {
        func marks(_ index: UInt32) -> Set<Int> {
            var rules = NATTable(tap: "vmnet0", index: index, network: network("192.168.105.0/24"))
            rules.isClosed = true
            let line = rules.script(isOwned: true).split(separator: "\n").first { $0.contains("ct label set") }
            return Set((line ?? "").split(separator: " ").compactMap { Int($0) })
        }
        let all = (UInt32(1000)..<1256).map(marks)
        #expect(Set(all).count == 256 && all.allSatisfy { $0.count == 2 })
        // Bits of pins and of refused connections are others.
        #expect(all.reduce([]) { $0.union($1) } == Set(95...126))
        #expect(marks(.max).count == 2)
    }

    @Test func privateNetworksAreRefused() {
        var denying = firewall
        denying.egress.deniesPrivate = true
        denying.egress.localNetworks = [
            .v4(network("203.0.113.0/24")), .v4(network("192.168.1.0/24")),
            .v6(IPv6Network(containing: IPv6Address("2001:db8::1")!, prefixLength: 64)),
        ]
        let script = denying.script(isOwned: false)
        for rule in [
            "ip daddr 203.0.113.0/24 goto", "ip6 daddr 2001:db8::/64 goto", "ip6 daddr != 2000::/3 goto",
            "accept",
        ] {
            #expect(script.contains("    iif 7 \(rule)"), "\(rule)")
        }
        #expect(script.contains("chain input") && !script.contains("ip daddr 192.168.1.0/24"))
    }

    /// A NAT64 leads to private addresses too.
    @Test func privateNetworksBehindNAT64AreRefused() throws {
        var denying = firewall
        denying.egress.deniesPrivate = true
        denying.egress.localNetworks = [.v4(network("203.0.113.0/24"))]
        func translator(_ text: String, _ length: Int) throws -> NAT64Prefix {
            let network = IPv6Network(containing: try #require(IPv6Address(text)), prefixLength: length)
            return try #require(NAT64Prefix(network))
        }
        denying.egress.translators = [try translator("2001:db8:64::", 96)]
        let script = denying.script(isOwned: true)
        for rule in ["2001:db8:64::a00:0/104", "2001:db8:64::c0a8:0/112", "2001:db8:64::cb00:7100/120"] {
            #expect(script.contains("    iif 7 ip6 daddr \(rule) goto refused\n"), "\(rule)")
        }
        #expect(!script.contains("ff00::"))
        denying.egress.translators = [try translator("2001:db8:64::", 64)]
        #expect(
            denying.script(isOwned: true).contains(
                "    iif 7 ip6 daddr 2001:db8:64::/64 ip6 daddr & 0:0:0:0:ff00:: != :: goto refused\n"))
    }

    /// The kernel and the user-mode NAT refuse the same networks: the first and last address of each is special, and
    /// the addresses beside it are judged alike.
    @Test func privateNetworksAreThoseOfTheUserModeNAT() throws {
        var denying = firewall
        denying.egress.deniesPrivate = true
        var networks: [AllowedDestination.Network] = []
        for line in denying.script(isOwned: false).split(separator: "\n") where line.contains(" daddr { ") {
            for part in line.drop(while: { $0 != "{" }).dropFirst().prefix(while: { $0 != "}" }).split(separator: ",") {
                let text = String(part.filter { $0 != " " })
                networks.append(try #require(AllowedDestination(text), "\(text)").network)
            }
        }
        #expect(networks.count > 10)
        for case .v4(let network) in networks {
            for address in [network.base, network.broadcast] { #expect(!address.isGlobal, "\(address)") }
            for address in [network.base.advanced(by: -1), network.broadcast.advanced(by: 1)] {
                #expect(
                    address.isGlobal == !networks.contains { $0 == .v4(network) ? false : contains($0, address) },
                    "\(address)")
            }
        }
        for case .v6(let network) in networks {
            let last = network.base.high | (.max >> UInt64(network.prefixLength))
            for high in [network.base.high, last] { #expect(!IPv6Address(high, .max).isGlobal, "\(network)") }
            for high in [network.base.high - 1, last + 1] {
                let address = IPv6Address(high, 1)
                let isListed = networks.contains { contains($0, address) }
                #expect(address.isGlobal == (high >> 61 == 1 && !isListed), "\(address)")
            }
        }
    }

    private func contains(_ network: AllowedDestination.Network, _ address: IPv4Address) -> Bool {
        if case .v4(let network) = network { network.contains(address) } else { false }
    }

    private func contains(_ network: AllowedDestination.Network, _ address: IPv6Address) -> Bool {
        if case .v6(let network) = network { network.contains(address) } else { false }
    }

    @Test func pinsAreElementsWithTimeouts() {
        var named = firewall
        named.egress.isDenying = true
        named.egress.allowed = [AllowedDestination("site.example:443")!]
        let guest = MACAddress("52:54:00:00:00:02")!, now = Instant(nanoseconds: 5_000_000_000)
        let four = EgressPin(guest: guest, address: .ipv4(IPv4Address("203.0.113.7")!), scope: .tcp(443))
        let six = EgressPin(guest: guest, address: .ipv6(IPv6Address("2001:db8::1")!), scope: .everyPort)
        #expect(
            named.script(pinning: [(four, now + .seconds(90)), (six, now)], now: now) == """
                add element inet vde_vmnet_vmnet0 pins4 { 52:54:00:00:00:02 . 203.0.113.7 . 6 . 443 timeout 90s }
                delete element inet vde_vmnet_vmnet0 pins4 { 52:54:00:00:00:02 . 203.0.113.7 . 6 . 443 }
                add element inet vde_vmnet_vmnet0 pins4 { 52:54:00:00:00:02 . 203.0.113.7 . 6 . 443 timeout 90s }

                """, "an expired one is left out")
        #expect(
            named.script(unpinning: [six]) == """
                add element inet vde_vmnet_vmnet0 hosts6 { 52:54:00:00:00:02 . 2001:db8::1 timeout 1s }
                delete element inet vde_vmnet_vmnet0 hosts6 { 52:54:00:00:00:02 . 2001:db8::1 }

                """)
        named.egress.setDenying(false)
        #expect(named.script(pinning: [(four, now + .seconds(90))], now: now).isEmpty)
    }

    @Test func allowedDestinationsPrecedeDenial() {
        var denying = firewall
        denying.gateway = IPv4Address("192.168.105.1")!
        denying.egress.isDenying = true
        #expect(denying.script(isOwned: false).contains("iif 7 goto refused"))
        #expect(!denying.script(isOwned: false).contains("iif 7 accept"))
        #expect(denying.script(isOwned: false).contains("iif 7 ip daddr 192.168.105.1 udp dport 53 accept"))
        denying.egress.allowed = ["203.0.113.0/24:443", "198.51.100.7", "[2001:db8::]/32:443"].compactMap {
            AllowedDestination($0)
        }
        for rule in [
            "ip daddr 203.0.113.0/24 tcp dport 443 accept", "ip daddr 203.0.113.0/24 udp dport 443 accept",
            "ip daddr 198.51.100.7/32 accept", "ip6 daddr 2001:db8::/32 tcp dport 443 accept",
            "ip daddr 192.168.105.1 udp dport 53 accept",
        ] {
            #expect(denying.script(isOwned: false).contains("iif 7 \(rule)"), "\(rule)")
        }
    }
}
