// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Wire

/// The host's place on a guest network that the uplink makes.
package struct HostAddressing: Sendable {
    /// The guests' network, with the gateway's address.
    package let network: GuestNetwork
    /// The hardware address of the gateway and of the address service. With vmnet, of the address service only.
    package let hardware: MACAddress
    /// The TAP, if guests are behind one.
    package let interface: String?
    /// The gateway's hardware address, if it is known.
    package let gatewayHardware: MACAddress?
    /// The gateway's IPv6 addresses, as far as they are known.
    package let gatewayIPv6: [IPv6Address]
    /// The guests' IPv6 network, which this program advertises with the first of `gatewayIPv6` as the router; nil for
    /// none, and if the uplink advertises it.
    package let network6: IPv6Network?
    /// The gateway answers DNS itself, so guests need no name service of this program.
    package let answersDNS: Bool

    package init(
        network: GuestNetwork, hardware: MACAddress, interface: String? = nil, gatewayHardware: MACAddress? = nil,
        gatewayIPv6: [IPv6Address] = [], network6: IPv6Network? = nil, answersDNS: Bool = false
    ) {
        self.network = network
        self.hardware = hardware
        self.interface = interface
        self.gatewayHardware = gatewayHardware
        self.gatewayIPv6 = gatewayIPv6
        self.network6 = network6
        self.answersDNS = answersDNS
    }
}
