// SPDX-License-Identifier: Apache-2.0
import Wire

/// A text without brackets that could be an IPv6 address, or an IPv6 address and a port: `2001:db8::1:53`.
package struct AmbiguousEndpoint {
    private let text: Substring
    private let address: Substring
    private let port: Substring

    /// Nil for a text with one meaning, or none.
    package init?(_ text: Substring) {
        guard IPv6Address(text) != nil, let colon = text.lastIndex(of: ":"), IPv6Address(text[..<colon]) != nil,
            let number = UInt16(digits: text[text.index(after: colon)...]), number > 0
        else { return nil }
        self.text = text
        address = text[..<colon]
        port = text[text.index(after: colon)...]
    }

    /// Why the text is refused, and what to write.
    /// - Parameter otherwise: what the address alone stands for, such as `every port of the address`.
    package func refusal(otherwise: String) -> String {
        """
        '\(text)' could be an address, or an address and a port; write [\(address)]:\(port) for the port, \
        or [\(text)] for \(otherwise)
        """
    }
}
