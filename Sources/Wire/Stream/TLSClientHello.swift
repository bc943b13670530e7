// SPDX-License-Identifier: Apache-2.0

/// Types of TLS records (RFC 8446 section 5.1).
package enum TLSRecord {
    /// The next key takes effect; TLS 1.3 has it for middleboxes only.
    package static let changeCipherSpec: UInt8 = 20
    /// An error, or the end.
    package static let alert: UInt8 = 21
    /// A handshake message, or a part of one.
    package static let handshake: UInt8 = 22
    /// Encrypted data.
    package static let applicationData: UInt8 = 23

    /// Bytes of a record's header: type, version, length.
    package static let headerLength = 5
    /// Bytes of content that a record without encryption has at most.
    package static let maximumContent = 16_384
    /// Bytes of content that an encrypted record has at most (RFC 5246 section 6.2.3).
    package static let maximumEncrypted = 16_384 + 2048

    /// Where the fields of the header are.
    enum Field {
        static let type = 0
        static let majorVersion = 1
        static let length = 3
    }

    /// The type and length of a record; nil if the bytes are no header of TLS.
    package static func header(_ bytes: RawSpan) -> (type: UInt8, length: Int)? {
        guard bytes.byteCount >= headerLength, bytes.byte(at: Field.majorVersion) == 3 else { return nil }
        return (bytes.byte(at: Field.type), Int(bytes.big16(at: Field.length)))
    }
}

/// What of a TLS ClientHello concerns the name of the server (RFC 8446 section 4.1.2, RFC 6066 section 3).
package struct TLSClientHello: Equatable, Sendable {
    /// The outcome of reading the beginning of a stream.
    package enum Outcome: Equatable, Sendable {
        /// The message goes on after these bytes.
        case incomplete
        /// A whole message, and the bytes of its records.
        case complete(TLSClientHello, length: Int)
        /// These bytes are no ClientHello.
        case malformed
    }

    private enum Message {
        static let clientHello: UInt8 = 1
        /// Type and length.
        static let headerLength = 4
        static let random = 34
        static let maximumSession = 32
    }

    private enum Extension {
        static let serverName: UInt16 = 0
        static let earlyData: UInt16 = 42
        /// RFC 9849, and its predecessor (draft-ietf-tls-esni-06).
        static let encrypted: [UInt16] = [0xfe0d, 0xffce]
        static let hostName: UInt8 = 0
    }

    /// The server's name (SNI) as it was sent; nil if there is none.
    package private(set) var name: String?
    /// A further name may be encrypted (ECH), or bytes look like that (GREASE).
    package private(set) var hidesName = false
    /// Encrypted data may follow before the server's answer.
    package private(set) var hasEarlyData = false

    /// Reads a ClientHello in one or several records, from the first byte on.
    package static func read(_ bytes: RawSpan) -> Outcome {
        var message: [UInt8] = [], position = 0
        while position < bytes.byteCount {
            guard bytes.byte(at: position) == TLSRecord.handshake else { return .malformed }
            guard bytes.byteCount - position >= TLSRecord.headerLength else { return .incomplete }
            guard let (_, length) = TLSRecord.header(bytes.from(position)),
                (1...TLSRecord.maximumContent).contains(length)
            else { return .malformed }
            position += TLSRecord.headerLength
            let end = min(position + length, bytes.byteCount)
            message += bytes.extracting(position..<end).copied()
            guard message.first ?? Message.clientHello == Message.clientHello else { return .malformed }
            guard end == position + length else { return .incomplete }
            position = end
            guard message.count >= Message.headerLength else { continue }
            let whole = Message.headerLength + Int(message[1]) << 16 + Int(message[2]) << 8 + Int(message[3])
            // Nothing may follow in the same record (RFC 8446 section 5.1: the key changes).
            if message.count > whole { return .malformed }
            guard message.count == whole else { continue }
            return parse(message.rawSpan.from(Message.headerLength)).map { .complete($0, length: position) }
                ?? .malformed
        }
        return .incomplete
    }

    private static func parse(_ body: RawSpan) -> TLSClientHello? {
        var reader = TLSReader(body)
        guard reader.skip(Message.random), let session = reader.vector8(), session.count <= Message.maximumSession,
            let suites = reader.vector16(), suites.count >= 2, let compression = reader.vector8(),
            !compression.isEmpty
        else { return nil }
        var hello = TLSClientHello()
        // Before TLS 1.2, extensions may be missing.
        if reader.isAtEnd { return hello }
        guard let extensions = reader.vector16(), reader.isAtEnd else { return nil }
        reader = TLSReader(body, extensions)
        var types: Set<UInt16> = []
        while !reader.isAtEnd {
            // RFC 8446 section 4.2: no type comes twice.
            guard let type = reader.big16(), let data = reader.vector16(), types.insert(type).inserted else {
                return nil
            }
            if Extension.encrypted.contains(type) { hello.hidesName = true }
            if type == Extension.earlyData { hello.hasEarlyData = true }
            guard type == Extension.serverName else { continue }
            guard let name = serverName(TLSReader(body, data)) else { return nil }
            hello.name = name
        }
        return hello
    }

    /// The one name of the list.
    private static func serverName(_ reader: consuming TLSReader) -> String? {
        var list = reader
        guard let names = list.vector16(), list.isAtEnd else { return nil }
        list = list.within(names)
        guard let type = list.byte(), type == Extension.hostName, let name = list.vector16(), list.isAtEnd,
            !name.isEmpty
        else { return nil }
        let bytes = list.bytes.extracting(name).copied()
        guard bytes.allSatisfy({ (0x21...0x7e).contains($0) }) else { return nil }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// Reads the vectors of TLS (RFC 8446 section 3.4).
private struct TLSReader: ~Escapable {
    let bytes: RawSpan
    private var position: Int
    private let end: Int

    @_lifetime(copy bytes)
    init(_ bytes: RawSpan, _ range: Range<Int>? = nil) {
        self.bytes = bytes
        position = range?.lowerBound ?? 0
        end = range?.upperBound ?? bytes.byteCount
    }

    var isAtEnd: Bool { position == end }

    @_lifetime(copy self)
    func within(_ range: Range<Int>) -> TLSReader { TLSReader(bytes, range) }

    @_lifetime(self: copy self)
    mutating func skip(_ count: Int) -> Bool { take(count) != nil }

    @_lifetime(self: copy self)
    mutating func byte() -> UInt8? { take(1).map { bytes.byte(at: $0.lowerBound) } }

    @_lifetime(self: copy self)
    mutating func big16() -> UInt16? { take(2).map { bytes.big16(at: $0.lowerBound) } }

    /// A vector with one byte of length.
    @_lifetime(self: copy self)
    mutating func vector8() -> Range<Int>? { byte().flatMap { take(Int($0)) } }

    /// A vector with two bytes of length.
    @_lifetime(self: copy self)
    mutating func vector16() -> Range<Int>? { big16().flatMap { take(Int($0)) } }

    @_lifetime(self: copy self)
    private mutating func take(_ count: Int) -> Range<Int>? {
        guard count <= end - position else { return nil }
        defer { position += count }
        return position..<position + count
    }
}
