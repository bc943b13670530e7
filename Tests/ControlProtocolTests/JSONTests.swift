// SPDX-License-Identifier: Apache-2.0
import ControlProtocol
import TestSupport
import Testing

@Suite struct JSONTests {
    private func parse(_ text: String) throws(JSONParser.Failure) -> JSON { try JSONParser.parse(Array(text.utf8)) }

    @Test func valuesGoRound() throws {
        for text in [
            "null", "true", "false", "0", "-1", "9223372036854775807", "1.5", "\"\"", "[]", "{}",
            "{\"a\":[1,{\"b\":null}],\"c\":\"d\"}", "\"\\\"\\\\\\n\\u0001\"", "\"Grüße 🙂\"",
        ] {
            #expect(try parse(text).text == text)
        }
    }

    @Test func escapeSequencesAreDecoded() throws {
        #expect(try parse(#""\u00e9\ud83d\ude42\/\b\f\n\r\t""#) == .string("é🙂/\u{8}\u{c}\n\r\t"))
    }

    @Test func numbersOfOtherFormsAreNumbers() throws {
        #expect(try parse("1e3") == .number(1000))
        #expect(try parse("-0.25E-1") == .number(-0.025))
        #expect(try parse("9223372036854775808") == .number(9223372036854775808))
    }

    @Test(arguments: [
        "", " ", "nul", "truex", "01", "1.", ".5", "-", "1e", "+1", "[1,]", "[1 2]", "{\"a\"}", "{\"a\":1,}", "{a:1}",
        "{\"a\":1,\"a\":2}", "\"", "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "\"\\ud800\\u0041\"",
        "\"\\udc00\"", "\"a\nb\"",
        "1 2", "[", "{", "]", "1e999", "\u{feff}1", "NaN", "'a'", "0x10",
    ])
    func otherTextIsRefused(text: String) {
        #expect(throws: JSONParser.Failure.self) { try JSONParser.parse(Array(text.utf8)) }
    }

    @Test func invalidUTF8IsRefused() {
        for bytes: [UInt8] in [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80], [0xc3]] {
            #expect(throws: JSONParser.Failure.self) { try JSONParser.parse([0x22] + bytes + [0x22]) }
        }
    }

    @Test func deepNestingIsRefused() throws {
        let depth = JSONParser.maximumDepth
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        _ = try parse(nested(depth))
        #expect(throws: JSONParser.Failure.self) { try JSONParser.parse(Array(nested(depth + 1).utf8)) }
        #expect(throws: JSONParser.Failure.self) {
            try JSONParser.parse([UInt8](repeating: UInt8(ascii: "["), count: 60_000))
        }
    }

    @Test func textForTerminalsHasNoControlCharacters() {
        let hostile = "a\u{1b}[31m\u{9b}31m\u{7f}\u{2028}\u{202e}\"\\\n\r"
        let text = JSON.string(hostile).text
        for scalar in text.unicodeScalars {
            #expect(scalar.value >= 0x20 && !(0x7f...0x9f).contains(scalar.value), "\(scalar.value)")
            #expect(![0x2028, 0x202e].contains(scalar.value))
        }
        #expect((try? JSONParser.parse(Array(text.utf8))) == .string(hostile))
    }

    /// A random value.
    private func value(_ random: inout SeededGenerator, depth: Int = 0) -> JSON {
        func text(_ random: inout SeededGenerator) -> String {
            var text = ""
            for _ in 0..<Int.random(in: 0...8, using: &random) {
                text.unicodeScalars.append(Unicode.Scalar(UInt32.random(in: 0...0x10ffff, using: &random)) ?? "x")
            }
            return text
        }
        switch Int.random(in: 0...(depth < 5 ? 6 : 4), using: &random) {
        case 0: return .null
        case 1: return .bool(.random(using: &random))
        case 2: return .integer(.random(in: .min ... .max, using: &random))
        case 3: return .number(.random(in: -1e30...1e30, using: &random))
        case 4: return .string(text(&random))
        case 5:
            return .array((0..<Int.random(in: 0...4, using: &random)).map { _ in value(&random, depth: depth + 1) })
        default:
            return .object(
                (0..<Int.random(in: 0...4, using: &random)).map {
                    ("\($0)" + text(&random), value(&random, depth: depth + 1))
                })
        }
    }

    @Test(arguments: Rounds.seeds(20))
    func randomValuesGoRound(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<100 {
            let value = value(&random)
            #expect(try JSONParser.parse(Array(value.text.utf8)) == value)
        }
    }

    /// Whatever comes is a value or a failure; what was accepted is accepted again after it was printed.
    @Test(arguments: Rounds.seeds(20))
    func damagedInputIsHarmless(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let alphabet = Array("{}[]\",:\\u0123456789eE+-.truefalsn \n\u{1b}é".utf8)
        for _ in 0..<200 {
            var bytes = Array(value(&random).text.utf8)
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let place = Int.random(in: 0...bytes.count, using: &random)
                switch Int.random(in: 0...3, using: &random) {
                case 0 where place < bytes.count: bytes[place] = .random(in: 0...255, using: &random)
                case 1 where place < bytes.count: bytes.remove(at: place)
                case 2: bytes.removeLast(bytes.count - place)
                default: bytes.insert(alphabet.randomElement(using: &random)!, at: place)
                }
            }
            guard let value = try? JSONParser.parse(bytes) else { continue }
            #expect((try? JSONParser.parse(Array(value.text.utf8))) == value)
        }
    }

    @Test func inputThatEndsAnywhereIsRefused() {
        let whole = Array(#"{"id":12,"method":"status","params":{"a":[true,null,"\u00e9\ud83d\ude42"]}}"#.utf8)
        for length in 0..<whole.count {
            #expect(throws: JSONParser.Failure.self) { try JSONParser.parse(Array(whole[..<length])) }
        }
    }
}
