// SPDX-License-Identifier: Apache-2.0

/// An address of either version of IP.
package enum IPAddress: Hashable, Sendable {
    case ipv4(IPv4Address)
    case ipv6(IPv6Address)
}

extension IPAddress {
    /// Whether it is an IPv6 address.
    package var isIPv6: Bool { if case .ipv6 = self { true } else { false } }

    /// Whether it is `0.0.0.0` or `::`: no address, or all of them.
    package var isUnspecified: Bool {
        switch self {
        case .ipv4(let address): address == .any
        case .ipv6(let address): address == .unspecified
        }
    }

    /// Whether it is an address of the loopback interface.
    package var isLoopback: Bool {
        switch self {
        case .ipv4(let address): address.isLoopback
        case .ipv6(let address): address.isLoopback
        }
    }

    /// Whether it is valid on one link only.
    package var isLinkLocal: Bool {
        switch self {
        case .ipv4(let address): address.isLinkLocal
        case .ipv6(let address): address.isLinkLocal
        }
    }

    /// `0.0.0.0` or `::`.
    package static func unspecified(isIPv6: Bool) -> IPAddress { isIPv6 ? .ipv6(.unspecified) : .ipv4(.any) }

    /// As text before a port: an IPv6 address is in brackets (RFC 5952 section 6).
    package var hostText: String { isIPv6 ? "[\(self)]" : description }
}

extension IPAddress: CustomStringConvertible {
    package var description: String {
        switch self {
        case .ipv4(let address): address.description
        case .ipv6(let address): address.description
        }
    }
}
