// SPDX-License-Identifier: Apache-2.0

extension FixedWidthInteger {
    /// A number of digits alone. Nil for a sign as well, which `init(_:radix:)` permits: `-0` is 0 there.
    package init?(digits text: some StringProtocol, radix: Int = 10) {
        guard let first = text.utf8.first, first != UInt8(ascii: "+"), first != UInt8(ascii: "-"),
            let value = Self(text, radix: radix)
        else { return nil }
        self = value
    }
}
