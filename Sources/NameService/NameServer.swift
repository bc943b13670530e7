// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// A DNS server that the user has chosen, for all names or for those of one domain.
package struct NameServer: Hashable, Sendable, CustomStringConvertible {
    /// The names at and below it are queried of `server`; nil for all names that no other server has.
    package let domain: DNSName?
    /// Address and port.
    package let server: SocketAddress

    /// Parses `SERVER` or `DOMAIN=SERVER`. A server is an address, with a port behind it if that is not 53:
    /// `192.0.2.1:5353`, `2001:db8::1`, `[2001:db8::1]:5353`, `fe80::1%eth0`.
    package init?(_ text: String) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard let last = parts.last, let server = NameServer.address(last) else { return nil }
        if parts.count == 2 {
            guard let domain = DNSName(String(parts[0])), domain.isHostName else { return nil }
            self.domain = domain
        } else {
            domain = nil
        }
        self.server = server
    }

    private static func address(_ text: Substring) -> SocketAddress? {
        var host = text, port = DNSMessage.port
        let isBracketed = text.first == "["
        if isBracketed || text.utf8.count(where: { $0 == UInt8(ascii: ":") }) == 1 {
            if let colon = text.lastIndex(of: ":"), !isBracketed || text[..<colon].last == "]" {
                guard let number = UInt16(text[text.index(after: colon)...]), number > 0 else { return nil }
                port = number
                host = text[..<colon]
            }
            if isBracketed {
                guard host.last == "]", host.utf8.contains(UInt8(ascii: ":")) else { return nil }
                host = host.dropFirst().dropLast()
            }
        }
        let address =
            host.utf8.contains(UInt8(ascii: ":"))
            ? SocketAddress(String(host), port: port) : IPv4Address(host).map { SocketAddress($0, port: port) }
        return address.flatMap { $0.isUnicast ? $0 : nil }
    }

    package var description: String { (domain.map { "\($0)=" } ?? "") + server.description }
}

extension SocketAddress {
    fileprivate var isUnicast: Bool {
        if let ipv4 { return ipv4 != .any && !ipv4.isMulticastOrBroadcast }
        return ipv6.map { !$0.isMulticast && $0 != IPv6Address(0, 0) } ?? false
    }
}
