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

    /// Where a rule is.
    package struct RulePlace: Hashable, Sendable {
        /// The address family of its table, such as `inet`.
        package let family: String
        /// The name of its table.
        package let table: String
        /// The name of its chain.
        package let chain: String
        /// Its position in the chain, from 0.
        package let index: Int

        init(_ chain: Ruleset.Chain, _ index: Int) {
            (family, table, self.chain, self.index) = (chain.family, chain.table, chain.name, index)
        }
    }

    /// What the rules do to guests' packets, as far as they are understood.
    package struct Assessment: Equatable, Sendable {
        /// Rules that drop packets.
        package var findings: [Finding] = []
        /// How many rules may drop packets, because a condition of theirs is not understood.
        package var doubtful = 0
        /// The first of these.
        package var firstDoubtful: RulePlace?

        /// What a firewall without rules does.
        package init(findings: [Finding] = [], doubtful: Int = 0, firstDoubtful: RulePlace? = nil) {
            (self.findings, self.doubtful, self.firstDoubtful) = (findings, doubtful, firstDoubtful)
        }

        /// Adds what other rules do.
        mutating func add(_ other: Assessment) {
            findings += other.findings.filter { !findings.contains($0) }
            doubtful += other.doubtful
            firstDoubtful = firstDoubtful ?? other.firstDoubtful
        }
    }

    let tap: String
    let egress: String?
    let network: GuestNetwork
    let egress6: String?
    let network6: IPv6Network?
    /// An address of the documentation network (RFC 5737), as an example of the outside.
    package static let outside = IPv4Address(0xc633_6401)
    /// The same of IPv6 (RFC 3849).
    static let outside6 = IPv6Address(0x2001_0db8 << 32, 1)

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
    package func findings() -> [Finding]? { assessment()?.findings }

    /// The same, with what is not understood.
    package func assessment() -> Assessment? {
        var found = Assessment()
        if let nft = Programs.find("nft") {
            guard let listing = try? ChildProcess.run([nft, "--terse", "list", "ruleset"]), listing.succeeded else {
                return nil
            }
            found = assessment(of: Ruleset(nft: listing.output), sets: NamedSets(nft: nft))
        }
        if HostFirewallInspector.hasLegacyRules, let save = Programs.find("iptables-legacy-save"),
            let listing = try? ChildProcess.run([save, "-t", "filter"]), listing.succeeded
        {
            found.add(assessment(of: Ruleset(iptables: listing.output)))
        }
        if network6 != nil, HostFirewallInspector.hasLegacyRules6, let save = Programs.find("ip6tables-legacy-save"),
            let listing = try? ChildProcess.run([save, "-t", "filter"]), listing.succeeded
        {
            found.add(assessment(of: Ruleset(iptables: listing.output, isIPv6: true)))
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
    package func findings(in ruleset: Ruleset) -> [Finding] { assessment(of: ruleset).findings }

    /// The same, with what is not understood.
    package func assessment(of ruleset: Ruleset) -> Assessment { assessment(of: ruleset, sets: nil) }

    /// The same, with named sets.
    func assessment(of ruleset: Ruleset, sets: NamedSets?) -> Assessment {
        let traffic = self.traffic
        var doubts = Doubts()
        let findings = ruleset.chains.flatMap { chain -> [Finding] in
            guard chain.hook != nil, chain.isFilter, chain.family != "arp", chain.family != "bridge",
                !NATTable.belongsToInstance(chain.table)
            else { return [] }
            var found: [Finding] = []
            for traffic in traffic where chain.family != (traffic.isIPv6 ? "ip" : "ip6") {
                let isDropped = traffic.packets.contains {
                    $0.hook == chain.hook
                        && HostFirewallInspector.outcome(
                            of: $0, in: chain, of: ruleset, sets: sets, doubts: &doubts)
                            == .dropped
                }
                if isDropped, !found.contains(where: { HostFirewallInspector.remedy(of: $0, isEnoughFor: traffic) }) {
                    found.append(finding(traffic, in: chain, of: ruleset))
                }
            }
            return found
        }
        return Assessment(findings: findings, doubtful: doubts.dropping.count, firstDoubtful: doubts.first)
    }

    /// Whether the commands of a finding let other packets through the same chain, too.
    private static func remedy(of finding: Finding, isEnoughFor traffic: Traffic) -> Bool {
        // What lets IPv4 to the outside through a chain for both versions lets IPv6 through, and all that guests send.
        finding.purpose == .outside || finding.purpose == .neighbours && traffic.isIPv6
    }
}
