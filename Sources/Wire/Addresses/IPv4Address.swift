// SPDX-License-Identifier: Apache-2.0

/// An IPv4 address in host byte order.
@usableFromInline
package struct IPv4Address: Hashable, Comparable, BitwiseCopyable, Sendable {
    /// Bytes of an address.
    package static let length = 4

    /// The first byte of the address is the highest.
    @usableFromInline package var value: UInt32

    /// - Parameter value: the first byte of the address is the highest.
    @inlinable
    package init(_ value: UInt32) { self.value = value }

    /// The four bytes at `offset`.
    @inlinable
    package init(_ bytes: RawSpan, at offset: Int) { value = bytes.big32(at: offset) }

    /// 0.0.0.0: no address, or all of a host's.
    @inlinable package static var any: IPv4Address { IPv4Address(0) }
    /// 255.255.255.255, all hosts of a link.
    @inlinable package static var broadcast: IPv4Address { IPv4Address(0xffff_ffff) }

    @inlinable
    package static func < (a: IPv4Address, b: IPv4Address) -> Bool { a.value < b.value }

    /// The address `distance` after this one; negative values go back. It wraps at both ends.
    package func advanced(by distance: Int) -> IPv4Address {
        IPv4Address(UInt32(truncatingIfNeeded: Int(value) + distance))
    }

    /// Parses dotted-quad notation, four decimal numbers without leading zeros, which other tools read as octal.
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

    /// True for 169.254.0.0/16 (RFC 3927).
    package var isLinkLocal: Bool { value >> 16 == 0xa9fe }

    /// True for 224.0.0.0/4 (RFC 5771) and the limited broadcast address.
    package var isMulticastOrBroadcast: Bool { value >> 28 == 0xe || value == 0xffff_ffff }

    /// Four bytes in network order.
    package var bytes: [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * UInt32($0))) } }
}

extension IPv4Address: CustomStringConvertible {
    @usableFromInline package var description: String { bytes.map { String($0) }.joined(separator: ".") }
}
