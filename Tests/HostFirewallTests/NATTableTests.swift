// SPDX-License-Identifier: Apache-2.0
import HostFirewall
import NetworkModel
import Testing
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
        #expect(restricted.script(isOwned: false).contains("iifname \"eth0\" meta oifgroup != 30308 drop"))
        #expect(restricted != firewall)
    }

    @Test func allowedDestinationsPrecedeDenial() {
        var denying = firewall
        denying.gateway = IPv4Address("192.168.105.1")!
        denying.egress.isDenying = true
        #expect(denying.script(isOwned: false).contains("iif 7 reject with icmpx admin-prohibited"))
        #expect(!denying.script(isOwned: false).contains("iif 7 accept"))
        #expect(!denying.script(isOwned: false).contains("dport 53"))
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
