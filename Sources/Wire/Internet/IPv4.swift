// SPDX-License-Identifier: Apache-2.0

/// An IPv4 header to send (RFC 791 section 3.1), without options.
@usableFromInline
package struct IPv4Header: Equatable, Sendable {
    /// Bytes of a header without options, which is the shortest.
    @inlinable package static var length: Int { 20 }
    /// Bytes of the longest packet that every host accepts, in one piece or in fragments (RFC 791 section 3.1). ICMP
    /// errors are no longer (RFC 1812 section 4.3.2.3).
    @inlinable package static var minimumReassembly: Int { 576 }
    /// What hosts send, in IPv6 too (RFC 1340, "IP time to live parameter").
    @inlinable package static var defaultTimeToLive: UInt8 { 64 }
    /// Bytes of the shortest MTU that a link may have (RFC 791 section 3.2).
    @inlinable package static var minimumMTU: Int { 68 }
    /// Bytes of the longest packet, header included.
    @inlinable package static var maximumPacket: Int { 65_535 }

    /// Offsets in bytes from the start of the packet.
    @usableFromInline
    package enum Field {
        /// The version in the high half of the byte, the header's length in words of 32 bits in the low one.
        @inlinable package static var versionAndLength: Int { 0 }
        /// DSCP in the high six bits, ECN in the low two (RFC 2474, RFC 3168).
        @inlinable package static var typeOfService: Int { 1 }
        /// Bytes of header and payload.
        @inlinable package static var totalLength: Int { 2 }
        /// Names the packet that a fragment belongs to.
        @inlinable package static var identification: Int { 4 }
        /// Three flags, and the fragment's offset in units of eight bytes.
        @inlinable package static var fragment: Int { 6 }
        /// Hops.
        @inlinable package static var timeToLive: Int { 8 }
        /// `IPProtocol`, or any other.
        @inlinable package static var protocolNumber: Int { 9 }
        /// Of the header alone.
        @inlinable package static var checksum: Int { 10 }
        /// Four bytes.
        @inlinable package static var source: Int { 12 }
        /// Four bytes.
        @inlinable package static var destination: Int { 16 }
    }

    /// Bits of `Field.fragment`.
    @usableFromInline
    package enum Fragment {
        /// The reserved bit, which is 0.
        @inlinable package static var reserved: UInt16 { 0x8000 }
        /// DF: routers must not fragment the packet.
        @inlinable package static var dontFragment: UInt16 { 0x4000 }
        /// MF: this fragment is not the last one.
        @inlinable package static var moreFragments: UInt16 { 0x2000 }
        /// The offset, in units of eight bytes.
        @inlinable package static var offsetMask: UInt16 { 0x1fff }
        /// The bits of which one at least is set in every fragment.
        @inlinable package static var isFragmentMask: UInt16 { moreFragments | offsetMask }
        /// Bytes of a unit of the offset: the length of every fragment but the last is a multiple of it.
        @inlinable package static var unit: Int { 8 }
    }

    /// The first byte of a packet without options.
    @inlinable package static var versionAndLength: UInt8 { 0x45 }
    /// Both ECN bits of `Field.typeOfService`: congestion experienced (RFC 3168 section 5).
    @inlinable package static var congestionExperienced: UInt8 { 0x03 }

    /// Bytes of a header with its options, from its first byte. Below `length` for a malformed one.
    @inlinable
    package static func length(versionAndLength: UInt8) -> Int { Int(versionAndLength & 0xf) &* 4 }

    /// The sender.
    @usableFromInline package var source: IPv4Address
    /// The receiver, or a group.
    @usableFromInline package var destination: IPv4Address
    /// `IPProtocol`, or any other.
    @usableFromInline package var protocolNumber: UInt8
    /// Hops.
    @usableFromInline package var timeToLive: UInt8 = 64
    /// Zero suits a packet that must not be fragmented (RFC 6864 section 4.1).
    @usableFromInline package var identification: UInt16 = 0
    /// Set unless the packet may be fragmented on its way.
    @usableFromInline package var dontFragment = true
    /// DSCP in the high six bits, ECN in the low two.
    @usableFromInline package var typeOfService: UInt8 = 0

    /// A header with DF, 64 hops and identification 0.
    @inlinable
    package init(source: IPv4Address, destination: IPv4Address, protocolNumber: UInt8) {
        self.source = source
        self.destination = destination
        self.protocolNumber = protocolNumber
    }

    /// Appends header and checksum. Allocates: not for the data path.
    package func emit(into writer: inout ByteWriter, payloadLength: Int) {
        writer.emit(length: IPv4Header.length) { emit(into: &$0, at: 0, payloadLength: payloadLength) }
    }

    /// Writes header and checksum to `bytes` at `offset`.
    /// - Precondition: the packet has at most 65,535 bytes.
    @inlinable
    @_lifetime(bytes: copy bytes)
    package func emit(into bytes: inout MutableRawSpan, at offset: Int, payloadLength: Int) {
        let total = UInt16(IPv4Header.length + payloadLength)
        bytes.put32(
            UInt32(IPv4Header.versionAndLength) << 24 | UInt32(typeOfService) << 16 | UInt32(total),
            at: offset + Field.versionAndLength)
        bytes.put32(
            UInt32(identification) << 16 | UInt32(dontFragment ? Fragment.dontFragment : 0),
            at: offset + Field.identification)
        bytes.put32(UInt32(timeToLive) << 24 | UInt32(protocolNumber) << 16, at: offset + Field.timeToLive)
        bytes.put32(source.value, at: offset + Field.source)
        bytes.put32(destination.value, at: offset + Field.destination)
        var view = MutableIPv4View(&bytes, at: offset)
        view.updateChecksum(headerLength: IPv4Header.length)
    }
}

/// Reads an IPv4 packet (RFC 791 section 3.1).
@usableFromInline
package struct IPv4View: ~Escapable {
    /// The packet up to its total length: link-layer padding is cut off.
    @usableFromInline package let bytes: RawSpan
    /// 20 to 60.
    @usableFromInline package let headerLength: Int

    /// - Throws: `truncated` if header or total length reach beyond `bytes`; `badVersion`; `badLength` if the two
    ///   lengths contradict each other.
    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= IPv4Header.length else { throw .truncated }
        let first = bytes.byte(at: IPv4Header.Field.versionAndLength)
        guard first >> 4 == 4 else { throw .badVersion }
        let header = IPv4Header.length(versionAndLength: first)
        let total = Int(bytes.big16(at: IPv4Header.Field.totalLength))
        guard header >= IPv4Header.length, total >= header else { throw .badLength }
        guard total <= bytes.byteCount else { throw .truncated }
        self.bytes = bytes.extracting(0..<total)
        headerLength = header
    }

    /// Bytes of header and payload.
    @inlinable
    package var totalLength: Int { bytes.byteCount }
    /// Whether the header is longer than 20 bytes.
    @inlinable
    package var hasOptions: Bool { headerLength > IPv4Header.length }
    /// Names the packet that a fragment belongs to.
    @inlinable
    package var identification: UInt16 { bytes.big16(at: IPv4Header.Field.identification) }
    /// DSCP in the high six bits, ECN in the low two.
    @inlinable
    package var typeOfService: UInt8 { bytes.byte(at: IPv4Header.Field.typeOfService) }
    /// Hops.
    @inlinable
    package var timeToLive: UInt8 { bytes.byte(at: IPv4Header.Field.timeToLive) }
    /// `IPProtocol`, or any other.
    @inlinable
    package var protocolNumber: UInt8 { bytes.byte(at: IPv4Header.Field.protocolNumber) }
    /// The sender.
    @inlinable
    package var source: IPv4Address { IPv4Address(bytes, at: IPv4Header.Field.source) }
    /// The receiver, or a group.
    @inlinable
    package var destination: IPv4Address { IPv4Address(bytes, at: IPv4Header.Field.destination) }

    @inlinable
    var fragment: UInt16 { bytes.big16(at: IPv4Header.Field.fragment) }
    /// The DF flag.
    @inlinable
    package var dontFragment: Bool { fragment & IPv4Header.Fragment.dontFragment != 0 }
    /// The MF flag.
    @inlinable
    package var moreFragments: Bool { fragment & IPv4Header.Fragment.moreFragments != 0 }
    /// Bytes of the whole packet's payload before this fragment's; a multiple of eight.
    @inlinable
    package var fragmentOffset: Int { Int(fragment & IPv4Header.Fragment.offsetMask) * IPv4Header.Fragment.unit }
    /// True for every fragment: more fragments follow, or the offset is not zero.
    @inlinable
    package var isFragment: Bool {
        fragment & IPv4Header.Fragment.isFragmentMask != 0
    }
    /// The bytes after header and options.
    @inlinable
    package var payload: RawSpan { @_lifetime(copy self) get { bytes.from(headerLength) } }

    /// The sum over the pseudo-header of the payload (RFC 768, RFC 9293 section 3.1).
    @inlinable
    package var pseudoHeader: InternetChecksum {
        InternetChecksum.pseudoHeader(
            source: source, destination: destination, protocolNumber: protocolNumber,
            length: totalLength &- headerLength)
    }

    /// True if the header's checksum is right.
    @inlinable
    package var hasValidChecksum: Bool {
        var sum = InternetChecksum()
        sum.add(bytes.extracting(0..<headerLength))
        return sum.isValid
    }
}

/// Changes an IPv4 header in place. A change leaves the checksum as it is until `updateChecksum`.
@usableFromInline
package struct MutableIPv4View: ~Copyable, ~Escapable {
    @usableFromInline var bytes: MutableRawSpan

    /// - Parameters:
    ///   - bytes: with a header of 20 bytes or more.
    ///   - offset: where the header begins.
    @inlinable
    @_lifetime(&bytes)
    package init(_ bytes: inout MutableRawSpan, at offset: Int = 0) {
        self.bytes = bytes.mutableFrom(offset)
    }

    /// Bytes of header and payload.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func set(totalLength: Int) {
        bytes.put16(UInt16(truncatingIfNeeded: totalLength), at: IPv4Header.Field.totalLength)
    }

    /// The identification field.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func set(identification: UInt16) {
        bytes.put16(identification, at: IPv4Header.Field.identification)
    }

    /// - Parameter offset: bytes, a multiple of eight.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func set(fragmentOffset offset: Int, moreFragments: Bool) {
        let field = UInt16(truncatingIfNeeded: offset / IPv4Header.Fragment.unit) & IPv4Header.Fragment.offsetMask
        bytes.put16(
            moreFragments ? field | IPv4Header.Fragment.moreFragments : field, at: IPv4Header.Field.fragment)
    }

    /// The source address.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func set(source: IPv4Address) { bytes.put32(source.value, at: IPv4Header.Field.source) }

    /// The destination address.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func set(destination: IPv4Address) {
        bytes.put32(destination.value, at: IPv4Header.Field.destination)
    }

    /// Computes the header's checksum and stores it. No other place does.
    /// - Parameter headerLength: bytes of the header with its options.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func updateChecksum(headerLength: Int) {
        bytes.put16(0, at: IPv4Header.Field.checksum)
        var sum = InternetChecksum()
        sum.add(bytes.bytes.extracting(0..<headerLength))
        bytes.put16(sum.finished, at: IPv4Header.Field.checksum)
    }
}
