// SPDX-License-Identifier: Apache-2.0

/// A question (RFC 1035 section 4.1.2), which is also the head of a record.
package struct DNSQuestion: Hashable, Sendable {
    /// The class of the Internet's records (RFC 1035 section 3.2.4).
    package static let internet: UInt16 = 1

    /// The name that is queried.
    package var name: DNSName
    /// `DNSType`, or any other.
    package var type: UInt16
    /// `DNSQuestion.internet`, or any other class.
    package var recordClass: UInt16 = DNSQuestion.internet

    /// A question of class Internet.
    package init(name: DNSName, type: UInt16) {
        self.name = name
        self.type = type
    }

    /// - Parameter offset: where the question begins; on return, where the bytes after it begin.
    /// - Throws: as `DNSName`; `truncated`.
    package init(parsing message: RawSpan, at offset: inout Int) throws(WireError) {
        name = try DNSName(parsing: message, at: &offset)
        guard offset + DNSView.typeAndClassLength <= message.byteCount else { throw .truncated }
        type = message.big16(at: offset)
        recordClass = message.big16(at: offset + 2)
        offset += DNSView.typeAndClassLength
    }

    /// Appends the question.
    package func emit(into writer: inout ByteWriter) {
        name.emit(into: &writer)
        writer.put16(type)
        writer.put16(recordClass)
    }
}
