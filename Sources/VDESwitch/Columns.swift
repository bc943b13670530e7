// SPDX-License-Identifier: Apache-2.0

/// Numbers and words of a width, as the console's lines and the names of sockets have them.
enum Columns {
    /// In so many digits at least.
    static func zeros(_ number: Int, _ width: Int) -> String { padding("0", String(number), width) }

    static func right(_ number: UInt64, _ width: Int) -> String { padding(" ", String(number), width) }

    static func left(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    private static func padding(_ filler: String, _ digits: String, _ width: Int) -> String {
        String(repeating: filler, count: max(0, width - digits.count)) + digits
    }
}
