// SPDX-License-Identifier: Apache-2.0
import Wire

/// Destinations that guests may reach beyond their own network.
package struct EgressPolicy: Equatable, Sendable {
    /// Connections to the gateway's address reach services on the host's loopback address (user mode).
    package var opensHostLoopback = false
    /// No destination: the network has no uplink (`--vmnet-mode host`).
    package var isClosed = false
    /// No destination but `allowed`.
    package var isDenying = false
    /// Exceptions from `isDenying`.
    package var allowed: [AllowedDestination] = []

    /// Allows everything but what no guest may reach.
    package init() {}

    /// Whether guests may resolve names: only if they may reach a destination.
    package var allowsNames: Bool { !isClosed && (!isDenying || !allowed.isEmpty) }

    /// Whether guests may reach an address beyond their network: by default all but loopback, link-local (with the
    /// metadata servers of clouds, 169.254.169.254), unspecified, multicast and reserved addresses.
    /// - Parameter port: of TCP or UDP; nil for ICMP.
    package func allows(_ address: IPv4Address, port: UInt16?) -> Bool {
        guard !isClosed, address.value >> 24 != 0, !address.isLoopback, !address.isLinkLocal,
            address.value < 0xe000_0000
        else { return false }
        return !isDenying || allowed.contains { $0.contains(address, port: port) }
    }

    /// The same for IPv6, and IPv4 addresses embedded in it.
    package func allows(_ address: IPv6Address, port: UInt16?) -> Bool {
        guard !isClosed, !address.isLinkLocal, !address.isMulticast, address != .unspecified, !address.isLoopback,
            address.embeddedIPv4 == nil, address != EgressPolicy.metadata6
        else { return false }
        return !isDenying || allowed.contains { $0.contains(address, port: port) }
    }

    /// `fd00:ec2::254`, the IPv6 metadata server of a cloud.
    private static let metadata6 = IPv6Address(0xfd00_0ec2_0000_0000, 0x254)
}

/// A destination that stays allowed when others are denied: `CIDR[:PORT]`.
///
///     203.0.113.0/24          203.0.113.7:443          [2001:db8::]/32:443          2001:db8::/32
package struct AllowedDestination: Hashable, Sendable {
    /// A network of either version.
    package enum Network: Hashable, Sendable {
        case v4(IPv4Network)
        case v6(IPv6Network)
    }

    /// The addresses that are allowed.
    package let network: Network
    /// nil for every port, and for ICMP.
    package let port: UInt16?

    /// The destination as nftables matches: one, or one for each transport if there is a port.
    package var matches: [String] {
        let match =
            switch network {
            case .v4(let network): "ip daddr \(network)"
            case .v6(let network): "ip6 daddr \(network)"
            }
        return port.map { port in ["tcp", "udp"].map { "\(match) \($0) dport \(port)" } } ?? [match]
    }

    func contains(_ address: IPv4Address, port: UInt16?) -> Bool {
        guard case .v4(let network) = network else { return false }
        return network.contains(address) && (self.port == nil || self.port == port)
    }

    func contains(_ address: IPv6Address, port: UInt16?) -> Bool {
        guard case .v6(let network) = network else { return false }
        return network.contains(address) && (self.port == nil || self.port == port)
    }

    /// Parses the form above; nil for any other text.
    package init?(_ text: String) {
        var rest = text[...]
        var address = "", isIPv6 = false
        if rest.first == "[" {
            guard let end = rest.firstIndex(of: "]") else { return nil }
            address = String(rest[rest.index(after: rest.startIndex)..<end])
            rest = rest[rest.index(after: end)...]
            isIPv6 = true
        } else if rest.count(where: { $0 == ":" }) > 1 {
            let end = rest.firstIndex(of: "/") ?? rest.endIndex
            address = String(rest[..<end])
            rest = rest[end...]
            isIPv6 = true
        } else {
            let end = rest.firstIndex { $0 == "/" || $0 == ":" } ?? rest.endIndex
            address = String(rest[..<end])
            rest = rest[end...]
        }
        // The rest: [/LENGTH][:PORT].
        var port: UInt16?
        if let colon = rest.firstIndex(of: ":") {
            guard let number = AllowedDestination.number(rest[rest.index(after: colon)...]),
                let value = UInt16(exactly: number), value > 0
            else { return nil }
            port = value
            rest = rest[..<colon]
        }
        var length = isIPv6 ? 128 : 32
        if rest.first == "/" {
            guard let number = AllowedDestination.number(rest.dropFirst()), number <= length else { return nil }
            length = number
        } else if !rest.isEmpty {
            return nil
        }
        self.port = port
        if isIPv6 {
            guard let parsed = IPv6Address(address) else { return nil }
            network = .v6(IPv6Network(containing: parsed, prefixLength: length))
        } else {
            guard let parsed = IPv4Address(address) else { return nil }
            network = .v4(IPv4Network(containing: parsed, prefixLength: length))
        }
    }

    private static func number(_ text: Substring) -> Int? {
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
        }
    }
}
