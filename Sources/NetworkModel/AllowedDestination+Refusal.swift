// SPDX-License-Identifier: Apache-2.0
import Wire

// Why a text is no destination that can be allowed.

extension AllowedDestination {
    /// Why a text is refused.
    package struct Refusal: Error, CustomStringConvertible {
        /// The cause and the next step.
        package let description: String
    }

    private static let examples =
        "203.0.113.0/24:443, [2001:db8::]/32:443, github.com:443 or '*.debian.org'"

    /// Parses `CIDR[:PORT]` or `NAME[:PORT]` of a user.
    /// - Throws: for any other text, and for a destination that no policy opens.
    package static func parse(_ text: String) throws(Refusal) -> AllowedDestination {
        if let destination = AllowedDestination(text) {
            if destination.isNeverReached {
                throw Refusal(
                    description: """
                        '\(text)' is never reached from guests: it is the host itself, a link or a group; use \
                        --host-loopback for servers on the host
                        """)
            }
            return destination
        }
        throw Refusal(description: reason(text) ?? "'\(text)' is not CIDR[:PORT] or NAME[:PORT], such as \(examples)")
    }

    /// What is wrong with a name; nil if the text has another form.
    private static func reason(_ text: String) -> String? {
        if text.contains(text: "://") {
            return "'\(text)' is a URL; write the name and the port, such as github.com:443"
        }
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let host = String(parts[0])
        guard parts.count == 1 || number(parts[1]).flatMap({ UInt16(exactly: $0) }) ?? 0 > 0 else { return nil }
        if !host.utf8.allSatisfy({ $0 < 0x80 }) {
            return "'\(host)' is not ASCII; write the name as DNS has it, with xn-- (RFC 5890)"
        }
        if host == "*" { return "'*' is every name; use --egress allow for that" }
        let isBelow = host.hasPrefix("*.")
        let name = isBelow ? String(host.dropFirst(2)) : host
        if name.contains("*") { return "'\(host)': a * stands for whole labels in front, as in '*.debian.org'" }
        if name.lowercased() == "localhost" {
            return "'\(host)' is the host itself; use --host-loopback for servers on the host"
        }
        guard let parsed = DNSName(name), parsed.isHostName, parsed.labels.count == 1,
            !name.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { return nil }
        return isBelow
            ? "'\(host)' is everything below a top-level domain; write two labels at least, as in '*.debian.org'"
            : "'\(host)' has one label; write the whole name, such as github.com"
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
