// SPDX-License-Identifier: Apache-2.0

// A connection belongs to the hardware address that has begun it, as pins do. The address of IP may go to another
// guest, with a lease or without: that guest must not continue what a pin has opened for the guest before.
//
// What a guest sends is looked up in a conntrack zone of its hardware address, so that the kernel does not find the
// connections of other guests. Answers come without that address, and are looked up in the common zone: the zone is
// that of the original direction only. NAT keeps the answers of two guests apart.
//
// The zone is a hash, because it has 16 bits. The seed does not change, because the zones of open connections would
// change with it. Two guests have the same zone by chance in one of 65,535 cases. A guest that searches for a hardware
// address with another guest's hash could forge that guest's hardware address as well.

extension NATTable {
    /// Precedes conntrack, which is priority -200 (`NF_IP_PRI_CONNTRACK`), and rules of others for conntrack, which are
    /// -300 (`raw`): the kernel obeys the first one that gives a packet a zone or a helper.
    static let ingressPriority = -301

    func zoneRule(_ inward: String) -> String {
        guard separatesGuests, !isClosed else { return "" }
        return "    \(inward) ct original zone set jhash ether saddr mod 65535 seed 1 offset 1\n"
    }

    /// Names would be allowed, and the next holder of a guest's address would continue what they have opened, or no
    /// label would show what they have opened.
    var lacksNames: Bool { hasPins && !(separatesGuests && hasConnectionLabels) }
}
