// SPDX-License-Identifier: Apache-2.0
import Wire

/// The addresses that DHCP assigns to one hardware address only, and the guest's name if it is fixed:
/// `52:54:00:00:00:01,192.168.105.10`, with `,::10` or `,fd12:3456:789a::10` for IPv6, and with `,web` for the name.
package struct AddressReservation: Hashable, Sendable {
    /// Of the guest.
    package let hardware: MACAddress
    /// The address that it gets.
    package let address: IPv4Address
    /// The IPv6 address that it gets; nil for none. One that begins with 64 zeros is completed by the network's prefix.
    package let address6: IPv6Address?
    /// The name that it has, whatever name it sends; no other guest gets it.
    package let name: GuestName?

    /// - Parameter address: within the guests' network; the caller checks that.
    package init(
        hardware: MACAddress, address: IPv4Address, address6: IPv6Address? = nil, name: GuestName? = nil
    ) {
        self.hardware = hardware
        self.address = address
        self.address6 = address6
        self.name = name
    }

    /// Parses the forms above. Nil for any other text, for addresses that no guest can have, and for a text that is no
    /// `GuestName`.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ",", omittingEmptySubsequences: false)
        guard (2...4).contains(parts.count), let hardware = MACAddress(parts[0]), !hardware.isGroup, hardware != .zero,
            let address = IPv4Address(parts[1]), address != .any,
            !address.isLoopback, !address.isMulticastOrBroadcast
        else { return nil }
        var name: GuestName?, address6: IPv6Address?
        for part in parts[2...] {
            if address6 == nil, name == nil, let six = IPv6Address(part), AddressReservation.isGuests(six) {
                address6 = six
            } else if name == nil, let valid = GuestName(part) {
                name = valid
            } else {
                return nil
            }
        }
        self.init(hardware: hardware, address: address, address6: address6, name: name)
    }

    /// Whether a guest can have an address: neither the network's own nor its gateway's, nor that of a link or a group.
    private static func isGuests(_ address: IPv6Address) -> Bool {
        address.low > 1 && !address.isLinkLocal && !address.isMulticast
    }

    /// The whole IPv6 address in a network; nil for none, and for one of another network.
    package func address6(in network: IPv6Network) -> IPv6Address? {
        guard let address6 else { return nil }
        let whole = address6.high == 0 ? IPv6Address(network.base.high, address6.low) : address6
        return network.contains(whole) ? whole : nil
    }
}

extension AddressReservation: CustomStringConvertible {
    package var description: String {
        "\(hardware),\(address)" + (address6.map { ",\($0)" } ?? "") + (name.map { ",\($0)" } ?? "")
    }
}
