// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Wire

/// The name that a client sends in a DHCP message.
struct ClientName {
    /// Nil if the client sent a text that is no valid name.
    let guest: GuestName?
    /// What the client sent, for messages and the lease file: the visible characters of ASCII in the text that `guest`
    /// is from, or else of the first text.
    let text: String

    /// Reads the client FQDN option (RFC 4702), and the host name option (RFC 2132 section 3.14) if there is no
    /// usable FQDN. The name is the first label of a qualified name.
    /// - Returns: nil if the client sends neither option.
    init?(_ message: DHCPv4Message) {
        guard message[.clientFQDN] != nil || message[.hostName] != nil else { return nil }
        let qualified = message[.clientFQDN].flatMap(ClientName.firstLabel(ofFQDN:))
        let texts = [qualified, message[.hostName]].compactMap(\.self)
        let used = texts.first { ClientName.name($0) != nil } ?? texts.first ?? []
        guest = ClientName.name(used)
        let visible = used.prefix(GuestName.maximumLength).filter { (0x21...0x7e).contains($0) }
        text = String(decoding: visible, as: UTF8.self)
    }

    /// The first label of a domain name in ASCII. Trailing zero octets are ignored (RFC 2132 section 2).
    private static func name(_ text: [UInt8]) -> GuestName? {
        let label = text.prefix { $0 != UInt8(ascii: ".") && $0 != 0 }
        return label.count <= GuestName.maximumLength ? GuestName(String(decoding: label, as: UTF8.self)) : nil
    }

    /// A value begins with one octet of flags and two of return codes; the E flag marks the encoding of RFC 1035
    /// section 3.1 (RFC 4702 section 2).
    private static func firstLabel(ofFQDN value: [UInt8]) -> [UInt8]? {
        guard value.count > 3 else { return nil }
        if value[0] & 0x04 == 0 { return Array(value[3...]) }
        let length = Int(value[3])
        guard (1...GuestName.maximumLength).contains(length), value.count - 4 >= length else { return nil }
        let label = Array(value[4..<4 + length])
        // Within a label, a dot or a zero does not separate labels.
        return label.contains(UInt8(ascii: ".")) || label.contains(0) ? nil : label
    }
}
