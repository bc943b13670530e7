// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform

extension HostFirewallInspector {
    func owner(of chain: Ruleset.Chain, in ruleset: Ruleset) -> Owner {
        let neighbours = ruleset.chains.filter { $0.table == chain.table && $0.family == chain.family }.map(\.name)
        if chain.table == "firewalld" { return .firewalld }
        if chain.hook == "forward", neighbours.contains("DOCKER-USER") { return .docker }
        if neighbours.contains(where: { $0.hasPrefix("ufw-") || $0.hasPrefix("ufw6-") }) { return .ufw }
        let isOfIPTables = ["filter", "raw", "mangle", "security"].contains(chain.table)
        return chain.name == chain.name.uppercased() && isOfIPTables ? .iptables : .nftables
    }

    func finding(_ traffic: Traffic, in chain: Ruleset.Chain, of ruleset: Ruleset) -> Finding {
        let owner = owner(of: chain, in: ruleset)
        let commands =
            traffic.purpose == .outside
            ? forwardCommands(owner, chain, isIPv6: traffic.isIPv6)
            : inputCommands(owner, chain, traffic)
        return Finding(owner: owner, purpose: traffic.purpose, isIPv6: traffic.isIPv6, commands: commands)
    }

    private var quotedTAP: String { ShellText.quoted(tap) }

    private func inputCommands(_ owner: Owner, _ chain: Ruleset.Chain, _ traffic: Traffic) -> [String] {
        let types =
            traffic.purpose == .neighbours
            ? "type '{ nd-neighbor-solicit, nd-neighbor-advert, echo-request }'" : "type echo-request"
        switch owner {
        case .ufw: return ["ufw allow in on \(quotedTAP)"]
        case .firewalld: return ["firewall-cmd --zone=trusted --change-interface=\(quotedTAP)"]
        case .docker, .iptables:
            return [
                traffic.isIPv6
                    ? "ip6tables \(chain.insertion) -i \(quotedTAP) -p ipv6-icmp -j ACCEPT"
                    : "iptables \(chain.insertion) -i \(quotedTAP) -p icmp -j ACCEPT"
            ]
        case .nftables:
            let family = traffic.isIPv6 ? "icmpv6" : "icmp"
            return ["nft insert rule \(chain.place) iifname \(quotedTAP) \(family) \(types) accept"]
        }
    }

    private func forwardCommands(_ owner: Owner, _ chain: Ruleset.Chain, isIPv6: Bool) -> [String] {
        let guests = isIPv6 ? network6.map { "\($0)" } ?? "" : "\(network.network)"
        let iptables = isIPv6 ? "ip6tables" : "iptables"
        let replies = "-o \(quotedTAP) -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
        return switch owner {
        case .docker:
            [
                "\(iptables) -I DOCKER-USER -i \(quotedTAP) -j ACCEPT",
                "\(iptables) -I DOCKER-USER \(replies)",
            ]
        case .ufw: ["ufw route allow in on \(quotedTAP)"]
        case .firewalld: ["firewall-cmd --zone=trusted --change-interface=\(quotedTAP)"]
        case .iptables:
            switch chain.hook {
            case "prerouting": ["\(iptables) \(chain.insertion) -i \(quotedTAP) -j ACCEPT"]
            case "postrouting":
                [
                    "\(iptables) \(chain.insertion) -s \(guests) -j ACCEPT",
                    "\(iptables) \(chain.insertion) \(replies)",
                ]
            default:
                [
                    "\(iptables) \(chain.insertion) -i \(quotedTAP) -j ACCEPT",
                    "\(iptables) \(chain.insertion) \(replies)",
                ]
            }
        case .nftables where chain.hook == "prerouting":
            ["nft insert rule \(chain.place) iifname \(quotedTAP) accept"]
        case .nftables:
            [
                "nft insert rule \(chain.place) iifname \(quotedTAP) accept",
                "nft insert rule \(chain.place) oifname \(quotedTAP) ct state established,related accept",
            ]
        }
    }
}

extension Ruleset.Chain {
    /// For iptables(8): a rule before the others.
    fileprivate var insertion: String { (table == "filter" ? "" : "-t \(table) ") + "-I \(ShellText.quoted(name))" }

    /// For nft(8).
    fileprivate var place: String { ShellText.command(family, table, name) }
}
