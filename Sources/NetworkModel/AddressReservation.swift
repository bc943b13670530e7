// SPDX-License-Identifier: Apache-2.0
import Wire

/// An IPv4 address that belongs to one hardware address: `52:54:00:00:00:01,192.168.105.10`.
package struct AddressReservation: Hashable, Sendable {
    package let hardware: MACAddress
    package let address: IPv4Address

    package init(hardware: MACAddress, address: IPv4Address) {
        self.hardware = hardware
        self.address = address
    }

    /// Reads the form above. Returns nil for anything else, and for addresses that no machine can have.
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
