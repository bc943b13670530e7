// SPDX-License-Identifier: Apache-2.0

/// The Internet checksum (RFC 1071): the ones' complement of the ones' complement sum of 16-bit words.
///
/// A value holds a running sum, in the order in which the bytes lie in memory, so that it can be computed with wide
/// loads; `finished` folds, complements and converts it. Sums of pieces may be added as long as each piece but the last
/// has an even length.
@usableFromInline
package struct InternetChecksum: BitwiseCopyable, Sendable {
    @usableFromInline var sum: UInt64 = 0

    /// The sum of nothing.
    @inlinable
    package init() {}

    /// Starts from a partial sum stored in a packet, as `VIRTIO_NET_HDR_F_NEEDS_CSUM` leaves it: a folded sum that is
    /// not complemented.
    @inlinable
    package init(partial: UInt16) { sum = UInt64(partial.bigEndian) }

    /// Adds a 16-bit word given in host order.
    @inlinable
    package mutating func add(word: UInt16) { add64(UInt64(word.bigEndian)) }

    /// Adds a 32-bit quantity given in host order.
    @inlinable
    package mutating func add(long: UInt32) { add64(UInt64(long.bigEndian)) }

    @inlinable
    mutating func add64(_ value: UInt64) {
        let (result, overflow) = sum.addingReportingOverflow(value)
        sum = result &+ (overflow ? 1 : 0)
    }

    /// Adds bytes; an odd last byte counts as if a zero followed it.
    @inlinable
    package mutating func add(_ bytes: RawSpan) {
        var offset = 0
        let count = bytes.byteCount
        var low: UInt64 = 0, high: UInt64 = 0
        // 32-bit halves in 64-bit accumulators cannot overflow below 16 GiB. The two chains run side by side, and each
        // lane is a separate sum.
        if count >= 64 {
            var lows = SIMD4<UInt64>.zero, highs = SIMD4<UInt64>.zero
            let mask = SIMD4<UInt64>(repeating: 0xffff_ffff)
            while offset &+ 64 <= count {
                let first = bytes.native256(at: offset), second = bytes.native256(at: offset &+ 32)
                lows = lows &+ (first & mask) &+ (second & mask)
                highs = highs &+ (first &>> 32) &+ (second &>> 32)
                offset &+= 64
            }
            low = lows.wrappedSum()
            high = highs.wrappedSum()
        }
        while offset &+ 4 <= count {
            low &+= UInt64(bytes.native32(at: offset))
            offset &+= 4
        }
        if offset &+ 2 <= count {
            low &+= UInt64(bytes.big16(at: offset).bigEndian)
            offset &+= 2
        }
        if offset < count {
            low &+= UInt64(UInt16(bytes.byte(at: offset)).littleEndian)
        }
        add64(low)
        add64(high)
    }

    /// The folded sum, not complemented, in host order: what a partial checksum field holds.
    @inlinable
    package var folded: UInt16 {
        var value = (sum >> 32) &+ (sum & 0xffff_ffff)
        value = (value >> 32) &+ (value & 0xffff_ffff)
        value = (value >> 16) &+ (value & 0xffff)
        value = (value >> 16) &+ (value & 0xffff)
        value = (value >> 16) &+ (value & 0xffff)
        return UInt16(bigEndian: UInt16(truncatingIfNeeded: value))
    }

    /// The checksum to store, in host order.
    @inlinable
    package var finished: UInt16 { ~folded }

    /// The checksum to store in a UDP header, where 0 means "none" and is sent as 0xffff (RFC 768).
    @inlinable
    package var finishedForUDP: UInt16 {
        let value = finished
        return value == 0 ? 0xffff : value
    }

    /// True when the sum ran over data that includes a correct checksum.
    @inlinable
    package var isValid: Bool { folded == 0xffff }

    /// The sum over the IPv4 pseudo-header (RFC 9293 section 3.1, RFC 768).
    @inlinable
    package static func pseudoHeader(
        source: IPv4Address, destination: IPv4Address, protocolNumber: UInt8, length: Int
    ) -> InternetChecksum {
        var checksum = InternetChecksum()
        checksum.add(long: source.value)
        checksum.add(long: destination.value)
        checksum.add(word: UInt16(protocolNumber))
        checksum.add(long: UInt32(truncatingIfNeeded: length))
        return checksum
    }

    /// The sum over the IPv6 pseudo-header (RFC 8200 section 8.1).
    @inlinable
    package static func pseudoHeader(
        source: IPv6Address, destination: IPv6Address, protocolNumber: UInt8, length: Int
    ) -> InternetChecksum {
        var checksum = InternetChecksum()
        checksum.add64(source.high.bigEndian)
        checksum.add64(source.low.bigEndian)
        checksum.add64(destination.high.bigEndian)
        checksum.add64(destination.low.bigEndian)
        checksum.add(word: UInt16(protocolNumber))
        checksum.add(long: UInt32(truncatingIfNeeded: length))
        return checksum
    }

    /// The sum over the IPv6 pseudo-header (RFC 8200 section 8.1); `addresses` are the 32 bytes of source and
    /// destination.
    @inlinable
    package static func pseudoHeader(addresses: RawSpan, protocolNumber: UInt8, length: Int) -> InternetChecksum {
        var checksum = InternetChecksum()
        checksum.add(addresses)
        checksum.add(word: UInt16(protocolNumber))
        checksum.add(long: UInt32(truncatingIfNeeded: length))
        return checksum
    }

    /// The sum over the pseudo-header of a packet, IPv4 or IPv6, with the addresses of its IP header.
    /// - Parameters:
    ///   - frame: has a whole IP header at `network`.
    ///   - length: bytes of the transport header and its payload.
    @inlinable
    package static func pseudoHeader(
        of frame: RawSpan, at network: Int, isIPv6: Bool, protocolNumber: UInt8, length: Int
    ) -> InternetChecksum {
        isIPv6
            ? pseudoHeader(
                addresses: frame.extracting(network + IPv6Header.Field.source..<network + IPv6Header.length),
                protocolNumber: protocolNumber, length: length)
            : pseudoHeader(
                source: IPv4Address(frame, at: network + IPv4Header.Field.source),
                destination: IPv4Address(frame, at: network + IPv4Header.Field.destination),
                protocolNumber: protocolNumber, length: length)
    }
}
