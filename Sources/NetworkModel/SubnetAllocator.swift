// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// A guest network that is led from here.
package struct GuestNetwork: Equatable, Sendable {
    package let network: IPv4Network
    /// The host's address on it.
    package let gateway: IPv4Address
    /// First and last address that DHCP gives out.
    package let firstLease: IPv4Address
    package let lastLease: IPv4Address

    package init(gateway: IPv4Address, prefixLength: Int, lastLease: IPv4Address? = nil) {
        network = IPv4Network(containing: gateway, prefixLength: prefixLength)
        self.gateway = gateway
        firstLease = gateway.advanced(by: 1)
        self.lastLease = lastLease ?? network.broadcast.advanced(by: -1)
    }

    /// Why `address` cannot be a guest's; nil if it can.
    package func refusal(ofGuest address: IPv4Address) -> String? {
        guard network.contains(address), address != network.base, address != network.broadcast else {
            return "\(address) is not an address for guests in \(network)"
        }
        return address == gateway ? "\(address) is the gateway, which is this host" : nil
    }

    /// The same for an address that is to be one machine's.
    package func refusal(of reservation: AddressReservation) -> String? { refusal(ofGuest: reservation.address) }

    /// Whether the gateway is the network's first address, and all that follow are for guests.
    package var isLedByFirstAddress: Bool {
        gateway == network.base.advanced(by: 1) && lastLease == network.broadcast.advanced(by: -1)
    }
}

/// Finds networks that nothing on this host uses.
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

    /// What the host uses already: a network and who uses it.
    package struct Use: Hashable, Sendable {
        package let network: IPv4Network
        package let by: String

        package init(network: IPv4Network, by: String) {
            self.network = network
            self.by = by
        }
    }

    /// The networks of this host's addresses and routes. Default routes, and the halves of the Internet that VPNs
    /// route, are not among them.
    package static func uses() throws(SystemError) -> [Use] {
        // A host that speaks BGP has a million routes.
        var names: [UInt32: String] = [:]
        var seen: Set<Use> = [], uses: [Use] = []
        func add(_ use: Use) { if seen.insert(use).inserted { uses.append(use) } }
        for address in try NetworkInterfaces.addresses() { add(Use(network: address.network, by: address.interface)) }
        for route in try NetworkInterfaces.routes() where route.destination.prefixLength >= 8 {
            let name = names[route.interface] ?? NetworkInterfaces.name(of: route.interface) ?? "a route"
            names[route.interface] = name
            add(Use(network: route.destination, by: name))
        }
        return uses
    }

    /// The use that stands in the way of `network`, if any.
    package static func conflict(of network: IPv4Network, with uses: [Use]) -> Use? {
        uses.first { $0.network.overlaps(network) }
    }
}
