// SPDX-License-Identifier: Apache-2.0
import ControlProtocol
import ControlSocket
import DHCPService
import Logging
import NetworkConfiguration
import NetworkModel
import Platform
import Sessions
import Switching
import Uplink
import Wire

// Changes of a network that runs. A method checks the request and the client's rights first; then the part that owns
// the subject makes the change, as a whole or not at all; then the change is stored in the network's configuration,
// logged, and sent as an event.

extension NetworkControl {
    private static let mostPublished = 1024

    func addChangeMethods() {
        addPublishMethods()
        addEgressMethods()
        addLeaseMethods()
        addPortMethods()
    }

    /// Logs a change, and sends it as an event.
    func note(_ client: ControlClient, _ text: String) {
        let user = UserDatabase.userName(client.user)
        network.logger.notice("\(user) (process \(client.process)): \(text)")
        publish(.change, [("user", .string(user)), ("message", .string(text))])
    }

    /// Reports why an uplink has refused a change.
    func orRefuse(_ body: () throws(ChangeRefusal) -> Void) throws(ControlError) {
        do throws(ChangeRefusal) {
            try body()
        } catch {
            switch error.cause {
            case .unsupported: throw ControlError(.unsupported, error.description)
            case .conflict: throw ControlError(.conflict, error.description)
            case .denied: throw ControlError(.denied, error.description)
            case .failed: throw ControlError(.failed, error.description)
            }
        }
    }

    /// The uplink, if it routes guests' packets on this host.
    func routedUplink() throws(ControlError) -> any Uplink {
        guard let uplink = network.uplink else {
            throw ControlError(.unsupported, "this network has no uplink (--uplink none); start it with another one")
        }
        guard !uplink.isBridged else {
            throw ControlError(.unsupported, "a bridged network is routed and filtered by other hosts")
        }
        return uplink
    }

    // MARK: Published ports

    private func addPublishMethods() {
        add("publish.list", .details) { (it, _, _) throws(ControlError) in
            .object([("published", .array(it.publishedPorts.map { it.published($0) }))])
        }
        add("publish.add", .change) { (it, client, params) throws(ControlError) in
            let port = try NetworkControl.publishedPort(params)
            try it.checkPublishing(port, client)
            let now = BootClock.now
            let leading = it.network.publishedGuests.followed(port, it.network.dhcpServer?.leases ?? [], now: now)
            try it.setPublished(it.publishedPorts + [leading])
            it.note(client, "publishes \(port)")
            return it.published(leading)
        }
        add("publish.remove", .change) { (it, client, params) throws(ControlError) in
            let port = try NetworkControl.publishedPort(params)
            let rest = it.publishedPorts.filter { $0.description != port.description }
            guard rest.count < it.publishedPorts.count else {
                throw ControlError(.notFound, "\(port) is not published; vde_vmnet publish list shows what is")
            }
            try it.setPublished(rest)
            it.note(client, "no longer publishes \(port)")
            return .object([])
        }
    }

    private static func publishedPort(_ params: JSON) throws(ControlError) -> PublishedPort {
        let text = try NetworkControl.word(params, "port")
        do throws(PublishedPort.Refusal) {
            return try PublishedPort(parsing: text)
        } catch {
            throw ControlError(.parameters, "port: \(error)")
        }
    }

    private func checkPublishing(_ port: PublishedPort, _ client: ControlClient) throws(ControlError) {
        if let other = publishedPorts.first(where: { $0.overlaps(port) }) {
            guard other.description != port.description else {
                throw ControlError(.conflict, "\(port) is published already")
            }
            throw ControlError(.conflict, "\(port) and \(other) take the same port of this host; choose another one")
        }
        if let addressing = network.uplink?.hostAddressing,
            let reason = addressing.network.refusal(of: port) ?? port.refusal(in: addressing.network6)
        {
            throw ControlError(.parameters, "port: \(reason)")
        }
        if port.followed != nil, network.dhcpServer == nil {
            throw ControlError(
                .unsupported, "\(port) follows a lease, and this network leases no addresses; give the guest's address")
        }
        guard publishedPorts.count < NetworkControl.mostPublished else {
            throw ControlError(.busy, "\(NetworkControl.mostPublished) ports are published; remove one")
        }
        guard !client.rights.contains(.publishAnywhere) else { return }
        let limit = ProcessLimits.firstUnprivilegedPort
        if port.ports.lowerBound < limit {
            throw ControlError(
                .denied,
                "ports below \(limit) are root's to publish; choose another, or start with --control-allow publish")
        }
        let granted = Set(start.published.map(\.bind))
        guard granted.contains(.unspecified(isIPv6: port.isIPv6)) || granted.contains(port.bind) else {
            let address =
                port.bind.isUnspecified ? "all \(port.isIPv6 ? "IPv6" : "IPv4") addresses of this host" : "\(port.bind)"
            throw ControlError(
                .denied,
                """
                root has started this network without publishing at \(address); publish at an address of --publish, \
                or start with --control-allow publish
                """)
        }
    }

    private func setPublished(_ ports: [PublishedPort]) throws(ControlError) {
        let uplink = try routedUplink()
        try orRefuse { () throws(ChangeRefusal) in try uplink.change(published: ports) }
        network.publishedGuests.replace(by: ports)
        network.configuration.published = ports
    }

    // MARK: Ports

    private func addPortMethods() {
        add("port.disconnect", .change) { (it, client, params) throws(ControlError) in
            try it.changePort(params) { (session, number) throws(PortRefusal) in
                try session.disconnect(port: number)
            }
            it.note(client, "disconnects port \(params["port"]?.integer ?? 0)")
            return .object([])
        }
        add("port.vlan", .change) { (it, client, params) throws(ControlError) in
            let vlan = try params.requiredInteger("vlan", in: 0...4093)
            // Guests of a VLAN are kept from those of others.
            try it.require(.loosen, client, "separation by VLANs")
            try it.changePort(params) { (session, number) throws(PortRefusal) in
                try session.setVLAN(vlan, of: number)
            }
            it.note(client, "puts port \(params["port"]?.integer ?? 0) into VLAN \(vlan)")
            return .object([])
        }
        add("port.isolate", .change) { (it, client, params) throws(ControlError) in
            let isOn = try params.requiredBool("isolated")
            // The uplink first: it can fail. (A start isolates all ports or none, so that both are the owner's.)
            if isOn { try it.isolateAtUplink(true) }
            do throws(ControlError) {
                try it.changePort(params) { (session, number) throws(PortRefusal) in
                    try session.setIsolated(isOn, port: number)
                }
            } catch {
                try? it.isolateAtUplink(it.isolation || it.network.session?.hasIsolatedPorts == true)
                throw error
            }
            if !isOn { try it.isolateAtUplink(it.isolation || it.network.session?.hasIsolatedPorts == true) }
            it.note(client, "\(isOn ? "isolates" : "no longer isolates") port \(params["port"]?.integer ?? 0)")
            return .object([])
        }
        add("port.limit", .change) { (it, client, params) throws(ControlError) in
            var limit: RateLimit?
            guard params["rate"] != nil else {
                throw ControlError(.parameters, "the parameter 'rate' is missing; null lifts the limit")
            }
            if let rate = try params.optionalString("rate") {
                limit = RateLimit(rate)
                guard limit != nil else {
                    throw ControlError(
                        .parameters, "rate: '\(rate)' is not a rate from 1mbit to 100gbit, such as 50mbit")
                }
            }
            if let most = it.start.limit, limit.map({ $0.bitsPerSecond > most.bitsPerSecond }) ?? true {
                try it.require(.loosen, client, "limits beyond those of the start")
            }
            try it.changePort(params) { (session, number) throws(PortRefusal) in
                try session.setLimit(limit, port: number)
            }
            let words = limit.map { "limits it to \($0)" } ?? "lifts its limit"
            it.note(client, "port \(params["port"]?.integer ?? 0): \(words)")
            return .object([])
        }
    }

    private func changePort(
        _ params: JSON, _ body: (any NetworkSession, Int) throws(PortRefusal) -> Void
    ) throws(ControlError) {
        let number = try params.requiredInteger("port", in: 0...SwitchControl.portCapacity)
        guard let session = network.session else { throw ControlError(.unsupported, "this network has no switch") }
        do throws(PortRefusal) {
            try body(session, number)
        } catch {
            switch error.cause {
            case .noPort: throw ControlError(.notFound, error.description)
            case .unsupported: throw ControlError(.unsupported, error.description)
            case .invalid: throw ControlError(.parameters, error.description)
            }
        }
    }
}
