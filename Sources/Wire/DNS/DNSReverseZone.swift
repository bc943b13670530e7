// SPDX-License-Identifier: Apache-2.0

/// The reverse names of a network: those below `168.192.in-addr.arpa` are of 192.168.0.0/16.
package struct DNSReverseZone: Equatable, Sendable {
    /// The addresses whose reverse names are at or below the zone's name.
    package enum Addresses: Equatable, Sendable {
        case ipv4(IPv4Network)
        case ipv6(IPv6Network)
    }

    /// The network.
    package let addresses: Addresses

    /// Nil unless `name` is below `in-addr.arpa` or `ip6.arpa`, with labels as reverse names have them.
    package init?(_ name: DNSName) {
        let count = name.labels.count - 2
        guard count > 0 else { return nil }
        let (labels, bits) = name.labels[count] == Array("ip6".utf8) ? (32, 4) : (4, 8)
        let given = name.labels.prefix(count).suffix(labels).map { String(decoding: $0, as: UTF8.self) }
        let suffix = name.labels.suffix(2).map { String(decoding: $0, as: UTF8.self) }
        // The reverse name of the network's first address.
        let whole = Array(repeating: "0", count: labels - given.count) + given + suffix
        guard let completed = DNSName(whole.joined(separator: ".")), let reverse = DNSReverseName(completed) else {
            return nil
        }
        switch reverse.address {
        case .ipv4(let base):
            addresses = .ipv4(IPv4Network(containing: base, prefixLength: given.count * bits))
        case .ipv6(let base):
            addresses = .ipv6(IPv6Network(containing: base, prefixLength: given.count * bits))
        }
    }
}
