// SPDX-License-Identifier: Apache-2.0
import Wire

/// The type of a DHCP option's value.
package enum GuestOptionFormat: Sendable {
    /// IPv4 addresses, separated by commas.
    case addresses
    /// Domain names without compression (RFC 3397 section 2), separated by commas.
    case domains
    /// Networks and their routers in turn (RFC 3442): `10.0.0.0/8,192.168.105.2`.
    case routes
    /// Bytes as they are, without a terminator.
    case text
    /// A number of one byte.
    case number8
    /// A number of four bytes.
    case number32
    /// A number of four bytes with a sign.
    case signed32

    /// The options with a name (RFC 2132, unless noted).
    static let named: [String: (code: UInt8, format: GuestOptionFormat)] = [
        "time-offset": (2, .signed32), "router": (3, .addresses), "time-server": (4, .addresses),
        "dns-server": (6, .addresses), "log-server": (7, .addresses), "lpr-server": (9, .addresses),
        "domain-name": (15, .text), "root-path": (17, .text), "default-ttl": (23, .number8),
        "nis-domain": (40, .text), "nis-server": (41, .addresses), "ntp-server": (42, .addresses),
        "netbios-name-server": (44, .addresses), "netbios-node-type": (46, .number8), "vendor-class": (60, .text),
        "tftp-server": (66, .text), "bootfile": (67, .text), "smtp-server": (69, .addresses),
        "pop3-server": (70, .addresses), "www-server": (72, .addresses),
        // RFC 4833, RFC 8925, RFC 8910, RFC 3397, RFC 3442.
        "posix-timezone": (100, .text), "tzdb-timezone": (101, .text), "ipv6-only-preferred": (108, .number32),
        "captive-portal": (114, .text), "domain-search": (119, .domains), "classless-static-route": (121, .routes),
        // RFC 5859, RFC 5071.
        "tftp-server-address": (150, .addresses), "pxelinux-config-file": (209, .text),
        "pxelinux-path-prefix": (210, .text), "pxelinux-reboot-time": (211, .number32),
        // Microsoft's code for 121; web proxy discovery.
        "ms-classless-static-route": (249, .routes), "wpad-url": (252, .text),
    ]

    /// The type in a message: "the value is not ...".
    var description: String {
        switch self {
        case .addresses: "a list of IPv4 addresses, such as 192.0.2.1,192.0.2.2"
        case .domains: "a list of domain names, such as example.org,lab.example.org"
        case .routes: "a list of networks and routers, such as 10.0.0.0/8,192.168.105.2"
        case .text: "text"
        case .number8: "a number from 0 to 255"
        case .number32: "a number from 0 to 4294967295"
        case .signed32: "a number from -2147483648 to 2147483647"
        }
    }

    /// The value as the option carries it; nil if the text does not have this type.
    func bytes(of text: String) -> [UInt8]? {
        let parts = text.split(separator: ",", omittingEmptySubsequences: false)
        switch self {
        case .addresses:
            let addresses = parts.compactMap { IPv4Address($0) }
            return addresses.count == parts.count ? addresses.flatMap(\.bytes) : nil
        case .domains:
            let names = parts.compactMap { GuestOptionFormat.domain($0) }
            return names.count == parts.count ? names.flatMap(\.bytes) : nil
        case .routes: return GuestOptionFormat.routes(parts)
        case .text: return Array(text.utf8)
        case .number8: return UInt8(text).map { [$0] }
        case .number32: return UInt32(text).map { IPv4Address($0).bytes }
        case .signed32: return Int32(text).map { IPv4Address(UInt32(bitPattern: $0)).bytes }
        }
    }

    /// Of a list of addresses, the first at which guests find no server: none, their own loopback, or a group; nil if
    /// there is none. `hex:` takes any bytes.
    func uselessAddress(in text: String) -> IPv4Address? {
        text.split(separator: ",").compactMap { IPv4Address($0) }.first { address in
            address == .any || address.isLoopback || address.isMulticastOrBroadcast
        }
    }

    /// The network that a text with host bits means, or the name with a hyphen at an end, for a message; empty if it
    /// has another fault.
    func hint(_ text: String) -> String {
        if self == .domains {
            let faulty = text.split(separator: ",").first { name in
                name.split(separator: ".").contains { $0.hasPrefix("-") || $0.hasSuffix("-") }
            }
            return faulty.map { "; no label of \($0) may begin or end with a hyphen" } ?? ""
        }
        guard self == .routes else { return "" }
        for part in text.split(separator: ",") {
            let network = part.split(separator: "/", omittingEmptySubsequences: false)
            guard network.count == 2, let base = IPv4Address(network[0]), let length = UInt8(network[1]), length <= 32,
                IPv4Network(part) == nil
            else { continue }
            let meant = IPv4Network(containing: base, prefixLength: Int(length))
            return "; \(part) is an address within \(meant), so write \(meant), or \(base)/32 for the address alone"
        }
        return ""
    }

    /// A name with at least one label, of letters, digits, hyphens and underscores, and no hyphen at its ends.
    private static func domain(_ text: Substring) -> DNSName? {
        guard let name = DNSName(String(text)), !name.labels.isEmpty else { return nil }
        let hyphen = UInt8(ascii: "-")
        guard name.labels.allSatisfy({ $0.first != hyphen && $0.last != hyphen }) else { return nil }
        let isValid = name.labels.joined().allSatisfy {
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_")
        }
        return isValid ? name : nil
    }

    /// The length of the prefix, its bytes that count, and the router (RFC 3442).
    private static func routes(_ parts: [Substring]) -> [UInt8]? {
        guard parts.count % 2 == 0 else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: parts.count, by: 2) {
            let network = parts[index].split(separator: "/", omittingEmptySubsequences: false)
            guard network.count == 2, let base = IPv4Address(network[0]), let length = UInt8(digits: network[1]),
                length <= 32,
                let router = IPv4Address(parts[index + 1])
            else { return nil }
            let mask = length == 0 ? 0 : UInt32.max << (32 - UInt32(length))
            guard base.value & ~mask == 0 else { return nil }
            bytes += [length] + base.bytes.prefix((Int(length) + 7) / 8) + router.bytes
        }
        return bytes
    }
}
