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

    /// The address of this guest after a lease was given to any client; unspecified while it has none.
    /// - Parameters:
    ///   - current: its address before.
    ///   - lease: the address that was given, to the client with this hardware address and name.
    package func address(
        from current: IPAddress, after lease: IPv4Address, of hardware: MACAddress, named name: GuestName?
    ) -> IPAddress {
        if hasLease(of: hardware, named: name) { return .ipv4(lease) }
        return current == .ipv4(lease) ? .ipv4(.any) : current
    }

    /// In the form of a published port.
    package var description: String {
        switch self {
        case .hardware(let hardware): hardware.description
        case .name(let name): name.description
        }
    }
}
