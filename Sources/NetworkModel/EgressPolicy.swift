// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// Where guests may go, beyond their own network.
package struct EgressPolicy: Equatable, Sendable {
    /// The gateway's address leads to services on the host's loopback address (user mode).
    package var opensHostLoopback = false
    /// Nowhere at all: the network has no way out (`--vmnet-mode host`).
    package var isClosed = false
    /// Nothing but `allowed`.
    package var isDenying = false
    package var allowed: [AllowedDestination] = []

    package init() {}

    /// Names are of use to guests that may reach something.
    package var allowsNames: Bool { !isClosed && (!isDenying || !allowed.isEmpty) }

    /// Whether guests may reach an address of the outside: by default all but the host's loopback, link-local
    /// addresses, those of nobody, and the address of clouds' metadata servers (169.254.169.254 is link-local).
    package func allows(_ address: IPv4Address, port: UInt16?) -> Bool {
        let first = address.value >> 24
        guard !isClosed, first != 0, first != 127, address.value >> 16 != 0xa9fe, first < 224 else { return false }
        return !isDenying || allowed.contains { $0.contains(address, port: port) }
    }

    package func allows(_ address: IPv6Address, port: UInt16?) -> Bool {
        guard !isClosed, !address.isLinkLocal, !address.isMulticast, address != .unspecified, !address.isLoopback,
            address.embeddedIPv4 == nil, address != EgressPolicy.metadata6
        else { return false }
        return !isDenying || allowed.contains { $0.contains(address, port: port) }
    }

    /// `fd00:ec2::254`, where a cloud has its metadata server for IPv6.
    private static let metadata6 = IPv6Address(0xfd00_0ec2_0000_0000, 0x254)
}

/// A destination that is allowed where others are not: `CIDR[:PORT]`.
///
///     203.0.113.0/24          203.0.113.7:443          [2001:db8::]/32:443          2001:db8::/32
package struct AllowedDestination: Hashable, Sendable {
    package enum Network: Hashable, Sendable {
        case v4(IPv4Network)
        case v6(IPv6Network)
    }

    package let network: Network
    /// nil for every port, and for pings.
    package let port: UInt16?

    /// The same as matches of nftables: one, or one for each transport.
    package var matches: [String] {
        let place =
            switch network {
            case .v4(let network): "ip daddr \(network)"
            case .v6(let network): "ip6 daddr \(network)"
            }
        return port.map { port in ["tcp", "udp"].map { "\(place) \($0) dport \(port)" } } ?? [place]
    }

    func contains(_ address: IPv4Address, port: UInt16?) -> Bool {
        guard case .v4(let network) = network else { return false }
        return network.contains(address) && (self.port == nil || self.port == port)
    }

    func contains(_ address: IPv6Address, port: UInt16?) -> Bool {
        guard case .v6(let network) = network else { return false }
        return network.contains(address) && (self.port == nil || self.port == port)
    }

    /// nil for a text in no such form.
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
        // What is left: [/LENGTH][:PORT].
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
            guard !address.contains("%"), let parsed = SocketAddress(address, port: 0)?.ipv6 else { return nil }
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
