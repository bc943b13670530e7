// SPDX-License-Identifier: Apache-2.0

/// Response codes (RFC 1035 section 4.1.1).
package enum DNSResponseCode: UInt8, Sendable {
    case noError = 0, formatError, serverFailure, nameError, notImplemented, refused
}

/// A record of class Internet, without its name and its time to live.
package struct DNSRecord: Equatable, Sendable {
    /// `DNSType`.
    package let type: UInt16
    /// RDATA.
    package let data: [UInt8]

    /// A record with its data in the form of its type.
    package init(type: UInt16, data: [UInt8]) {
        self.type = type
        self.data = data
    }

    /// An A record.
    package init(_ address: IPv4Address) { self.init(type: DNSType.a, data: address.bytes) }

    /// An AAAA record.
    package init(_ address: IPv6Address) { self.init(type: DNSType.aaaa, data: address.bytes) }

    /// A PTR record.
    package init(pointer name: DNSName) { self.init(type: DNSType.pointer, data: name.bytes) }
}

/// DNS messages to send.
package enum DNSMessage {
    /// The port of servers (RFC 1035 section 4.2).
    package static let port: UInt16 = 53
    /// Bytes of the longest message.
    package static let maximumLength = 65_535
    /// Bytes of the length before a message over TCP (RFC 1035 section 4.2.2).
    package static let lengthPrefix = 2

    /// Bytes of the message after the length prefix at `offset` of a TCP stream.
    package static func length(in stream: RawSpan, at offset: Int = 0) -> Int { Int(stream.big16(at: offset)) }

    /// `message` with its length in front, for TCP (RFC 1035 section 4.2.2).
    package static func withLengthPrefix(_ message: [UInt8]) -> [UInt8] {
        [UInt8(message.count >> 8), UInt8(truncatingIfNeeded: message.count)] + message
    }

    /// A recursive query with one question.
    package static func query(id: UInt16, _ question: DNSQuestion) -> [UInt8] {
        var writer = ByteWriter(capacity: 64)
        emitHeader(into: &writer, id: id, flags: DNSView.Flags.recursionDesired, answers: 0)
        question.emit(into: &writer)
        return writer.bytes
    }

    /// An answer to `question`: `records` hold the data of one record each, 4 or 16 bytes; none if the name has no
    /// record of the type.
    package static func answer(
        id: UInt16, isRecursionDesired: Bool, question: DNSQuestion, records: [[UInt8]], timeToLive: UInt32
    ) -> [UInt8] {
        var writer = ByteWriter(capacity: 96)
        emitHeader(
            into: &writer, id: id,
            flags: DNSView.Flags.response | DNSView.Flags.authoritative | DNSView.Flags.recursionAvailable
                | (isRecursionDesired ? DNSView.Flags.recursionDesired : 0), answers: UInt16(records.count))
        question.emit(into: &writer)
        for record in records {
            emit(
                record, type: question.type, recordClass: question.recordClass, timeToLive: timeToLive, into: &writer)
        }
        return writer.bytes
    }

    /// An authoritative answer to `query`, with `records` of the name that it has: none if the name has no record of
    /// the type. The question is copied byte for byte, because clients compare its case. Has an OPT record if the query
    /// has one (RFC 6891 section 6.1.1).
    /// - Returns: nil if the question cannot be parsed.
    package static func answer(to query: DNSView, records: [DNSRecord], timeToLive: UInt32) -> [UInt8]? {
        guard let end = (try? query.questionAndEnd())?.end else { return nil }
        let extended = (try? query.extended()) ?? nil
        var writer = ByteWriter(capacity: 128)
        let copied = query.flags & (DNSView.Flags.recursionDesired | DNSView.Flags.checkingDisabled)
        emitHeader(
            into: &writer, id: query.id,
            flags: DNSView.Flags.response | DNSView.Flags.authoritative | DNSView.Flags.recursionAvailable | copied,
            answers: UInt16(records.count), additional: extended == nil ? 0 : 1)
        writer.put(query.bytes.extracting(DNSView.headerLength..<end).copied())
        for record in records {
            emit(record.data, type: record.type, timeToLive: timeToLive, into: &writer)
        }
        extended?.reply.emit(into: &writer)
        return writer.bytes
    }

    private static func emit(
        _ data: [UInt8], type: UInt16, recordClass: UInt16 = DNSQuestion.internet, timeToLive: UInt32,
        into writer: inout ByteWriter
    ) {
        writer.put16(0xc000 | UInt16(DNSView.headerLength))  // a pointer to the question's name
        writer.put16(type)
        writer.put16(recordClass)
        writer.put32(timeToLive)
        writer.put16(UInt16(data.count))
        writer.put(data)
    }

    /// A failure for a query whose question may be unreadable.
    package static func failure(
        id: UInt16, isRecursionDesired: Bool, question: DNSQuestion?, code: DNSResponseCode
    ) -> [UInt8] {
        var writer = ByteWriter(capacity: 64)
        emitHeader(
            into: &writer, id: id,
            flags: DNSView.Flags.response | DNSView.Flags.recursionAvailable
                | (isRecursionDesired ? DNSView.Flags.recursionDesired : 0) | UInt16(code.rawValue), answers: 0,
            questions: question == nil ? 0 : 1)
        question?.emit(into: &writer)
        return writer.bytes
    }

    /// A failure for `query`: its id, operation, RD and CD (RFC 1035 section 4.1.1, RFC 4035 section 3.1.6), its
    /// question byte for byte if it can be read, and an OPT record if it has one (RFC 6891 section 6.1.1).
    /// - Parameter isExtended: false for no OPT record, as of a server without EDNS.
    package static func failure(of query: DNSView, code: DNSResponseCode, isExtended: Bool = true) -> [UInt8] {
        let extended = isExtended ? (try? query.extended()) ?? nil : nil
        return failure(of: query, code: code, extended?.reply)
    }

    /// The response to a query with a version of EDNS above 0: BADVERS (RFC 6891 section 6.1.3).
    package static func unsupportedVersion(of query: DNSView, _ extended: ExtendedDNS) -> [UInt8] {
        var reply = extended.reply
        reply.codeAndFlags |= ExtendedDNS.badVersion
        return failure(of: query, code: .noError, reply)
    }

    private static func failure(of query: DNSView, code: DNSResponseCode, _ reply: ExtendedDNS?) -> [UInt8] {
        let end = (try? query.questionAndEnd())?.end
        var writer = ByteWriter(capacity: 96)
        let copied = DNSView.Flags.operation | DNSView.Flags.recursionDesired | DNSView.Flags.checkingDisabled
        let flags =
            DNSView.Flags.response | DNSView.Flags.recursionAvailable | (query.flags & copied) | UInt16(code.rawValue)
        emitHeader(
            into: &writer, id: query.id, flags: flags, answers: 0, questions: end == nil ? 0 : 1,
            additional: reply == nil ? 0 : 1)
        if let end { writer.put(query.bytes.extracting(DNSView.headerLength..<end).copied()) }
        reply?.emit(into: &writer)
        return writer.bytes
    }

    /// The same answer with no record but OPT and with the TC bit, so that the client repeats the query over TCP (RFC
    /// 2181 section 9, RFC 6891 section 7); nil if `message` cannot be parsed.
    package static func truncated(_ message: [UInt8]) -> [UInt8]? {
        withoutRecords(message) { $0 | DNSView.Flags.truncated }
    }

    /// The same answer with no record but OPT, as for a name that has no record of the type, or with another response
    /// code; nil if `message` cannot be parsed.
    package static func withoutRecords(_ message: [UInt8], code: DNSResponseCode = .noError) -> [UInt8]? {
        let cleared = DNSView.Flags.responseCode | DNSView.Flags.truncated | DNSView.Flags.authenticData
        return withoutRecords(message) { $0 & ~cleared | UInt16(code.rawValue) }
    }

    private static func withoutRecords(_ message: [UInt8], flags: (UInt16) -> UInt16) -> [UInt8]? {
        guard let view = try? DNSView(message.rawSpan), let (_, end) = try? view.questionAndEnd() else { return nil }
        let extended = (try? view.extended()) ?? nil
        var writer = ByteWriter(capacity: 96)
        emitHeader(
            into: &writer, id: view.id, flags: flags(view.flags), answers: 0, additional: extended == nil ? 0 : 1)
        writer.put(message[DNSView.headerLength..<end])
        extended?.emit(into: &writer)
        return writer.bytes
    }

    /// Lowers times to live that are above `limit` seconds.
    package static func limitTimesToLive(of message: inout [UInt8], records: [DNSRecordView], to limit: UInt32) {
        for record in records where record.type != DNSType.opt && record.timeToLive > limit {
            put(limit, into: &message, at: record.timeToLiveOffset)
        }
    }

    /// Writes a time to live.
    package static func put(_ seconds: UInt32, into message: inout [UInt8], at offset: Int) {
        for byte in 0..<4 { message[offset + byte] = UInt8(truncatingIfNeeded: seconds >> (24 - 8 * UInt32(byte))) }
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
