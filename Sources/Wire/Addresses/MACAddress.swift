// SPDX-License-Identifier: Apache-2.0

/// A 48-bit IEEE 802 MAC address, kept in the low bits of an integer in the order it is written.
@usableFromInline
package struct MACAddress: Hashable, BitwiseCopyable, Sendable {
    /// Bytes of an address.
    @inlinable package static var length: Int { 6 }

    /// The first byte of the address is the highest of the six.
    @usableFromInline package var value: UInt64

    /// - Parameter value: the address in the low 48 bits; the others are ignored.
    @inlinable
    package init(_ value: UInt64) { self.value = value & 0xffff_ffff_ffff }

    /// The six bytes at `offset`.
    @inlinable
    package init(_ bytes: RawSpan, at offset: Int) {
        value = UInt64(bytes.big16(at: offset)) << 32 | UInt64(bytes.big32(at: offset + 2))
    }

    /// The address to which an IPv6 packet for a group is sent (RFC 2464 section 7).
    @inlinable
    package init(ofGroup group: IPv6Address) { self.init(0x3333_0000_0000 | group.low & 0xffff_ffff) }

    /// All stations.
    @inlinable package static var broadcast: MACAddress { MACAddress(0xffff_ffff_ffff) }
    /// No address: the target of an ARP request.
    @inlinable package static var zero: MACAddress { MACAddress(0) }

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
            guard (1...2).contains(part.utf8.count), let byte = UInt8(digits: part, radix: 16)
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
