// SPDX-License-Identifier: Apache-2.0

/// Fixed-width text for the console and for socket names.
enum TextFormat {
    /// Padded with zeros to `width` digits.
    static func zeros(_ number: Int, _ width: Int) -> String { padding("0", String(number), width) }

    /// Right-aligned.
    static func right(_ number: UInt64, _ width: Int) -> String { padding(" ", String(number), width) }

    /// Left-aligned.
    static func left(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    private static func padding(_ filler: String, _ digits: String, _ width: Int) -> String {
        String(repeating: filler, count: max(0, width - digits.count)) + digits
    }
}
