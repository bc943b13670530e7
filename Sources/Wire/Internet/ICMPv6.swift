// SPDX-License-Identifier: Apache-2.0

/// ICMPv6 message types (RFC 4443, RFC 4861 section 4).
@usableFromInline
package enum ICMPv6Type {
    /// `ICMPv6UnreachableCode` has the reason.
    @inlinable package static var destinationUnreachable: UInt8 { 1 }
    /// The packet is longer than the next link's MTU.
    @inlinable package static var packetTooBig: UInt8 { 2 }
    /// The packet's hop limit has reached 0, or fragments of it are missing.
    @inlinable package static var timeExceeded: UInt8 { 3 }
    /// Types from this on are no errors (RFC 4443 section 2.1).
    @inlinable package static var firstInformational: UInt8 { 128 }
    /// A ping.
    @inlinable package static var echoRequest: UInt8 { 128 }
    /// Answer to an echo request.
    @inlinable package static var echoReply: UInt8 { 129 }
    /// A host looks for routers (RFC 4861 section 4.1).
    @inlinable package static var routerSolicitation: UInt8 { 133 }
    /// A router announces itself and its prefixes (RFC 4861 section 4.2).
    @inlinable package static var routerAdvertisement: UInt8 { 134 }
    /// A request for the target's hardware address (RFC 4861 section 4.3).
    @inlinable package static var neighborSolicitation: UInt8 { 135 }
    /// The target's hardware address (RFC 4861 section 4.4).
    @inlinable package static var neighborAdvertisement: UInt8 { 136 }
    /// A better next hop for a destination (RFC 4861 section 4.5).
    @inlinable package static var redirect: UInt8 { 137 }

    /// Whether a message is one of neighbour discovery (RFC 4861 section 4).
    @inlinable
    package static func isNeighborDiscovery(_ type: UInt8) -> Bool { (routerSolicitation...redirect).contains(type) }
}

/// Codes of ICMPv6 "destination unreachable" (RFC 4443 section 3.1).
@usableFromInline
package enum ICMPv6UnreachableCode {
    /// There is no route to the destination.
    @inlinable package static var noRoute: UInt8 { 0 }
    /// A filter refused the packet.
    @inlinable package static var administrativelyProhibited: UInt8 { 1 }
    /// The last router does not reach the host.
    @inlinable package static var address: UInt8 { 3 }
    /// Nothing has the port.
    @inlinable package static var port: UInt8 { 4 }
}

/// The packet that an ICMPv6 error quotes (RFC 4443 section 3), without extension headers.
package struct QuotedPacket6: Equatable, Sendable {
    /// Its receiver.
    package let destination: IPv6Address
    /// Its protocol.
    package let nextHeader: UInt8
    /// The first four bytes behind its header, which are the ports of TCP and UDP.
    package let sourcePort: UInt16
    /// See `sourcePort`.
    package let destinationPort: UInt16

    /// nil if the message is no error, or quotes less than a header and two ports.
    package init?(_ message: borrowing ICMPv6View) {
        let packet = message.payload
        guard message.type < ICMPv6Type.firstInformational,
            packet.byteCount >= IPv6Header.length + UDPHeader.Field.length,
            packet.byte(at: IPv6Header.Field.version) >> 4 == IPv6Header.version
        else { return nil }
        destination = IPv6Address(packet, at: IPv6Header.Field.destination)
        nextHeader = packet.byte(at: IPv6Header.Field.nextHeader)
        sourcePort = packet.big16(at: IPv6Header.length + UDPHeader.Field.sourcePort)
        destinationPort = packet.big16(at: IPv6Header.length + UDPHeader.Field.destinationPort)
    }
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

    /// `ICMPv6Type`.
    @inlinable
    package var type: UInt8 { bytes.byte(at: ICMPHeader.Field.type) }
    /// `ICMPv6UnreachableCode` in "destination unreachable"; 0 in echo messages and neighbour discovery.
    @inlinable
    package var code: UInt8 { bytes.byte(at: ICMPHeader.Field.code) }
    /// As it is in the message; `hasValidChecksum` checks it.
    @inlinable
    package var checksum: UInt16 { bytes.big16(at: ICMPHeader.Field.checksum) }
    /// Of echo messages.
    @inlinable
    package var identifier: UInt16 { bytes.big16(at: ICMPHeader.Field.identifier) }
    /// Of echo messages.
    @inlinable
    package var sequence: UInt16 { bytes.big16(at: ICMPHeader.Field.sequence) }
    /// The MTU of the next link in "packet too big" (RFC 4443 section 3.2), in bytes.
    @inlinable
    package var nextLinkMTU: UInt32 { bytes.big32(at: ICMPHeader.Field.identifier) }
    /// The bytes after the first eight: an echo's data, or the packet that an error quotes.
    @inlinable
    package var payload: RawSpan { @_lifetime(copy self) get { bytes.from(ICMPHeader.length) } }
    /// Whether the message is one of neighbour discovery (RFC 4861).
    @inlinable
    package var isNeighborDiscovery: Bool { ICMPv6Type.isNeighborDiscovery(type) }

    /// True if the checksum is right with this sum over the packet's pseudo-header.
    @inlinable
    package func hasValidChecksum(_ pseudoHeader: InternetChecksum) -> Bool {
        var sum = pseudoHeader
        sum.add(bytes)
        return sum.isValid
    }
}
