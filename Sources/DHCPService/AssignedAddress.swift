// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Wire

/// The address of a guest, and its name if it has one.
package struct AssignedAddress: Equatable, Sendable, CustomStringConvertible {
    /// Of a lease or a reservation.
    package let address: IPv4Address
    /// nil if the guest has none.
    package let name: GuestName?

    /// For messages: `web, 192.168.105.2`.
    package var description: String { name.map { "\($0), \(address)" } ?? "\(address)" }
}

extension DHCPServerRunner {
    /// The guests' addresses: those of leases, or else of reservations. A guest with a fixed address, as of `--netns
    /// NAMESPACE,configure`, has no lease.
    package var assignedAddresses: [MACAddress: AssignedAddress] {
        let now = BootClock.now
        var assigned: [MACAddress: AssignedAddress] = [:]
        for one in configuration.reservations {
            assigned[one.hardware] = AssignedAddress(address: one.address, name: one.name)
        }
        for lease in leases where lease.expires > now {
            assigned[lease.hardware] = AssignedAddress(address: lease.address, name: lease.name)
        }
        return assigned
    }
}
