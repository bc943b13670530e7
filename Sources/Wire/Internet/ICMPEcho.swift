// SPDX-License-Identifier: Apache-2.0

/// An ICMP echo message (RFC 792): a ping or its reply.
package struct ICMPEcho: Equatable, Sendable {
    /// ICMP types of echo messages.
    package enum Kind: UInt8, Sendable {
        /// `ICMPType.echoReply`.
        case reply = 0
        /// `ICMPType.echoRequest`.
        case request = 8
    }

    /// Request or reply.
    package var kind: Kind
    /// Names the sender's socket, like a port.
    package var identifier: UInt16
    /// Counts the sender's requests.
    package var sequence: UInt16
    /// Bytes that the reply returns.
    package var payload: [UInt8]

    /// An echo message to send.
    package init(kind: Kind, identifier: UInt16, sequence: UInt16, payload: [UInt8] = []) {
        self.kind = kind
        self.identifier = identifier
        self.sequence = sequence
        self.payload = payload
    }

    /// - Throws: `truncated` below 8 bytes, `badChecksum`, `badField` if it is another ICMP message.
    package init(parsing bytes: RawSpan) throws(WireError) {
        let message = try ICMPv4View(bytes)
        guard message.hasValidChecksum else { throw .badChecksum }
        guard let kind = Kind(rawValue: message.type), message.code == 0 else { throw .badField }
        self.init(
            kind: kind, identifier: message.identifier, sequence: message.sequence, payload: message.payload.copied())
    }

    /// Appends the message with its checksum.
    package func emit(into writer: inout ByteWriter) {
        let start = writer.count
        writer.put8(kind.rawValue)
        writer.put8(0)
        writer.put16(0)
        writer.put16(identifier)
        writer.put16(sequence)
        writer.put(payload)
        writer.patch16(writer.checksum(from: start).finished, at: start + ICMPHeader.Field.checksum)
    }
}
