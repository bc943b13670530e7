// SPDX-License-Identifier: Apache-2.0

// What swift-argument-parser uses of FoundationEssentials, under the module name that it imports. The toolchain's
// module costs the program 6 MB, because its static library cannot be linked in parts. ArgumentParser uses two things
// of it: the description of an error, and JSON for --experimental-dump-help. If a later ArgumentParser uses more, the
// release build ends with the compiler's error. ci/release-build compiles this file; `ci/dist-check` compares the JSON
// with that of a program with the toolchain's module.

/// An error with a text for users.
public protocol LocalizedError: Error {
    /// The text, or nil if there is none.
    var errorDescription: String? { get }
}

extension LocalizedError {
    /// None, unless a type has its own.
    public var errorDescription: String? { nil }
}

/// Bytes.
public struct Data {
    var bytes: [UInt8]
}

extension String {
    /// The encodings of `init(data:encoding:)`.
    public struct Encoding: Sendable {
        /// UTF-8, the only one here.
        public static let utf8 = Encoding()
    }

    /// The text of UTF-8 bytes, or nil if they are not UTF-8.
    public init?(data: Data, encoding: Encoding) {
        self.init(validating: data.bytes, as: UTF8.self)
    }
}

/// Encodes values as JSON (RFC 8259), with sorted keys and one line for each value. ArgumentParser sets these options.
public final class JSONEncoder {
    /// The form of the text.
    public struct OutputFormatting: OptionSet, Sendable {
        public let rawValue: UInt
        public init(rawValue: UInt) { self.rawValue = rawValue }

        /// One line for each value, indented by two columns.
        public static let prettyPrinted = OutputFormatting(rawValue: 1)
        /// The keys of an object in the order of their UTF-8 bytes.
        public static let sortedKeys = OutputFormatting(rawValue: 2)
    }

    /// Without an effect: the text always has the form of both options.
    public var outputFormatting: OutputFormatting = []

    public init() {}

    /// - Throws: `EncodingError` for a number that JSON cannot express.
    public func encode<Value: Encodable>(_ value: Value) throws -> Data {
        let node = Node()
        try value.encode(to: NodeEncoder(node: node, codingPath: []))
        var text = ""
        node.write(to: &text, indentation: 0)
        return Data(bytes: Array(text.utf8))
    }
}

/// A JSON value in the making. A reference, because a container writes into it after it was handed out.
private final class Node {
    enum Content {
        case literal(String)
        case array([Node])
        case object([String: Node])
    }

    var content = Content.object([:])

    func write(to text: inout String, indentation: Int) {
        let outer = String(repeating: " ", count: indentation)
        let inner = outer + "  "
        switch content {
        case .literal(let literal): text += literal
        case .array(let elements):
            text += "[\n"
            for (index, element) in elements.enumerated() {
                text += (index == 0 ? "" : ",\n") + inner
                element.write(to: &text, indentation: indentation + 2)
            }
            text += "\n" + outer + "]"
        case .object(let members):
            text += "{\n"
            for (index, key) in members.keys.sorted().enumerated() {
                text += (index == 0 ? "" : ",\n") + inner + Node.quoted(key) + " : "
                members[key]?.write(to: &text, indentation: indentation + 2)
            }
            text += "\n" + outer + "}"
        }
    }

    static func quoted(_ string: String) -> String {
        var text = "\""
        for scalar in string.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "/": text += "\\/"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            case "\u{8}": text += "\\b"
            case "\u{c}": text += "\\f"
            case "\0"..<" ":
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text + "\""
    }
}

private struct NodeEncoder: Encoder {
    let node: Node
    let codingPath: [any CodingKey]
    var userInfo: [CodingUserInfoKey: Any] { [:] }

    func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
        if case .object = node.content {} else { node.content = .object([:]) }
        return KeyedEncodingContainer(Members<Key>(node: node, codingPath: codingPath))
    }

    func unkeyedContainer() -> any UnkeyedEncodingContainer {
        node.content = .array([])
        return Elements(node: node, codingPath: codingPath)
    }

    func singleValueContainer() -> any SingleValueEncodingContainer { Value(node: node, codingPath: codingPath) }
}

private struct Members<Key: CodingKey>: KeyedEncodingContainerProtocol {
    let node: Node
    let codingPath: [any CodingKey]

    private func member(_ key: any CodingKey) -> NodeEncoder {
        let child = Node()
        if case .object(var members) = node.content {
            members[key.stringValue] = child
            node.content = .object(members)
        }
        return NodeEncoder(node: child, codingPath: codingPath + [key])
    }

    mutating func encodeNil(forKey key: Key) { member(key).node.content = .literal("null") }

    mutating func encode<Member: Encodable>(_ value: Member, forKey key: Key) throws {
        var container = member(key).singleValueContainer()
        try container.encode(value)
    }

    mutating func nestedContainer<Inner: CodingKey>(
        keyedBy type: Inner.Type, forKey key: Key
    ) -> KeyedEncodingContainer<Inner> {
        member(key).container(keyedBy: type)
    }

    mutating func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer {
        member(key).unkeyedContainer()
    }

    mutating func superEncoder() -> any Encoder { member(SuperKey()) }
    mutating func superEncoder(forKey key: Key) -> any Encoder { member(key) }
}

private struct Elements: UnkeyedEncodingContainer {
    let node: Node
    let codingPath: [any CodingKey]

    var count: Int {
        if case .array(let elements) = node.content { elements.count } else { 0 }
    }

    private func element() -> NodeEncoder {
        let child = Node()
        if case .array(let elements) = node.content { node.content = .array(elements + [child]) }
        return NodeEncoder(node: child, codingPath: codingPath)
    }

    mutating func encodeNil() { element().node.content = .literal("null") }

    mutating func encode<Element: Encodable>(_ value: Element) throws {
        var container = element().singleValueContainer()
        try container.encode(value)
    }

    mutating func nestedContainer<Inner: CodingKey>(keyedBy type: Inner.Type) -> KeyedEncodingContainer<Inner> {
        element().container(keyedBy: type)
    }

    mutating func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer { element().unkeyedContainer() }
    mutating func superEncoder() -> any Encoder { element() }
}

private struct Value: SingleValueEncodingContainer {
    let node: Node
    let codingPath: [any CodingKey]

    mutating func encodeNil() { node.content = .literal("null") }

    mutating func encode<Content: Encodable>(_ value: Content) throws {
        switch value {
        case let value as String: node.content = .literal(Node.quoted(value))
        case let value as Bool: node.content = .literal(value ? "true" : "false")
        case let value as any BinaryInteger: node.content = .literal("\(value)")
        case let value as any BinaryFloatingPoint:
            let number = Double(value)
            guard number.isFinite else {
                throw EncodingError.invalidValue(
                    value, .init(codingPath: codingPath, debugDescription: "JSON has no \(number)"))
            }
            node.content = .literal(number == number.rounded() && abs(number) < 1e15 ? "\(Int(number))" : "\(number)")
        default: try value.encode(to: NodeEncoder(node: node, codingPath: codingPath))
        }
    }
}

private struct SuperKey: CodingKey {
    var stringValue: String { "super" }
    var intValue: Int? { nil }
    init() {}
    init?(stringValue: String) { nil }
    init?(intValue: Int) { nil }
}
