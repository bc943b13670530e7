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
            NAT64Prefix.wellKnown.contains(NAT64Prefix.embedded(in: address, after: $0))
        }
        guard found.count == 1 else { return nil }
        self.init(IPv6Network(containing: address, prefixLength: found[0]))
    }

    /// The byte that is not a part of the IPv4 address: bits 64 to 71, which are zero (RFC 6052 section 2.2).
    private static let reserved = 8

    /// The bytes that have the IPv4 address after a prefix.
    private static func places(after length: Int) -> [Int] {
        Array((length / 8..<16).filter { length == 96 || $0 != reserved }.prefix(4))
    }

    /// Called for packets, so that it makes no array. After the prefix are the last bits of the first half, and then
    /// the bits after the reserved byte.
    private static func embedded(in address: IPv6Address, after length: Int) -> IPv4Address {
        if length == 96 { return IPv4Address(UInt32(truncatingIfNeeded: address.low)) }
        let afterReserved = address.low & 0xff_ffff_ffff_ffff, bitsAfter = UInt64(length - 32)
        return IPv4Address(
            UInt32(truncatingIfNeeded: address.high << bitsAfter | afterReserved >> (56 - bitsAfter)))
    }

    /// The IPv4 address to which the NAT64 leads packets for an address; nil if the address does not have the prefix.
    package func destination(of address: IPv6Address) -> IPv4Address? {
        network.contains(address) ? NAT64Prefix.embedded(in: address, after: network.prefixLength) : nil
    }

    /// The IPv6 addresses by which the NAT64 reaches an IPv4 network.
    package func network(embedding embedded: IPv4Network) -> IPv6Network {
        let places = NAT64Prefix.places(after: network.prefixLength)
        var bytes = network.base.bytes
        for (index, place) in places.enumerated() {
            bytes[place] = UInt8(truncatingIfNeeded: embedded.base.value >> UInt32(24 - 8 * index))
        }
        func half(_ range: Range<Int>) -> UInt64 { bytes[range].reduce(0) { $0 << 8 | UInt64($1) } }
        let bits = embedded.prefixLength, last = bits - 1
        return IPv6Network(
            containing: IPv6Address(half(0..<8), half(8..<16)),
            prefixLength: bits == 0 ? network.prefixLength : places[last / 8] * 8 + last % 8 + 1)
    }

    /// Whether the reserved byte lies after the prefix.
    package var hasReservedByte: Bool { network.prefixLength < 96 }

    /// The code of the length (RFC 8781 section 4).
    var lengthCode: UInt16 { UInt16(NAT64Prefix.lengths.firstIndex(of: network.prefixLength) ?? 0) }
}

extension NAT64Prefix: CustomStringConvertible {
    package var description: String { network.description }
}
