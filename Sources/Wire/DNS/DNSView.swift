// SPDX-License-Identifier: Apache-2.0

/// A DNS message (RFC 1035 section 4): header, its one question, and on demand the addresses it answers with.
package struct DNSView: ~Escapable {
    /// Bytes of the header.
    package static let headerLength = 12

    /// Offsets in bytes from the start of the message (RFC 1035 section 4.1.1).
    package enum Field {
        package static let id = 0
        package static let flags = 2
        package static let questionCount = 4
        package static let answerCount = 6
        package static let authorityCount = 8
        package static let additionalCount = 10
    }

    /// Bits of `Field.flags` (RFC 1035 section 4.1.1, RFC 4035 section 3).
    package enum Flags {
        package static let response: UInt16 = 0x8000
        package static let operation: UInt16 = 0x7800
        package static let authoritative: UInt16 = 0x0400
        package static let truncated: UInt16 = 0x0200
        package static let recursionDesired: UInt16 = 0x0100
        package static let recursionAvailable: UInt16 = 0x0080
        package static let authenticData: UInt16 = 0x0020
        package static let checkingDisabled: UInt16 = 0x0010
        package static let responseCode: UInt16 = 0x000f
    }

    /// Type and class of a record, after its name.
    package static let typeAndClassLength = 4
    /// Type, class, time to live and length of a record's data, after its name.
    static let recordHeaderLength = 10

    /// The whole message.
    package let bytes: RawSpan

    /// - Throws: `truncated` below 12 bytes.
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= DNSView.headerLength else { throw .truncated }
        self.bytes = bytes
    }

    /// The transaction id.
    package var id: UInt16 { bytes.big16(at: Field.id) }
    var flags: UInt16 { bytes.big16(at: Field.flags) }
    /// QR.
    package var isResponse: Bool { flags & Flags.response != 0 }
    /// OPCODE: 0 for a query.
    package var operation: UInt8 { UInt8(truncatingIfNeeded: (flags & Flags.operation) >> 11) }
    /// The response did not fit: the client repeats the query over TCP.
    package var isTruncated: Bool { flags & Flags.truncated != 0 }
    /// RD.
    package var isRecursionDesired: Bool { flags & Flags.recursionDesired != 0 }
    /// RCODE; `DNSResponseCode` or a later one.
    package var responseCode: UInt8 { UInt8(truncatingIfNeeded: flags & Flags.responseCode) }
    /// QDCOUNT.
    package var questionCount: Int { Int(bytes.big16(at: Field.questionCount)) }
    /// ANCOUNT.
    package var answerCount: Int { Int(bytes.big16(at: Field.answerCount)) }

    /// Whether there are no records but one additional record at most, as in a query.
    package var hasOnlyQuestion: Bool {
        answerCount == 0 && bytes.big16(at: Field.authorityCount) == 0 && bytes.big16(at: Field.additionalCount) <= 1
    }

    /// The question. No resolver sends messages with none or several.
    /// - Throws: `badField` unless there is exactly one.
    package func question() throws(WireError) -> DNSQuestion { try questionAndEnd().question }

    /// The question, and where the bytes after it begin.
    package func questionAndEnd() throws(WireError) -> (question: DNSQuestion, end: Int) {
        guard questionCount == 1 else { throw .badField }
        var offset = DNSView.headerLength
        let question = try DNSQuestion(parsing: bytes, at: &offset)
        // There is no name before it that a pointer could lead to.
        guard offset == DNSView.headerLength + question.name.encodedLength + DNSView.typeAndClassLength else {
            throw .badField
        }
        return (question, offset)
    }

    /// The OPT record; nil without one.
    /// - Throws: if a record reaches beyond the message.
    package func extended() throws(WireError) -> ExtendedDNS? {
        var offset = DNSView.headerLength
        for _ in 0..<questionCount {
            try DNSView.skipName(bytes, at: &offset)
            offset += DNSView.typeAndClassLength
        }
        // A record has at least 11 bytes, so that the message's length bounds the loop, whatever the counts are.
        for _ in 0..<answerCount + Int(bytes.big16(at: Field.authorityCount))
            + Int(bytes.big16(at: Field.additionalCount))
        {
            let start = offset
            try DNSView.skipName(bytes, at: &offset)
            guard offset + DNSView.recordHeaderLength <= bytes.byteCount else { throw .truncated }
            if bytes.big16(at: offset) == DNSType.opt && offset == start + 1 {
                return ExtendedDNS(payloadSize: bytes.big16(at: offset + 2), codeAndFlags: bytes.big32(at: offset + 4))
            }
            offset += DNSView.recordHeaderLength + Int(bytes.big16(at: offset + 8))
            guard offset <= bytes.byteCount else { throw .truncated }
        }
        return nil
    }

    /// Moves `offset` after a name without following its pointer.
    private static func skipName(_ bytes: RawSpan, at offset: inout Int) throws(WireError) {
        while true {
            guard offset < bytes.byteCount else { throw .truncated }
            let count = Int(bytes.byte(at: offset))
            switch count >> 6 {
            case 0:
                offset += 1 + count
                if count == 0 { return }
            case 3:
                offset += 2
                return
            default:
                throw .badField
            }
        }
    }

    /// The addresses of A and AAAA records in the answer section, as text.
    package func addresses() throws(WireError) -> [String] {
        var offset = DNSView.headerLength
        for _ in 0..<questionCount { _ = try DNSQuestion(parsing: bytes, at: &offset) }
        var found: [String] = []
        for _ in 0..<answerCount {
            let record = try DNSQuestion(parsing: bytes, at: &offset)
            guard offset + 6 <= bytes.byteCount else { throw .truncated }
            let length = Int(bytes.big16(at: offset + 4))
            offset += 6
            guard length <= bytes.byteCount - offset else { throw .truncated }
            switch (record.type, length) {
            case (DNSType.a, 4): found.append(IPv4Address(bytes, at: offset).description)
            case (DNSType.aaaa, 16): found.append(IPv6Address(bytes, at: offset).description)
            default: break
            }
            offset += length
        }
        return found
    }
}
