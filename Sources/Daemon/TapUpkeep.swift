// SPDX-License-Identifier: Apache-2.0
import Logging
import Platform
import Uplinks
import Wire

/// Keeps the host's end of a guest network as it was set up: the TAP up, with the gateway's address and the network's route. What other programs undo is
/// set up again, a few times a minute; what only the administrator can decide is reported once, with the command.
final class TapUpkeep {
    /// Repairs of one kind within a minute.
    private static let repairLimit = 5

    private enum Kind: Hashable { case link, address, route, forwarding }

    private let tap: String
    private let index: UInt32
    private let guests: GuestNetwork
    private let logger: Logger
    /// When something of each kind was repaired, in nanoseconds of the monotonic clock.
    private var repairs: [Kind: [UInt64]] = [:]
    /// What was reported and still holds.
    private var reported: Set<String> = []

    init(tap: String, index: UInt32, guests: GuestNetwork, logger: Logger) {
        self.tap = tap
        self.index = index
        self.guests = guests
        self.logger = logger
    }

    private var gateway: String { "\(guests.gateway)/\(guests.network.prefixLength)" }

    /// Compares the host with what was set up, after something about it has changed.
    func check(now: UInt64) {
        guard let link = NetworkInterfaces.link(index) else { return }
        var found: [(text: String, remedy: String)] = []
        if !link.isUp {
            repair(.link, "\(tap) was taken down", now) { () throws(SystemError) in try NetworkInterfaces.configure(index, up: true) }
        }
        if let bridge = link.bridge {
            found.append(("\(tap) is a port of \(NetworkInterfaces.name(of: bridge) ?? "a bridge"), where guests do not reach the host", "sudo ip link set \(tap) nomaster"))
        }
        if let addresses = try? NetworkInterfaces.addresses(), !addresses.contains(where: { $0.interface == tap && $0.address == guests.gateway }) {
            repair(.address, "the address \(gateway) was removed from \(tap)", now) { () throws(SystemError) in
                try NetworkInterfaces.add(guests.gateway, prefixLength: guests.network.prefixLength, to: index)
            }
        }
        if let routes = try? NetworkInterfaces.routes().filter({ $0.table == Route.mainTable && !$0.isLocal }) {
            if !routes.contains(where: { $0.destination == guests.network && $0.interface == index }) {
                repair(.route, "the route to \(guests.network) by \(tap) was removed", now) { () throws(SystemError) in
                    try NetworkInterfaces.addRoute(to: guests.network, from: guests.gateway, by: index)
                }
            }
            found += routes.filter(isCovering).map { route in
                let name = NetworkInterfaces.name(of: route.interface) ?? "another interface"
                return ("the route to \(route.destination) by \(name) leads away from guests of \(guests.network)", "sudo ip route del \(route.destination) dev \(name)")
            }
        }
        report(found)
    }

    /// A route that the host prefers to the guests' own for some of them.
    private func isCovering(_ route: Route) -> Bool {
        guard route.interface != index, guests.network.contains(route.destination.base) else { return false }
        return route.destination.prefixLength > guests.network.prefixLength || route.destination == guests.network && route.metric == 0
    }

    /// Sets a forwarding setting that another program has changed.
    func restore(_ setting: KernelSetting, _ value: String, now: UInt64) {
        guard let current = setting.value, current != value else { return }
        repair(.forwarding, "\(setting.path.replacing("/", with: ".")) was set to \(current)", now) { () throws(SystemError) in try setting.set(value) }
    }

    private func repair(_ kind: Kind, _ change: String, _ now: UInt64, _ body: () throws(SystemError) -> Void) {
        let recent = (repairs[kind] ?? []).filter { $0 + 60 * MonotonicClock.second > now }
        repairs[kind] = recent + [now]
        guard recent.count < Self.repairLimit else {
            if recent.count == Self.repairLimit { logger.warning("\(change) by another program again and again; it stays so for a minute, and guests may be cut off; find that program (ip monitor)") }
            return
        }
        do throws(SystemError) {
            try body()
            logger.notice("\(change) by another program; it is set up again")
        } catch {
            logger.warning("\(change) by another program, and that could not be mended: \(error); guests are cut off until vde_vmnet is restarted")
        }
    }

    private func report(_ found: [(text: String, remedy: String)]) {
        for (text, remedy) in found where !reported.contains(text) { logger.warning("\(text); mend it with: \(remedy)") }
        for text in reported where !found.contains(where: { $0.text == text }) { logger.notice("no longer so: \(text)") }
        reported = Set(found.map(\.text))
    }
}
