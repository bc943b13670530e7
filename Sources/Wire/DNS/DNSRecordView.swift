// SPDX-License-Identifier: Apache-2.0

/// A record of a message: its name, and where its fields are (RFC 1035 section 4.1.3).
package struct DNSRecordView: Equatable, Sendable {
    /// The section of the message.
    package enum Section: Sendable {
        case answer, authority, additional
    }

    /// Bytes between type and time to live, and between time to live and the data's length.
    private static let timeToLiveLength = 4, dataLengthLength = 2

    /// Where the record is.
    package let section: Section
    /// The name that has the record.
    package let name: DNSName
    /// `DNSType`, or any other.
    package let type: UInt16
    /// `DNSQuestion.internet`, or any other.
    package let recordClass: UInt16
    /// Seconds.
    package let timeToLive: UInt32
    /// Where the time to live begins, in bytes from the message's start.
    package let timeToLiveOffset: Int
    /// RDATA, in bytes from the message's start.
    package let data: Range<Int>

    /// - Parameter offset: where the record begins; on return, where the bytes after it begin.
    /// - Throws: as `DNSName`; `truncated`.
    init(parsing message: RawSpan, at offset: inout Int, in section: Section) throws(WireError) {
        self.section = section
        let head = try DNSQuestion(parsing: message, at: &offset)
        (name, type, recordClass) = (head.name, head.type, head.recordClass)
        guard offset + Self.timeToLiveLength + Self.dataLengthLength <= message.byteCount else { throw .truncated }
        timeToLiveOffset = offset
        timeToLive = message.big32(at: offset)
        let start = offset + Self.timeToLiveLength + Self.dataLengthLength
        let length = Int(message.big16(at: offset + Self.timeToLiveLength))
        guard length <= message.byteCount - start else { throw .truncated }
        data = start..<start + length
        offset = data.upperBound
    }

    /// The address of an A record; nil for any other record.
    package func ipv4(in message: RawSpan) -> IPv4Address? {
        type == DNSType.a && data.count == 4 ? IPv4Address(message, at: data.lowerBound) : nil
    }

    /// The address of an AAAA record; nil for any other record.
    package func ipv6(in message: RawSpan) -> IPv6Address? {
        type == DNSType.aaaa && data.count == 16 ? IPv6Address(message, at: data.lowerBound) : nil
    }

    /// MINIMUM of a SOA record, in seconds: how long it is known that a name or record is missing (RFC 2308 section 4).
    /// Nil for any other record.
    package func minimumTimeToLive(in message: RawSpan) -> UInt32? {
        // Two names and five numbers; the last number counts.
        guard type == DNSType.authority, data.count >= 22 else { return nil }
        return message.big32(at: data.upperBound - 4)
    }

    /// The name to which a CNAME record leads; nil for any other record, and for a malformed name.
    package func canonicalName(in message: RawSpan) -> DNSName? {
        guard type == DNSType.canonicalName else { return nil }
        var offset = data.lowerBound
        guard let name = try? DNSName(parsing: message, at: &offset), offset == data.upperBound else { return nil }
        return name
    }
}

extension DNSView {
    /// The records of all sections, in order.
    /// - Throws: as `DNSName`; `truncated`; `badLength` if there are more than `limit`.
    package func records(limit: Int) throws(WireError) -> [DNSRecordView] {
        var offset = DNSView.headerLength
        for _ in 0..<questionCount { _ = try DNSQuestion(parsing: bytes, at: &offset) }
        let counts: [(DNSRecordView.Section, Int)] = [
            (.answer, answerCount), (.authority, Int(bytes.big16(at: Field.authorityCount))),
            (.additional, Int(bytes.big16(at: Field.additionalCount))),
        ]
        guard counts.reduce(0, { $0 + $1.1 }) <= limit else { throw .badLength }
        var records: [DNSRecordView] = []
        for (section, count) in counts {
            for _ in 0..<count { records.append(try DNSRecordView(parsing: bytes, at: &offset, in: section)) }
        }
        return records
    }
}
