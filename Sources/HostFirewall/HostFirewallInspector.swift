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

    /// Packets that are dropped, and the commands that let them through.
    package struct Finding: Equatable, Sendable, CustomStringConvertible {
        /// The program that made the rules.
        package let owner: Owner
        /// The packets that are dropped, for messages.
        package let effect: String
        /// Shell commands, to be run as root.
        package let commands: [String]

        package var description: String {
            "the firewall of this host (\(owner.rawValue)) drops \(effect); let it through with:"
                + commands.map { "\n    sudo \($0)" }.joined()
        }
    }

    /// A packet whose way through the rules is traced.
    struct Packet {
        var hook: String
        var source: IPAddress
        var destination: IPAddress
        var input: String
        var output: String?
        var state: String
        var transport: String
        var port: String
    }

    enum Outcome: Equatable {
        case passes
        case dropped
        /// It depends on a condition that is not understood.
        case unknown
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
        let packets = packets(.ipv4(network.firstLease), .ipv4(HostFirewallInspector.outside), egress)
        let packets6 =
            network6.map {
                self.packets(
                    .ipv6(IPv6Address($0.base.high, 2)), .ipv6(HostFirewallInspector.outside6), egress6)
            } ?? []
        func isDropped(_ packets: [Packet], _ chain: Ruleset.Chain) -> Bool {
            packets.contains { HostFirewallInspector.outcome(of: $0, in: chain, of: ruleset) == .dropped }
        }
        var found: [Finding] = []
        // Guests' DNS and DHCP requests do not pass the forward hook.
        for chain in ruleset.chains
        where chain.hook == "forward" && chain.family != "arp" && chain.family != "bridge"
            && !NATTable.belongsToInstance(chain.table)
        {
            // What lets IPv4 through a chain for both versions lets IPv6 through, too.
            if chain.family != "ip6", isDropped(packets, chain) {
                found.append(forwardFinding(owner(of: chain, in: ruleset), chain, isIPv6: false))
            } else if chain.family != "ip", isDropped(packets6, chain) {
                found.append(forwardFinding(owner(of: chain, in: ruleset), chain, isIPv6: true))
            }
        }
        return found
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

    // MARK: Remedies

    private func owner(of chain: Ruleset.Chain, in ruleset: Ruleset) -> Owner {
        let neighbours = ruleset.chains.filter { $0.table == chain.table && $0.family == chain.family }.map(\.name)
        if chain.table == "firewalld" { return .firewalld }
        if chain.hook == "forward", neighbours.contains("DOCKER-USER") { return .docker }
        if neighbours.contains(where: { $0.hasPrefix("ufw-") || $0.hasPrefix("ufw6-") }) { return .ufw }
        return chain.name == chain.name.uppercased() && chain.table == "filter" ? .iptables : .nftables
    }

    private func forwardFinding(_ owner: Owner, _ chain: Ruleset.Chain, isIPv6: Bool) -> Finding {
        let tap = ShellText.quoted(self.tap), name = ShellText.quoted(chain.name)
        let iptables = isIPv6 ? "ip6tables" : "iptables"
        let place = ShellText.command(chain.family, chain.table, chain.name)
        let commands: [String] =
            switch owner {
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
        return Finding(
            owner: owner, effect: "what guests send to the outside\(isIPv6 ? " over IPv6" : "")", commands: commands)
    }

    // MARK: Outcome

    /// Traces `packet` through a base chain.
    static func outcome(of packet: Packet, in chain: Ruleset.Chain, of ruleset: Ruleset) -> Outcome {
        var isUncertain = false
        switch walk(chain, packet, ruleset, depth: 0, isUncertain: &isUncertain) {
        case .accept: return .passes
        case .drop: return isUncertain ? .unknown : .dropped
        default: return chain.policy != .drop ? .passes : isUncertain ? .unknown : .dropped
        }
    }

    /// The final verdict, or `return` at the end of the chain. Sets `isUncertain` if a rule that may match could accept
    /// the packet.
    private static func walk(
        _ chain: Ruleset.Chain, _ packet: Packet, _ ruleset: Ruleset, depth: Int, isUncertain: inout Bool
    ) -> Ruleset.Verdict {
        // The kernel allows 16 levels (NFT_JUMP_STACK_SIZE).
        guard depth < 16 else { return .return }
        for rule in chain.rules {
            let verdict = rule.stateVerdicts[packet.state] ?? rule.verdict
            guard let verdict, rule.stateVerdicts.isEmpty || rule.stateVerdicts[packet.state] != nil else { continue }
            switch holds(rule, packet) {
            case false:
                continue
            case nil:
                // The rule may match: find out whether it could accept the packet.
                if case .jump(let name) = verdict {
                    guard let target = ruleset.chain(name, besides: chain) else { continue }
                    if walk(target, packet, ruleset, depth: depth + 1, isUncertain: &isUncertain) == .accept {
                        isUncertain = true
                    }
                } else if verdict != .drop {
                    isUncertain = true
                }
                continue
            default:
                break
            }
            switch verdict {
            case .accept, .drop, .return:
                return verdict
            case .jump(let name):
                guard let target = ruleset.chain(name, besides: chain) else {
                    // An iptables target that is not a chain, such as MARK or TCPMSS, does not end the traversal.
                    continue
                }
                let result = walk(target, packet, ruleset, depth: depth + 1, isUncertain: &isUncertain)
                if result == .accept || result == .drop { return result }
            case .goto(let name):
                guard let target = ruleset.chain(name, besides: chain) else { continue }
                return walk(target, packet, ruleset, depth: depth + 1, isUncertain: &isUncertain)
            }
        }
        return .return
    }

    /// Whether `packet` meets all conditions of a rule; nil if that is unknown.
    private static func holds(_ rule: Ruleset.Rule, _ packet: Packet) -> Bool? {
        var result: Bool? = true
        for condition in rule.conditions {
            switch condition {
            case .inInterface(let names, let isNegated):
                if matches(packet.input, names) == isNegated { return false }
            case .outInterface(let names, let isNegated):
                guard let output = packet.output else { return false }
                if matches(output, names) == isNegated { return false }
            case .connectionState(let states, let isNegated):
                if states.contains(packet.state) == isNegated { return false }
            case .transport(let names, let isNegated):
                if names.contains(packet.transport) == isNegated { return false }
            case .destinationPort(let name, let ports, let isNegated):
                if name != packet.transport || ports.contains(packet.port) == isNegated {
                    // Ranges and service names are not parsed.
                    if name != packet.transport || ports.allSatisfy({ Int($0) != nil }) { return false }
                    result = nil
                }
            case .version(let isIPv6):
                if packet.source.isIPv6 != isIPv6 { return false }
            case .address(let isIPv6, let isSource, let patterns, let isNegated):
                let address = isSource ? packet.source : packet.destination
                guard address.isIPv6 == isIPv6 else { return false }
                let containing = patterns.map { contains(address, $0) }
                if containing.contains(true) == isNegated {
                    if isNegated || containing.allSatisfy({ $0 != nil }) { return false }
                    result = nil
                }
            case .destinationType(let types, let isNegated):
                if types.contains(packet.hook == "input" ? "local" : "unicast") == isNegated { return false }
            case .never:
                return false
            case .other:
                result = nil
            }
        }
        return result
    }

    private static func matches(_ name: String, _ patterns: [String]) -> Bool {
        patterns.contains { $0.hasSuffix("*") ? name.hasPrefix($0.dropLast()) : $0 == name }
    }

    /// Whether an address is `text`, or in the network `ADDRESS/LENGTH`; nil for ranges and names of sets, which are
    /// not parsed.
    private static func contains(_ address: IPAddress, _ text: String) -> Bool? {
        let parts = text.split(separator: "/")
        guard let first = parts.first, parts.count <= 2 else { return nil }
        let bits = address.isIPv6 ? 128 : 32
        guard let length = parts.count == 2 ? Int(parts[1]) : bits, (0...bits).contains(length) else { return nil }
        switch address {
        case .ipv4(let address):
            guard let base = IPv4Address(first) else { return nil }
            return IPv4Network(containing: base, prefixLength: length).contains(address)
        case .ipv6(let address):
            guard let base = IPv6Address(first) else { return nil }
            return IPv6Network(containing: base, prefixLength: length).contains(address)
        }
    }
}
