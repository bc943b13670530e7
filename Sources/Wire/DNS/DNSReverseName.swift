// SPDX-License-Identifier: Apache-2.0

/// The reverse names of addresses: `1.105.168.192.in-addr.arpa` (RFC 1035 section 3.5), and 32 hexadecimal digits below
/// `ip6.arpa` (RFC 3596 section 2.5).
package struct DNSReverseName: Equatable, Sendable {
    /// The address that the name stands for.
    package enum Address: Hashable, Sendable {
        case ipv4(IPv4Address)
        case ipv6(IPv6Address)
    }

    private static let ipv4Suffix = DNSName("in-addr.arpa")!
    private static let ipv6Suffix = DNSName("ip6.arpa")!
    /// Hexadecimal digits of an IPv6 address.
    private static let digits = 32

    /// The address.
    package let address: Address
    /// False for a name below that of the address.
    package let isExact: Bool

    /// Nil unless `name` is the reverse name of a whole address, or below one.
    package init?(_ name: DNSName) {
        if name.isWithin(DNSReverseName.ipv4Suffix) {
            let labels = name.labels.dropLast(DNSReverseName.ipv4Suffix.labels.count)
            let text = labels.suffix(4).reversed().map { String(decoding: $0, as: UTF8.self) }.joined(separator: ".")
            guard let found = IPv4Address(text) else { return nil }
            address = .ipv4(found)
            isExact = labels.count == 4
        } else if name.isWithin(DNSReverseName.ipv6Suffix) {
            let labels = name.labels.dropLast(DNSReverseName.ipv6Suffix.labels.count)
            guard labels.count >= DNSReverseName.digits else { return nil }
            var high: UInt64 = 0, low: UInt64 = 0
            for label in labels.suffix(DNSReverseName.digits).reversed() {
                guard label.count == 1, let digit = Character(UnicodeScalar(label[0])).hexDigitValue else { return nil }
                high = high << 4 | low >> 60
                low = low << 4 | UInt64(digit)
            }
            address = .ipv6(IPv6Address(high, low))
            isExact = labels.count == DNSReverseName.digits
        } else {
            return nil
        }
    }
}
