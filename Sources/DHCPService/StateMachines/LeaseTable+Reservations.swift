// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Wire

// Reservations that change while the server runs.

extension LeaseTable {
    /// Reserves an address for a hardware address, or changes that reservation. Leases stay as they are.
    package mutating func reserve(_ reservation: AddressReservation) {
        removeReservation(of: reservation.hardware)
        reservations[reservation.hardware] = reservation.address
        reservedFor[reservation.address] = reservation.hardware
        reservedInPool = reservedFor.keys.count { isInPool($0) }
        skipUsed()
    }

    /// Removes the reservation of a hardware address.
    package mutating func removeReservation(of hardware: MACAddress) {
        guard let address = reservations.removeValue(forKey: hardware) else { return }
        reservedFor[address] = nil
        reservedInPool = reservedFor.keys.count { isInPool($0) }
        if isInPool(address), entries[address] == nil, address < firstUnused { firstUnused = address }
    }
}
