// SPDX-License-Identifier: Apache-2.0

/// `value` in lower-case hexadecimal, padded with zeros to `digits`.
package func hexadecimal(_ value: some BinaryInteger, digits: Int) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
}
