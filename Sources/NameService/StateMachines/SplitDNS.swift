// SPDX-License-Identifier: Apache-2.0
import Wire

/// The servers that the host's own resolver uses for the names of some domains, such as those of a VPN, as the system's
/// programs print them.
package enum SplitDNS {
    /// Domains, servers and text are bounded: another program has set them.
    private static let maximumServers = 256
    private static let maximumText = 1 << 20

    // MARK: systemd-resolved

    /// Parses what `resolvectl domain` and `resolvectl dns` print (resolvectl(1)). Each link has domains and servers; a
    /// link with the domain `~.` only has none that counts.
    ///
    ///     Link 3 (tun0): ~corp.example lab.example
    ///     Link 3 (tun0): 10.8.0.1 [2001:db8::1]:5353
    package static func systemdResolved(domains: String, servers: String) -> [NameServer] {
        let servers = links(servers)
        var found: [NameServer] = []
        for (link, domains) in links(domains) {
            let own = servers.first { $0.link == link }?.words ?? []
            for domain in domains {
                let name = domain.hasPrefix("~") ? domain.dropFirst() : domain
                for server in own {
                    // After `#` is the name of the server's certificate.
                    let address = server.prefix { $0 != "#" }
                    append("\(name)", "\(address)", to: &found)
                }
            }
        }
        return found
    }

    /// The words of each link. A long list goes on in further lines.
    private static func links(_ text: String) -> [(link: Substring, words: [Substring])] {
        var found: [(link: Substring, words: [Substring])] = []
        for line in text.prefix(maximumText).split(whereSeparator: \.isNewline) {
            var rest = line
            if let end = line.firstRange(ofText: ":"), line.hasPrefix("Global:") {
                found.append((line[..<end.lowerBound], []))
                rest = line[end.upperBound...]
            } else if line.hasPrefix("Link "), let end = line.firstRange(ofText: "):") {
                found.append((line[..<end.lowerBound], []))
                rest = line[end.upperBound...]
            }
            guard !found.isEmpty else { continue }
            found[found.count - 1].words += rest.split(separator: " ")
        }
        return found
    }

    // MARK: macOS

    /// Parses what `scutil --dns` prints (scutil(8)): the resolvers of all programs, in the order of their use. Those
    /// for programs that have chosen an interface follow, and are left out. A resolver without a domain is for all
    /// other names; those of multicast DNS have no server.
    ///
    ///     resolver #2
    ///       domain   : corp.example
    ///       nameserver[0] : 10.8.0.1
    ///       port     : 5353
    package static func scutil(_ text: String) -> [NameServer] {
        var found: [NameServer] = []
        var domain: Substring?, servers: [Substring] = [], port: Substring?, isUsable = false
        func finish() {
            guard let domain, isUsable else { return }
            for server in servers {
                let isIPv6 = server.utf8.contains(UInt8(ascii: ":"))
                append(
                    "\(domain)", port.map { isIPv6 ? "[\(server)]:\($0)" : "\(server):\($0)" } ?? "\(server)",
                    to: &found)
            }
        }
        for line in text.prefix(maximumText).split(whereSeparator: \.isNewline) {
            if line.hasPrefix("DNS configuration (") { break }
            if line.hasPrefix("resolver #") {
                finish()
                (domain, servers, port, isUsable) = (nil, [], nil, true)
                continue
            }
            guard let separator = line.firstRange(ofText: " : ") else { continue }
            let key = line[..<separator.lowerBound].filter { $0 != " " }
            let value = line[separator.upperBound...].drop { $0 == " " }
            if key == "domain" {
                domain = value
            } else if key == "port" {
                port = value
            } else if key.hasPrefix("nameserver[") {
                servers.append(value)
            } else if key == "options", value.split(separator: " ").contains("mdns") {
                isUsable = false
            }
        }
        finish()
        return found
    }

    private static func append(_ domain: String, _ server: String, to found: inout [NameServer]) {
        guard found.count < maximumServers, domain != ".", !domain.isEmpty,
            let one = NameServer("\(domain)=\(server)"), !found.contains(one)
        else { return }
        found.append(one)
    }
}
