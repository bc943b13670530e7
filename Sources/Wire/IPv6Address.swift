// SPDX-License-Identifier: Apache-2.0

/// An IPv6 address as two halves in host byte order (RFC 4291).
package struct IPv6Address: Hashable, BitwiseCopyable, Sendable {
    package var high: UInt64
    package var low: UInt64

    package init(_ high: UInt64, _ low: UInt64) {
        self.high = high
        self.low = low
    }

    /// The 16 bytes at `offset`.
    package init(_ bytes: RawSpan, at offset: Int) { self.init(bytes.big64(at: offset), bytes.big64(at: offset + 8)) }

    /// The address of the link that is made from a hardware address, as Linux does unless it is set otherwise (RFC 4291
    /// appendix A).
    package init(linkLocalFrom hardware: MACAddress) {
        let value = hardware.value ^ 0x0200_0000_0000
        self.init(0xfe80 << 48, (value >> 24) << 40 | 0xff_fe00_0000 | value & 0xff_ffff)
    }

    /// `fe80::1`, which many routers have on the link, ours in user mode among them.
    package static let customaryGateway = IPv6Address(0xfe80 << 48, 1)
    package static let unspecified = IPv6Address(0, 0)
    /// `ff02::1` (RFC 4291 section 2.7.1).
    package static let allNodes = IPv6Address(0xff02 << 48, 1)

    package var isMulticast: Bool { high >> 56 == 0xff }
    /// `fe80::/10`.
    package var isLinkLocal: Bool { high >> 54 == 0x3fa }
    package var isLoopback: Bool { high == 0 && low == 1 }
    /// The IPv4 address in `::a.b.c.d` or `::ffff:a.b.c.d` (RFC 4291 section 2.5.5), which the host would take for
    /// that.
    package var embeddedIPv4: IPv4Address? {
        guard high == 0, low >> 32 == 0 || low >> 32 == 0xffff else { return nil }
        return IPv4Address(UInt32(truncatingIfNeeded: low))
    }

    /// 16 bytes in network order.
    package var bytes: [UInt8] {
        [high, low].flatMap { half in (0..<8).map { UInt8(truncatingIfNeeded: half >> (56 - 8 * UInt64($0))) } }
    }

    /// The address that guests look for by this solicited-node multicast address (RFC 4291 section 2.7.1) ends in the
    /// same 24 bits.
    package var solicitedNode: IPv6Address { IPv6Address(0xff02 << 48, 0x0000_0001_ff00_0000 | low & 0xff_ffff) }
}

extension IPv6Address: CustomStringConvertible {
    /// The recommended form (RFC 5952 section 4): the first of the longest runs of two or more zeros is left out.
    package var description: String {
        let groups = [high, low].flatMap { half in
            (0..<4).map { UInt16(truncatingIfNeeded: half >> (48 - 16 * UInt64($0))) }
        }
        var longest = 0..<0
        for start in groups.indices {
            let end = groups[start...].firstIndex { $0 != 0 } ?? groups.count
            if end - start > longest.count { longest = start..<end }
        }
        func text(_ part: ArraySlice<UInt16>) -> String { part.map { String($0, radix: 16) }.joined(separator: ":") }
        return longest.count < 2
            ? text(groups[...]) : text(groups[..<longest.lowerBound]) + "::" + text(groups[longest.upperBound...])
    }
}

/// An IPv6 address and how many leading bits belong to the network.
package struct IPv6Network: Hashable, Sendable {
    package let base: IPv6Address
    /// 0 to 128.
    package let prefixLength: Int

    package init(containing address: IPv6Address, prefixLength: Int) {
        precondition((0...128).contains(prefixLength))
        self.prefixLength = prefixLength
        base = IPv6Network.masked(address, prefixLength)
    }

    private static func masked(_ address: IPv6Address, _ length: Int) -> IPv6Address {
        // A shift by 64 gives 0.
        let high = ~UInt64(0) << UInt64(max(0, 64 - length)), low = ~UInt64(0) << UInt64(min(64, 128 - length))
        return IPv6Address(address.high & high, address.low & low)
    }

    package func contains(_ address: IPv6Address) -> Bool { IPv6Network.masked(address, prefixLength) == base }
}

extension IPv6Network: CustomStringConvertible {
    package var description: String { "\(base)/\(prefixLength)" }
}
