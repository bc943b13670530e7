// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Timing
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

    /// Takes a name from the leases of a hardware address whose clients do not send it.
    /// - Returns: these leases.
    mutating func forget(_ name: GuestName, of hardware: MACAddress) -> [Lease] {
        let held = leases.filter {
            $0.hardware == hardware && $0.name == name && GuestName($0.hostName.prefix { $0 != "." }) != name
        }
        return held.compactMap { lease in
            forgetName(on: lease.address)
            return entries[lease.address]?.lease
        }
    }

    /// An address of the pool for a client that will not request it: its reserved one, the one that it had, or one that
    /// is free. Nil if all are taken.
    func freeAddress(for hardware: MACAddress, now: Instant) -> IPv4Address? {
        if let reserved = reservations[hardware] { return reserved }
        func isFree(_ address: IPv4Address) -> Bool {
            guard reservedFor[address] == nil else { return false }
            guard let entry = entries[address] else { return true }
            return entry.lease.map { $0.hardware == hardware || $0.expires <= now } != false
                && entry.offerEnds <= now && entry.quarantineEnds <= now
        }
        if let before = leases.first(where: { $0.hardware == hardware })?.address, isFree(before) { return before }
        if firstUnused <= last { return firstUnused }
        return (first.value...last.value).lazy.map { IPv4Address($0) }.first(where: isFree)
    }
}
