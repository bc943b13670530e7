// SPDX-License-Identifier: Apache-2.0
import Wire

/// A destination that stays allowed when others are denied: `CIDR[:PORT]` or `NAME[:PORT]`.
///
///     203.0.113.0/24          203.0.113.7:443          [2001:db8::]/32:443          2001:db8::/32
///     github.com:443          *.debian.org
package struct AllowedDestination: Hashable, Sendable {
    /// A network of either version, or a name.
    package enum Network: Hashable, Sendable {
        case v4(IPv4Network)
        case v6(IPv6Network)
        /// The addresses that the name service has answered for the name.
        case name(NamePattern)

        /// Whether the network has the address.
        func contains(_ address: IPv4Address) -> Bool {
            guard case .v4(let network) = self else { return false }
            return network.contains(address)
        }

        /// The same for IPv6.
        func contains(_ address: IPv6Address) -> Bool {
            guard case .v6(let network) = self else { return false }
            return network.contains(address)
        }
    }

    /// The addresses that are allowed.
    package let network: Network
    /// nil for every port, and for ICMP.
    package let port: UInt16?

    /// The name; nil for a network.
    package var name: NamePattern? {
        guard case .name(let pattern) = network else { return nil }
        return pattern
    }

    /// The destination as nftables matches: one, or one for each transport if there is a port.
    /// None for a name, whose addresses are in sets.
    package var matches: [String] {
        let match =
            switch network {
            case .v4(let network): "ip daddr \(network)"
            case .v6(let network): "ip6 daddr \(network)"
            case .name: ""
            }
        if match.isEmpty { return [] }
        return port.map { port in ["tcp", "udp"].map { "\(match) \($0) dport \(port)" } } ?? [match]
    }

    func contains(_ address: IPv4Address, port: UInt16?) -> Bool {
        network.contains(address) && (self.port == nil || self.port == port)
    }

    func contains(_ address: IPv6Address, port: UInt16?) -> Bool {
        network.contains(address) && (self.port == nil || self.port == port)
    }

    /// Parses the form above; nil for any other text. `AllowedDestination.parse` has the reason.
    package init?(_ text: String) {
        if let named = AllowedDestination.named(text) {
            self = named
            return
        }
        guard let parts = WrittenDestination(text) else { return nil }
        if let written = parts.port {
            guard let number = AllowedDestination.port(written) else { return nil }
            port = number
        } else {
            port = nil
        }
        let longest = parts.isIPv6 ? 128 : 32
        let length = parts.length.map { AllowedDestination.number($0) ?? -1 } ?? longest
        guard (0...longest).contains(length) else { return nil }
        if parts.isIPv6 {
            guard let parsed = IPv6Address(parts.host) else { return nil }
            network = .v6(IPv6Network(containing: parsed, prefixLength: length))
        } else {
            guard let parsed = IPv4Address(parts.host) else { return nil }
            network = .v4(IPv4Network(containing: parsed, prefixLength: length))
        }
    }

    private init(_ pattern: NamePattern, port: UInt16?) {
        network = .name(pattern)
        self.port = port
    }

    /// Parses `NAME[:PORT]`; nil for any other text.
    private static func named(_ text: String) -> AllowedDestination? {
        guard let colon = text.firstIndex(of: ":") else {
            return NamePattern(text).map { AllowedDestination($0, port: nil) }
        }
        guard let pattern = NamePattern(String(text[..<colon])), let port = port(text[text.index(after: colon)...])
        else { return nil }
        return AllowedDestination(pattern, port: port)
    }

    /// A port from 1 to 65535.
    static func port(_ text: Substring) -> UInt16? {
        number(text).flatMap { UInt16(exactly: $0) }.flatMap { $0 > 0 ? $0 : nil }
    }

    static func number(_ text: Substring) -> Int? {
        guard (1...5).contains(text.utf8.count),
            text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { return nil }
        return Int(text)
    }
}

extension AllowedDestination: CustomStringConvertible {
    package var description: String {
        let port = port.map { ":\($0)" } ?? ""
        switch network {
        case .v4(let network): return "\(network)\(port)"
        case .v6(let network): return "[\(network.base)]/\(network.prefixLength)\(port)"
        case .name(let pattern): return "\(pattern)\(port)"
        }
    }
}
