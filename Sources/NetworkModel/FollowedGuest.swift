// SPDX-License-Identifier: Apache-2.0
import Wire

/// Identifies the guest of a published port whose address comes from its lease.
package enum FollowedGuest: Hashable, Sendable, CustomStringConvertible {
    /// The guest with this hardware address.
    case hardware(MACAddress)
    /// The guest that holds this name with its lease.
    case name(GuestName)

    /// Whether a lease belongs to this guest.
    /// - Parameters:
    ///   - hardware: the client's hardware address.
    ///   - name: the name that the client holds with the lease.
    package func hasLease(of hardware: MACAddress, named name: GuestName?) -> Bool {
        switch self {
        case .hardware(let own): own == hardware
        case .name(let own): own == name
        }
    }

    /// In the form of a published port.
    package var description: String {
        switch self {
        case .hardware(let hardware): hardware.description
        case .name(let name): name.description
        }
    }
}
