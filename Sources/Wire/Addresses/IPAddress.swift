// SPDX-License-Identifier: Apache-2.0

/// An address of either version of IP.
package enum IPAddress: Hashable, Sendable {
    case ipv4(IPv4Address)
    case ipv6(IPv6Address)
}

extension IPAddress: CustomStringConvertible {
    package var description: String {
        switch self {
        case .ipv4(let address): address.description
        case .ipv6(let address): address.description
        }
    }
}
