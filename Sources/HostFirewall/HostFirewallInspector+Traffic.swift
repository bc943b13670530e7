// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Wire

extension HostFirewallInspector {
    /// Packets of one purpose, all of which must pass.
    struct Traffic {
        let purpose: Purpose
        let isIPv6: Bool
        let packets: [Packet]
    }

    /// What guests send, and its answers. DHCP, DNS and router solicitations are not in it: this process receives them
    /// as frames.
    var traffic: [Traffic] {
        let guest = IPAddress.ipv4(network.firstLease), gateway = IPAddress.ipv4(network.gateway)
        let outside = Traffic(
            purpose: .outside, isIPv6: false,
            packets: packets(guest, .ipv4(HostFirewallInspector.outside), egress))
        let pings = Traffic(
            purpose: .pings, isIPv6: false, packets: messages(from: guest, to: gateway, ICMPType.echoRequest))
        guard let network6 else { return [outside, pings] }
        let guest6 = IPAddress.ipv6(IPv6Address(network6.base.high, 2))
        let address6 = IPv6Address(network6.base.high, 1), gateway6 = IPAddress.ipv6(address6)
        return [
            outside,
            Traffic(
                purpose: .outside, isIPv6: true,
                packets: packets(guest6, .ipv6(HostFirewallInspector.outside6), egress6)),
            pings,
            Traffic(
                purpose: .neighbours, isIPv6: true,
                packets: messages(
                    from: guest6, to: .ipv6(address6.solicitedNode), ICMPv6Type.neighborSolicitation)
                    + messages(from: guest6, to: gateway6, ICMPv6Type.neighborAdvertisement)),
            Traffic(
                purpose: .pings, isIPv6: true, packets: messages(from: guest6, to: gateway6, ICMPv6Type.echoRequest)),
        ]
    }

    /// A packet of a guest to the outside, and an answer, at each hook; none without an egress interface.
    private func packets(_ guest: IPAddress, _ outside: IPAddress, _ egress: String?) -> [Packet] {
        guard let egress else { return [] }
        func packet(_ hook: String) -> Packet {
            // The route is not known before it is looked up.
            Packet(
                hook: hook, source: guest, destination: outside, input: tap,
                output: hook == "prerouting" ? nil : egress, state: "new", transport: "tcp", port: "443")
        }
        func answer(_ hook: String) -> Packet {
            Packet(
                hook: hook, source: outside, destination: guest, input: egress, output: tap, state: "established",
                transport: "tcp", port: "50000")
        }
        // An answer comes to an address of this host, which is not known here.
        return ["prerouting", "forward", "postrouting"].map(packet) + ["forward", "postrouting"].map(answer)
    }

    /// A message of ICMP or ICMPv6 that a guest sends to this host, at each hook.
    private func messages(from guest: IPAddress, to gateway: IPAddress, _ type: UInt8) -> [Packet] {
        // Conntrack leaves neighbour discovery alone.
        let isDiscovery = gateway.isIPv6 && ICMPv6Type.isNeighborDiscovery(type)
        return ["prerouting", "input"].map { hook in
            Packet(
                hook: hook, source: guest, destination: gateway, input: tap, state: isDiscovery ? "untracked" : "new",
                transport: gateway.isIPv6 ? "icmpv6" : "icmp", type: type, isToHost: true)
        }
    }
}
