// SPDX-License-Identifier: Apache-2.0

/// The prefix by which a NAT64 reaches IPv4 addresses (RFC 6052 section 2): of 96, 64, 56, 48, 40 or 32 bits.
package struct NAT64Prefix: Hashable, Sendable {
    /// Addresses of `ipv4only.arpa` (RFC 7050 section 2.2).
    private static let wellKnown: [IPv4Address] = [IPv4Address(0xc000_00aa), IPv4Address(0xc000_00ab)]

    /// The lengths, in the order of their codes (RFC 8781 section 4).
    package static let lengths = [96, 64, 56, 48, 40, 32]

    /// The addresses that the NAT64 translates.
    package let network: IPv6Network

    /// Nil if the length is none of `lengths`.
    package init?(_ network: IPv6Network) {
        guard NAT64Prefix.lengths.contains(network.prefixLength) else { return nil }
        self.network = network
    }

    /// The prefix of an address that a DNS64 has made of an address of `ipv4only.arpa` (RFC 7050 section 3): the one
    /// behind which such an IPv4 address is. Nil if that is at none of the places, or at several.
    package init?(synthesized address: IPv6Address) {
        let found = NAT64Prefix.lengths.filter {
            NAT64Prefix.wellKnown.contains(NAT64Prefix.embedded(in: address, behind: $0))
        }
        guard found.count == 1 else { return nil }
        self.init(IPv6Network(containing: address, prefixLength: found[0]))
    }

    /// The IPv4 address behind a prefix. Bits 64 to 71 are not a part of it (RFC 6052 section 2.2).
    private static func embedded(in address: IPv6Address, behind length: Int) -> IPv4Address {
        let bytes = address.bytes, reserved = 8
        let places = (length / 8..<bytes.count).filter { length == 96 || $0 != reserved }.prefix(4)
        return IPv4Address(places.reduce(0) { $0 << 8 | UInt32(bytes[$1]) })
    }

    /// The code of the length (RFC 8781 section 4).
    var lengthCode: UInt16 { UInt16(NAT64Prefix.lengths.firstIndex(of: network.prefixLength) ?? 0) }
}

extension NAT64Prefix: CustomStringConvertible {
    package var description: String { network.description }
}
