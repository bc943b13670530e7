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

    private func inputCommands(_ owner: Owner, _ chain: Ruleset.Chain, _ traffic: Traffic) -> [String] {
        let tap = ShellText.quoted(self.tap)
        let name = (chain.table == "filter" ? "" : "-t \(chain.table) ") + "-I \(ShellText.quoted(chain.name))"
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
                    ? "ip6tables \(name) -i \(tap) -p ipv6-icmp -j ACCEPT"
                    : "iptables \(name) -i \(tap) -p icmp -j ACCEPT"
            ]
        case .nftables:
            return ["nft insert rule \(place) iifname \(tap) \(traffic.isIPv6 ? "icmpv6" : "icmp") \(types) accept"]
        }
    }

    private func forwardCommands(_ owner: Owner, _ chain: Ruleset.Chain, isIPv6: Bool) -> [String] {
        let tap = ShellText.quoted(self.tap)
        let name = (chain.table == "filter" ? "" : "-t \(chain.table) ") + "-I \(ShellText.quoted(chain.name))"
        let guests = isIPv6 ? network6.map { "\($0)" } ?? "" : "\(network.network)"
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
            switch chain.hook {
            case "prerouting": ["\(iptables) \(name) -i \(tap) -j ACCEPT"]
            case "postrouting":
                [
                    "\(iptables) \(name) -s \(guests) -j ACCEPT",
                    "\(iptables) \(name) -o \(tap) -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                ]
            default:
                [
                    "\(iptables) \(name) -i \(tap) -j ACCEPT",
                    "\(iptables) \(name) -o \(tap) -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                ]
            }
        case .nftables where chain.hook == "prerouting":
            ["nft insert rule \(place) iifname \(tap) accept"]
        case .nftables:
            [
                "nft insert rule \(place) iifname \(tap) accept",
                "nft insert rule \(place) oifname \(tap) ct state established,related accept",
            ]
        }
    }
}
