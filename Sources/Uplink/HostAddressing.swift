// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Wire

/// A station that is the router to the outside over IPv6, beside the gateway.
package struct Router6: Equatable, Sendable {
    /// Its hardware address.
    package let hardware: MACAddress

    /// A router whose addresses are made from a hardware address.
    package init(hardware: MACAddress) { self.hardware = hardware }

    /// Its address on the link.
    package var linkLocal: IPv6Address { IPv6Address(linkLocalFrom: hardware) }

    /// Its addresses on a guest network: of the link, and the network's with the same lower half.
    package func addresses(in network: IPv6Network) -> [IPv6Address] {
        [linkLocal, IPv6Address(network.base.high, linkLocal.low)]
    }
}

/// The host's place on a guest network that the uplink makes.
package struct HostAddressing: Sendable {
    /// The guests' network, with the gateway's address.
    package let network: GuestNetwork
    /// The hardware address of the gateway and of the DHCP server. With vmnet, of the DHCP server only.
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
    /// The router to the outside over IPv6, if it is another station of the guests' network than the gateway.
    package let router6: Router6?
    /// The gateway answers DNS itself, so guests need no name service of this program.
    package let answersDNS: Bool

    package init(
        network: GuestNetwork, hardware: MACAddress, interface: String? = nil, gatewayHardware: MACAddress? = nil,
        gatewayIPv6: [IPv6Address] = [], network6: IPv6Network? = nil, router6: Router6? = nil,
        answersDNS: Bool = false
    ) {
        self.network = network
        self.hardware = hardware
        self.interface = interface
        self.gatewayHardware = gatewayHardware
        self.gatewayIPv6 = gatewayIPv6
        self.network6 = network6
        self.router6 = router6
        self.answersDNS = answersDNS
    }
}
