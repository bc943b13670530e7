// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// Hardware and IP addresses that two guests have.
struct AddressCheck: HostCheck {
    static let name = "addresses"

    /// The guests' ports, several times.
    let guests: [[NetworkFacts.GuestPort]]
    /// IP addresses that a host used without a lease.
    let conflicts: Int
    let socket: String

    init(_ network: NetworkFacts) {
        guests = network.guests
        conflicts = network.conflicts
        socket = network.socket
    }

    private struct Key: Hashable {
        let hardware: MACAddress
        let vlan: Int
    }

    /// The addresses that were at several ports of one VLAN, with the ports. A switch has an address at one port at a
    /// time, so one that two guests have moves back and forth.
    private var duplicates: [(hardware: MACAddress, ports: [Int])] {
        var places: [Key: Set<Int>] = [:]
        for guest in guests.joined() {
            places[Key(hardware: guest.hardware, vlan: guest.vlan), default: []].insert(guest.port)
        }
        return places.filter { $0.value.count > 1 }.map { ($0.key.hardware, $0.value.sorted()) }.sorted {
            $0.hardware.description < $1.hardware.description
        }
    }

    var diagnoses: [Diagnosis] {
        var found = duplicates.prefix(16).map { duplicate in
            let ports = duplicate.ports.map { "\($0)" }.joined(separator: " and ")
            return Self.failed(
                .duplicateMAC, "\(duplicate.hardware) moves between the ports \(ports): two guests have it",
                ShellText.command(
                    "vde_vmnet", "port", "disconnect", "\(duplicate.ports.last!)", "--network", socket))
        }
        if conflicts > 0 {
            found.append(
                Self.warning(
                    .addressConflict, "\(conflicts) times, a host has used an address that was to be leased",
                    ShellText.command("vde_vmnet", "events", socket, "--only", "conflict")))
        }
        return found.isEmpty ? Self.ok("no address is used twice") : found
    }
}
