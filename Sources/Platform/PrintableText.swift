// SPDX-License-Identifier: Apache-2.0

/// Makes untrusted text safe for a terminal, a log or a script.
package enum PrintableText {
    /// One line: `?` in place of control characters and line ends, and no more than `limit` bytes.
    package static func line(_ text: String, limit: Int = 256) -> String {
        var result = ""
        var length = 0
        for scalar in text.unicodeScalars {
            let isControl =
                scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value) || scalar.value == 0x2028
                || scalar.value == 0x2029
            let shown: Unicode.Scalar = isControl ? "?" : scalar
            length += String(shown).utf8.count
            if length > limit { break }
            result.unicodeScalars.append(shown)
        }
        return result
    }
}
