// SPDX-License-Identifier: Apache-2.0
import Wire

/// How guests get IPv6: `auto`, `off`, `kernel`, or the network's prefix, such as `fd12:3456:789a:1::/64`.
package enum IPv6Choice: Equatable, Sendable {
    /// A unique local prefix of the network's own, and the outside by NAT if the host can be a router for guests only.
    case automatic
    /// Guests get no addresses.
    case off
    /// As `automatic`, and on a TAP the host becomes an IPv6 router if that is the only way to forward.
    case kernel
    /// As `automatic`, with this network of 64 bits.
    case prefix(IPv6Network)

    /// Parses one of the forms above. Nil for any other text, and for a prefix that no guests can have.
    package init?(_ text: String) {
        switch text {
        case "auto": self = .automatic
        case "off": self = .off
        case "kernel": self = .kernel
        default:
            guard let network = IPv6Choice.network(text) else { return nil }
            self = .prefix(network)
        }
    }

    /// Parses a prefix of 64 bits: a unique local one (RFC 4193), or one of global addresses.
    package static func network(_ text: some StringProtocol) -> IPv6Network? {
        guard text.hasSuffix("/64"), let base = IPv6Address(text.dropLast(3)), base.low == 0,
            base.high >> 57 == 0xfc >> 1 || base.isGlobal
        else { return nil }
        return IPv6Network(containing: base, prefixLength: 64)
    }
}

extension IPv6Network {
    /// The gateway's address on a guests' network: the first one.
    package var gateway: IPv6Address { IPv6Address(base.high, 1) }
}
