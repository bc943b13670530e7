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
// subscribed: a network without one pays nothing.

extension NetworkControl {
    /// What was reported last.
    struct EventState {
        /// A port as it was reported.
        struct Known {
            let counters: PortCounters
            let facts: [(String, JSON)]
            var drops: UInt64
        }

        /// nil while no client has subscribed.
        var ports: [PortNumber: Known]?
        var timer: ControlLoop.TimerID?
        var isUplinkConnected = true
        var resolvers: Resolvers?
        var network: ChangeMonitor?
        var firewall: ChangeMonitor?
        /// A client has subscribed to refusals.
        var hasRefusals = false
    }

    private static let interval = TimeAmount.seconds(1)
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
        eventState.isUplinkConnected = network.uplink.map { $0.port != nil } ?? true
        eventState.resolvers = Resolvers(servers: network.configuration.nameServers)
        // Without privilege for one of them, the other works.
        eventState.network = watch("network") { () throws(SystemError) in try NetworkInterfaces.monitor() }
        eventState.firewall = watch("firewall") { () throws(SystemError) in try NetworkInterfaces.firewallMonitor() }
        schedule()
    }

    private func watch(_ what: String, _ open: () throws(SystemError) -> Descriptor) -> ChangeMonitor? {
        do throws(SystemError) {
            return try ChangeMonitor(open(), settling: .milliseconds(200), loop: network.loop) { [unowned self] in
                publish(.host, [("what", .string(what))])
            }
        } catch {
            return nil
        }
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
        let isConnected = network.uplink.map { $0.port != nil } ?? true
        if isConnected != eventState.isUplinkConnected {
            eventState.isUplinkConnected = isConnected
            publish(.uplink, [("connected", .bool(isConnected))])
        }
        if eventState.resolvers?.refresh() == true {
            let servers = eventState.resolvers?.servers ?? []
            publish(
                .host, [("what", .string("resolvers")), ("resolvers", .array(servers.map { .string("\($0)") }))])
        }
        network.refusals.report()
    }

    // MARK: Ports

    private func currentPorts() -> [PortNumber: EventState.Known] {
        var ports: [PortNumber: EventState.Known] = [:]
        for port in network.control.ports {
            ports[port.number] = EventState.Known(
                counters: port.counters, facts: facts(of: port.number), drops: port.counters.totalDrops)
        }
        return ports
    }

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
                if let known = before[port.number] { publish(.leave, known.facts) }
                let known = EventState.Known(counters: port.counters, facts: facts(of: port.number), drops: 0)
                now[port.number] = known
                publish(.join, known.facts)
            }
        }
        for (number, known) in before where now[number] == nil { publish(.leave, known.facts) }
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
