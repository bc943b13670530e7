// SPDX-License-Identifier: Apache-2.0
import Wire

/// The host name of a guest: one DNS label in lower case (RFC 1123 section 2.1) that can be parsed neither as an
/// address nor as a port and is not reserved.
package struct GuestName: Hashable, Sendable, CustomStringConvertible {
    /// Octets (RFC 1035 section 2.3.4).
    package static let maximumLength = 63
    /// Names that other programs resolve to reach the host or a service. A guest with such a name would receive their
    /// traffic: RFC 6761 section 6.3, WPAD, and RFC 5214 section 8.3 (`isatap`).
    private static let reserved: Set = ["localhost", "gateway", "host", "wpad", "isatap"]

    /// The name in lower case.
    package let description: String

    /// Nil for any other text. Case is ignored.
    package init?(_ text: some StringProtocol) {
        let hyphen = UInt8(ascii: "-"), label = Array(text.utf8.prefix(GuestName.maximumLength + 1))
        guard (1...GuestName.maximumLength).contains(label.count), label.first != hyphen, label.last != hyphen,
            label.allSatisfy({ $0 == hyphen || GuestName.isDigit($0) || GuestName.isLetter($0) }),
            // A port or a range of ports has no letter.
            label.contains(where: GuestName.isLetter)
        else { return nil }
        let name = text.lowercased()
        guard MACAddress(name) == nil, !GuestName.isHexadecimal(name), !GuestName.isReserved(name) else { return nil }
        description = name
    }

    /// Whether the name is reserved.
    package static func isReserved(_ text: some StringProtocol) -> Bool { reserved.contains(text.lowercased()) }

    private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

    private static func isLetter(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
    }

    /// inet_aton(3) parses `0x7f000001` as an address.
    private static func isHexadecimal(_ name: String) -> Bool {
        name.hasPrefix("0x") && name.dropFirst(2).allSatisfy(\.isHexDigit)
    }
}
