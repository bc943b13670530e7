// SPDX-License-Identifier: Apache-2.0

/// Record types used here (IANA "DNS Parameters").
package enum DNSType {
    package static let a: UInt16 = 1
    package static let ptr: UInt16 = 12
    package static let aaaa: UInt16 = 28
    /// The pseudo-record of EDNS (RFC 6891 section 6.1).
    package static let opt: UInt16 = 41
    /// Zone transfers (RFC 1995, RFC 5936).
    package static let ixfr: UInt16 = 251
    package static let axfr: UInt16 = 252
}

/// Response codes (RFC 1035 section 4.1.1).
package enum DNSResponseCode: UInt8, Sendable {
    case noError = 0, formatError, serverFailure, nameError, notImplemented, refused
}

/// A domain name as its labels, without the root's empty one. Compared without regard to ASCII case (RFC 4343).
package struct DNSName: Hashable, Sendable {
    /// Lower-case labels of 1 to 63 bytes.
    package let labels: [[UInt8]]

    /// Parses `text` such as `www.example.org` or `www.example.org.`; nil if a label is empty or too long, or the whole
    /// exceeds 255 bytes.
    package init?(_ text: String) {
        var text = Substring(text)
        if text.last == "." { text = text.dropLast() }
        let labels = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).map {
            $0.map(DNSName.lowercased)
        }
        guard labels.allSatisfy({ (1...63).contains($0.count) }), labels.reduce(1, { $0 + 1 + $1.count }) <= 255 else {
            return nil
        }
        self.labels = labels
    }

    /// Parses a name inside a message, following compression pointers (RFC 1035 section 4.1.4), which must point
    /// backwards.
    /// - Parameter offset: where the name begins; afterwards where the bytes behind it begin.
    package init(parsing message: RawSpan, at offset: inout Int) throws(WireError) {
        var labels: [[UInt8]] = []
        var position = offset
        var lowest = offset
        var length = 1
        var end: Int?
        while true {
            guard position < message.byteCount else { throw .truncated }
            let count = Int(message.byte(at: position))
            switch count >> 6 {
            case 0:
                position += 1
                if count == 0 {
                    offset = end ?? position
                    self.labels = labels
                    return
                }
                guard count <= message.byteCount - position else { throw .truncated }
                length += 1 + count
                guard length <= 255 else { throw .badLength }
                labels.append(message.extracting(position..<position + count).copied().map(DNSName.lowercased))
                position += count
            case 3:
                guard position + 2 <= message.byteCount else { throw .truncated }
                if end == nil { end = position + 2 }
                position = Int(message.big16(at: position) & 0x3fff)
                guard position < lowest else { throw .badField }
                lowest = position
            default:
                throw .badField
            }
        }
    }

    private static func lowercased(_ byte: UInt8) -> UInt8 {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
    }

    /// Bytes without compression.
    var encodedLength: Int { labels.reduce(1) { $0 + 1 + $1.count } }

    package func emit(into writer: inout ByteWriter) {
        for label in labels {
            writer.put8(UInt8(label.count))
            writer.put(label)
        }
        writer.put8(0)
    }

    /// True if this name is `suffix` or below it.
    package func isWithin(_ suffix: DNSName) -> Bool {
        labels.count >= suffix.labels.count && labels.suffix(suffix.labels.count).elementsEqual(suffix.labels)
    }
}

extension DNSName: CustomStringConvertible {
    package var description: String {
        labels.isEmpty ? "." : labels.map { String(decoding: $0, as: UTF8.self) }.joined(separator: ".")
    }
}

package struct DNSQuestion: Hashable, Sendable {
    package var name: DNSName
    package var type: UInt16
    /// 1 for the Internet.
    package var recordClass: UInt16 = 1

    package init(name: DNSName, type: UInt16) {
        self.name = name
        self.type = type
    }

    package init(parsing message: RawSpan, at offset: inout Int) throws(WireError) {
        name = try DNSName(parsing: message, at: &offset)
        guard offset + 4 <= message.byteCount else { throw .truncated }
        type = message.big16(at: offset)
        recordClass = message.big16(at: offset + 2)
        offset += 4
    }

    package func emit(into writer: inout ByteWriter) {
        name.emit(into: &writer)
        writer.put16(type)
        writer.put16(recordClass)
    }
}

/// A DNS message (RFC 1035 section 4): header, its one question, and on demand the addresses it answers with.
package struct DNSView: ~Escapable {
    package static let headerLength = 12

    package let bytes: RawSpan

    /// - Throws: `truncated` below 12 bytes.
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= DNSView.headerLength else { throw .truncated }
        self.bytes = bytes
    }

    package var id: UInt16 { bytes.big16(at: 0) }
    package var isResponse: Bool { bytes.byte(at: 2) & 0x80 != 0 }
    package var operation: UInt8 { bytes.byte(at: 2) >> 3 & 0xf }
    /// The answer did not fit: ask again over TCP.
    package var isTruncated: Bool { bytes.byte(at: 2) & 0x02 != 0 }
    package var wantsRecursion: Bool { bytes.byte(at: 2) & 0x01 != 0 }
    package var responseCode: UInt8 { bytes.byte(at: 3) & 0xf }
    package var questionCount: Int { Int(bytes.big16(at: 4)) }
    package var answerCount: Int { Int(bytes.big16(at: 6)) }

    /// The question. Messages with none or several are not used by any resolver.
    /// - Throws: `badField` unless there is exactly one.
    package func question() throws(WireError) -> DNSQuestion { try questionAndEnd().question }

    /// The question, and where the bytes behind it begin.
    fileprivate func questionAndEnd() throws(WireError) -> (question: DNSQuestion, end: Int) {
        guard questionCount == 1 else { throw .badField }
        var offset = DNSView.headerLength
        let question = try DNSQuestion(parsing: bytes, at: &offset)
        // There is no name before it that a pointer could lead to.
        guard offset == DNSView.headerLength + question.name.encodedLength + 4 else { throw .badField }
        return (question, offset)
    }

    /// What the OPT record says; nil without one.
    /// - Throws: if a record reaches beyond the message.
    package func extended() throws(WireError) -> ExtendedDNS? {
        var offset = DNSView.headerLength
        for _ in 0..<questionCount {
            try DNSView.skipName(bytes, at: &offset)
            offset += 4
        }
        // Each record has 11 bytes at least, so that a count cannot keep this busy for longer than the message is long.
        for _ in 0..<answerCount + Int(bytes.big16(at: 8)) + Int(bytes.big16(at: 10)) {
            let start = offset
            try DNSView.skipName(bytes, at: &offset)
            guard offset + 10 <= bytes.byteCount else { throw .truncated }
            if bytes.big16(at: offset) == DNSType.opt && offset == start + 1 {
                return ExtendedDNS(payloadSize: bytes.big16(at: offset + 2), codeAndFlags: bytes.big32(at: offset + 4))
            }
            offset += 10 + Int(bytes.big16(at: offset + 8))
            guard offset <= bytes.byteCount else { throw .truncated }
        }
        return nil
    }

    /// Moves behind a name without following its pointer.
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
            case (DNSType.a, 4): found.append(IPv4Address(bytes.big32(at: offset)).description)
            case (DNSType.aaaa, 16):
                let words = (0..<8).map { String(bytes.big16(at: offset + 2 * $0), radix: 16) }
                found.append(words.joined(separator: ":"))
            default: break
            }
            offset += length
        }
        return found
    }
}

/// DNS messages that we make ourselves.
package enum DNSMessage {
    /// A recursive query with one question.
    package static func query(id: UInt16, _ question: DNSQuestion) -> [UInt8] {
        var writer = ByteWriter(capacity: 64)
        emitHeader(into: &writer, id: id, flags: 0x0100, answers: 0)
        question.emit(into: &writer)
        return writer.bytes
    }

    /// An answer to `question`: `records` hold the bytes of 4 or 16 octets each, or none where the name has no such
    /// record.
    package static func answer(
        id: UInt16, wantsRecursion: Bool, question: DNSQuestion, records: [[UInt8]], timeToLive: UInt32
    ) -> [UInt8] {
        var writer = ByteWriter(capacity: 96)
        emitHeader(into: &writer, id: id, flags: 0x8480 | (wantsRecursion ? 0x0100 : 0), answers: UInt16(records.count))
        question.emit(into: &writer)
        for record in records {
            writer.put16(0xc00c)  // the question's name
            writer.put16(question.type)
            writer.put16(question.recordClass)
            writer.put32(timeToLive)
            writer.put16(UInt16(record.count))
            writer.put(record)
        }
        return writer.bytes
    }

    /// A failure for a query, which may have been too broken to hold a question.
    package static func failure(
        id: UInt16, wantsRecursion: Bool, question: DNSQuestion?, code: DNSResponseCode
    ) -> [UInt8] {
        var writer = ByteWriter(capacity: 64)
        emitHeader(
            into: &writer, id: id, flags: 0x8080 | (wantsRecursion ? 0x0100 : 0) | UInt16(code.rawValue), answers: 0,
            questions: question == nil ? 0 : 1)
        question?.emit(into: &writer)
        return writer.bytes
    }

    /// A failure for `query`: its id, operation, RD and CD (RFC 1035 section 4.1.1, RFC 4035 section 3.1.6), its
    /// question byte for byte where it can be read, and an OPT record where it has one (RFC 6891 section 6.1.1).
    package static func failure(of query: DNSView, code: DNSResponseCode) -> [UInt8] {
        let end = (try? query.questionAndEnd())?.end
        let extended = (try? query.extended()) ?? nil
        var writer = ByteWriter(capacity: 96)
        let flags = 0x8080 | (query.bytes.big16(at: 2) & 0x7910) | UInt16(code.rawValue)
        emitHeader(
            into: &writer, id: query.id, flags: flags, answers: 0, questions: end == nil ? 0 : 1,
            additional: extended == nil ? 0 : 1)
        if let end { writer.put(query.bytes.extracting(DNSView.headerLength..<end).copied()) }
        extended?.reply.emit(into: &writer)
        return writer.bytes
    }

    /// The same answer without its records but OPT, to be asked for again over TCP (RFC 2181 section 9, RFC 6891
    /// section 7); nil for what is no message.
    package static func truncated(_ message: [UInt8]) -> [UInt8]? {
        guard let view = try? DNSView(message.rawSpan), let (_, end) = try? view.questionAndEnd() else { return nil }
        let extended = (try? view.extended()) ?? nil
        var writer = ByteWriter(capacity: 96)
        emitHeader(
            into: &writer, id: view.id, flags: message.rawSpan.big16(at: 2) | 0x0200, answers: 0,
            additional: extended == nil ? 0 : 1)
        writer.put(message[DNSView.headerLength..<end])
        extended?.emit(into: &writer)
        return writer.bytes
    }

    private static func emitHeader(
        into writer: inout ByteWriter, id: UInt16, flags: UInt16, answers: UInt16, questions: UInt16 = 1,
        additional: UInt16 = 0
    ) {
        writer.put16(id)
        writer.put16(flags)
        writer.put16(questions)
        writer.put16(answers)
        writer.put16(0)
        writer.put16(additional)
    }
}

/// The OPT record without its options (RFC 6891 section 6.1.2 and 6.1.3).
package struct ExtendedDNS: Equatable, Sendable {
    /// Bytes that UDP messages with this extension are asked to stay below, over all paths (RFC 9715 section 3.1).
    package static let preferredPayload: UInt16 = 1232
    /// A message without EDNS has no more over UDP (RFC 1035 section 4.2.1), and no size below it counts (RFC 6891
    /// section 6.2.3).
    package static let minimumPayload = 512

    /// Bytes of the largest UDP message that its sender takes.
    package var payloadSize: UInt16
    /// Extended response code, version, and flags, of which DO is the highest bit of the lower half.
    package var codeAndFlags: UInt32

    package init(payloadSize: UInt16, codeAndFlags: UInt32 = 0) {
        self.payloadSize = payloadSize
        self.codeAndFlags = codeAndFlags
    }

    /// What a responder puts into its own answer: DO is copied (RFC 3225 section 3), the version is 0.
    package var reply: ExtendedDNS {
        ExtendedDNS(payloadSize: ExtendedDNS.preferredPayload, codeAndFlags: codeAndFlags & 0x8000)
    }

    package func emit(into writer: inout ByteWriter) {
        writer.put8(0)
        writer.put16(DNSType.opt)
        writer.put16(payloadSize)
        writer.put32(codeAndFlags)
        writer.put16(0)
    }
}
