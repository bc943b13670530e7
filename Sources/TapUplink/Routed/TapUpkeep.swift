// SPDX-License-Identifier: Apache-2.0
import HostChanges
import Lifecycle
import Logging
import NetworkModel
import Platform
import Timing
import Wire

/// Keeps the host's end of a guest network as it was set up: the TAP up, with the gateway's address and the network's
/// route. Changes by other programs are repaired, a few times a minute. Changes that only the administrator can undo
/// are reported once, with the command.
final class TapUpkeep {
    /// Repairs of one kind within a minute.
    private static let repairLimit = 5

    private enum Kind: Hashable { case link, address, route, forwarding }

    private struct Finding {
        let text: String
        let remedy: String
    }

    let tap: String
    private let index: UInt32
    private let guests: GuestNetwork
    private let six: TapIPv6?
    private let logger: Logger
    /// When something of each kind was repaired, within the last minute.
    private var repairs: [Kind: [Instant]] = [:]
    /// Findings that were reported and still hold.
    private var reported: Set<String> = []
    /// `takeDown` was called after `bringUp`.
    private var isHeldDown = false
    /// When to check again even without a change, because a repair was postponed.
    private(set) var nextCheck: Instant?

    init(tap: String, index: UInt32, guests: GuestNetwork, six: TapIPv6?, logger: Logger) {
        self.tap = tap
        self.index = index
        self.guests = guests
        self.six = six
        self.logger = logger
    }

    private var gateway: String { "\(guests.gateway)/\(guests.network.prefixLength)" }

    /// Takes the TAP down until `bringUp` or the next check that finds no reason for it.
    func takeDown() {
        isHeldDown = true
        try? NetworkInterfaces.configure(index, up: false)
    }

    /// Brings the TAP up.
    func bringUp() {
        isHeldDown = false
        try? NetworkInterfaces.configure(index, up: true)
        // The kernel has removed them when the link went down.
        try? six?.addAddresses(to: index)
    }

    /// Compares the host with what was set up, after a change of the host.
    /// - Parameter routes: of this host.
    /// - Throws: if the TAP is in this network namespace no longer.
    func check(_ routes: [Route], now: Instant) throws(ExitError) {
        nextCheck = nil
        guard let link = NetworkInterfaces.link(index), let name = NetworkInterfaces.name(of: index) else {
            throw ExitError(
                .unavailable,
                """
                \(tap) was moved to another network namespace, where its rules have no effect; start vde_vmnet in that \
                namespace instead
                """
            )
        }
        // The TAP must be down while its rules have no effect, or its settings are under another name.
        if let finding = misplaced(link, name) {
            if link.isUp { takeDown() }
            return report([finding])
        }
        if isHeldDown {
            bringUp()
        } else if !link.isUp {
            repair(.link, "\(tap) was taken down", now) { () throws(SystemError) in
                try NetworkInterfaces.configure(index, up: true)
                try six?.addAddresses(to: index)
            }
            guard NetworkInterfaces.link(index)?.isUp == true else { return report([]) }
        }
        checkAddress(routes, now)
        if let six, let missing = six.missingAddress {
            repair(.address, "the address \(missing) was removed from \(tap)", now) { () throws(SystemError) in
                try six.addAddresses(to: index)
            }
        }
        report(
            routes.filter(isCovering).map {
                diversion("\($0.destination)", by: $0.interface, of: "\(guests.network)", "ip")
            } + diversions6)
    }

    private func diversion(_ destination: String, by interface: UInt32, of guests: String, _ ip: String) -> Finding {
        let name = NetworkInterfaces.name(of: interface)
        let place = name ?? "another interface"
        return Finding(
            text: "the route to \(destination) by \(place) diverts packets from guests of \(guests)",
            remedy: "sudo \(ip) route del \(destination)" + (name.map { " dev \($0)" } ?? ""))
    }

    /// Other routes for guests' IPv6 addresses, which the host prefers to its own one.
    private var diversions6: [Finding] {
        guard let network = six?.network, let routes = try? NetworkInterfaces.routes6() else { return [] }
        return Route6.diversions(of: network, on: index, in: routes).map {
            diversion("\($0.destination)", by: $0.interface, of: "\(network)", "ip -6")
        }
    }

    private func misplaced(_ link: LinkState, _ name: String) -> Finding? {
        if let bridge = link.bridge {
            return Finding(
                text:
                    """
                    \(tap) is a port of \(NetworkInterfaces.name(of: bridge) ?? "a bridge"), where the rules for its \
                    guests have no effect; it stays down until it is removed from the bridge
                    """,
                remedy: "sudo ip link set \(name) nomaster")
        }
        if name != tap {
            return Finding(
                text: "\(tap) was renamed to \(name); it stays down until it has its name back",
                remedy: "sudo ip link set \(name) name \(tap)")
        }
        return nil
    }

    private func checkAddress(_ routes: [Route], _ now: Instant) {
        guard
            let addresses = try? NetworkInterfaces.addresses().filter({
                $0.interface == tap && $0.address == guests.gateway
            })
        else { return }
        if addresses.isEmpty {
            repair(.address, "the address \(gateway) was removed from \(tap)", now) { () throws(SystemError) in
                try NetworkInterfaces.add(guests.gateway, prefixLength: guests.network.prefixLength, to: index)
            }
        }
        // The administrator may have set the same address with another prefix length.
        guard addresses.allSatisfy({ $0.network == guests.network }) else { return }
        func hasRoute(_ routes: [Route]) -> Bool {
            routes.contains { isMain($0) && $0.destination == guests.network && $0.interface == index }
        }
        // The kernel may have added it with the address, or when the link came up.
        guard !hasRoute(routes), let current = try? NetworkInterfaces.routes(), !hasRoute(current) else { return }
        repair(.route, "the route to \(guests.network) by \(tap) was removed", now) { () throws(SystemError) in
            try NetworkInterfaces.addRoute(to: guests.network, from: guests.gateway, by: index)
        }
    }

    private func isMain(_ route: Route) -> Bool { route.table == Route.mainTable && !route.isLocal }

    /// Whether the host prefers a route to the guests' own one for some of the guests.
    private func isCovering(_ route: Route) -> Bool {
        guard isMain(route), route.interface != index, guests.network.contains(route.destination.base) else {
            return false
        }
        return route.destination.prefixLength > guests.network.prefixLength
            || route.destination == guests.network && route.metric == 0
    }

    /// Restores a forwarding setting that another program has changed.
    func restore(_ setting: KernelSetting, _ value: String, now: Instant) {
        guard let current = setting.value, current != value else { return }
        repair(.forwarding, "\(setting.path.replacing(text: "/", with: ".")) was set to \(current)", now) {
            () throws(SystemError) in try setting.set(value)
        }
    }

    private func repair(_ kind: Kind, _ change: String, _ now: Instant, _ body: () throws(SystemError) -> Void) {
        let recent = (repairs[kind] ?? []).filter { $0 + .minutes(1) > now }
        guard recent.count < Self.repairLimit else {
            // The minute starts with the first repair.
            let again = recent[0] + .minutes(1)
            if nextCheck.map({ again < $0 }) ?? true { nextCheck = again }
            if recent.count == Self.repairLimit {
                repairs[kind] = recent + [recent[0]]
                logger.warning(
                    """
                    \(change) by another program repeatedly; it is not repaired for up to a minute, and guests may be \
                    cut off; find that program (ip monitor)
                    """
                )
            }
            return
        }
        repairs[kind] = recent + [now]
        do throws(SystemError) {
            try body()
            logger.notice("\(change) by another program; it is repaired")
        } catch {
            logger.warning(
                """
                \(change) by another program, and repairing it failed: \(error); guests are cut off until vde_vmnet is \
                restarted
                """
            )
        }
    }

    private func report(_ found: [Finding]) {
        for finding in found where !reported.contains(finding.text) {
            logger.warning("\(finding.text); fix it with: \(finding.remedy)")
        }
        for text in reported where !found.contains(where: { $0.text == text }) {
            logger.notice("resolved: \(text)")
        }
        reported = Set(found.map(\.text))
    }
}
