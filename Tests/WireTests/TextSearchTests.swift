// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import Wire

@Suite struct TextSearchTests {
    @Test func textIsFoundAtStartMiddleAndEnd() {
        for (text, searched, offset) in [
            ("fe80::1", "::", 4), ("::1", "::", 0), ("fe80::", "::", 4), (":::", "::", 0), ("aab", "ab", 1),
            ("a", "", 0),
        ] {
            let range = text.firstRange(ofText: searched)
            #expect(range?.lowerBound == text.index(text.startIndex, offsetBy: offset))
            #expect(range.map { String(text[$0]) } == searched)
        }
    }

    @Test func absentTextIsNotFound() {
        for (text, searched) in [("", "a"), ("a:b", "::"), ("ab", "abc"), ("aa", "ab")] {
            #expect(text.firstRange(ofText: searched) == nil)
            #expect(!text.contains(text: searched))
        }
    }

    @Test func eachOccurrenceIsReplaced() {
        #expect("10.0.0.0/8".replacing(text: "/", with: "-") == "10.0.0.0-8")
        #expect("+a+".replacing(text: "+", with: "++") == "++a++")
        #expect("aaa".replacing(text: "aa", with: "b") == "ba")
        #expect("".replacing(text: "x", with: "y") == "")
        #expect("häßlich"[...].replacing(text: "ß", with: "ss") == "hässlich")
    }

    /// The standard library's search is the model: over letters of one byte each, both must agree.
    @Test func searchAgreesWithStandardLibrary() {
        var random = SeededGenerator(seed: 0x7E47)
        for _ in 0..<Rounds.of(200) {
            let text = String(
                (0..<Int.random(in: 0...12, using: &random)).map { _ in "ab".randomElement(using: &random)! })
            let searched = String(
                (0..<Int.random(in: 1...3, using: &random)).map { _ in "ab".randomElement(using: &random)! })
            #expect(text.firstRange(ofText: searched) == text.firstRange(of: searched))
            #expect(text.contains(text: searched) == text.contains(searched))
            #expect(text.replacing(text: searched, with: "c") == text.replacing(searched, with: "c"))
        }
    }
}
