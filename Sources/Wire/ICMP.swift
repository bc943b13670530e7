// SPDX-License-Identifier: Apache-2.0

/// "Destination unreachable" (RFC 792): why a packet did not get through, and which one.
package struct ICMPUnreachable: Equatable, Sendable {
    package let code: UInt8
    /// Of the packet that is reported.
    package let destination: IPv4Address
    package let protocolNumber: UInt8
    /// The first four bytes behind its header, which are the ports of TCP and UDP.
    package let sourcePort: UInt16
    package let destinationPort: UInt16

    /// - Throws: `truncated` below the first 8 bytes of the packet's payload, `badChecksum`, `badField` if it is
    ///   another ICMP message.
    package init(parsing bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= 36 else { throw .truncated }
        var sum = InternetChecksum()
        sum.add(bytes)
        guard sum.isValid else { throw .badChecksum }
        let header = Int(bytes.byte(at: 8) & 0x0f) * 4
        guard bytes.byte(at: 0) == 3, bytes.byte(at: 8) >> 4 == 4, header >= 20 else { throw .badField }
        guard bytes.byteCount >= 8 + header + 8 else { throw .truncated }
        code = bytes.byte(at: 1)
        protocolNumber = bytes.byte(at: 17)
        destination = IPv4Address(UInt32(bytes.big16(at: 24)) << 16 | UInt32(bytes.big16(at: 26)))
        sourcePort = bytes.big16(at: 8 + header)
        destinationPort = bytes.big16(at: 10 + header)
    }
}

/// An ICMP echo message (RFC 792): a ping or its answer.
package struct ICMPEcho: Equatable, Sendable {
    package enum Kind: UInt8, Sendable {
        case reply = 0
        case request = 8
    }

    package var kind: Kind
    package var identifier: UInt16
    package var sequence: UInt16
    package var payload: [UInt8]

    package init(kind: Kind, identifier: UInt16, sequence: UInt16, payload: [UInt8] = []) {
        self.kind = kind
        self.identifier = identifier
        self.sequence = sequence
        self.payload = payload
    }

    /// - Throws: `truncated` below 8 bytes, `badChecksum`, `badField` if it is another ICMP message.
    package init(parsing bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= 8 else { throw .truncated }
        var sum = InternetChecksum()
        sum.add(bytes)
        guard sum.isValid else { throw .badChecksum }
        guard let kind = Kind(rawValue: bytes.byte(at: 0)), bytes.byte(at: 1) == 0 else { throw .badField }
        self.init(
            kind: kind, identifier: bytes.big16(at: 4), sequence: bytes.big16(at: 6), payload: bytes.from(8).copied())
    }

    package func emit(into writer: inout ByteWriter) {
        let start = writer.count
        writer.put8(kind.rawValue)
        writer.put8(0)
        writer.put16(0)
        writer.put16(identifier)
        writer.put16(sequence)
        writer.put(payload)
        writer.patch16(writer.checksum(from: start).finished, at: start + 2)
    }
}
