// SPDX-License-Identifier: Apache-2.0
import Wire

/// The guests' network: a subnet, the host's address on it, and the range that DHCP assigns.
package struct GuestNetwork: Equatable, Sendable {
    /// The subnet.
    package let network: IPv4Network
    /// The host's address on it.
    package let gateway: IPv4Address
    /// The first address that DHCP assigns.
    package let firstLease: IPv4Address
    /// The last address that DHCP assigns.
    package let lastLease: IPv4Address

    /// - Parameters:
    ///   - prefixLength: 0 to 32.
    ///   - lastLease: the last address before the broadcast address if nil.
    package init(gateway: IPv4Address, prefixLength: Int, lastLease: IPv4Address? = nil) {
        network = IPv4Network(containing: gateway, prefixLength: prefixLength)
        self.gateway = gateway
        firstLease = gateway.advanced(by: 1)
        self.lastLease = lastLease ?? network.broadcast.advanced(by: -1)
    }

    /// Why a guest cannot have `address`; nil if it can.
    package func refusal(ofGuest address: IPv4Address) -> String? {
        guard network.contains(address), address != network.base, address != network.broadcast else {
            return "\(address) is not an address for guests in \(network)"
        }
        return address == gateway ? "\(address) is the gateway, which is this host" : nil
    }

    /// Why the address cannot be reserved for a guest; nil if it can.
    package func refusal(of reservation: AddressReservation) -> String? { refusal(ofGuest: reservation.address) }

    /// Whether the gateway is the network's first host address, and DHCP assigns all the others. vmnet's network
    /// objects can be of this form only.
    package var gatewayIsFirstHost: Bool {
        gateway == network.base.advanced(by: 1) && lastLease == network.broadcast.advanced(by: -1)
    }
}
