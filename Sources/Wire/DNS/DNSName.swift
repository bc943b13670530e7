// SPDX-License-Identifier: Apache-2.0

/// Record types used here (IANA "DNS Parameters").
package enum DNSType {
    /// An IPv4 address.
    package static let a: UInt16 = 1
    /// The start of authority of a zone (RFC 1035 section 3.3.13).
    package static let authority: UInt16 = 6
    /// The canonical name of an alias (RFC 1035 section 3.3.1).
    package static let canonicalName: UInt16 = 5
    /// The name of an address (RFC 1035 section 3.5).
    package static let pointer: UInt16 = 12
    /// An IPv6 address (RFC 3596).
    package static let aaaa: UInt16 = 28
    /// How a service is reached: alternative names, ports, address hints, keys of ECH (RFC 9460).
    package static let service: UInt16 = 64
    /// The same for HTTPS (RFC 9460 section 9).
    package static let https: UInt16 = 65
    /// The pseudo-record of EDNS (RFC 6891 section 6.1).
    package static let opt: UInt16 = 41
    /// Zone transfers (RFC 1995, RFC 5936).
    package static let ixfr: UInt16 = 251
    /// A zone transfer (RFC 5936).
    package static let axfr: UInt16 = 252
    /// A query for records of every type (RFC 8482).
    package static let any: UInt16 = 255
}

/// A domain name as its labels, without the root's empty one. Compared without regard to ASCII case (RFC 4343).
package struct DNSName: Hashable, Sendable {
    /// Bytes of a label (RFC 1035 section 2.3.4).
    private static let labelLengths = 1...63
    /// Bytes of a whole name, length bytes and the root included.
    private static let maximumLength = 255

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
        guard labels.allSatisfy({ DNSName.labelLengths.contains($0.count) }),
            labels.reduce(1, { $0 + 1 + $1.count }) <= DNSName.maximumLength
        else {
            return nil
        }
        self.labels = labels
    }

    /// Parses a name inside a message, following compression pointers (RFC 1035 section 4.1.4), which must point
    /// backwards.
    /// - Parameter offset: where the name begins; on return, where the bytes after it begin.
    /// - Throws: `truncated`, `badLength` above 255 bytes, `badField` for a pointer that does not point backwards.
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
                guard length <= DNSName.maximumLength else { throw .badLength }
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

    /// Bytes of the name without compression.
    var encodedLength: Int { labels.reduce(1) { $0 + 1 + $1.count } }

    /// The name without compression.
    package var bytes: [UInt8] {
        var writer = ByteWriter(capacity: encodedLength)
        emit(into: &writer)
        return writer.bytes
    }

    /// Appends the name without compression.
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

extension DNSName {
    /// Whether the name has the form of a host's: letters, digits, hyphens and underscores. A name in a message may
    /// have any bytes, such as dots and line ends within a label, which mean something else in the text of other
    /// protocols.
    package var isHostName: Bool {
        !labels.isEmpty
            && labels.allSatisfy {
                $0.allSatisfy { byte in
                    switch byte {
                    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                        UInt8(ascii: "-"), UInt8(ascii: "_"):
                        true
                    default: false
                    }
                }
            }
    }
}

extension DNSName: CustomStringConvertible {
    /// The name as in a master file (RFC 1035 section 5.1): in ASCII, with other bytes, and dots and backslashes within
    /// a label, as `\DDD`.
    package var description: String {
        labels.isEmpty ? "." : labels.map { $0.map(DNSName.text).joined() }.joined(separator: ".")
    }

    private static func text(of byte: UInt8) -> String {
        if (0x21...0x7e).contains(byte), byte != UInt8(ascii: "."), byte != UInt8(ascii: "\\") {
            return String(UnicodeScalar(byte))
        }
        let digits = String(byte)
        return "\\" + String(repeating: "0", count: 3 - digits.utf8.count) + digits
    }
}
