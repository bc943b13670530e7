// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Wire

/// The client FQDN option (RFC 4702): octets of flags and of two unused return codes, and a domain name.
struct ClientFQDN {
    /// RFC 4702 section 2.1.
    struct Flags: OptionSet {
        let rawValue: UInt8
        /// The server adds the name's address to DNS.
        static let serverUpdates = Flags(rawValue: 1 << 0)
        /// The server does not do what the client's S flag requests.
        static let overrides = Flags(rawValue: 1 << 1)
        /// The name has the encoding of RFC 1035 section 3.1; otherwise it is in ASCII.
        static let isEncoded = Flags(rawValue: 1 << 2)
        /// The server adds nothing to DNS.
        static let noUpdates = Flags(rawValue: 1 << 3)
    }

    /// Octets before the name.
    static let headerLength = 3
    /// A server sets both return codes to it (RFC 4702 section 2.2).
    private static let returnCode: UInt8 = 255
    /// Octets that one option carries.
    private static let maximumLength = 255

    let flags: Flags
    /// As the client has sent it.
    let name: [UInt8]

    /// Nil if the value is too short for the flags.
    init?(_ value: [UInt8]) {
        guard value.count >= ClientFQDN.headerLength else { return nil }
        flags = Flags(rawValue: value[0])
        name = Array(value[ClientFQDN.headerLength...])
    }

    /// The value for the reply (RFC 4702 section 4), in the client's encoding.
    /// - Parameters:
    ///   - held: the name that the client holds with its lease. The server's DNS answers it, whatever the client
    ///     requests.
    ///   - domain: in which the name exists.
    /// - Returns: nil if the name of the client is too long for a reply.
    func reply(_ held: GuestName?, _ domain: GuestDomain?) -> [UInt8]? {
        var result: Flags = flags.intersection(.isEncoded)
        var name = self.name
        if let held, let domain {
            result.insert(.serverUpdates)
            let text = "\(held).\(domain)"
            name = flags.contains(.isEncoded) ? DNSName(text)?.bytes ?? [] : Array(text.utf8)
        } else {
            result.insert(.noUpdates)
        }
        if result.contains(.serverUpdates) != flags.contains(.serverUpdates) { result.insert(.overrides) }
        let value = [result.rawValue, ClientFQDN.returnCode, ClientFQDN.returnCode] + name
        return value.count <= ClientFQDN.maximumLength ? value : nil
    }
}
