// SPDX-License-Identifier: Apache-2.0
import CaptureService
import ControlProtocol
import ControlSocket
import DHCPService
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

// What a network reports about itself. Lists are sent in pages, so that no reply is longer than a client accepts.

extension NetworkControl {
    private static let pageLimit = 1...512

    func addStatusMethods() {
        add("status", .counters) { (it, client, _) throws(ControlError) in
            .object(it.status(hasDetails: client.rights.contains(.details)))
        }
        add("ports", .counters) { (it, client, params) throws(ControlError) in
            let ports = it.network.control.ports
            let (page, next) = try NetworkControl.page(ports, params) { Int($0.number) }
            let hasDetails = client.rights.contains(.details)
            let addresses = hasDetails ? it.knownAddresses() : [:]
            let assigned = hasDetails ? it.network.dhcpServer?.assignedAddresses ?? [:] : [:]
            return .object([
                ("ports", .array(page.map { it.describe($0, addresses[$0.number] ?? [], assigned, hasDetails) })),
                ("next", next.map { .integer($0) } ?? .null),
            ])
        }
        add("flows", .details) { (it, _, params) throws(ControlError) in
            let limit = try params.optionalInteger("limit", in: 1...4096) ?? 1024
            guard let flows = it.network.uplink?.flows(limit: limit) else {
                throw ControlError(
                    .unsupported, "the kernel has the connections of this uplink; conntrack -L lists them")
            }
            return .object([("flows", .array(flows.map { NetworkControl.describe($0) }))])
        }
        add("leases", .details) { (it, _, params) throws(ControlError) in
            guard let service = it.network.dhcpServer else {
                throw ControlError(.unsupported, "this network leases no addresses: its DHCP server is off or another")
            }
            let (page, next) = try NetworkControl.page(service.leases, params) { Int($0.address.value) }
            let now = BootClock.now
            return .object([
                ("leases", .array(page.map { it.describe($0, now: now) })),
                ("next", next.map { .integer($0) } ?? .null),
            ])
        }
        addReservationMethod()
    }

    private func addReservationMethod() {
        add("reservations", .details) { (it, _, params) throws(ControlError) in
            let all = (it.network.dhcpServer?.configuration.reservations ?? []).sorted {
                $0.address.value < $1.address.value
            }
            let (page, next) = try NetworkControl.page(all, params) { Int($0.address.value) }
            return .object([
                (
                    "reservations",
                    .array(
                        page.map {
                            .object([
                                ("address", .string($0.address.description)), ("mac", .string($0.hardware.description)),
                                ("name", .optional($0.name?.description)),
                                ("address6", .optional(it.address6(of: $0)?.description)),
                            ])
                        })
                ),
                ("next", next.map { .integer($0) } ?? .null),
            ])
        }
    }

    /// The elements from the parameter `from` on, and the key at which the next page begins.
    static func page<Element>(
        _ all: [Element], _ params: JSON, by key: (Element) -> Int
    ) throws(ControlError) -> ([Element], Int?) {
        let start = try params.optionalInteger("from", in: 0...Int.max) ?? 0
        let limit = try params.optionalInteger("limit", in: pageLimit) ?? 256
        let rest = all.drop { key($0) < start }
        let page = Array(rest.prefix(limit))
        return (page, rest.dropFirst(limit).first.map(key))
    }

    private static func describe(_ flow: UplinkDetails.Flow) -> JSON {
        func end(_ end: UplinkDetails.SocketEnd) -> JSON {
            .object([("address", .string(end.address)), ("port", .integer(Int(end.port)))])
        }
        return .object([
            ("transport", .string(flow.transport)), ("guest", end(flow.guest)), ("remote", end(flow.remote)),
        ])
    }

    // MARK: The network

    private func status(hasDetails: Bool) -> [(String, JSON)] {
        let configuration = network.configuration, addressing = network.uplink?.hostAddressing
        var members: [(String, JSON)] = [
            ("name", .string(server.name.description)), ("process", .integer(Int(CurrentProcess.identifier))),
            ("owner", .string(UserDatabase.userName(server.owner))),
            ("uptime", .integer(Int((BootClock.now - started).milliseconds / 1000))),
            ("mode", .string(configuration.mode.word)), ("uplink", uplink(hasDetails: hasDetails)),
            ("network", .optional(addressing?.network.network.description)),
            ("network6", .optional(addressing?.network6?.description)),
            ("gateway", .optional(addressing?.network.gateway.description)),
            ("gateway6", .optional(addressing?.network6?.gateway.description)),
            ("mtu", .integer(configuration.mtu)),
            ("ports", .integer(network.control.ports.count { network.control.role(of: $0.number) != .service })),
            ("isolation", .bool(isolation)),
        ]
        guard hasDetails else { return members }
        let servers = resolvers
        members += [
            ("switch", .optional(network.session?.description)),
            ("resolvers", .array(servers.all.map { .string("\($0)") })),
            ("own_resolvers", .bool(configuration.nameServers.contains { $0.domain == nil })),
            ("domain_resolvers", .array(servers.ofDomains.map { .string($0) })),
            ("answers_dns", .bool(network.names != nil || addressing?.answersDNS == true)),
            ("dhcp", dhcp()), ("egress", egressStatus),
            ("published", .array(publishedPorts.map { published($0) })),
        ]
        return members
    }

    /// The servers of names, and those of single domains. Without a name service, those that one would have at first.
    private var resolvers: (all: [SocketAddress], ofDomains: [String]) {
        if let names = network.names { return names.servers }
        let resolvers = Resolvers(servers: network.configuration.nameServers)
        return (resolvers.servers, resolvers.domainServers)
    }

    private func uplink(hasDetails: Bool) -> JSON {
        guard let uplink = network.uplink else {
            return .object([("kind", .string("none")), ("reason", .string("--uplink none"))])
        }
        let details = uplink.details
        var members: [(String, JSON)] = [("kind", .string(details.kind))]
        if hasDetails {
            members += [
                ("reason", .string(network.uplinkReason)), ("summary", .string(uplink.summary)),
                ("interface", .optional(details.interface)),
                ("egress_interfaces", .array(details.egressInterfaces.map { .string($0) })),
                ("host_changes", .array(details.hostChanges.map { .string($0) })),
            ]
        }
        members += [
            ("connected", .bool(uplink.isConnected)), ("ipv6_way", .optional(details.way6?.rawValue)),
            ("counters", .object(details.counters.map { ($0.name, .integer($0.value)) })),
            ("drops", .object(details.drops.map { ($0.reason, .integer($0.count)) })),
        ]
        return .object(members)
    }

    private func dhcp() -> JSON {
        guard let service = network.dhcpServer else {
            return .object([("server", .string(network.configuration.dhcp == .system ? "system" : "off"))])
        }
        let now = BootClock.now, configuration = service.configuration, counters = service.counters
        return .object([
            ("server", .string(service.isServing ? "builtin" : "other")),
            ("first", .string(configuration.first.description)), ("last", .string(configuration.last.description)),
            ("leased", .integer(service.leases.count { $0.expires > now })),
            ("size", .integer(Int(configuration.last.value - configuration.first.value) + 1)),
            ("lease_time", .integer(Int(configuration.leaseTime))),
            ("reservations", .integer(configuration.reservations.count)),
            ("conflicts", .integer(counters.conflicts)), ("exhausted", .integer(counters.exhausted)),
        ])
    }

    /// Whether guests are kept from each other.
    var isolation: Bool { network.configuration.isIsolating }
    /// The published ports, with the addresses to which they lead now.
    var publishedPorts: [PublishedPort] { network.publishedGuests.published }

    var egressStatus: JSON {
        let egress = network.configuration.egress, names = network.names != nil
        return .object([
            ("policy", .string(egress.isDenying ? "deny" : "allow")),
            ("allowed", .array(egress.allowed.map { .string($0.description) })),
            ("denies_private", .bool(egress.deniesPrivate)),
            ("host_loopback", .bool(egress.opensHostLoopback)), ("names", .bool(names)),
            ("proxy", .optional(network.configuration.proxy?.text)),
            ("names_checked", .bool(names && egress.restrictsNames)),
            ("connections_checked", .bool(names && egress.checksNames && egress.inspectsNames)),
            ("refusals_logged", .bool(network.refusals.isLogging)),
            ("pinned", .integer(network.uplink?.pinCount ?? 0)),
            ("refused_names", .integer(network.names?.policy.refusedNames ?? 0)),
            ("refused_answers", .integer(network.names?.policy.refusedAnswers ?? 0)),
            ("refused_packets", network.uplink?.refusedPackets.map { .integer($0) } ?? .null),
        ])
    }

    func published(_ one: PublishedPort) -> JSON {
        let guest = one.completed(by: network.uplink?.hostAddressing?.network6).guest
        return .object([
            ("port", .string(one.description)), ("guest", .optional(guest.isUnspecified ? nil : guest.description)),
        ])
    }

    // MARK: Ports

    private func describe(
        _ port: (number: PortNumber, name: String, counters: PortCounters), _ addresses: [KnownAddress],
        _ assigned: [MACAddress: AssignedAddress], _ hasDetails: Bool
    ) -> JSON {
        let client = client(at: port.number)
        let number = client?.number ?? network.session?.number(of: port.number)
        var members: [(String, JSON)] = [
            ("id", .integer(Int(port.number))), ("port", number.map { .integer($0) } ?? .null),
            ("role", .string(network.control.role(of: port.number).map { "\($0)" } ?? "guest")),
            ("uplink", .optional(NetworkCaptures.uplinkName(of: port.number, port.name, network.control))),
        ]
        members += NetworkControl.counters(port.counters)
        guard hasDetails else { return .object(members) }
        let settings = number.flatMap { network.session?.settings(of: $0) }
        let isGuest = client != nil && network.control.role(of: port.number) != .uplink
        members += [
            ("description", .string(client?.description ?? port.name)), ("module", .optional(client?.module)),
            ("user", .optional(client?.user.map { UserDatabase.userName($0) })),
            ("process", client?.process.map { .integer(Int($0)) } ?? .null),
            ("vlan", settings.map { .integer($0.vlan) } ?? .null),
            ("isolated", .bool(settings.map { $0.isIsolated || isolation && isGuest } ?? false)),
            ("limit", .optional(settings?.limit?.description)),
            ("guests", .array(addresses.map { guest($0, assigned[$0.address]) })),
        ]
        return .object(members)
    }

    /// The client at a port; nil for a port of the host.
    func client(at port: PortNumber) -> PortClient? {
        network.listeners?.client(of: port) ?? network.session?.client(of: port)
    }

    static func counters(_ counters: PortCounters) -> [(String, JSON)] {
        let drops = DropReason.allCases.filter { counters.drops($0) > 0 }
        return [
            ("frames_in", .counter(counters.framesIn)), ("bytes_in", .counter(counters.bytesIn)),
            ("frames_out", .counter(counters.framesOut)), ("bytes_out", .counter(counters.bytesOut)),
            ("queue", .counter(counters.queued)),
            ("drops", .object(drops.map { ("\($0)", .counter(counters.drops($0))) })),
        ]
    }

    private func guest(_ known: KnownAddress, _ assigned: AssignedAddress?) -> JSON {
        .object([
            ("mac", .string(known.address.description)), ("address", .optional(assigned?.address.description)),
            ("name", .optional(assigned?.name?.description)),
            (
                "addresses6",
                .array(
                    (sources[Station(port: known.port, hardware: known.address)] ?? []).map { .string($0.description) })
            ),
            ("vlan", .integer(Int(known.vlan))), ("age", known.age.map { .integer(Int($0.seconds)) } ?? .null),
            ("moves", .integer(Int(known.moves))),
            ("moved_from", known.previousPort.map { .integer(shownNumber(of: $0)) } ?? .null),
        ])
    }

    /// The number of a port in the switch's words; its internal number if it has none.
    private func shownNumber(of port: PortNumber) -> Int {
        client(at: port)?.number ?? network.session?.number(of: port) ?? Int(port)
    }

    // MARK: Leases

    /// The IPv6 address of a reservation in the guests' network; as it was given in one without.
    private func address6(of reservation: AddressReservation) -> IPv6Address? {
        guard let network6 = network.uplink?.hostAddressing?.network6 else { return reservation.address6 }
        return reservation.address6(in: network6)
    }

    func describe(_ lease: Lease, now: Instant) -> JSON {
        let port = network.dhcpServer?.port(of: lease)
        let network6 = network.uplink?.hostAddressing?.network6
        let address6 = network6.flatMap { network.dhcpServer?.address6(of: lease.hardware, in: $0) }
        return .object([
            ("address", .string(lease.address.description)), ("mac", .string(lease.hardware.description)),
            ("name", .optional(lease.name?.description)),
            ("address6", .optional(address6?.description)),
            ("seconds_left", .integer(Int(max(0, (lease.expires - now).milliseconds / 1000)))),
            ("port", port.flatMap { network.session?.number(of: $0) }.map { .integer($0) } ?? .null),
        ])
    }
}

extension NetworkMode {
    /// The mode's name on the command line.
    var word: String {
        switch self {
        case .shared: "shared"
        case .host: "host"
        case .bridged: "bridged"
        }
    }
}
