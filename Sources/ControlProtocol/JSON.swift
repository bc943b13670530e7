// SPDX-License-Identifier: Apache-2.0

/// A JSON value (RFC 8259). Members keep their order.
package enum JSON: Sendable {
    case string(String)
    case number(Double)
    case integer(Int)
    case bool(Bool)
    case null
    case array([JSON])
    case object([(String, JSON)])

    /// The value on one line, without line ends or control characters: safe for a terminal, a log and a line protocol.
    package var text: String {
        var text = ""
        write(to: &text)
        return text
    }

    private func write(to text: inout String) {
        switch self {
        case .string(let value): JSON.quote(value, to: &text)
        case .number(let value): text += value.isFinite ? String(value) : "null"
        case .integer(let value): text += String(value)
        case .bool(let value): text += value ? "true" : "false"
        case .null: text += "null"
        case .array(let values):
            text += "["
            for (index, value) in values.enumerated() {
                if index > 0 { text += "," }
                value.write(to: &text)
            }
            text += "]"
        case .object(let members):
            text += "{"
            for (index, member) in members.enumerated() {
                if index > 0 { text += "," }
                JSON.quote(member.0, to: &text)
                text += ":"
                member.1.write(to: &text)
            }
            text += "}"
        }
    }

    private static func quote(_ value: String, to text: inout String) {
        text += "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case _ where isEscaped(scalar):
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }

    /// Control characters of both sets, line and paragraph separators, and marks that change the direction of text on a
    /// terminal (UAX #9).
    private static func isEscaped(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x20, 0x7f...0x9f, 0x2028, 0x2029, 0x202a...0x202e, 0x2066...0x2069: true
        default: false
        }
    }
}

extension JSON: Equatable {
    package static func == (one: JSON, other: JSON) -> Bool {
        switch (one, other) {
        case (.string(let one), .string(let other)): one == other
        case (.number(let one), .number(let other)): one == other
        case (.integer(let one), .integer(let other)): one == other
        case (.bool(let one), .bool(let other)): one == other
        case (.null, .null): true
        case (.array(let one), .array(let other)): one == other
        case (.object(let one), .object(let other)):
            one.count == other.count && zip(one, other).allSatisfy { $0.0 == $1.0 && $0.1 == $1.1 }
        default: false
        }
    }
}

// MARK: Access

extension JSON {
    /// The member of an object; nil if there is none, or this is no object.
    package subscript(name: String) -> JSON? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.0 == name }?.1
    }

    /// The value as a string; nil if it is of another type.
    package var string: String? { if case .string(let value) = self { value } else { nil } }
    /// The value as an integer; nil if it is of another type.
    package var integer: Int? { if case .integer(let value) = self { value } else { nil } }
    /// The value as a boolean; nil if it is of another type.
    package var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    /// The elements of an array; nil if it is of another type.
    package var array: [JSON]? { if case .array(let values) = self { values } else { nil } }
    /// The members of an object in their order; nil if it is of another type.
    package var members: [(String, JSON)]? { if case .object(let members) = self { members } else { nil } }

    /// A number, whether it was written with a fraction or not.
    package var double: Double? {
        switch self {
        case .number(let value): value
        case .integer(let value): Double(value)
        default: nil
        }
    }

    /// A counter; one beyond the largest signed integer stays at that.
    package static func counter(_ value: UInt64) -> JSON { .integer(Int(clamping: value)) }

    /// The string, or null.
    package static func optional(_ value: String?) -> JSON { value.map { .string($0) } ?? .null }
}
