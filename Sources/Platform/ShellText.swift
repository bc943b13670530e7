// SPDX-License-Identifier: Apache-2.0
import Wire

/// Commands for a user to paste into a shell of POSIX. What other programs have named cannot leave its word, and cannot
/// control the terminal.
package enum ShellText {
    /// The words as a command line.
    package static func command(_ words: [String]) -> String { words.map(quoted).joined(separator: " ") }

    /// The words as a command line, with the shell's words.
    package static func command(_ words: String...) -> String { command(words) }

    /// A word, in single quotes if it has other characters than letters, digits and a few marks. `?` takes the place of
    /// control characters.
    package static func quoted(_ word: String) -> String {
        let text = PrintableText.line(word, limit: 4096)
        let isPlain =
            !text.isEmpty
            && text.utf8.allSatisfy { byte in
                (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                    || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
                    || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || "-_./:,=@%+".utf8.contains(byte)
            }
        // A quote inside ends the quoted part, is escaped, and begins another one.
        return isPlain ? text : "'" + text.replacing(text: "'", with: "'\\''") + "'"
    }
}
