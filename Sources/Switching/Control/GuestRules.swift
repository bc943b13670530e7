// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// What guests may not do on a network that this program serves: use addresses of the gateway or of other guests (SAVI,
/// RFC 7039), or act as routers and DHCP servers (RA guard, RFC 6105; DHCPv6 shield, RFC 7610).
package struct GuestRules: Equatable, Sendable {
    /// Where the rules apply.
    package enum Reach: BitwiseCopyable, Sendable {
        /// No rules: another program serves the network.
        case nothing
        /// Another program runs the switch: frames that break the rules do not reach the uplink, but other guests.
        case uplink
        /// This program runs the switch: frames that break the rules are dropped.
        case everywhere
    }

    /// The time after which a guest that does not answer for an IPv6 address loses it to another that claims it.
    package static let addressAnswerTimeout = TimeAmount.seconds(30)

    /// Addresses that one guest may use at a time, those of DHCP aside.
    package static var addressLimit: Int { SourceBindings.guestShare }

    /// Where the rules apply.
    package var reach: Reach
    /// Whether guests may not answer DHCP.
    package var stopsDHCP = true
    /// `any` if it is not known.
    package var gateway: IPv4Address = .any
    /// The gateway's network; nil if it is not known.
    package var network: IPv4Network?
    /// `zero` if it is not known.
    package var gatewayHardware: MACAddress = .zero
    /// As far as they are known from the start; others are learned from the uplink.
    package var gatewayIPv6: [IPv6Address] = []
    /// Guests that may serve, besides the ports that may.
    package var servers: [MACAddress] = []
    /// Whether some port may serve (`PortConfiguration.mayServe`).
    package var hasServingPorts = false

    /// Rules in which no guest may serve.
    package init(_ reach: Reach) { self.reach = reach }

    var hasServers: Bool { hasServingPorts || !servers.isEmpty }
}
