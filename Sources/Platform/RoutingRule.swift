// SPDX-License-Identifier: Apache-2.0
import Wire

/// A network that a routing rule leads to.
package enum RuleNetwork: Equatable, Sendable, CustomStringConvertible {
    case ipv4(IPv4Network)
    case ipv6(IPv6Network)

    /// The version of IP.
    package var isIPv6: Bool { if case .ipv6 = self { true } else { false } }

    /// In the form `ADDRESS/LENGTH`.
    package var description: String {
        switch self {
        case .ipv4(let network): "\(network)"
        case .ipv6(let network): "\(network)"
        }
    }
}

/// A routing rule of this host (ip-rule(8)).
package struct RoutingRule: Equatable, Sendable {
    /// Rules with a lower preference apply first.
    package let preference: UInt32
    /// The table that it looks up; nil for rules that refuse, jump, or look up the table of a VRF.
    package let table: UInt32?
    /// Whether the rule belongs to a VRF, and applies only to it.
    package let isVRF: Bool
    /// The rule applies only to packets to this network; nil: to all, and of IPv6.
    package let destination: IPv4Network?

    package init(preference: UInt32, table: UInt32?, isVRF: Bool = false, destination: IPv4Network? = nil) {
        self.preference = preference
        self.table = table
        self.isVRF = isVRF
        self.destination = destination
    }
}
