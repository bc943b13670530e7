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
        #expect(!rules.script(isOwned: false).contains("dnat"))
        one.setGuest(guest)
        rules.published = [one]
        #expect(rules.script(isOwned: false).contains("tcp dport 2222 dnat ip to 192.168.105.2:22"))
    }

    @Test func tableForwardsPublishedPortsToGuests() throws {
        var firewall = NATTable(tap: "vmnet0", index: 7, network: IPv4Network(containing: guest, prefixLength: 24))
        #expect(!firewall.script(isOwned: false).contains("dnat"))
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
}
