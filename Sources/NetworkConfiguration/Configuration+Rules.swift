// SPDX-License-Identifier: Apache-2.0
import DHCPService
import Logging
import NetworkModel
import Sessions
import Switching
import Wire

extension Configuration {
    /// The rules for guests of a network that the uplink makes.
    /// - Parameters:
    ///   - network: of the guests, with the gateway; nil if it is unknown.
    ///   - hardware: the gateway's hardware address; nil if it is unknown.
    ///   - gatewayIPv6: the gateway's IPv6 addresses, as far as they are known.
    package func guestRules(of network: GuestNetwork?, hardware: MACAddress?, gatewayIPv6: [IPv6Address]) -> GuestRules
    {
        var isOwn = false
        if case .server = role { isOwn = true }
        var rules = GuestRules(isOwn ? .everywhere : .uplink)
        // With another DHCP server, that server may be a guest.
        rules.stopsDHCP = dhcp == .auto || dhcp == .builtin
        rules.gateway = network?.gateway ?? .any
        rules.network = network?.network
        rules.gatewayHardware = hardware ?? .zero
        rules.gatewayIPv6 = gatewayIPv6
        // A guest that may not be a router does not need a customary router address.
        if allowedServers.isEmpty { rules.gatewayIPv6.append(.customaryGateway) }
        for server in allowedServers {
            switch server {
            case .port: rules.hasServingPorts = true
            case .hardware(let address): rules.servers.append(address)
            }
        }
        return rules
    }

    /// The ports of this process's switch whose guests may be routers and DHCP servers.
    package var servingPorts: Set<Int> {
        Set(allowedServers.compactMap { server in if case .port(let number) = server { number } else { nil } })
    }

    /// Logs which guests may be routers and DHCP servers.
    package func logServers(in rules: GuestRules, _ logger: Logger) {
        guard rules.reach == .everywhere else { return }
        if !allowedServers.isEmpty {
            logger.notice(
                """
                guests may serve: \(allowedServers.map(\.description).joined(separator: ", ")) (--allow-server); their \
                DHCP answers, router advertisements and redirects reach other guests, DHCP requests reach them
                """
            )
        }
        if !rules.stopsDHCP {
            logger.info(
                """
                any guest may answer DHCP (--dhcp \(dhcp.rawValue)); router advertisements and redirects of guests are \
                dropped (--allow-server PORT|MAC)
                """
            )
        }
    }
}
