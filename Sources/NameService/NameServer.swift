// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Wire

/// A DNS server that the user has chosen, for all names or for those of one domain.
package struct NameServer: Hashable, Sendable, CustomStringConvertible {
    /// The names at and below it are queried of `server`; nil for all names that no other server has.
    package let domain: DNSName?
    /// Address and port.
    package let server: SocketAddress

    /// Parses `SERVER` or `DOMAIN=SERVER`. A server is an address, with a port after it if that is not 53:
    /// `192.0.2.1:5353`, `2001:db8::1`, `[2001:db8::1]:5353`, `fe80::1%eth0`.
    package init?(_ text: String) {
        let (domain, server) = NameServer.parts(of: text)
        guard AmbiguousEndpoint(server) == nil, let address = NameServer.address(server), address.isServers else {
            return nil
        }
        if let domain {
            guard let name = DNSName(String(domain)), name.isHostName else { return nil }
            self.domain = name
        } else {
            self.domain = nil
        }
        self.server = address
    }

    /// Why a text is not of the forms above: the cause and the next step. Nil for one that is.
    package static func refusal(of text: String) -> String? {
        if NameServer(text) != nil { return nil }
        let (domain, server) = parts(of: text), shown = PrintableText.line(String(server))
        if let domain, let reason = refusal(ofDomain: domain) { return reason }
        guard !server.isEmpty else {
            return """
                '\(PrintableText.line(text))' has no server; write the address of one, such as \
                \(domain == nil ? "" : "corp.example=")10.0.0.53
                """
        }
        if let ambiguity = AmbiguousEndpoint(server) { return ambiguity.refusal(otherwise: "port 53 of the address") }
        if let address = address(server) {
            if address.isLinkLocal6 {
                return "'\(shown)' is an address of a link; write its interface after the address, as in fe80::1%eth0"
            }
            return "no server has the address '\(shown)'; write the address of a server"
        }
        if let (_, port) = endpoint(server), port == nil {
            return "'\(shown)' has no port from 1 to 65535; write ADDRESS:PORT, or no port for 53"
        }
        if server.utf8.contains(UInt8(ascii: "%")) {
            return "'\(shown)' is no address on an interface that this host has; 'vde_vmnet interfaces' lists them"
        }
        return """
            '\(shown)' is not the address of a server; write an IPv4 or IPv6 address, such as 192.0.2.1, \
            192.0.2.1:5353 or [2001:db8::1]:5353
            """
    }

    private static func refusal(ofDomain domain: Substring) -> String? {
        let shown = PrintableText.line(String(domain))
        if domain.isEmpty || domain == "." {
            return "there is no domain before '='; write the server without '=' for all names"
        }
        guard domain.utf8.allSatisfy({ $0 < 0x80 }) else {
            return "'\(shown)' is not in ASCII; write the form of the domain with xn--"
        }
        if domain.hasPrefix("*.") || domain.hasPrefix("."),
            let name = DNSName(String(domain.drop { $0 == "*" }.dropFirst()))
        {
            return "'\(shown)' is not a domain; write \(name), which stands for the names below it, too"
        }
        guard let name = DNSName(String(domain)), name.isHostName else {
            return """
                '\(shown)' is not a domain; write labels of letters, digits, hyphens and underscores with dots between \
                them, each with 63 characters at most
                """
        }
        return nil
    }

    private static func parts(of text: String) -> (domain: Substring?, server: Substring) {
        guard let equals = text.firstIndex(of: "=") else { return (nil, text[...]) }
        return (text[..<equals], text[text.index(after: equals)...])
    }

    /// Divides `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`; nil if the brackets are wrong. The port is nil if it is
    /// no number of a port.
    private static func endpoint(_ text: Substring) -> (host: Substring, port: UInt16?)? {
        var host = text, port: UInt16? = DNSMessage.port
        let isBracketed = text.first == "["
        if isBracketed || text.utf8.count(where: { $0 == UInt8(ascii: ":") }) == 1 {
            if let colon = text.lastIndex(of: ":"), !isBracketed || text[..<colon].last == "]" {
                port = UInt16(digits: text[text.index(after: colon)...]).flatMap { $0 > 0 ? $0 : nil }
                host = text[..<colon]
            }
            if isBracketed {
                guard host.last == "]", host.utf8.contains(UInt8(ascii: ":")) else { return nil }
                host = host.dropFirst().dropLast()
            }
        }
        return (host, port)
    }

    private static func address(_ text: Substring) -> SocketAddress? {
        guard let (host, port) = endpoint(text), let port else { return nil }
        guard host.utf8.contains(UInt8(ascii: ":")) else {
            return IPv4Address(host).map { SocketAddress($0, port: port) }
        }
        guard let address = SocketAddress(String(host), port: port) else { return nil }
        return address.ipv6?.mappedIPv4.map { SocketAddress($0, port: port) } ?? address
    }

    package var description: String { (domain.map { "\($0)=" } ?? "") + server.description }
}

extension SocketAddress {
    /// An address of a link without its interface.
    fileprivate var isLinkLocal6: Bool { ipv6?.isLinkLocal == true && scope == 0 }

    /// Whether a server can have this address, and be reached there.
    fileprivate var isServers: Bool {
        if let ipv4 { return ipv4 != .any && !ipv4.isMulticastOrBroadcast }
        return ipv6.map { !$0.isMulticast && $0 != .unspecified && !isLinkLocal6 } ?? false
    }
}
