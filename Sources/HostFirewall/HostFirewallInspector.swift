// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Wire

/// Finds rules of other programs that drop guests' packets. An accept verdict in the own table cannot overrule a drop
/// verdict in another (nft(8): accept ends one base chain, drop is final), so a warning names the command of that
/// firewall that lets guests through.
package struct HostFirewallInspector: Sendable {
    /// The program that made the rules, guessed from the names of chains and tables.
    package enum Owner: String, Sendable {
        case docker = "Docker"
        case ufw
        case firewalld
        case iptables
        case nftables
    }

    /// What guests' packets are for.
    package enum Purpose: Equatable, Sendable {
        /// Packets to the outside, and what answers them.
        case outside
        /// Neighbour discovery, which is IPv6's ARP and passes IPv6 filters.
        case neighbours
        /// Pings of the gateway.
        case pings
    }

    /// Packets that are dropped, and the commands that let them through.
    package struct Finding: Equatable, Sendable, CustomStringConvertible {
        /// The program that made the rules.
        package let owner: Owner
        /// The packets that are dropped.
        package let purpose: Purpose
        /// Whether they are packets of IPv6.
        package let isIPv6: Bool
        /// Shell commands, to be run as root.
        package let commands: [String]

        /// The packets that are dropped, for messages.
        package var effect: String {
            switch purpose {
            case .outside: "what guests send to the outside\(isIPv6 ? " over IPv6" : "")"
            case .neighbours: "guests' neighbour discovery, so that they do not find the gateway over IPv6"
            case .pings: "guests' pings of the gateway\(isIPv6 ? " over IPv6" : "")"
            }
        }

        package var description: String {
            "the firewall of this host (\(owner.rawValue)) drops \(effect); let it through with:"
                + commands.map { "\n    sudo \($0)" }.joined()
        }
    }

    private let tap: String
    private let egress: String?
    private let network: GuestNetwork
    private let egress6: String?
    private let network6: IPv6Network?
    /// An address of the documentation network (RFC 5737), as an example of the outside.
    package static let outside = IPv4Address(0xc633_6401)
    /// The same of IPv6 (RFC 3849).
    private static let outside6 = IPv6Address(0x2001_0db8 << 32, 1)

    /// - Parameters:
    ///   - egress: the interface through which guests' packets leave the host over IPv4; nil for none.
    ///   - network6: the guests' IPv6 network; nil for none.
    ///   - egress6: the interface through which they leave over IPv6; nil for none.
    package init(
        tap: String, network: GuestNetwork, egress: String?, network6: IPv6Network? = nil, egress6: String? = nil
    ) {
        self.tap = tap
        self.network = network
        self.egress = egress
        self.network6 = network6
        self.egress6 = egress6
    }

    /// The interface of the host's first default route over IPv6; nil if there is none.
    package static func egressInterface6(except tap: String) -> String? {
        let routes = (try? NetworkInterfaces.routes6()) ?? []
        return routes.lazy.filter { $0.destination.prefixLength == 0 && $0.table == Route.mainTable }
            .compactMap { NetworkInterfaces.name(of: $0.interface) }.first { $0 != tap }
    }

    /// Reads the host's rules and finds those that drop guests' packets. This may take seconds.
    /// - Returns: nil if the rules could not be read.
    package func findings() -> [Finding]? {
        var found: [Finding] = []
        if let nft = Programs.find("nft") {
            guard let listing = try? ChildProcess.run([nft, "--terse", "list", "ruleset"]), listing.succeeded else {
                return nil
            }
            found = findings(in: Ruleset(nft: listing.output))
        }
        if HostFirewallInspector.hasLegacyRules, let save = Programs.find("iptables-legacy-save"),
            let listing = try? ChildProcess.run([save, "-t", "filter"]), listing.succeeded
        {
            found += findings(in: Ruleset(iptables: listing.output)).filter { !found.contains($0) }
        }
        if network6 != nil, HostFirewallInspector.hasLegacyRules6, let save = Programs.find("ip6tables-legacy-save"),
            let listing = try? ChildProcess.run([save, "-t", "filter"]), listing.succeeded
        {
            found += findings(in: Ruleset(iptables: listing.output, isIPv6: true)).filter { !found.contains($0) }
        }
        return found
    }

    /// Whether a program has used the legacy kernel interface of iptables in this network namespace.
    package static var hasLegacyRules: Bool {
        Files.text("/proc/net/ip_tables_names")?.contains(text: "filter") == true
    }

    /// The same of ip6tables.
    package static var hasLegacyRules6: Bool {
        Files.text("/proc/net/ip6_tables_names")?.contains(text: "filter") == true
    }

    /// Finds the chains of `ruleset` that drop guests' packets.
    package func findings(in ruleset: Ruleset) -> [Finding] {
        let traffic = self.traffic
        return ruleset.chains.flatMap { chain -> [Finding] in
            guard chain.hook != nil, chain.family != "arp", chain.family != "bridge",
                !NATTable.belongsToInstance(chain.table)
            else { return [] }
            var found: [Finding] = []
            for traffic in traffic where chain.family != (traffic.isIPv6 ? "ip" : "ip6") {
                let isDropped = traffic.packets.contains {
                    $0.hook == chain.hook
                        && HostFirewallInspector.outcome(of: $0, in: chain, of: ruleset) == .dropped
                }
                if isDropped, !found.contains(where: { HostFirewallInspector.remedy(of: $0, isEnoughFor: traffic) }) {
                    found.append(finding(traffic, in: chain, of: ruleset))
                }
            }
            return found
        }
    }

    /// Whether the commands of a finding let other packets through the same chain, too.
    private static func remedy(of finding: Finding, isEnoughFor traffic: Traffic) -> Bool {
        // What lets IPv4 to the outside through a chain for both versions lets IPv6 through, too.
        finding.purpose == traffic.purpose && traffic.purpose == .outside
            || finding.purpose == .neighbours && traffic.isIPv6
    }

    /// Packets of one purpose, all of which must pass.
    private struct Traffic {
        let purpose: Purpose
        let isIPv6: Bool
        let packets: [Packet]
    }

    /// What guests send, and its answers. DHCP, DNS and router solicitations are not in it: this process receives them
    /// as frames.
    private var traffic: [Traffic] {
        var traffic = [
            Traffic(
                purpose: .outside, isIPv6: false,
                packets: packets(.ipv4(network.firstLease), .ipv4(HostFirewallInspector.outside), egress)),
            Traffic(
                purpose: .pings, isIPv6: false,
                packets: [
                    message(
                        from: .ipv4(network.firstLease), to: .ipv4(network.gateway), ICMPType.echoRequest)
                ]),
        ]
        guard let network6 else { return traffic }
        let guest = IPv6Address(network6.base.high, 2), gateway = IPv6Address(network6.base.high, 1)
        traffic += [
            Traffic(
                purpose: .outside, isIPv6: true,
                packets: packets(.ipv6(guest), .ipv6(HostFirewallInspector.outside6), egress6)),
            Traffic(
                purpose: .neighbours, isIPv6: true,
                packets: [
                    message(
                        from: .ipv6(guest), to: .ipv6(gateway.solicitedNode), ICMPv6Type.neighborSolicitation),
                    message(from: .ipv6(guest), to: .ipv6(gateway), ICMPv6Type.neighborAdvertisement),
                ]),
            Traffic(
                purpose: .pings, isIPv6: true,
                packets: [message(from: .ipv6(guest), to: .ipv6(gateway), ICMPv6Type.echoRequest)]),
        ]
        return traffic
    }

    /// A packet of a guest to the outside, and an answer; none without an egress interface.
    private func packets(_ guest: IPAddress, _ outside: IPAddress, _ egress: String?) -> [Packet] {
        guard let egress else { return [] }
        return [
            Packet(
                hook: "forward", source: guest, destination: outside, input: tap, output: egress, state: "new",
                transport: "tcp", port: "443"),
            Packet(
                hook: "forward", source: outside, destination: guest, input: egress, output: tap, state: "established",
                transport: "tcp", port: "50000"),
        ]
    }

    /// A message of ICMP or ICMPv6 that a guest sends to this host.
    private func message(from guest: IPAddress, to gateway: IPAddress, _ type: UInt8) -> Packet {
        // Conntrack leaves neighbour discovery alone.
        let isDiscovery = gateway.isIPv6 && ICMPv6Type.isNeighborDiscovery(type)
        return Packet(
            hook: "input", source: guest, destination: gateway, input: tap, state: isDiscovery ? "untracked" : "new",
            transport: gateway.isIPv6 ? "icmpv6" : "icmp", type: type)
    }

    // MARK: Remedies

    private func owner(of chain: Ruleset.Chain, in ruleset: Ruleset) -> Owner {
        let neighbours = ruleset.chains.filter { $0.table == chain.table && $0.family == chain.family }.map(\.name)
        if chain.table == "firewalld" { return .firewalld }
        if chain.hook == "forward", neighbours.contains("DOCKER-USER") { return .docker }
        if neighbours.contains(where: { $0.hasPrefix("ufw-") || $0.hasPrefix("ufw6-") }) { return .ufw }
        return chain.name == chain.name.uppercased() && chain.table == "filter" ? .iptables : .nftables
    }

    private func finding(_ traffic: Traffic, in chain: Ruleset.Chain, of ruleset: Ruleset) -> Finding {
        let owner = owner(of: chain, in: ruleset)
        let commands =
            traffic.purpose == .outside
            ? forwardCommands(owner, chain, isIPv6: traffic.isIPv6)
            : inputCommands(owner, chain, traffic)
        return Finding(owner: owner, purpose: traffic.purpose, isIPv6: traffic.isIPv6, commands: commands)
    }

    private func inputCommands(_ owner: Owner, _ chain: Ruleset.Chain, _ traffic: Traffic) -> [String] {
        let tap = ShellText.quoted(self.tap), name = ShellText.quoted(chain.name)
        let place = ShellText.command(chain.family, chain.table, chain.name)
        let types =
            traffic.purpose == .neighbours
            ? "type '{ nd-neighbor-solicit, nd-neighbor-advert, echo-request }'" : "type echo-request"
        switch owner {
        case .ufw: return ["ufw allow in on \(tap)"]
        case .firewalld: return ["firewall-cmd --zone=trusted --change-interface=\(tap)"]
        case .docker, .iptables:
            return [
                traffic.isIPv6
                    ? "ip6tables -I \(name) -i \(tap) -p ipv6-icmp -j ACCEPT"
                    : "iptables -I \(name) -i \(tap) -p icmp -j ACCEPT"
            ]
        case .nftables:
            return ["nft insert rule \(place) iifname \(tap) \(traffic.isIPv6 ? "icmpv6" : "icmp") \(types) accept"]
        }
    }

    private func forwardCommands(_ owner: Owner, _ chain: Ruleset.Chain, isIPv6: Bool) -> [String] {
        let tap = ShellText.quoted(self.tap), name = ShellText.quoted(chain.name)
        let iptables = isIPv6 ? "ip6tables" : "iptables"
        let place = ShellText.command(chain.family, chain.table, chain.name)
        return switch owner {
        case .docker:
            [
                "\(iptables) -I DOCKER-USER -i \(tap) -j ACCEPT",
                "\(iptables) -I DOCKER-USER -o \(tap) -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            ]
        case .ufw: ["ufw route allow in on \(tap)"]
        case .firewalld: ["firewall-cmd --zone=trusted --change-interface=\(tap)"]
        case .iptables:
            [
                "\(iptables) -I \(name) -i \(tap) -j ACCEPT",
                "\(iptables) -I \(name) -o \(tap) -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            ]
        case .nftables:
            [
                "nft insert rule \(place) iifname \(tap) accept",
                "nft insert rule \(place) oifname \(tap) ct state established,related accept",
            ]
        }
    }
}
