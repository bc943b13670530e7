// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Wire

// `--deny private`: the Internet, and neither the host nor its networks. The chain `input` keeps guests from the host.

extension NATTable {
    /// The networks that are not the Internet's, as `IPv4Address.isGlobal` has them.
    private static let special = [
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3",
    ]
    /// Those within 2000::/3, as `IPv6Address.isGlobal` has them.
    private static let special6 = ["2001::/32", "2001:2::/48", "2001:10::/28", "2002::/16"]

    /// Matches packets to destinations that are private or on a network of the host.
    var privateMatches: [String] {
        let local = egress.localNetworks.compactMap { network -> String? in
            switch network {
            case .v4(let network): network.base.isGlobal ? "ip daddr \(network)" : nil
            case .v6(let network): network.base.isGlobal ? "ip6 daddr \(network)" : nil
            case .name: nil
            }
        }
        return ["ip daddr { \(NATTable.special.joined(separator: ", ")) }", "ip6 daddr != 2000::/3"]
            + ["ip6 daddr { \(NATTable.special6.joined(separator: ", ")) }"] + local
            + egress.translators.flatMap(translatedMatches)
    }

    /// The same for what a NAT64 leads to private IPv4 addresses.
    private func translatedMatches(_ translator: NAT64Prefix) -> [String] {
        let special = NATTable.special.compactMap { text -> IPv4Network? in
            guard case .v4(let network)? = AllowedDestination(text)?.network else { return nil }
            return network
        }
        let local = egress.localNetworks.compactMap { network -> IPv4Network? in
            if case .v4(let network) = network, network.base.isGlobal { network } else { nil }
        }
        let networks = (special + local).map { "ip6 daddr \(translator.network(embedding: $0))" }
        // A NAT64 may ignore bits 64 to 71, which are zero (RFC 6052 section 2.2).
        let reserved = "ip6 daddr \(translator.network) ip6 daddr & 0:0:0:0:ff00:: != ::"
        return networks + (translator.hasReservedByte ? [reserved] : [])
    }
}
