// SPDX-License-Identifier: Apache-2.0
import Wire

/// A subnet that the host uses already.
package struct UsedSubnet: Hashable, Sendable {
    /// The subnet.
    package let network: IPv4Network
    /// The interface with an address in it or with a route to it, for messages.
    package let interface: String

    /// - Parameter interface: its name, or what else describes the user of the subnet.
    package init(network: IPv4Network, interface: String) {
        self.network = network
        self.interface = interface
    }
}

/// Chooses a subnet for guests that the host does not use yet.
package enum SubnetAllocator {
    /// The default network and the ones to fall back to, all /24 with gateway .1: 192.168.105 to .254, then .0 to .104,
    /// then one range in each of the other private networks, for hosts whose VPN routes all of 192.168.
    package static var candidates: [GuestNetwork] {
        let third = Array(105...254) + Array(0...104)
        let bases =
            third.map { 0xc0a8_0001 | UInt32($0) << 8 } + (0...255).map { 0xac1f_0001 | UInt32($0) << 8 }
            + (0...255).map { 0x0a69_0001 | UInt32($0) << 8 }
        return bases.map { GuestNetwork(gateway: IPv4Address($0), prefixLength: 24) }
    }

    /// The first of `used` that overlaps `network`; nil if none does.
    package static func conflict(of network: IPv4Network, with used: [UsedSubnet]) -> UsedSubnet? {
        used.first { $0.network.overlaps(network) }
    }
}
