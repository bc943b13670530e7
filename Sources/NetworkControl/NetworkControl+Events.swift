// SPDX-License-Identifier: Apache-2.0
import ControlProtocol
import ControlSocket
import DHCPService
import EventLoop
import Logging
import NameService
import NetworkConfiguration
import NetworkModel
import NetworkReports
import Platform
import Sessions
import Switching
import Timing
import Uplink
import Wire

// Events for clients that have subscribed. Parts of the network report what happens; drops, refusals, the uplink's
// state and the resolvers are looked at once a second. The host is watched, and the timer runs, only while a client has
// subscribed: a network without one pays nothing. What this network itself changes in its tables of nftables, such as a
// pin of a name, is no event.

extension NetworkControl {
    /// What was reported last.
    struct EventState {
        /// A port as it was reported.
        struct Known {
            let counters: PortCounters
            let facts: [(String, JSON)]
            /// A port of the host does not come or go as clients do.
            let isUplink: Bool
            var drops: UInt64
        }

        /// The uplink as it was reported.
        struct Uplink: Equatable {
            var isConnected = true
            var egressInterfaces: [String] = []
        }

        /// The host's resolvers as they were reported.
        struct HostResolvers: Equatable {
            let servers: [String]
            let ofDomains: [String]
        }

        /// nil while no client has subscribed.
        var ports: [PortNumber: Known]?
        var timer: ControlLoop.TimerID?
        var uplink = Uplink()
        /// Of a network without a name service.
        var file: Resolvers?
        var resolvers: HostResolvers?
        var network: ChangeMonitor?
        var firewall: ChangeMonitor?
        /// A client has subscribed to refusals.
        var hasRefusals = false
    }

    private static let interval = TimeAmount.seconds(1)
    /// From the first change of the host to its event.
    private static let settling = TimeAmount.milliseconds(200)
    /// Drops of a port within a second that are reported.
    private static let dropBurst = 32

    private var isAwaited: Bool { ControlEventKind.allCases.contains { server.isAwaited($0.rawValue) } }

    /// Events are being collected for a client.
    var isReporting: Bool { eventState.ports != nil }

    /// A client has subscribed, or has ended that.
    func subscribed() {
        if server.isAwaited(ControlEventKind.refusal.rawValue) { setRefusals(true) }
        guard isAwaited, !isReporting else { return }
        eventState.ports = currentPorts()
        eventState.uplink = uplinkNow
        if network.names == nil { eventState.file = Resolvers(servers: network.configuration.nameServers) }
        eventState.resolvers = resolversNow
        // Without privilege for one of them, the other works.
        eventState.network = try? ChangeMonitor(
            NetworkInterfaces.monitor(), settling: NetworkControl.settling, loop: network.loop
        ) { [unowned self] in
            publish(.host, [("what", .string("network"))])
            report(uplinkNow)
        }
        let own = Set(network.uplink?.firewallTables ?? [])
        eventState.firewall = try? ChangeMonitor(
            NetworkInterfaces.firewallMonitor(), settling: NetworkControl.settling, loop: network.loop
        ) { message in
            !NetworkInterfaces.firewallTables(in: message).isSubset(of: own)
        } onChange: { [unowned self] in
            publish(.host, [("what", .string("firewall"))])
        }
        schedule()
    }

    /// Ends what only events need.
    func stopEvents() {
        network.loop.cancel(eventState.timer)
        eventState.network?.stop()
        eventState.firewall?.stop()
        eventState = EventState()
    }

    /// Has refusals noted while a client has subscribed to them. On a TAP, that replaces rules of the firewall.
    private func setRefusals(_ isOn: Bool) {
        guard isOn != eventState.hasRefusals else { return }
        eventState.hasRefusals = isOn
        do throws(ChangeRefusal) {
            try network.refusals.setEvents(isOn)
        } catch {
            // The end is tried again, the beginning by the next client.
            if !isOn { eventState.hasRefusals = true }
            guard error.cause != .unsupported, !hasReportedLackOfRefusals else { return }
            hasReportedLackOfRefusals = true
            let result = isOn ? "events have no refused packets" : "refused packets are still noted for events"
            network.logger.warning("\(result): \(error)")
        }
    }

    private func schedule() {
        eventState.timer = network.loop.schedule(after: NetworkControl.interval) { [unowned self] in
            // Once a second at most, however often clients subscribe.
            if !server.isAwaited(ControlEventKind.refusal.rawValue) { setRefusals(false) }
            guard isAwaited else { return stopEvents() }
            lookAround()
            schedule()
        }
    }

    private func lookAround() {
        clientsChanged()
        reportDrops()
        // Its egress interfaces change with the host's network, which is watched where that is possible.
        var uplink = eventState.network == nil ? uplinkNow : eventState.uplink
        uplink.isConnected = isUplinkConnected
        report(uplink)
        reportResolvers()
        network.refusals.report()
    }

    // MARK: The uplink and the resolvers

    private var isUplinkConnected: Bool { network.uplink?.isConnected ?? true }

    private var uplinkNow: EventState.Uplink {
        EventState.Uplink(
            isConnected: isUplinkConnected, egressInterfaces: network.uplink?.details.egressInterfaces.sorted() ?? [])
    }

    /// The uplink has got its port, or has lost it. It may have another one before the next look.
    package func uplinkChanged(isConnected: Bool) {
        var uplink = eventState.uplink
        uplink.isConnected = isConnected
        report(uplink)
    }

    private func report(_ uplink: EventState.Uplink) {
        guard isReporting, uplink != eventState.uplink else { return }
        eventState.uplink = uplink
        publish(
            .uplink,
            [
                ("connected", .bool(uplink.isConnected)),
                ("egress_interfaces", .array(uplink.egressInterfaces.map { .string($0) })),
            ])
    }

    private var resolversNow: EventState.HostResolvers {
        if let found = network.names?.servers {
            return EventState.HostResolvers(servers: found.all.map(\.description), ofDomains: found.ofDomains)
        }
        eventState.file?.refresh()
        return EventState.HostResolvers(
            servers: eventState.file?.servers.map(\.description) ?? [],
            ofDomains: eventState.file?.domainServers ?? [])
    }

    private func reportResolvers() {
        let now = resolversNow
        guard now != eventState.resolvers else { return }
        eventState.resolvers = now
        publish(
            .host,
            [
                ("what", .string("resolvers")), ("resolvers", .array(now.servers.map { .string($0) })),
                ("domain_resolvers", .array(now.ofDomains.map { .string($0) })),
            ])
    }

    // MARK: Ports

    private func currentPorts() -> [PortNumber: EventState.Known] {
        var ports: [PortNumber: EventState.Known] = [:]
        for port in network.control.ports {
            ports[port.number] = EventState.Known(
                counters: port.counters, facts: facts(of: port.number), isUplink: isUplink(port.number),
                drops: port.counters.totalDrops)
        }
        return ports
    }

    private func isUplink(_ port: PortNumber) -> Bool { network.control.role(of: port) == .uplink }

    private func facts(of port: PortNumber) -> [(String, JSON)] {
        let client = client(at: port), number = client?.number ?? network.session?.number(of: port)
        return [
            ("id", .integer(Int(port))), ("port", number.map { .integer($0) } ?? .null),
            ("description", .optional(client?.description)),
            ("user", .optional(client?.user.map { UserDatabase.userName($0) })),
            ("process", client?.process.map { .integer(Int($0)) } ?? .null),
        ]
    }

    /// Reports the clients that have come and gone since the last call.
    package func clientsChanged() {
        guard let before = eventState.ports else { return }
        var now: [PortNumber: EventState.Known] = [:]
        for port in network.control.ports {
            // A number may belong to another client by now; its counters do not.
            if let known = before[port.number], known.counters === port.counters {
                now[port.number] = known
            } else {
                if let known = before[port.number], !known.isUplink { publish(.leave, known.facts) }
                let known = EventState.Known(
                    counters: port.counters, facts: facts(of: port.number), isUplink: isUplink(port.number), drops: 0)
                now[port.number] = known
                if !known.isUplink { publish(.join, known.facts) }
            }
        }
        for (number, known) in before where now[number] == nil && !known.isUplink { publish(.leave, known.facts) }
        eventState.ports = now
    }

    private func reportDrops() {
        for (number, known) in eventState.ports ?? [:] {
            let drops = known.counters.totalDrops
            eventState.ports?[number]?.drops = drops
            guard drops >= known.drops + UInt64(NetworkControl.dropBurst) else { continue }
            let reasons = DropReason.allCases.filter { known.counters.drops($0) > 0 }
            publish(
                .drops,
                known.facts + [
                    ("frames", .counter(drops - known.drops)),
                    ("total", .object(reasons.map { ("\($0)", .counter(known.counters.drops($0))) })),
                ])
        }
    }

    // MARK: Reports of other parts

    /// What is reported about a port follows the arrival of its client.
    private func reportArrival(at port: PortNumber) {
        if let ports = eventState.ports, ports[port] == nil { clientsChanged() }
    }

    /// Leases were given, extended or ended.
    package func report(_ leases: [Lease]) {
        guard eventState.ports != nil else { return }
        // The client's arrival is reported first.
        clientsChanged()
        let now = BootClock.now
        for lease in leases {
            let members = describe(lease, now: now).members ?? []
            publish(.lease, members)
        }
    }

    /// Another host uses an address that was to be leased.
    package func report(conflict text: String) { publish(.conflict, [("message", .string(text))]) }

    /// A guest has broken the rules.
    package func report(_ offence: GuestOffence, by hardware: MACAddress, at port: PortNumber) {
        reportArrival(at: port)
        publish(
            .offence, facts(of: port) + [("offence", .string("\(offence)")), ("mac", .string(hardware.description))])
    }

    /// The egress policy has refused something.
    package func report(_ refusal: EgressRefusal) {
        guard eventState.ports != nil else { return }
        publish(
            .refusal,
            [
                ("mac", .optional(refusal.hardware?.description)), ("name", .optional(refusal.name)),
                ("destination", .optional(refusal.address?.description)), ("transport", .string(refusal.transport)),
                ("port", refusal.port.map { .integer(Int($0)) } ?? .null), ("reason", .optional(refusal.reason)),
            ])
    }

    /// A loop was found at a port, or has ended (`other` is nil).
    package func report(loopAt port: PortNumber, with other: PortNumber?) {
        reportArrival(at: port)
        publish(
            .loop,
            facts(of: port) + [
                ("blocked", .bool(other != nil)),
                ("with", other.flatMap { network.session?.number(of: $0) }.map { .integer($0) } ?? .null),
            ])
    }
}
