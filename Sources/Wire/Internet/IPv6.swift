// SPDX-License-Identifier: Apache-2.0

/// An IPv6 header to send (RFC 8200 section 3), without extensions.
@usableFromInline
package struct IPv6Header: Equatable, Sendable {
    /// Bytes of the fixed header.
    @inlinable package static var length: Int { 40 }
    /// Bytes of the shortest MTU that a link may have (RFC 8200 section 5).
    @inlinable package static var minimumMTU: Int { 1280 }
    /// Bytes of the longest packet after the fixed header.
    @inlinable package static var maximumPayload: Int { 65_535 }

    /// Offsets in bytes from the start of the packet.
    @usableFromInline
    package enum Field {
        /// The version in the high half of the byte. The four bytes from here on have the traffic class and the flow
        /// label, too.
        @inlinable package static var version: Int { 0 }
        /// The low half of the traffic class in the high half of the byte, which has the ECN bits.
        @inlinable package static var trafficClass: Int { 1 }
        /// Bytes after the fixed header.
        @inlinable package static var payloadLength: Int { 4 }
        /// The protocol of what follows the fixed header.
        @inlinable package static var nextHeader: Int { 6 }
        /// Hops.
        @inlinable package static var hopLimit: Int { 7 }
        /// 16 bytes.
        @inlinable package static var source: Int { 8 }
        /// 16 bytes.
        @inlinable package static var destination: Int { 24 }
        /// Both addresses, in the order in which the pseudo-header has them.
        @inlinable package static var addresses: Range<Int> { 8..<40 }
    }

    /// The version field.
    @inlinable package static var version: UInt8 { 6 }
    /// Both ECN bits of `Field.trafficClass`: congestion experienced (RFC 3168 section 5).
    @inlinable package static var congestionExperienced: UInt8 { 0x30 }

    /// The sender.
    @usableFromInline package var source: IPv6Address
    /// The receiver, or a group.
    @usableFromInline package var destination: IPv6Address
    /// `IPProtocol`, or any other.
    @usableFromInline package var nextHeader: UInt8
    /// Hops.
    @usableFromInline package var hopLimit: UInt8 = 64
    /// DSCP in the high six bits, ECN in the low two.
    @usableFromInline package var trafficClass: UInt8 = 0

    /// A header with 64 hops unless given.
    @inlinable
    package init(source: IPv6Address, destination: IPv6Address, nextHeader: UInt8, hopLimit: UInt8 = 64) {
        self.source = source
        self.destination = destination
        self.nextHeader = nextHeader
        self.hopLimit = hopLimit
    }

    /// Appends the header. Allocates: not for the data path.
    package func emit(into writer: inout ByteWriter, payloadLength: Int) {
        writer.emit(length: IPv6Header.length) { emit(into: &$0, at: 0, payloadLength: payloadLength) }
    }

    /// Writes the header to `bytes` at `offset`.
    /// - Precondition: the payload has at most 65,535 bytes.
    @inlinable
    @_lifetime(bytes: copy bytes)
    package func emit(into bytes: inout MutableRawSpan, at offset: Int, payloadLength: Int) {
        bytes.put32(UInt32(IPv6Header.version) << 28 | UInt32(trafficClass) << 20, at: offset + Field.version)
        bytes.put16(UInt16(payloadLength), at: offset + Field.payloadLength)
        bytes.put8(nextHeader, at: offset + Field.nextHeader)
        bytes.put8(hopLimit, at: offset + Field.hopLimit)
        bytes.put(source, at: offset + Field.source)
        bytes.put(destination, at: offset + Field.destination)
    }

    /// The sum over the pseudo-header for a payload of `length` bytes (RFC 8200 section 8.1).
    @inlinable
    package func pseudoHeader(length: Int) -> InternetChecksum {
        InternetChecksum.pseudoHeader(
            source: source, destination: destination, protocolNumber: nextHeader, length: length)
    }
}

/// Reads an IPv6 packet (RFC 8200 section 3).
@usableFromInline
package struct IPv6View: ~Escapable {
    /// The packet up to its payload length: link-layer padding is cut off.
    @usableFromInline package let bytes: RawSpan

    /// - Throws: `truncated` if header or payload length reach beyond `bytes`; `badVersion`.
    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= IPv6Header.length else { throw .truncated }
        guard bytes.byte(at: IPv6Header.Field.version) >> 4 == IPv6Header.version else { throw .badVersion }
        let total = IPv6Header.length + Int(bytes.big16(at: IPv6Header.Field.payloadLength))
        guard total <= bytes.byteCount else { throw .truncated }
        self.bytes = bytes.extracting(0..<total)
    }

    /// The protocol of what follows the fixed header, which may be an extension header.
    @inlinable
    package var nextHeader: UInt8 { bytes.byte(at: IPv6Header.Field.nextHeader) }
    /// DSCP in the high six bits, ECN in the low two.
    @inlinable
    package var trafficClass: UInt8 { UInt8(truncatingIfNeeded: bytes.big16(at: IPv6Header.Field.version) >> 4) }
    /// Hops.
    @inlinable
    package var hopLimit: UInt8 { bytes.byte(at: IPv6Header.Field.hopLimit) }
    /// The sender.
    @inlinable
    package var source: IPv6Address { IPv6Address(bytes, at: IPv6Header.Field.source) }
    /// The receiver, or a group.
    @inlinable
    package var destination: IPv6Address { IPv6Address(bytes, at: IPv6Header.Field.destination) }
    /// Source and destination, 32 bytes, as the pseudo-header has them.
    @inlinable
    package var addresses: RawSpan { @_lifetime(copy self) get { bytes.extracting(IPv6Header.Field.addresses) } }
    /// The bytes after the fixed header.
    @inlinable
    package var payload: RawSpan { @_lifetime(copy self) get { bytes.from(IPv6Header.length) } }

    /// The sum over the pseudo-header (RFC 8200 section 8.1) for a packet without extension headers.
    @inlinable
    package var pseudoHeader: InternetChecksum {
        InternetChecksum.pseudoHeader(
            addresses: addresses, protocolNumber: nextHeader, length: bytes.byteCount &- IPv6Header.length)
    }
}

/// Changes an IPv6 header in place.
@usableFromInline
package struct MutableIPv6View: ~Copyable, ~Escapable {
    @usableFromInline var bytes: MutableRawSpan

    /// - Parameters:
    ///   - bytes: with a header of 40 bytes.
    ///   - offset: where the header begins.
    @inlinable
    @_lifetime(&bytes)
    package init(_ bytes: inout MutableRawSpan, at offset: Int = 0) {
        self.bytes = bytes.mutableFrom(offset)
    }

    /// The protocol of what follows the fixed header.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func set(nextHeader: UInt8) { bytes.put8(nextHeader, at: IPv6Header.Field.nextHeader) }

    /// Bytes after the fixed header.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func set(payloadLength: Int) {
        bytes.put16(UInt16(truncatingIfNeeded: payloadLength), at: IPv6Header.Field.payloadLength)
    }

    /// The source address.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func set(source: IPv6Address) { bytes.put(source, at: IPv6Header.Field.source) }

    /// The destination address.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func set(destination: IPv6Address) { bytes.put(destination, at: IPv6Header.Field.destination) }
}
