// SPDX-License-Identifier: Apache-2.0
import Platform

/// Hardware and IP addresses that two guests have.
struct AddressCheck: HostCheck {
    static let name = "addresses"

    /// Moves of an address, each within a minute of the one before, from which on two guests have it. A guest that
    /// migrates or fails over, and back, moves its address twice.
    private static let moveThreshold = 4

    let guests: [NetworkFacts.GuestPort]
    /// IP addresses that a host used without a lease.
    let conflicts: Int
    let socket: String

    init(_ network: NetworkFacts) {
        guests = network.guests
        conflicts = network.conflicts
        socket = network.socket
    }

    var diagnoses: [Diagnosis] {
        let duplicates = guests.filter { $0.moves >= AddressCheck.moveThreshold }
        var found = duplicates.prefix(16).map { duplicate in
            // The port with the higher number has joined later, as a rule.
            let ports = [duplicate.port, duplicate.previousPort ?? duplicate.port].sorted()
            return Self.failed(
                .duplicateMAC,
                "\(duplicate.hardware) moves between the ports \(ports[0]) and \(ports[1]): two guests have it",
                ShellText.command("vde_vmnet", "port", "disconnect", "\(ports[1])", "--network", socket))
        }
        if conflicts > 0 {
            let times = conflicts == 1 ? "once" : "\(conflicts) times"
            found.append(
                Self.warning(
                    .addressConflict, "\(times), a host has used an address that was to be leased",
                    ShellText.command("vde_vmnet", "events", socket, "--only", "conflict")))
        }
        return found.isEmpty ? Self.ok("no address is used twice") : found
    }
}
