// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Logging
import NetworkModel
import Platform
import Uplinks
import Wire

/// Keeps the host's end of a guest network as it was set up: the TAP up, with the gateway's address and the network's
/// route. What other programs undo is set up again, a few times a minute; what only the administrator can decide is
/// reported once, with the command.
final class TapUpkeep {
    /// Repairs of one kind within a minute.
    private static let repairLimit = 5
    private static let minute = 60 * MonotonicClock.second

    private enum Kind: Hashable { case link, address, route, forwarding }

    private struct Finding {
        let text: String
        let remedy: String
    }

    let tap: String
    private let index: UInt32
    private let guests: GuestNetwork
    private let logger: Logger
    /// When something of each kind was repaired, in nanoseconds of the monotonic clock.
    private var repairs: [Kind: [UInt64]] = [:]
    /// What was reported and still holds.
    private var reported: Set<String> = []
    /// We have taken it down ourselves.
    private var isHeldDown = false
    /// When to look again, because something was left as it is for now; in nanoseconds of the monotonic clock.
    private(set) var nextCheck: UInt64?

    init(tap: String, index: UInt32, guests: GuestNetwork, logger: Logger) {
        self.tap = tap
        self.index = index
        self.guests = guests
        self.logger = logger
    }

    private var gateway: String { "\(guests.gateway)/\(guests.network.prefixLength)" }

    func takeDown() {
        isHeldDown = true
        try? NetworkInterfaces.configure(index, up: false)
    }

    func bringUp() {
        isHeldDown = false
        try? NetworkInterfaces.configure(index, up: true)
    }

    /// Compares the host with what was set up, after something about it has changed.
    /// - Parameter routes: of this host.
    /// - Throws: if the TAP is in this network namespace no longer.
    func check(_ routes: [Route], now: UInt64) throws(ExitError) {
        nextCheck = nil
        guard let link = NetworkInterfaces.link(index), let name = NetworkInterfaces.name(of: index) else {
            throw ExitError(
                .unavailable,
                "\(tap) was moved to another network namespace, where its rules do not hold; start vde_vmnet in that namespace instead"
            )
        }
        // Where its rules do not hold, or its settings are not found, it is not to be up.
        if let finding = misplaced(link, name) {
            if link.isUp { takeDown() }
            return report([finding])
        }
        if isHeldDown {
            bringUp()
        } else if !link.isUp {
            repair(.link, "\(tap) was taken down", now) { () throws(SystemError) in
                try NetworkInterfaces.configure(index, up: true)
            }
            guard NetworkInterfaces.link(index)?.isUp == true else { return report([]) }
        }
        checkAddress(routes, now)
        report(
            routes.filter(isCovering).map { route in
                let name = NetworkInterfaces.name(of: route.interface) ?? "another interface"
                return Finding(
                    text: "the route to \(route.destination) by \(name) leads away from guests of \(guests.network)",
                    remedy: "sudo ip route del \(route.destination) dev \(name)")
            })
    }

    private func misplaced(_ link: LinkState, _ name: String) -> Finding? {
        if let bridge = link.bridge {
            return Finding(
                text:
                    "\(tap) is a port of \(NetworkInterfaces.name(of: bridge) ?? "a bridge"), where the rules for its guests do not hold; it is down until that ends",
                remedy: "sudo ip link set \(name) nomaster")
        }
        if name != tap {
            return Finding(
                text: "\(tap) was renamed to \(name); it is down until that ends",
                remedy: "sudo ip link set \(name) name \(tap)")
        }
        return nil
    }

    private func checkAddress(_ routes: [Route], _ now: UInt64) {
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
        // An administrator may have given it the same address in a smaller or larger network.
        guard addresses.allSatisfy({ $0.network == guests.network }) else { return }
        func leads(_ routes: [Route]) -> Bool {
            routes.contains { isMain($0) && $0.destination == guests.network && $0.interface == index }
        }
        // The kernel may have added it with the address, or when the link came up.
        guard !leads(routes), let current = try? NetworkInterfaces.routes(), !leads(current) else { return }
        repair(.route, "the route to \(guests.network) by \(tap) was removed", now) { () throws(SystemError) in
            try NetworkInterfaces.addRoute(to: guests.network, from: guests.gateway, by: index)
        }
    }

    private func isMain(_ route: Route) -> Bool { route.table == Route.mainTable && !route.isLocal }

    /// A route that the host prefers to the guests' own for some of them.
    private func isCovering(_ route: Route) -> Bool {
        guard isMain(route), route.interface != index, guests.network.contains(route.destination.base) else {
            return false
        }
        return route.destination.prefixLength > guests.network.prefixLength
            || route.destination == guests.network && route.metric == 0
    }

    /// Sets a forwarding setting that another program has changed.
    func restore(_ setting: KernelSetting, _ value: String, now: UInt64) {
        guard let current = setting.value, current != value else { return }
        repair(.forwarding, "\(setting.path.replacing("/", with: ".")) was set to \(current)", now) {
            () throws(SystemError) in try setting.set(value)
        }
    }

    private func repair(_ kind: Kind, _ change: String, _ now: UInt64, _ body: () throws(SystemError) -> Void) {
        let recent = (repairs[kind] ?? []).filter { $0 + Self.minute > now }
        guard recent.count < Self.repairLimit else {
            // Each minute begins with the first of them.
            let again = recent[0] + Self.minute
            if nextCheck.map({ again < $0 }) ?? true { nextCheck = again }
            if recent.count == Self.repairLimit {
                repairs[kind] = recent + [recent[0]]
                logger.warning(
                    "\(change) by another program again and again; it stays so for up to a minute, and guests may be cut off; find that program (ip monitor)"
                )
            }
            return
        }
        repairs[kind] = recent + [now]
        do throws(SystemError) {
            try body()
            logger.notice("\(change) by another program; it is set up again")
        } catch {
            logger.warning(
                "\(change) by another program, and that could not be mended: \(error); guests are cut off until vde_vmnet is restarted"
            )
        }
    }

    private func report(_ found: [Finding]) {
        for finding in found where !reported.contains(finding.text) {
            logger.warning("\(finding.text); mend it with: \(finding.remedy)")
        }
        for text in reported where !found.contains(where: { $0.text == text }) {
            logger.notice("no longer so: \(text)")
        }
        reported = Set(found.map(\.text))
    }
}
