// SPDX-License-Identifier: Apache-2.0
import Wire

/// By what a published port finds its guest, whose lease decides the address.
package enum FollowedGuest: Hashable, Sendable, CustomStringConvertible {
    case hardware(MACAddress)
    case name(GuestName)

    /// Whether a lease is that guest's.
    /// - Parameter name: the name that is held with the lease.
    package func hasLease(of hardware: MACAddress, named name: GuestName?) -> Bool {
        switch self {
        case .hardware(let wanted): wanted == hardware
        case .name(let wanted): wanted == name
        }
    }

    /// As it stands in a published port.
    package var description: String {
        switch self {
        case .hardware(let hardware): hardware.description
        case .name(let name): name.description
        }
    }
}
