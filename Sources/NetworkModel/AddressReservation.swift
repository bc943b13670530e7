// SPDX-License-Identifier: Apache-2.0
import Wire

/// An IPv4 address that DHCP assigns to one hardware address only: `52:54:00:00:00:01,192.168.105.10`.
package struct AddressReservation: Hashable, Sendable {
    /// Of the guest.
    package let hardware: MACAddress
    /// The address that it gets.
    package let address: IPv4Address

    /// - Parameter address: within the guests' network; the caller checks that.
    package init(hardware: MACAddress, address: IPv4Address) {
        self.hardware = hardware
        self.address = address
    }

    /// Parses the form above. Nil for any other text, and for addresses that no guest can have.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ",", omittingEmptySubsequences: false)
        guard parts.count == 2, let hardware = MACAddress(parts[0]), !hardware.isGroup, hardware != .zero,
            let address = IPv4Address(parts[1]), address != .any,
            !address.isLoopback, !address.isMulticastOrBroadcast
        else { return nil }
        self.init(hardware: hardware, address: address)
    }
}

extension AddressReservation: CustomStringConvertible {
    package var description: String { "\(hardware),\(address)" }
}
