// SPDX-License-Identifier: Apache-2.0

/// Makes untrusted text safe for a terminal, a log or a script.
package enum PrintableText {
    /// One line: `?` in place of control characters, line ends and marks of direction, and no more than `limit` bytes.
    package static func line(_ text: String, limit: Int = 256) -> String {
        var result = ""
        var length = 0
        for scalar in text.unicodeScalars {
            let isControl =
                scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value) || scalar.value == 0x2028
                || scalar.value == 0x2029 || isDirectionMark(scalar)
            let shown: Unicode.Scalar = isControl ? "?" : scalar
            length += String(shown).utf8.count
            if length > limit { break }
            result.unicodeScalars.append(shown)
        }
        return result
    }

    /// The same for a message, in which lines that are indented by four spaces stay lines: commands that it proposes.
    package static func message(_ text: String, limit: Int = 16_384) -> String {
        var lines: [String] = []
        for part in text.split(separator: "\n", omittingEmptySubsequences: false) {
            if lines.isEmpty || part.hasPrefix("    ") {
                lines.append(String(part))
            } else {
                lines[lines.count - 1] += "\n" + part
            }
        }
        return lines.map { line($0, limit: limit) }.joined(separator: "\n")
    }

    /// Marks that change the direction of text on a terminal (Unicode UAX 9).
    private static func isDirectionMark(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x061c, 0x200e, 0x200f, 0x202a...0x202e, 0x2066...0x2069: true
        default: false
        }
    }
}
