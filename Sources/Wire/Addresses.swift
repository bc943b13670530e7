// SPDX-License-Identifier: Apache-2.0

/// A 48-bit IEEE 802 MAC address, kept in the low bits of an integer in the order it is written.
@usableFromInline
package struct MACAddress: Hashable, BitwiseCopyable, Sendable {
    @usableFromInline package var value: UInt64

    @inlinable
    package init(_ value: UInt64) { self.value = value & 0xffff_ffff_ffff }

    package static let broadcast = MACAddress(0xffff_ffff_ffff)
    package static let zero = MACAddress(0)

    /// True for multicast and broadcast addresses (the I/G bit, IEEE 802-2014 section 8.2).
    @inlinable
    package var isGroup: Bool { value & 0x0100_0000_0000 != 0 }

    /// Six bytes, first byte first.
    package var bytes: [UInt8] { (0..<6).map { UInt8(truncatingIfNeeded: value >> (40 - 8 * UInt64($0))) } }

    /// A unicast, locally administered address made from a hash of `seed` (FNV-1a): the same seed gives the same
    /// address.
    package init(locallyAdministeredFrom seed: some Sequence<UInt8>) {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in seed { hash = (hash ^ UInt64(byte)) &* 0x0100_0000_01b3 }
        self.init(((hash ^ (hash >> 48)) & 0xfcff_ffff_ffff) | 0x0200_0000_0000)
    }

    /// Parses `aa:bb:cc:dd:ee:ff`; `-` is accepted for `:`, leading zeros may be missing.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(omittingEmptySubsequences: false) { $0 == ":" || $0 == "-" }
        guard parts.count == 6 else { return nil }
        var value: UInt64 = 0
        for part in parts {
            guard (1...2).contains(part.utf8.count), part.utf8.first != UInt8(ascii: "+"),
                let byte = UInt8(part, radix: 16)
            else { return nil }
            value = value << 8 | UInt64(byte)
        }
        self.init(value)
    }
}

extension MACAddress: CustomStringConvertible {
    @usableFromInline package var description: String {
        bytes.map { hexadecimal($0, digits: 2) }.joined(separator: ":")
    }
}

/// An IPv4 address in host byte order.
@usableFromInline
package struct IPv4Address: Hashable, Comparable, BitwiseCopyable, Sendable {
    @usableFromInline package var value: UInt32

    @inlinable
    package init(_ value: UInt32) { self.value = value }

    package static let any = IPv4Address(0)
    package static let broadcast = IPv4Address(0xffff_ffff)

    @inlinable
    package static func < (a: IPv4Address, b: IPv4Address) -> Bool { a.value < b.value }

    /// The address `distance` places after this one.
    package func advanced(by distance: Int) -> IPv4Address {
        IPv4Address(UInt32(truncatingIfNeeded: Int(value) + distance))
    }

    /// Parses dotted-quad notation, four decimal numbers without leading zeros (which other tools read as octal).
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var value: UInt32 = 0
        for part in parts {
            guard part.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
                part.utf8.count == 1 || part.utf8.first != UInt8(ascii: "0"), let byte = UInt8(part)
            else { return nil }
            value = value << 8 | UInt32(byte)
        }
        self.init(value)
    }

    /// True for the private ranges of RFC 1918 section 3.
    package var isPrivate: Bool {
        value >> 24 == 10 || value >> 20 == 0xac1 || value >> 16 == 0xc0a8
    }

    /// True for 127.0.0.0/8 (RFC 1122 section 3.2.1.3).
    package var isLoopback: Bool { value >> 24 == 127 }

    /// True for 224.0.0.0/4 (RFC 5771) and the limited broadcast address.
    package var isMulticastOrBroadcast: Bool { value >> 28 == 0xe || value == 0xffff_ffff }

    /// Four bytes in network order.
    package var bytes: [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * UInt32($0))) } }
}

extension IPv4Address: CustomStringConvertible {
    @usableFromInline package var description: String { bytes.map { String($0) }.joined(separator: ".") }
}

/// An IPv4 network: an address and how many leading bits belong to the network.
package struct IPv4Network: Hashable, Sendable {
    /// The network's first address.
    package let base: IPv4Address
    /// 0 to 32.
    package let prefixLength: Int

    /// The network of `prefixLength` bits in which `address` lies.
    package init(containing address: IPv4Address, prefixLength: Int) {
        precondition((0...32).contains(prefixLength))
        self.prefixLength = prefixLength
        base = IPv4Address(address.value & IPv4Network.mask(prefixLength))
    }

    /// Parses `BASE/LENGTH`; nil for anything else, and for an address that is not the network's first.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let base = IPv4Address(parts[0]), (1...2).contains(parts[1].utf8.count),
            let length = UInt8(parts[1]), length <= 32
        else { return nil }
        self.init(containing: base, prefixLength: Int(length))
        guard self.base == base else { return nil }
    }

    /// The network of `address` under `mask`, or nil if the mask's bits are not contiguous.
    package init?(containing address: IPv4Address, mask: IPv4Address) {
        // Of a contiguous mask, the complement is one below a power of two (or all ones, for which the sum wraps to
        // zero).
        guard ~mask.value & (~mask.value &+ 1) == 0 else { return nil }
        self.init(containing: address, prefixLength: mask.value.nonzeroBitCount)
    }

    private static func mask(_ length: Int) -> UInt32 { length == 0 ? 0 : ~UInt32(0) << UInt32(32 - length) }

    package var mask: IPv4Address { IPv4Address(IPv4Network.mask(prefixLength)) }
    /// The network's last address, its directed broadcast.
    package var broadcast: IPv4Address { IPv4Address(base.value | ~mask.value) }

    package func contains(_ address: IPv4Address) -> Bool { address.value & mask.value == base.value }

    package func overlaps(_ other: IPv4Network) -> Bool {
        let shorter = min(prefixLength, other.prefixLength)
        return IPv4Network(containing: base, prefixLength: shorter)
            == IPv4Network(containing: other.base, prefixLength: shorter)
    }
}

extension IPv4Network: CustomStringConvertible {
    @usableFromInline package var description: String { "\(base)/\(prefixLength)" }
}

/// `value` in lower-case hexadecimal, padded with zeros to `digits`.
package func hexadecimal(_ value: some BinaryInteger, digits: Int) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
}
