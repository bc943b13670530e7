// SPDX-License-Identifier: Apache-2.0

/// The head of an HTTP/1 request: what of it concerns the name of the server, and where the next request begins
/// (RFC 9112). Everything that a server might read in another way is malformed.
package struct HTTPRequestHead: Equatable, Sendable {
    /// The outcome of reading the beginning of a stream.
    package enum Outcome: Equatable, Sendable {
        /// The head goes on after these bytes.
        case incomplete
        /// A whole head, and its bytes.
        case complete(HTTPRequestHead, length: Int)
        /// These bytes are no request.
        case malformed
    }

    /// What follows the head.
    package enum Body: Equatable, Sendable {
        /// So many bytes; 0 if there is no body.
        case length(Int)
        /// Chunks, each with its length.
        case chunked
    }

    /// The names in the field `Host` and in the request's target, without port.
    package private(set) var hosts: [String] = []
    /// What follows.
    package private(set) var body = Body.length(0)
    private var hasLength = false
    private let mayHaveBody: Bool

    /// Methods whose body has no meaning.
    private static let methodsWithoutBody = ["get", "head", "delete", "trace"]
    /// Fields that some servers take for others, because programs see both under one name (RFC 3875 section 4.1.18).
    private static let ambiguousFields = ["content_length", "transfer_encoding"]
    /// Fields that have no place in a trailer (RFC 9110 section 6.5.1).
    private static let headOnlyFields = ["host", "content-length", "transfer-encoding"]

    private static let lineEnd: [UInt8] = [0x0d, 0x0a]
    private static let space = UInt8(ascii: " "), tab: UInt8 = 9

    /// Reads a head from the first byte on.
    package static func read(_ bytes: [UInt8]) -> Outcome {
        var position = 0
        // RFC 9112 section 2.2: an empty line before a request is ignored.
        guard let first = line(bytes, at: &position) else { return outcome(bytes, from: position) }
        let start = position
        guard let request = first.isEmpty ? line(bytes, at: &position) : first else {
            return outcome(bytes, from: start)
        }
        guard var head = HTTPRequestHead(requestLine: bytes[request]) else { return .malformed }
        let isOld = bytes[request].last == UInt8(ascii: "0")
        while true {
            let start = position
            guard let field = line(bytes, at: &position) else { return outcome(bytes, from: start) }
            if field.isEmpty { break }
            guard head.take(field: bytes[field], isOld: isOld) else { return .malformed }
        }
        // A server may choose either of two lengths.
        if head.body == .chunked && head.hasLength { return .malformed }
        // Many servers leave such a body unread, and take it for the next request (RFC 9110 sections 9.3.1 to 9.3.8).
        if !head.mayHaveBody && head.body != .length(0) { return .malformed }
        return .complete(head, length: position)
    }

    /// Whether a stream of any protocol begins with the first line of a request, as a server that is not strict reads
    /// it: words whose last one names HTTP, with white space in front. What follows the line does not count.
    /// - Returns: nil while the line goes on.
    package static func isFirstLine(_ bytes: [UInt8]) -> Bool? {
        let text = bytes.drop(while: isWhite)
        guard let separator = text.firstIndex(where: { !isToken($0) }) else { return nil }
        guard separator > text.startIndex, isWhite(text[separator]) else { return false }
        let rest = text[separator...]
        let end = rest.firstIndex { $0 == lineEnd[0] || $0 == lineEnd[1] }
        let line = rest[..<(end ?? rest.endIndex)]
        // No server reads a request with such a byte.
        if line.contains(0) { return false }
        if end == nil { return nil }
        return String(decoding: lowercased(line), as: UTF8.self).contains(text: "http/")
    }

    private static func isWhite(_ byte: UInt8) -> Bool { byte == space || (tab...lineEnd[0]).contains(byte) }

    /// The bytes of the line at `position`, without its end; nil if it has none, or a character that no line has.
    private static func line(_ bytes: [UInt8], at position: inout Int) -> Range<Int>? {
        let start = position
        guard let feed = bytes[start...].firstIndex(of: lineEnd[1]), feed > start, bytes[feed - 1] == lineEnd[0] else {
            return nil
        }
        let range = start..<feed - 1
        guard bytes[range].allSatisfy(isText) else { return nil }
        position = feed + 1
        return range
    }

    /// Why a line could not be read: it may go on, if all of it may be part of a line.
    private static func outcome(_ bytes: [UInt8], from start: Int) -> Outcome {
        var rest = bytes[start...]
        if rest.last == lineEnd[0] { rest = rest.dropLast() }
        return rest.allSatisfy(isText) ? .incomplete : .malformed
    }

    private static func isText(_ byte: UInt8) -> Bool { byte >= space && byte != 0x7f || byte == tab }

    /// A character of a token (RFC 9110 section 5.6.2).
    private static func isToken(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
        }
    }

    // MARK: The request line

    private init?(requestLine line: ArraySlice<UInt8>) {
        let words = line.split(separator: HTTPRequestHead.space, omittingEmptySubsequences: false)
        guard words.count == 3, !words[0].isEmpty, words[0].allSatisfy(HTTPRequestHead.isToken),
            // A tunnel leads to other servers.
            !words[0].elementsEqual("CONNECT".utf8),
            words[2].elementsEqual("HTTP/1.1".utf8) || words[2].elementsEqual("HTTP/1.0".utf8)
        else { return nil }
        // Some servers read methods in any case.
        mayHaveBody = !HTTPRequestHead.lowercased(words[0]).isOne(of: HTTPRequestHead.methodsWithoutBody)
        let target = words[1]
        if target.first == UInt8(ascii: "/") || target.elementsEqual("*".utf8) { return }
        // The absolute form (RFC 9112 section 3.2.2), whose name replaces that of `Host`.
        let lower = HTTPRequestHead.lowercased(target)
        guard let scheme = ["http://", "https://"].first(where: { lower.starts(with: $0.utf8) }) else { return nil }
        let rest = target.dropFirst(scheme.utf8.count)
        let end = rest.firstIndex { "/?#".utf8.contains($0) } ?? rest.endIndex
        guard let host = HTTPRequestHead.host(rest[..<end]) else { return nil }
        hosts = [host]
    }

    private static func lowercased(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
        bytes.map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 | 0x20 : $0 }
    }

    /// The name in `NAME[:PORT]`; nil for anything else, such as one with the name of a user.
    private static func host(_ text: ArraySlice<UInt8>) -> String? {
        let parts = text.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        let isName = parts[0].allSatisfy { isToken($0) && $0 != UInt8(ascii: "*") }
        guard parts.count <= 2, !parts[0].isEmpty, isName, parts.count == 1 || number(parts[1], radix: 10) != nil
        else { return nil }
        return String(decoding: parts[0], as: UTF8.self)
    }

    // MARK: Fields

    /// Takes a field of the head.
    /// - Parameter isOld: the request's version is 1.0.
    private mutating func take(field line: ArraySlice<UInt8>, isOld: Bool) -> Bool {
        guard let colon = HTTPRequestHead.colon(line) else { return false }
        let name = HTTPRequestHead.lowercased(line[..<colon])
        if name.isOne(of: HTTPRequestHead.ambiguousFields) { return false }
        let value = HTTPRequestHead.trimmed(line[(colon + 1)...])
        switch name {
        case Array("host".utf8):
            guard !hasHost, let host = HTTPRequestHead.host(value) else { return false }
            hasHost = true
            hosts.append(host)
        case Array("content-length".utf8):
            guard !hasLength, let length = HTTPRequestHead.number(value, radix: 10) else { return false }
            hasLength = true
            if body != .chunked { body = .length(length) }
        case Array("transfer-encoding".utf8):
            guard !isOld, body != .chunked, HTTPRequestHead.lowercased(value).elementsEqual("chunked".utf8) else {
                return false
            }
            body = .chunked
        default: break
        }
        return true
    }

    /// Where the name of a field ends; nil if the line is no field.
    private static func colon(_ line: ArraySlice<UInt8>) -> Int? {
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")), colon > line.startIndex,
            line[..<colon].allSatisfy(isToken)
        else { return nil }
        return colon
    }

    /// The field `Host` was read.
    private var hasHost = false

    private static func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        var bytes = bytes.drop { $0 == space || $0 == tab }
        while let last = bytes.last, last == space || last == tab { bytes = bytes.dropLast() }
        return bytes
    }

    /// A number of up to 15 digits.
    private static func number(_ digits: ArraySlice<UInt8>, radix: Int) -> Int? {
        guard (1...15).contains(digits.count) else { return nil }
        var value = 0
        for byte in digits {
            let digit: Int
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = Int(byte - UInt8(ascii: "0"))
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = Int(byte - UInt8(ascii: "a")) + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = Int(byte - UInt8(ascii: "A")) + 10
            default: return nil
            }
            guard digit < radix else { return nil }
            value = value * radix + digit
        }
        return value
    }

    // MARK: Chunks

    /// The outcome of reading a line of a chunked body (RFC 9112 section 7.1).
    package enum ChunkOutcome: Equatable, Sendable {
        /// The line goes on after these bytes.
        case incomplete
        /// The line and the chunk of `size` bytes after it, both with their line ends, or a line of a trailer.
        case chunk(lineLength: Int, size: Int)
        /// No such line.
        case malformed
    }

    /// Reads the line before a chunk.
    package static func readChunk(_ bytes: [UInt8]) -> ChunkOutcome {
        var position = 0
        guard let line = line(bytes, at: &position) else {
            return outcome(bytes, from: 0) == .incomplete ? .incomplete : .malformed
        }
        let digits = bytes[line].prefix { $0 != UInt8(ascii: ";") && $0 != space && $0 != tab }
        // After the size there is nothing but an extension, with white space around its semicolon.
        let rest = bytes[line].dropFirst(digits.count)
        guard rest.isEmpty || rest.first(where: { $0 != space && $0 != tab }) == UInt8(ascii: ";"),
            let size = number(digits, radix: 16), size < 1 << 50
        else { return .malformed }
        return .chunk(lineLength: position, size: size)
    }

    /// Reads a line of the trailer.
    /// - Returns: `chunk` with `size` 0 at the end of the body, else 1.
    package static func readTrailer(_ bytes: [UInt8]) -> ChunkOutcome {
        var position = 0
        guard let line = line(bytes, at: &position) else {
            return outcome(bytes, from: 0) == .incomplete ? .incomplete : .malformed
        }
        if line.isEmpty { return .chunk(lineLength: position, size: 0) }
        guard let colon = colon(bytes[line]) else { return .malformed }
        if lowercased(bytes[line.lowerBound..<colon]).isOne(of: headOnlyFields) { return .malformed }
        return .chunk(lineLength: position, size: 1)
    }
}

extension [UInt8] {
    /// Whether the bytes are one of these texts.
    fileprivate func isOne(of texts: [String]) -> Bool { texts.contains { elementsEqual($0.utf8) } }
}
