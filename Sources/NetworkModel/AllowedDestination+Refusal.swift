// SPDX-License-Identifier: Apache-2.0
import Wire

// Why a text is no destination that can be allowed.

extension AllowedDestination {
    /// Why a text is refused.
    package struct Refusal: Error, CustomStringConvertible {
        /// The cause and the next step.
        package let description: String

        /// - Parameter description: the cause and the next step.
        package init(_ description: String) { self.description = description }
    }

    private static let examples =
        "203.0.113.0/24:443, [2001:db8::]/32:443, github.com:443 or '*.debian.org'"

    /// Parses `CIDR[:PORT]` or `NAME[:PORT]` of a user.
    /// - Throws: for any other text, for one with two meanings, and for a destination that no policy opens.
    package static func parse(_ text: String) throws(Refusal) -> AllowedDestination {
        let parts = WrittenDestination(text)
        if let ambiguity = parts?.ambiguity { throw Refusal(ambiguity.refusal(otherwise: "every port of the address")) }
        guard let destination = AllowedDestination(text) else {
            throw Refusal(
                reason(text, parts)
                    ?? "'\(text)' is not CIDR[:PORT] or NAME[:PORT], such as \(examples)")
        }
        if let parts, let reason = destination.refusalOfMapped(parts) { throw Refusal("'\(text)' \(reason)") }
        if destination.isNeverReached {
            throw Refusal(
                """
                '\(text)' is never reached from guests: it is the host itself, a link or a group; use \
                --host-loopback for servers on the host
                """)
        }
        if let parts, let reason = destination.refusalOfHostBits(in: parts) { throw Refusal(reason) }
        return destination
    }

    /// Why the destination has no effect on a network whose guests have names below `domain`; nil if it has.
    package func refusal(in domain: GuestDomain?) -> String? {
        guard let domain, let name, name.name.isWithin(domain.name) else { return nil }
        return """
            '\(name)' is in \(domain), the domain of this network's own guests, which reach each other without it; \
            leave it out, or choose another --domain
            """
    }

    /// Why addresses of IPv4 in the form of IPv6 are refused; nil for other destinations.
    private func refusalOfMapped(_ parts: WrittenDestination) -> String? {
        guard case .v6(let network) = network, network.prefixLength >= 96, let mapped = MappedAddress(network.base)
        else { return nil }
        let length = parts.length == nil ? "" : "/\(network.prefixLength - 96)", port = port.map { ":\($0)" } ?? ""
        return mapped.refusal(write: "\(mapped.ipv4)\(length)\(port)")
    }

    /// A network is written by its first address, so that a wrong length is noticed.
    private func refusalOfHostBits(in parts: WrittenDestination) -> String? {
        guard parts.length != nil else { return nil }
        let port = port.map { ":\($0)" } ?? ""
        switch network {
        case .v4(let network):
            guard let address = IPv4Address(parts.host), address != network.base else { return nil }
            return """
                '\(address)/\(network.prefixLength)' is an address within \(network); write \(network)\(port), or \
                \(address)\(port) for the address alone
                """
        case .v6(let network):
            guard let address = IPv6Address(parts.host), address != network.base else { return nil }
            return """
                '\(address)/\(network.prefixLength)' is an address within \(network); write \
                [\(network.base)]/\(network.prefixLength)\(port), or [\(address)]\(port) for the address alone
                """
        case .name: return nil
        }
    }

    /// What is wrong with a text; nil if it has another form.
    private static func reason(_ text: String, _ parts: WrittenDestination?) -> String? {
        if text.contains(text: "://") {
            return "'\(text)' is a URL; write the name and the port, such as github.com:443"
        }
        guard let parts else { return nil }
        let host = String(parts.host)
        if let port = parts.port, let reason = refusal(ofPort: port, parts) { return reason }
        if parts.isIPv6 || isNumbers(host) && host.contains(".") { return refusal(ofAddress: text, parts) }
        if !host.utf8.allSatisfy({ $0 < 0x80 }) {
            return "'\(host)' is not ASCII; write the name as DNS has it, with xn-- (RFC 5890)"
        }
        if host == "*" { return "'*' is every name; use --egress allow for that" }
        let isBelow = host.hasPrefix("*.")
        let name = isBelow ? String(host.dropFirst(2)) : host
        if name.contains("*") { return "'\(host)': a * stands for whole labels at the start, as in '*.debian.org'" }
        if name.lowercased() == "localhost" {
            return "'\(host)' is the host itself; use --host-loopback for servers on the host"
        }
        if host.isEmpty || isNumbers(name) { return nil }
        guard let parsed = DNSName(name), parsed.isHostName else {
            return """
                '\(host)' is not a name; write labels of letters, digits, hyphens and underscores with one dot between \
                them, each with 63 characters at most, such as github.com
                """
        }
        if parsed.labels.count == 1 {
            return isBelow
                ? "'\(host)' is everything below a top-level domain; write two labels at least, as in '*.debian.org'"
                : "'\(host)' has one label; write the whole name, such as github.com"
        }
        return parts.length == nil ? nil : "'\(text)': a name has no length; write \(host), or the network's address"
    }

    private static func refusal(ofPort text: Substring, _ parts: WrittenDestination) -> String? {
        if port(text) != nil { return nil }
        let host = (parts.isIPv6 ? "[\(parts.host)]" : "\(parts.host)") + (parts.length.map { "/\($0)" } ?? "")
        if let slash = text.firstIndex(of: "/"), let port = port(text[..<slash]) {
            let end = text[text.index(after: slash)...]
            return number(end) == nil
                ? "'/\(end)': a port is allowed for TCP and UDP alike; write \(host):\(port)"
                : "'/\(end)' is after the port; write \(host)/\(end):\(port)"
        }
        if let hyphen = text.firstIndex(of: "-"), number(text[..<hyphen]) != nil,
            number(text[text.index(after: hyphen)...]) != nil
        {
            return "'\(text)' is a range of ports; give one destination for each, or leave the port out for all ports"
        }
        return "'\(text)' is not a port from 1 to 65535; write one, such as \(host):443, or leave it out for all ports"
    }

    private static func refusal(ofAddress text: String, _ parts: WrittenDestination) -> String? {
        let isAddress = parts.isIPv6 ? IPv6Address(parts.host) != nil : IPv4Address(parts.host) != nil
        guard isAddress else {
            return parts.isIPv6
                ? "'\(parts.host)' is not an IPv6 address; write one such as 2001:db8::1, in brackets before a port"
                : "'\(parts.host)' is not an IPv4 address; write four numbers from 0 to 255, such as 203.0.113.7"
        }
        guard let length = parts.length else { return nil }
        return "'/\(length)' is not the length of a network; write a number from 0 to \(parts.isIPv6 ? 128 : 32)"
    }

    private static func isNumbers(_ text: String) -> Bool {
        text.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || $0 == UInt8(ascii: ".") }
    }

    /// Whether `EgressPolicy.allows` refuses all of it whatever the policy is.
    private var isNeverReached: Bool {
        let open = EgressPolicy()
        switch network {
        case .v4(let network):
            // The networks that are never reached are wider than /8 boundaries, but for 169.254.0.0/16.
            let least = network.base.isLinkLocal ? 16 : network.base.value >= 0xe000_0000 ? 3 : 8
            return network.prefixLength >= least && !open.allows(network.base, port: nil)
        case .v6(let network):
            let base = network.base
            let least = base.isLinkLocal ? 10 : base.isMulticast ? 8 : 96
            return network.prefixLength >= least && !open.allows(base, port: nil)
        case .name: return false
        }
    }
}
