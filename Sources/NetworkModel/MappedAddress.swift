// SPDX-License-Identifier: Apache-2.0
import Wire

/// An IPv4 address that a user has written as an IPv6 address: `::ffff:192.0.2.1`. No packet has it (RFC 4291 section
/// 2.5.5.2, RFC 6890), and every option that takes an IPv6 address for packets refuses it.
package struct MappedAddress: Hashable, Sendable {
    /// What to write in its place.
    package let ipv4: IPv4Address

    /// Nil for other addresses.
    package init?(_ address: IPv6Address) {
        guard let ipv4 = address.mappedIPv4 else { return nil }
        self.ipv4 = ipv4
    }

    /// The same for a text, with brackets or without.
    package init?(_ text: some StringProtocol) {
        let isBracketed = text.hasPrefix("[") && text.hasSuffix("]")
        guard let address = isBracketed ? IPv6Address(text.dropFirst().dropLast()) : IPv6Address(text) else {
            return nil
        }
        self.init(address)
    }

    /// Why it is refused, and what to write. A sentence whose subject is the address.
    /// - Parameter written: the address with what the user has written beside it, such as a port.
    package func refusal(write written: String? = nil) -> String {
        "is the IPv4 address \(ipv4) in the form of IPv6; write \(written ?? ipv4.description)"
    }
}
