// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Wire

/// The names that reservations fix, by guest, address and name.
struct FixedNames: Sendable {
    private var names: [MACAddress: GuestName] = [:]
    private var reservations: [GuestName: AddressReservation] = [:]
    private var addresses: [IPv4Address: GuestName] = [:]

    init(_ reservations: [AddressReservation]) {
        for one in reservations {
            guard let name = one.name else { continue }
            names[one.hardware] = name
            addresses[one.address] = name
            self.reservations[name] = one
        }
    }

    /// The name of the guest with this hardware address.
    func name(of hardware: MACAddress) -> GuestName? { names[hardware] }

    /// The name of the guest that this address is reserved for.
    func name(on address: IPv4Address) -> GuestName? { addresses[address] }

    /// The guest that has this name.
    func reservation(_ name: GuestName) -> AddressReservation? { reservations[name] }
}
