// SPDX-License-Identifier: Apache-2.0

/// "Destination unreachable" (RFC 792): the reason, and the packet that was not delivered.
package struct ICMPUnreachable: Equatable, Sendable {
    /// `ICMPUnreachableCode`.
    package let code: UInt8
    /// Destination of the packet that is quoted.
    package let destination: IPv4Address
    /// Protocol of the packet that is quoted.
    package let protocolNumber: UInt8
    /// The first four bytes after the quoted header, which are the ports of TCP and UDP.
    package let sourcePort: UInt16
    /// See `sourcePort`.
    package let destinationPort: UInt16

    /// Bytes of the packet's payload that every error quotes (RFC 792).
    package static let quotedPayload = 8

    /// - Throws: `truncated` below the first 8 bytes of the packet's payload, `badChecksum`, `badField` if it is
    ///   another ICMP message.
    package init(parsing bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= ICMPHeader.length + IPv4Header.length + ICMPUnreachable.quotedPayload else {
            throw .truncated
        }
        let message = try ICMPv4View(bytes)
        guard message.hasValidChecksum else { throw .badChecksum }
        // Not an IPv4View: the packet is cut, so its total length reaches beyond the message.
        let packet = message.payload
        let first = packet.byte(at: IPv4Header.Field.versionAndLength)
        let header = IPv4Header.length(versionAndLength: first)
        guard message.type == ICMPType.destinationUnreachable, first >> 4 == 4, header >= IPv4Header.length else {
            throw .badField
        }
        guard packet.byteCount >= header + ICMPUnreachable.quotedPayload else { throw .truncated }
        code = message.code
        protocolNumber = packet.byte(at: IPv4Header.Field.protocolNumber)
        destination = IPv4Address(packet, at: IPv4Header.Field.destination)
        sourcePort = packet.big16(at: header + UDPHeader.Field.sourcePort)
        destinationPort = packet.big16(at: header + UDPHeader.Field.destinationPort)
    }
}
