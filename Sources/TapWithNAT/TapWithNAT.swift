// SPDX-License-Identifier: Apache-2.0
import DHCPService
import Lifecycle
import Logging
import NetworkModel
import Platform
import Switching
import TapUplink
import Timing
import Uplink
import UserUplink
import Wire

// Theory of operation
// ===================
//
//     guest --IPv4, and IPv6 to the host--> TAP, the gateway PREFIX::1
//     guest --IPv6 to the outside---------> user-mode NAT, the router that is advertised
//
// Both are ports of the switch, and stations of one network with a hardware address each. The switch passes no frame
// between them. The NAT handles no ARP, IPv4, DHCP or DNS, and no IPv6 to the host, which guests reach by the TAP under
// the rules of its firewall.

/// The uplink on a TAP of a host whose kernel forwards IPv6 between all interfaces or none (Linux before 6.17): the
/// user-mode NAT beside the TAP carries guests' IPv6 to the outside, so that nothing of the host changes.
package final class TapWithNAT: Uplink {
    private let options: UplinkOptions
    private let flowLimit: Int
    private let context: UplinkContext
    private let tap: TapUplink
    /// nil until the TAP is open, and if guests have no IPv6.
    private var nat: UserUplink?
    /// The published ports of each.
    private var published: (four: [PublishedPort], six: [PublishedPort])

    /// Touches nothing yet.
    /// - Parameter flowLimit: descriptors for guests' connections and UDP flows.
    package init(_ options: UplinkOptions, flowLimit: Int, _ context: UplinkContext) {
        self.options = options
        self.flowLimit = flowLimit
        self.context = context
        published = TapWithNAT.divide(options.published)
        var ofTap = options
        ofTap.published = published.four
        tap = TapUplink(ofTap, hasNAT6: true, context)
    }

    private static func divide(_ published: [PublishedPort]) -> (four: [PublishedPort], six: [PublishedPort]) {
        (published.filter { !$0.isIPv6 }, published.filter(\.isIPv6))
    }

    package var port: PortNumber? { tap.port }
    package var firewallTables: [String] { tap.firewallTables }
    package var isConnected: Bool { tap.isConnected }
    package var hostAddressing: HostAddressing? { tap.hostAddressing }
    package var summary: String { tap.summary }
    package var hasEgressIPv6: Bool { tap.hasEgressIPv6 }
    package var report: String? { nat?.report }
    package var pinCount: Int { tap.pinCount }
    package var hasEgressPolicy: Bool { true }
    package var hasHostResolver: Bool { tap.hasHostResolver }

    package var details: UplinkDetails {
        var details = tap.details
        guard let nat = nat?.details else { return details }
        details.way6 = nat.way6
        details.counters += nat.counters
        details.drops += nat.drops
        details.egressInterfaces += nat.egressInterfaces.filter { !details.egressInterfaces.contains($0) }
        return details
    }

    package func open() throws(ExitError) -> Bool {
        guard try tap.open() else { return false }
        guard let host = tap.hostAddressing, let network = host.network6 else {
            try options.checkGuests(of: nil as IPv6Network?)
            return true
        }
        var ofNAT = options
        ofNAT.published = published.six
        try ofNAT.checkGuests(of: network)
        let nat = try UserUplink(ofNAT, beside: host, flowLimit: flowLimit, context)
        self.nat = nat
        guard try nat.open() else { return false }
        context.logger.notice(
            """
            guests' IPv6 packets to the outside leave by a user-mode NAT, because this kernel forwards IPv6 between \
            all interfaces or none; Linux 6.17 or --ipv6 kernel makes the kernel forward them
            """)
        return true
    }

    package func begin() throws(ExitError) {
        nat?.begin()
        try tap.begin()
    }

    package func handle(_ event: PortEvent) {
        tap.handle(event)
        nat?.handle(event)
    }

    /// The kernel has those of IPv4.
    package func flows(limit: Int) -> [UplinkDetails.Flow]? { nat?.flows(limit: limit) }

    package func note(_ leases: [Lease]) {
        tap.note(leases)
        nat?.note(leases)
    }

    /// Guests that are followed have leases, which are of IPv4.
    package func publish(_ published: [PublishedPort]) { tap.publish(TapWithNAT.divide(published).four) }

    package func resolve(_ domains: [String], at server: SocketAddress) { tap.resolve(domains, at: server) }

    // MARK: Changes

    package func change(published given: [PublishedPort]) throws(ChangeRefusal) {
        let (four, six) = TapWithNAT.divide(given)
        try tap.change(published: four)
        do throws(ChangeRefusal) {
            try nat?.change(published: six)
        } catch {
            try? tap.change(published: published.four)
            throw error
        }
        published = (four, six)
    }

    package func change(egress: EgressPolicy) throws(ChangeRefusal) {
        try tap.change(egress: egress)
        try nat?.change(egress: egress)
    }

    package func pin(_ pins: [EgressPin], of name: DNSName, until expires: Instant) throws(ChangeRefusal) {
        try tap.pin(pins, of: name, until: expires)
        try nat?.pin(pins, of: name, until: expires)
    }

    /// The NAT never carries packets from one guest to another.
    package func change(isolating: Bool) throws(ChangeRefusal) { try tap.change(isolating: isolating) }

    // MARK: Refusals

    package func change(notesRefusals: Bool) throws(ChangeRefusal) {
        try tap.change(notesRefusals: notesRefusals)
        try nat?.change(notesRefusals: notesRefusals)
    }

    package func takeRefusals() -> (refusals: [EgressRefusal], further: [MACAddress?: Int]) {
        var taken = tap.takeRefusals()
        guard let others = nat?.takeRefusals() else { return taken }
        taken.refusals += others.refusals
        taken.further.merge(others.further, uniquingKeysWith: +)
        return taken
    }

    package var refusedPackets: Int? { tap.refusedPackets.map { $0 + (nat?.refusedPackets ?? 0) } }

    // MARK: End

    package func stop() {
        nat?.stop()
        tap.stop()
    }

    package func undo() { tap.undo() }
}
