// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Commands

@Suite struct TextTableTests {
    @Test func textFitsTerminal() {
        let text = "\u{1b}[1mnetwork\u{1b}[0m vde\n1234567890\nthree\nfour\n\n"
        #expect(
            TerminalText.fitted(text, rows: 4, columns: 9)
                == "\u{1b}[1mnetwork\u{1b}[0m v\n123456789\nthree\nfour", "colours have no width")
        #expect(
            TerminalText.fitted(text, rows: 3, columns: 80).split(separator: "\n").map(String.init).suffix(2)
                == ["1234567890", "... and 2 more lines"])
        #expect(TerminalText.fitted("one\n", rows: 1, columns: 80) == "one")
    }
}
