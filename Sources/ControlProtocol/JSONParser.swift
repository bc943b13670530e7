// SPDX-License-Identifier: Apache-2.0

/// Parses one JSON value (RFC 8259), strictly: the whole input is one value, strings are valid UTF-8 without lone
/// surrogates, an object has no name twice. The nesting is bounded, so that the stack is; memory is bounded by the
/// length of the input, which the caller bounds.
package struct JSONParser {
    /// Why an input is no JSON value, and the offset in bytes at which that was noticed.
    package struct Failure: Error, Equatable, Sendable, CustomStringConvertible {
        /// In bytes.
        package let offset: Int
        /// What is wrong there.
        package let reason: String
        package var description: String { "byte \(offset): \(reason)" }
    }

    /// Arrays and objects within each other.
    package static let maximumDepth = 16

    private let bytes: [UInt8]
    private var position = 0

    private init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// - Throws: the first offence against the grammar.
    package static func parse(_ bytes: [UInt8]) throws(Failure) -> JSON {
        var parser = JSONParser(bytes)
        let value = try parser.value(depth: 0)
        parser.skipSpace()
        guard parser.position == bytes.count else { throw parser.failure("there is more after the value") }
        return value
    }

    private func failure(_ reason: String) -> Failure { Failure(offset: position, reason: reason) }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x09 || byte == 0x0a || byte == 0x0d { position += 1 }
    }

    private mutating func value(depth: Int) throws(Failure) -> JSON {
        skipSpace()
        guard let byte = next else { throw failure("a value is missing") }
        switch byte {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try literal("true", .bool(true))
        case UInt8(ascii: "f"): return try literal("false", .bool(false))
        case UInt8(ascii: "n"): return try literal("null", .null)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
        default: throw failure("no value begins like this")
        }
    }

    private mutating func literal(_ word: StaticString, _ value: JSON) throws(Failure) -> JSON {
        for byte in word.description.utf8 {
            guard next == byte else { throw failure("'\(word)' is expected") }
            position += 1
        }
        return value
    }

    // MARK: Arrays and objects

    private mutating func enter(_ depth: Int) throws(Failure) {
        guard depth < JSONParser.maximumDepth else { throw failure("values are nested too deeply") }
        position += 1
        skipSpace()
    }

    /// Takes a comma and returns true, or the end and returns false.
    private mutating func hasMore(until end: UInt8) throws(Failure) -> Bool {
        skipSpace()
        guard let byte = next, byte == end || byte == UInt8(ascii: ",") else {
            throw failure("a comma or the end is expected")
        }
        position += 1
        return byte != end
    }

    private mutating func array(depth: Int) throws(Failure) -> JSON {
        try enter(depth)
        var values: [JSON] = []
        if next == UInt8(ascii: "]") {
            position += 1
            return .array(values)
        }
        repeat { values.append(try value(depth: depth + 1)) } while try hasMore(until: UInt8(ascii: "]"))
        return .array(values)
    }

    private mutating func object(depth: Int) throws(Failure) -> JSON {
        try enter(depth)
        var members: [(String, JSON)] = []
        var names: Set<String> = []
        if next == UInt8(ascii: "}") {
            position += 1
            return .object(members)
        }
        repeat {
            skipSpace()
            guard next == UInt8(ascii: "\"") else { throw failure("a name in quotes is expected") }
            let name = try string()
            guard names.insert(name).inserted else { throw failure("an object has one name twice") }
            skipSpace()
            guard next == UInt8(ascii: ":") else { throw failure("a colon is expected") }
            position += 1
            members.append((name, try value(depth: depth + 1)))
        } while try hasMore(until: UInt8(ascii: "}"))
        return .object(members)
    }

    // MARK: Strings

    private mutating func string() throws(Failure) -> String {
        position += 1
        var content: [UInt8] = []
        while let byte = next {
            switch byte {
            case UInt8(ascii: "\""):
                position += 1
                // What is not valid is replaced by U+FFFD. `String(validating:as:)` needs macOS 15.
                let text = String(decoding: content, as: UTF8.self)
                guard text.utf8.elementsEqual(content) else { throw failure("a string is not valid UTF-8") }
                return text
            case UInt8(ascii: "\\"):
                position += 1
                content += try escape()
            case 0..<0x20: throw failure("a string has a control character")
            default:
                content.append(byte)
                position += 1
            }
        }
        throw failure("a string has no end")
    }

    /// The bytes that an escape sequence after its backslash stands for.
    private mutating func escape() throws(Failure) -> [UInt8] {
        guard let byte = next else { throw failure("a string has no end") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [byte]
        case UInt8(ascii: "b"): return [0x08]
        case UInt8(ascii: "f"): return [0x0c]
        case UInt8(ascii: "n"): return [0x0a]
        case UInt8(ascii: "r"): return [0x0d]
        case UInt8(ascii: "t"): return [0x09]
        case UInt8(ascii: "u"): return Array(String(try scalar()).utf8)
        default: throw failure("a string has an unknown escape sequence")
        }
    }

    private mutating func scalar() throws(Failure) -> Unicode.Scalar {
        let first = try hexadecimal()
        if let scalar = Unicode.Scalar(first) { return scalar }
        // A pair of surrogates (RFC 8259 section 7).
        guard (0xd800..<0xdc00).contains(first), next == UInt8(ascii: "\\"), position + 1 < bytes.count,
            bytes[position + 1] == UInt8(ascii: "u")
        else { throw failure("a string has a lone surrogate") }
        position += 2
        let second = try hexadecimal()
        guard (0xdc00..<0xe000).contains(second),
            let scalar = Unicode.Scalar(0x10000 + (first - 0xd800) << 10 + (second - 0xdc00))
        else { throw failure("a string has a lone surrogate") }
        return scalar
    }

    private mutating func hexadecimal() throws(Failure) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = next, let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80 else {
                throw failure("four hexadecimal digits are expected")
            }
            value = value << 4 | UInt32(digit)
            position += 1
        }
        return value
    }

    // MARK: Numbers

    private mutating func number() throws(Failure) -> JSON {
        let start = position
        if next == UInt8(ascii: "-") { position += 1 }
        let first = next
        let whole = try digits()
        guard first != UInt8(ascii: "0") || whole == 1 else { throw failure("a number begins with 0") }
        var isInteger = true
        if next == UInt8(ascii: ".") {
            isInteger = false
            position += 1
            _ = try digits()
        }
        if next == UInt8(ascii: "e") || next == UInt8(ascii: "E") {
            isInteger = false
            position += 1
            if next == UInt8(ascii: "+") || next == UInt8(ascii: "-") { position += 1 }
            _ = try digits()
        }
        guard position - start <= 64 else { throw failure("a number has too many digits") }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        if isInteger, let value = Int(text) { return .integer(value) }
        guard let value = Double(text), value.isFinite else { throw failure("a number is too large") }
        return .number(value)
    }

    /// Takes digits, one at least, and returns how many.
    private mutating func digits() throws(Failure) -> Int {
        let start = position
        while let byte = next, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { position += 1 }
        guard position > start else { throw failure("a digit is expected") }
        return position - start
    }
}
