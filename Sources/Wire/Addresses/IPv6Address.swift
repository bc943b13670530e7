// SPDX-License-Identifier: Apache-2.0

/// An IPv6 address as two halves in host byte order (RFC 4291).
@usableFromInline
package struct IPv6Address: Hashable, BitwiseCopyable, Sendable {
    /// Bytes of an address.
    package static let length = 16

    /// The first eight bytes: the prefix of most networks.
    @usableFromInline package var high: UInt64
    /// The last eight bytes: the interface identifier.
    @usableFromInline package var low: UInt64

    /// An address from its two halves.
    @inlinable
    package init(_ high: UInt64, _ low: UInt64) {
        self.high = high
        self.low = low
    }

    /// The 16 bytes at `offset`.
    @inlinable
    package init(_ bytes: RawSpan, at offset: Int) { self.init(bytes.big64(at: offset), bytes.big64(at: offset + 8)) }

    /// The address of the link that is made from a hardware address, as Linux does unless it is set otherwise (RFC 4291
    /// appendix A).
    package init(linkLocalFrom hardware: MACAddress) {
        let value = hardware.value ^ 0x0200_0000_0000
        self.init(0xfe80 << 48, (value >> 24) << 40 | 0xff_fe00_0000 | value & 0xff_ffff)
    }

    /// The hardware address that the address is made from, if it is (RFC 4291 appendix A).
    package var embeddedHardware: MACAddress? {
        guard low >> 24 & 0xffff == 0xfffe else { return nil }
        return MACAddress(((low >> 40) << 24 | low & 0xff_ffff) ^ 0x0200_0000_0000)
    }

    /// `::a.b.c.d`: an IPv4 address in a field that has room for both.
    package init(embedding address: IPv4Address) { self.init(0, UInt64(address.value)) }

    /// `fe80::1`, which many routers have on the link, the user-mode NAT among them.
    @inlinable package static var customaryGateway: IPv6Address { IPv6Address(0xfe80 << 48, 1) }
    /// `::`, the source of a host without an address.
    @inlinable package static var unspecified: IPv6Address { IPv6Address(0, 0) }
    /// `::1`.
    @inlinable package static var loopback: IPv6Address { IPv6Address(0, 1) }
    /// `ff02::1` (RFC 4291 section 2.7.1).
    @inlinable package static var allNodes: IPv6Address { IPv6Address(0xff02 << 48, 1) }

    /// `ff02::2` (RFC 4291 section 2.7.1).
    @inlinable package static var allRouters: IPv6Address { IPv6Address(0xff02 << 48, 2) }

    /// `ff00::/8`.
    @inlinable package var isMulticast: Bool { high >> 56 == 0xff }
    /// `fe80::/10`.
    @inlinable package var isLinkLocal: Bool { high >> 54 == 0x3fa }
    /// `::1`.
    @inlinable package var isLoopback: Bool { self == .loopback }
    /// The IPv4 address in `::a.b.c.d` or `::ffff:a.b.c.d` (RFC 4291 section 2.5.5), which the host treats as
    /// that IPv4 address.
    package var embeddedIPv4: IPv4Address? {
        guard high == 0, low >> 32 == 0 || low >> 32 == 0xffff else { return nil }
        return IPv4Address(UInt32(truncatingIfNeeded: low))
    }

    /// The IPv4 address in `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2); nil for others.
    package var mappedIPv4: IPv4Address? { low >> 32 == 0xffff ? embeddedIPv4 : nil }

    /// 16 bytes in network order.
    package var bytes: [UInt8] {
        [high, low].flatMap { half in (0..<8).map { UInt8(truncatingIfNeeded: half >> (56 - 8 * UInt64($0))) } }
    }

    /// The solicited-node multicast address of this address: `ff02::1:ff00:0/104` and the address's last 24 bits (RFC
    /// 4291 section 2.7.1).
    @inlinable package var solicitedNode: IPv6Address {
        IPv6Address(0xff02 << 48, 0x0000_0001_ff00_0000 | low & 0xff_ffff)
    }
}

extension IPv6Address {
    /// Parses the text forms of RFC 4291 section 2.2: eight groups of one to four hexadecimal digits, one `::` for one
    /// or more groups of zeros, and the last two groups as an IPv4 address. Nil for anything else, a zone (`%eth0`)
    /// included.
    package init?(_ text: some StringProtocol) {
        let halves: [[UInt16]]
        let isCompressed: Bool
        if let gap = text.firstRange(ofText: "::") {
            guard let front = IPv6Address.groups(text[..<gap.lowerBound], mayEndInIPv4: false),
                let back = IPv6Address.groups(text[gap.upperBound...], mayEndInIPv4: true)
            else { return nil }
            (halves, isCompressed) = ([front, back], true)
        } else {
            guard !text.isEmpty, let all = IPv6Address.groups(text[...], mayEndInIPv4: true) else { return nil }
            (halves, isCompressed) = ([all, []], false)
        }
        let missing = IPv6Address.groupCount - halves[0].count - halves[1].count
        guard isCompressed ? missing >= 1 : missing == 0 else { return nil }
        let groups = halves[0] + [UInt16](repeating: 0, count: missing) + halves[1]
        func half(_ part: ArraySlice<UInt16>) -> UInt64 { part.reduce(0) { $0 << 16 | UInt64($1) } }
        self.init(half(groups[..<4]), half(groups[4...]))
    }

    private static let groupCount = 8

    /// The groups between colons; an empty text has none. Nil if a group is no number of 16 bits.
    private static func groups(_ text: some StringProtocol, mayEndInIPv4: Bool) -> [UInt16]? {
        if text.isEmpty { return [] }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count <= groupCount else { return nil }
        var groups: [UInt16] = []
        for (index, part) in parts.enumerated() {
            if mayEndInIPv4, index == parts.count - 1, part.contains(".") {
                guard let address = IPv4Address(part) else { return nil }
                groups += [UInt16(address.value >> 16), UInt16(truncatingIfNeeded: address.value)]
            } else {
                guard (1...4).contains(part.utf8.count), let group = UInt16(digits: part, radix: 16)
                else { return nil }
                groups.append(group)
            }
        }
        return groups
    }
}

extension IPv6Address: CustomStringConvertible {
    /// The recommended form (RFC 5952 section 4): the first of the longest runs of two or more zeros is left out.
    @usableFromInline package var description: String {
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
