// SPDX-License-Identifier: Apache-2.0
import DHCPService
import Logging
import NetworkModel
import Switching
import Uplinks
import VDESwitch
import Wire

extension Configuration {
    /// What guests may not do on a network that we lead.
    /// - Parameters:
    ///   - gateway: its address; nil where that is not known.
    ///   - hardware: its hardware address; nil where that is not known.
    ///   - others: its IPv6 addresses, as far as they are known.
    func guestRules(gateway: IPv4Address?, hardware: MACAddress? = nil, others: [IPv6Address] = []) -> GuestRules {
        var isOwn = false
        if case .serve = side { isOwn = true }
        var rules = GuestRules(isOwn ? .everywhere : .uplink)
        // Another server gives addresses then, which may be a guest.
        rules.stopsDHCP = dhcp == .auto || dhcp == .builtin
        rules.gateway = gateway ?? .any
        rules.gatewayHardware = hardware ?? .zero
        rules.gatewayIPv6 = others
        // What a router's address is by custom, a guest without leave to serve does not need.
        if allowedServers.isEmpty { rules.gatewayIPv6.append(.customaryGateway) }
        for server in allowedServers {
            switch server {
            case .port: rules.hasServingPorts = true
            case .hardware(let address): rules.servers.append(address)
            }
        }
        return rules
    }

    /// The ports of our switch whose guests may serve.
    var servingPorts: Set<Int> {
        Set(allowedServers.compactMap { server in if case .port(let number) = server { number } else { nil } })
    }

    /// Says which guests may serve, where some may.
    func noteServers(in rules: GuestRules, _ logger: Logger) {
        guard rules.reach == .everywhere else { return }
        if !allowedServers.isEmpty {
            logger.notice(
                "guests may serve: \(allowedServers.map(\.description).joined(separator: ", ")) (--allow-server); their DHCP answers, router advertisements and redirects reach other guests, DHCP requests reach them"
            )
        }
        if !rules.stopsDHCP {
            logger.info(
                "any guest may answer DHCP (--dhcp \(dhcp.rawValue)); router advertisements and redirects of guests are dropped (--allow-server PORT|MAC)"
            )
        }
    }
}

extension Daemon {
    func setRules(_ presence: Uplink.Presence, others: [IPv6Address]) {
        setRules(
            configuration.guestRules(gateway: presence.network.gateway, hardware: presence.hardware, others: others))
    }

    func setRules(_ rules: GuestRules) {
        (session as? SwitchSession)?.virtualSwitch.servingPorts = configuration.servingPorts
        control.setRules(rules)
        configuration.noteServers(in: rules, logger)
    }

    /// Names a guest that has broken the rules.
    func report(_ event: PortEvent) {
        switch event {
        case .firstFrame(let port):
            guestReports.forget(port)
        case .offence(let port, let offence, let hardware):
            let own = session as? SwitchSession
            // On a switch that was joined another DHCP server may be the rightful one.
            if offence == .dhcp, own == nil, addressService?.isServing != true { return }
            let number = own.map { $0.virtualSwitch.number(of: port) ?? 0 }
            guestReports.name(hardware, at: port, GuestReports.Place(name: name(of: port), number: number), offence)
        default:
            break
        }
    }
}
