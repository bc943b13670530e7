// SPDX-License-Identifier: Apache-2.0
import HostFirewall
import NetworkModel
import Testing
import Wire

@Suite struct PublishedPortRuleTests {
    private let guest = IPv4Address("192.168.105.2")!

    @Test func publishedPortWithoutAddressHasNoRule() throws {
        var rules = NATTable(tap: "vmnet0", index: 7, network: IPv4Network(containing: guest, prefixLength: 24))
        var one = try PublishedPort(parsing: "2222:52:54:00:00:00:01:22")
        rules.published = [one]
        #expect(!rules.script(isOwned: false).contains("dnat ip to"))
        one.setGuest(guest)
        rules.published = [one]
        #expect(rules.script(isOwned: false).contains("tcp dport 2222 dnat ip to 192.168.105.2:22"))
    }

    @Test func tableForwardsPublishedPortsToGuests() throws {
        var firewall = NATTable(tap: "vmnet0", index: 7, network: IPv4Network(containing: guest, prefixLength: 24))
        #expect(!firewall.script(isOwned: false).contains("dnat ip to"))
        firewall.published = try [
            "8080:192.168.105.2:80", "127.0.0.1:53:192.168.105.2/udp", "6000-6001:192.168.105.3:7000",
        ].map { try PublishedPort(parsing: $0) }
        let script = firewall.script(isOwned: false)
        #expect(script.contains("fib daddr type local tcp dport 8080 dnat ip to 192.168.105.2:80\n"))
        #expect(script.contains("ip daddr 127.0.0.1 udp dport 53 dnat ip to 192.168.105.2\n"))
        #expect(
            script.contains(
                "tcp dport 6000-6001 dnat ip to 192.168.105.3 : tcp dport map { 6000 : 7000, 6001 : 7001 }\n"))
        #expect(script.contains("iif 7 ip daddr 127.0.0.0/8 drop"), "guests do not get at the host's loopback")
    }

    @Test func guestsOfIPv6HaveRulesOfTheirOwn() throws {
        var firewall = NATTable(tap: "vmnet0", index: 7, network: IPv4Network(containing: guest, prefixLength: 24))
        firewall.network6 = IPv6Network(containing: IPv6Address("fd12::")!, prefixLength: 64)
        firewall.isIsolating = true
        firewall.published = try [
            "8080:[fd12::2]:80", "[2001:db8::1]:53:[fd12::2]/udp", "[::]:6000-6001:[fd12::3]:7000",
        ].map { try PublishedPort(parsing: $0) }
        let script = firewall.script(isOwned: false)
        for rule in [
            "nfproto ipv6 fib daddr type local ip6 daddr != ::1 tcp dport 8080 dnat ip6 to [fd12::2]:80\n",
            "nfproto ipv6 fib daddr type local ip6 daddr 2001:db8::1 udp dport 53 dnat ip6 to fd12::2\n",
            "dnat ip6 to fd12::3 : tcp dport map { 6000 : 7000, 6001 : 7001 }\n",
            "ct direction original ct status dnat ip6 daddr fd12::2 tcp dport 80 ct original proto-dst 8080 accept",
            "oif 7 ip6 saddr fd12::/64 ct status dnat masquerade\n",
            "oif lo ip6 daddr ::1 ct direction original tcp dport 8080 reject with tcp reset\n",
        ] {
            #expect(script.contains(rule), "\(rule)")
        }
        #expect(!script.contains("ip6 daddr ::1 ct direction original udp dport 53"))
    }
}
