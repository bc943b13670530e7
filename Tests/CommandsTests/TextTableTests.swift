// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Commands

@Suite struct TextTableTests {
    @Test func lineIsCutAtColumn() {
        #expect(
            TerminalText.cut("\u{1b}[1mnetwork\u{1b}[0m vde", to: 9) == "\u{1b}[1mnetwork\u{1b}[0m v",
            "colours have no width")
        #expect(TerminalText.cut("12345", to: 5) == "12345")
        #expect(TerminalText.cut("a漢字b", to: 4) == "a漢", "a letter of two columns is whole or missing")
        #expect(TerminalText.cut("e\u{301}e\u{301}", to: 1) == "e\u{301}")
    }

    @Test func columnsOfWideLettersAreAligned() {
        var table = TextTable("GUEST", "IN")
        table.add("漢字漢字", "1")
        table.add("abc", "2")
        #expect(table.text(hasColours: false) == "GUEST     IN\n漢字漢字  1\nabc       2\n")
    }

    @Test func ratesHaveOneForm() {
        #expect(TerminalText.rate(0) == "0 bit/s" && TerminalText.rate(999.6) == "1.0 kbit/s")
        #expect(TerminalText.rate(12_345_678) == "12.3 Mbit/s")
        #expect(TerminalText.rate(12_345_678, hasUnit: false) == "12.3M")
        #expect(TerminalText.rate(999_700_000, hasUnit: false) == "1.0G")
        // The widest ones decide how wide the columns of a screen are.
        for rate in stride(from: 0.0, to: 2e10, by: 777_777.7) {
            #expect(TerminalText.rate(rate).count <= 11 && TerminalText.rate(rate, hasUnit: false).count <= 5)
        }
        #expect(TerminalText.bytes(1500) == "1.5 kB")
    }
}
