// SPDX-License-Identifier: Apache-2.0
import ControlProtocol
import ControlSocket
import EventLoop
import Lifecycle
import Logging
import NetworkConfiguration
import NetworkModel
import Platform
import Switching
import Timing
import Wire

// Theory of operation: the control socket of a network
// ====================================================
//
// `ControlServer` reads requests and calls the methods registered here, on the control thread. A method reads
// counters, which workers write without a lock, or it calls the part of the `ControlledNetwork` that owns what is to
// change. Methods neither wait for the network nor take a lock of the data path for longer than one command of the
// switch.
//
//     file                        methods
//     NetworkControl              hello, stop, subscribe
//     NetworkControl+Status       status, ports, leases, reservations, flows
//     NetworkControl+Changes      publish.*, port.*
//     NetworkControl+Leases       lease.*
//     NetworkControl+Egress       egress.*, allow.*, isolation.set
//     NetworkControl+Capture      capture: frames, on the connection of the request
//     NetworkControl+Events       no methods: what happens, for clients that have subscribed
//
// docs/control.md describes them. What a client may do is decided by its rights (`ControlAccess`): a method needs a set
// of rights, and leaves out what the client may not read.

/// The methods of the control socket, and the events that it sends.
package final class NetworkControl {
    /// How old the copy of the address table may be that replies are made from.
    private static let addressAge = TimeAmount.seconds(2)

    /// Bytes of a published port or a destination in a request: more than any name of DNS needs.
    private static let longestWord = 320

    unowned let network: any ControlledNetwork
    let server: ControlServer
    let started = BootClock.now
    private var addresses: [KnownAddress] = []
    /// The IPv6 addresses of guests, as old as `addresses`.
    private(set) var sources: [Station: [IPv6Address]] = [:]
    private var addressesRead = Instant.distantPast
    /// The configuration of the start: an owner may return to what it has granted.
    let start: Configuration
    var eventState = EventState()
    /// The log has a warning that events lack refused packets.
    var hasReportedLackOfRefusals = false

    /// Makes the socket.
    /// - Parameters:
    ///   - name: of the network, unless the user gives one.
    ///   - quota: has the descriptors of all clients of this process.
    package init(
        _ network: any ControlledNetwork, name: NetworkName, quota: ClientQuota
    ) throws(ExitError) {
        self.network = network
        start = network.configuration
        let configuration = start.control
        let listener = try ControlListener(configuration, standard: name)
        do throws(ExitError) {
            server = try ControlServer(
                listener, configuration.access, quota: quota, loop: network.loop, logger: network.logger)
        } catch {
            listener.remove()
            throw error
        }
        addGeneralMethods()
        addStatusMethods()
        addChangeMethods()
        addCaptureMethod()
        network.logger.debug("control socket at \(server.path)")
    }

    /// Registers a method.
    func add(
        _ name: String, _ rights: ControlRights,
        _ body: @escaping (NetworkControl, ControlClient, JSON) throws(ControlError) -> JSON
    ) {
        server.methods[name] = ControlMethod(rights) { [unowned self] (client, params) throws(ControlError) in
            try body(self, client, params)
        }
    }

    private func addGeneralMethods() {
        add("hello", .counters) { (it, client, params) throws(ControlError) in
            if let version = try params.optionalInteger("protocol", in: 0...Int.max),
                version != ControlProtocol.version
            {
                throw ControlError(
                    .unsupported, "this network has version \(ControlProtocol.version) of the control protocol")
            }
            return .object([
                ("protocol", .integer(ControlProtocol.version)), ("program", .string("vde_vmnet")),
                ("version", .string(programVersion)), ("name", .string(it.server.name.description)),
                ("rights", .array(client.rights.names.map { .string($0) })),
                ("methods", .array(it.server.methods.keys.sorted().map { .string($0) })),
            ])
        }
        add("stop", .change) { (it, client, _) throws(ControlError) in
            it.network.logger.info(
                "ending on a command of \(UserDatabase.userName(client.user)) (process \(client.process))")
            client.isAwaitingEnd = true
            // Soon, so that the reply is sent before.
            it.network.loop.scheduleSoon { [weak loop = it.network.loop] in loop?.stop() }
            return .object([])
        }
        add("subscribe", .details) { (it, client, params) throws(ControlError) in
            guard let kinds = params["events"] else {
                client.subscription = Set(ControlEventKind.allCases.map(\.rawValue))
                it.subscribed()
                return .object([("events", .array(ControlEventKind.allCases.map { .string($0.rawValue) }))])
            }
            guard let kinds = kinds.array else {
                throw ControlError(
                    .parameters, #"the parameter events is not a list of kinds, such as ["join","leave"]"#)
            }
            var chosen: Set<String> = []
            for kind in kinds {
                guard let name = kind.string, ControlEventKind(rawValue: name) != nil else {
                    throw ControlError(
                        .parameters,
                        """
                        events: '\(PrintableText.line(kind.string ?? kind.text, limit: 64))' is no kind of event; the \
                        kinds are \(ControlEventKind.allCases.map(\.rawValue).joined(separator: ", "))
                        """)
                }
                chosen.insert(name)
            }
            client.subscription = chosen.isEmpty ? nil : chosen
            it.subscribed()
            return .object([("events", .array(chosen.sorted().map { .string($0) }))])
        }
    }

    /// The learned hardware addresses by port, some seconds old at most.
    func knownAddresses() -> [PortNumber: [KnownAddress]] {
        let now = BootClock.now
        if now - addressesRead > NetworkControl.addressAge, let read = network.control.addresses() {
            addresses = read
            addressesRead = now
            sources = Dictionary(grouping: network.control.sources() ?? [], by: \.station).mapValues {
                $0.map(\.address).sorted { ($0.high, $0.low) < ($1.high, $1.low) }
            }
        }
        return Dictionary(grouping: addresses, by: \.port)
    }

    /// A parameter that is a published port or a destination.
    static func word(_ params: JSON, _ name: String) throws(ControlError) -> String {
        let word = try params.requiredString(name)
        guard word.utf8.count <= longestWord else {
            throw ControlError(
                .parameters,
                "\(name): '\(PrintableText.line(word, limit: 64))...' has \(word.utf8.count) bytes; \(longestWord) are "
                    + "possible at most")
        }
        return word
    }

    /// Sends an event to the clients that have subscribed to its kind.
    func publish(_ kind: ControlEventKind, _ data: @autoclosure () -> [(String, JSON)]) {
        guard server.isAwaited(kind.rawValue) else { return }
        server.publish(kind.rawValue, .object(data()))
    }

    /// Disconnects all clients, and removes the socket.
    package func close() {
        stopEvents()
        server.close()
    }
}

/// The kinds of events of the protocol.
enum ControlEventKind: String, CaseIterable {
    /// A client has got a port, or has left it.
    case join, leave
    /// A lease was given, extended or ended.
    case lease
    /// Another host uses an address that was to be leased.
    case conflict
    /// Frames were dropped at a port.
    case drops
    /// A guest has broken the rules of the network.
    case offence
    /// The egress policy has refused a guest a name, or packets.
    case refusal
    /// The uplink was lost, or works again.
    case uplink
    /// Links, addresses, routes, firewall or resolvers of the host have changed.
    case host
    /// A loop was found, or has ended.
    case loop
    /// A client of the control socket has changed the network.
    case change
    /// Events were discarded, because the client does not read. Clients get it without a subscription.
    case lost
}
