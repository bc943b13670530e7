// SPDX-License-Identifier: Apache-2.0

/// The layout of an ICMP message (RFC 792).
@usableFromInline
package enum ICMPHeader {
    /// Bytes before a message's data: type, code, checksum, and four bytes whose meaning depends on the type.
    @inlinable package static var length: Int { 8 }
    /// Bytes of the fields that every message has: type, code, checksum.
    @inlinable package static var commonLength: Int { 4 }

    /// Offsets in bytes from the start of the message.
    @usableFromInline
    package enum Field {
        /// `ICMPType` or `ICMPv6Type`.
        @inlinable package static var type: Int { 0 }
        /// What the message means more exactly; depends on the type.
        @inlinable package static var code: Int { 1 }
        /// Of the whole message, in ICMPv6 with the pseudo-header.
        @inlinable package static var checksum: Int { 2 }
        /// The four bytes whose meaning depends on the type.
        @inlinable package static var rest: Int { 4 }
        /// Of echo messages.
        @inlinable package static var identifier: Int { 4 }
        /// Of echo messages.
        @inlinable package static var sequence: Int { 6 }
        /// Of "fragmentation needed" (RFC 1191 section 4).
        @inlinable package static var nextHopMTU: Int { 6 }
        /// Of ICMPv6 "packet too big", 32 bits (RFC 4443 section 3.2).
        @inlinable package static var mtu: Int { 4 }
    }
}

/// ICMP message types (RFC 792, RFC 1256).
@usableFromInline
package enum ICMPType {
    /// Answer to an echo request.
    @inlinable package static var echoReply: UInt8 { 0 }
    /// `ICMPUnreachableCode` has the reason.
    @inlinable package static var destinationUnreachable: UInt8 { 3 }
    /// A better next hop for a destination.
    @inlinable package static var redirect: UInt8 { 5 }
    /// A ping.
    @inlinable package static var echoRequest: UInt8 { 8 }
    /// The packet's TTL has reached 0, or fragments of it are missing.
    @inlinable package static var timeExceeded: UInt8 { 11 }
    /// The packet's header is wrong.
    @inlinable package static var parameterProblem: UInt8 { 12 }
    /// RFC 1256 section 3.
    @inlinable package static var routerAdvertisement: UInt8 { 9 }
    /// A request for the receiver's time.
    @inlinable package static var timestamp: UInt8 { 13 }
    /// Answer to a timestamp request.
    @inlinable package static var timestampReply: UInt8 { 14 }
}

/// Codes of "destination unreachable" (RFC 792, RFC 1812 section 5.2.7.1).
@usableFromInline
package enum ICMPUnreachableCode {
    /// There is no route to the network.
    @inlinable package static var network: UInt8 { 0 }
    /// The last router does not reach the host.
    @inlinable package static var host: UInt8 { 1 }
    /// Nothing has the port.
    @inlinable package static var port: UInt8 { 3 }
    /// The packet is longer than the next link's MTU and has DF (RFC 1191 section 4).
    @inlinable package static var fragmentationNeeded: UInt8 { 4 }
    /// A filter refused the packet (RFC 1812 section 5.2.7.1).
    @inlinable package static var administrativelyProhibited: UInt8 { 13 }
}

/// Reads an ICMP message (RFC 792).
@usableFromInline
package struct ICMPv4View: ~Escapable {
    /// The whole message.
    @usableFromInline package let bytes: RawSpan

    /// - Throws: `truncated` below 8 bytes.
    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= ICMPHeader.length else { throw .truncated }
        self.bytes = bytes
    }

    /// `ICMPType`.
    @inlinable
    package var type: UInt8 { bytes.byte(at: ICMPHeader.Field.type) }
    /// `ICMPUnreachableCode` in "destination unreachable"; 0 in echo messages.
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
    /// The bytes after the first eight: an echo's data, or the packet that an error quotes.
    @inlinable
    package var payload: RawSpan { @_lifetime(copy self) get { bytes.from(ICMPHeader.length) } }

    /// True if the checksum is right.
    @inlinable
    package var hasValidChecksum: Bool {
        var sum = InternetChecksum()
        sum.add(bytes)
        return sum.isValid
    }
}
