// SPDX-License-Identifier: Apache-2.0

/// ICMPv6 message types (RFC 4443, RFC 4861 section 4).
@usableFromInline
package enum ICMPv6Type {
    @inlinable package static var destinationUnreachable: UInt8 { 1 }
    @inlinable package static var packetTooBig: UInt8 { 2 }
    /// Types from this on are no errors (RFC 4443 section 2.1).
    @inlinable package static var firstInformational: UInt8 { 128 }
    @inlinable package static var echoRequest: UInt8 { 128 }
    @inlinable package static var echoReply: UInt8 { 129 }
    @inlinable package static var routerSolicitation: UInt8 { 133 }
    @inlinable package static var routerAdvertisement: UInt8 { 134 }
    @inlinable package static var neighborSolicitation: UInt8 { 135 }
    @inlinable package static var neighborAdvertisement: UInt8 { 136 }
    @inlinable package static var redirect: UInt8 { 137 }
}

/// Reads an ICMPv6 message (RFC 4443 section 2.1), whose first eight bytes are laid out like those of ICMP.
@usableFromInline
package struct ICMPv6View: ~Escapable {
    /// The whole message.
    @usableFromInline package let bytes: RawSpan

    /// - Throws: `truncated` below 8 bytes.
    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= ICMPHeader.length else { throw .truncated }
        self.bytes = bytes
    }

    @inlinable
    package var type: UInt8 { bytes.byte(at: ICMPHeader.Field.type) }
    @inlinable
    package var code: UInt8 { bytes.byte(at: ICMPHeader.Field.code) }
    @inlinable
    package var checksum: UInt16 { bytes.big16(at: ICMPHeader.Field.checksum) }
    /// Of echo messages.
    @inlinable
    package var identifier: UInt16 { bytes.big16(at: ICMPHeader.Field.identifier) }
    /// Of echo messages.
    @inlinable
    package var sequence: UInt16 { bytes.big16(at: ICMPHeader.Field.sequence) }
    /// The bytes behind the first eight: an echo's data, or the packet that an error quotes.
    @inlinable
    package var payload: RawSpan { @_lifetime(copy self) get { bytes.from(ICMPHeader.length) } }
    /// Whether the message is one of neighbour discovery (RFC 4861).
    @inlinable
    package var isNeighborDiscovery: Bool {
        (ICMPv6Type.routerSolicitation...ICMPv6Type.redirect).contains(type)
    }

    /// True if the checksum is right with this sum over the packet's pseudo-header.
    @inlinable
    package func hasValidChecksum(_ pseudoHeader: InternetChecksum) -> Bool {
        var sum = pseudoHeader
        sum.add(bytes)
        return sum.isValid
    }
}
