// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Wire

/// The names and IPv6 addresses that reservations fix, by guest, address and name.
struct FixedNames: Sendable {
    private var names: [MACAddress: GuestName] = [:]
    private var reservations: [GuestName: AddressReservation] = [:]
    private var addresses: [IPv4Address: GuestName] = [:]
    /// Reservations of IPv6 addresses, by guest and by the address as it was given.
    private var guests6: [MACAddress: AddressReservation] = [:]
    private var reservations6: [IPv6Address: AddressReservation] = [:]

    init(_ reservations: [AddressReservation]) {
        for one in reservations {
            if let address = one.address6 {
                guests6[one.hardware] = one
                reservations6[address] = one
            }
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

    /// The IPv6 address in a network that is reserved for the guest with this hardware address.
    func address6(of hardware: MACAddress, in network: IPv6Network) -> IPv6Address? {
        guests6[hardware]?.address6(in: network)
    }

    /// The hardware address of the guest that this address of a network is reserved for.
    func hardware(on address: IPv6Address, in network: IPv6Network) -> MACAddress? {
        let found = reservations6[address] ?? reservations6[IPv6Address(0, address.low)]
        return found?.address6(in: network) == address ? found?.hardware : nil
    }

    /// The guest that has this name.
    func reservation(_ name: GuestName) -> AddressReservation? { reservations[name] }
}
