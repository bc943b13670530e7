// SPDX-License-Identifier: Apache-2.0
import Wire

/// An IPv4 address that DHCP assigns to one hardware address only, and the guest's name if it is fixed:
/// `52:54:00:00:00:01,192.168.105.10` or `52:54:00:00:00:01,192.168.105.10,web`.
package struct AddressReservation: Hashable, Sendable {
    /// Of the guest.
    package let hardware: MACAddress
    /// The address that it gets.
    package let address: IPv4Address
    /// The name that it has, whatever name it sends; no other guest gets it.
    package let name: GuestName?

    /// - Parameter address: within the guests' network; the caller checks that.
    package init(hardware: MACAddress, address: IPv4Address, name: GuestName? = nil) {
        self.hardware = hardware
        self.address = address
        self.name = name
    }

    /// Parses the forms above. Nil for any other text, for addresses that no guest can have, and for a text that is no
    /// `GuestName`.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ",", omittingEmptySubsequences: false)
        guard (2...3).contains(parts.count), let hardware = MACAddress(parts[0]), !hardware.isGroup, hardware != .zero,
            let address = IPv4Address(parts[1]), address != .any,
            !address.isLoopback, !address.isMulticastOrBroadcast
        else { return nil }
        var name: GuestName?
        if parts.count == 3 {
            guard let valid = GuestName(parts[2]) else { return nil }
            name = valid
        }
        self.init(hardware: hardware, address: address, name: name)
    }
}

extension AddressReservation: CustomStringConvertible {
    package var description: String { "\(hardware),\(address)" + (name.map { ",\($0)" } ?? "") }
}
