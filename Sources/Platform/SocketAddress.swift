// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Wire

/// An internet address and port.
package struct SocketAddress: Sendable {
    let raw: platform_inet_address

    init(raw: platform_inet_address) { self.raw = raw }

    /// An IPv4 address and port.
    package init(_ address: IPv4Address, port: UInt16) {
        var raw = platform_inet_address()
        raw.family = 4
        (raw.bytes.0, raw.bytes.1, raw.bytes.2, raw.bytes.3) = (
            address.bytes[0], address.bytes[1], address.bytes[2], address.bytes[3]
        )
        raw.port = port
        self.raw = raw
    }

    /// A global address: no scope.
    package init(_ address: IPv6Address, port: UInt16) {
        var raw = platform_inet_address()
        raw.family = 6
        raw.port = port
        let b = address.bytes
        raw.bytes = (
            b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]
        )
        self.raw = raw
    }

    /// An address without scope, of either version of IP.
    package init(_ address: IPAddress, port: UInt16) {
        switch address {
        case .ipv4(let address): self.init(address, port: port)
        case .ipv6(let address): self.init(address, port: port)
        }
    }

    /// In host byte order.
    package var port: UInt16 { raw.port }
    /// Whether it is an IPv4 address, not an IPv6 address.
    package var isIPv4: Bool { raw.family == 4 }

    /// The IPv4 address; nil for IPv6.
    package var ipv4: IPv4Address? {
        guard isIPv4 else { return nil }
        return IPv4Address(
            UInt32(raw.bytes.0) << 24 | UInt32(raw.bytes.1) << 16 | UInt32(raw.bytes.2) << 8 | UInt32(raw.bytes.3))
    }

    /// The IPv6 address; nil for IPv4.
    package var ipv6: IPv6Address? { isIPv4 ? nil : IPv6Address(words.rawSpan, at: 0) }

    /// The index of the interface of a link-local IPv6 address; 0 for none.
    package var scope: UInt32 { raw.scope }

    /// The address, of either version, without port and scope.
    package var address: IPAddress { ipv4.map { .ipv4($0) } ?? .ipv6(ipv6 ?? .unspecified) }
}

extension SocketAddress: Hashable, CustomStringConvertible {
    private var words: [UInt8] {
        let b = raw.bytes
        return [b.0, b.1, b.2, b.3, b.4, b.5, b.6, b.7, b.8, b.9, b.10, b.11, b.12, b.13, b.14, b.15]
    }

    /// The address in two halves, without an allocation.
    private var halves: (UInt64, UInt64) {
        let b = raw.bytes
        return (
            SocketAddress.word(b.0, b.1, b.2, b.3) << 32 | SocketAddress.word(b.4, b.5, b.6, b.7),
            SocketAddress.word(b.8, b.9, b.10, b.11) << 32 | SocketAddress.word(b.12, b.13, b.14, b.15)
        )
    }

    private static func word(_ first: UInt8, _ second: UInt8, _ third: UInt8, _ fourth: UInt8) -> UInt64 {
        UInt64(first) << 24 | UInt64(second) << 16 | UInt64(third) << 8 | UInt64(fourth)
    }

    package static func == (a: SocketAddress, b: SocketAddress) -> Bool {
        a.raw.family == b.raw.family && a.raw.port == b.raw.port && a.raw.scope == b.raw.scope && a.halves == b.halves
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(raw.family)
        hasher.combine(raw.port)
        hasher.combine(halves.0)
        hasher.combine(halves.1)
    }

    package var description: String {
        if let ipv4 { return "\(ipv4):\(port)" }
        let address = IPv6Address(words.rawSpan, at: 0)
        return "[\(address)" + (raw.scope == 0 ? "" : "%\(raw.scope)") + "]:\(port)"
    }
}
