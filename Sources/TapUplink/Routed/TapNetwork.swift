// SPDX-License-Identifier: Apache-2.0
import HostChanges
import HostFirewall
import Lifecycle
import Logging
import NetworkModel
import Platform
import Timing
import Uplink
import Wire

// Theory of operation: a guest network on a TAP
// =============================================
//
// Start, in this order, so that no packet passes that the rules would drop:
//   1. Bind the published ports of the host (`PublishedPortSockets`).
//   2. Switch forwarding off on the TAP, which has it on if the host is a router.
//   3. Record forwarding of the egress interfaces (`EgressForwarding.plan`), then apply the nftables rules.
//   4. Bring the TAP up with the gateway's address, and add a routing rule if a VPN's rules need one (`GuestRoute`).
//   5. Switch forwarding on, on the egress interfaces and on the TAP.
// IPv6 takes part in steps 3 to 5 (`TapIPv6`).
//
// Afterwards other programs may change what was set up. `HostMonitor` calls:
//
//     event                               call               reaction
//     link, address, route or rule        refresh            repairs it, five times a minute (`TapUpkeep`)
//     a new egress interface              refresh            rules for it, then forwarding
//     the own nftables tables             verifyFirewall     TAP down, forwarding off, tables again, TAP up;
//                                                            the third time within a minute the TAP stays down
//
// Forwarding is per interface (`conf.TAP.forwarding`, `conf.EGRESS.forwarding`). On an egress interface of a host that
// is not a router, it would also forward between that interface and the host's other ones. Rules
// (`NATTable.restrictedInterfaces`) drop those packets.

/// Sets up a guest network on a TAP, keeps it as it was set up, and keeps it closed when it cannot.
final class TapNetwork {
    let tap: String
    private let index: UInt32
    private let guests: GuestNetwork
    private let changes: HostChanges
    private let logger: Logger
    let firewall: GuestFirewall
    private let forwarding: EgressForwarding
    private let upkeep: TapUpkeep
    private let guestRoutes: [GuestRoute]
    /// nil without IPv6.
    let six: TapIPv6?
    /// The guests' IPv6 network, if the kernel forwards their packets.
    var forwardedNetwork6: IPv6Network? { six?.way == .userNAT ? nil : six?.network }
    /// Called after a change of `TapIPv6.hasEgress`.
    var onEgressChange: () -> Void = {}
    let sockets = PublishedPortSockets()
    /// Other programs have removed the rules too often: the TAP stays down.
    private(set) var isClosedForGood = false

    /// - Parameters:
    ///   - rules: for the TAP `device`.
    ///   - six: nil without IPv6.
    ///   - changes: records what outlives the TAP.
    init(
        _ rules: NATTable, guests: GuestNetwork, device: borrowing TapDevice, six: TapIPv6?, changes: HostChanges,
        logger: Logger
    ) {
        tap = device.name
        index = device.index
        self.guests = guests
        self.changes = changes
        self.logger = logger
        firewall = GuestFirewall(rules)
        self.six = six
        forwarding = EgressForwarding(.ipv4, changes: changes, logger: logger)
        upkeep = TapUpkeep(tap: tap, index: index, guests: guests, six: six, logger: logger)
        guestRoutes = ([.ipv4(guests.network)] + (six.map { [.ipv6($0.network)] } ?? [])).map {
            GuestRoute($0, log: changes.log, logger: logger)
        }
    }

    // MARK: Start and end

    /// Applies the rules, and only then opens the network.
    func start() throws(ExitError) {
        let rules = firewall.rules
        do throws(PublishedPortSockets.Failure) {
            try sockets.replace(by: rules.published)
        } catch {
            throw ExitError.publishing(error.published, port: error.port, errno: error.code)
        }
        changes.firewall = firewall
        try orUnavailable { () throws(SystemError) in
            for table in firewall.tables { try changes.log.add(.table(table)) }
        }
        // A new interface forwards if the host is a router.
        try set(KernelSetting.forwarding(on: tap), "0")
        var steps: [EgressForwarding.Step] = [], steps6 = steps
        if !rules.isClosed {
            let routes = (try? NetworkInterfaces.routes()) ?? []
            steps = plan(routes, lockTimeout: HostChanges.startLockTimeout) ?? []
            steps6 = six?.plan(lockTimeout: HostChanges.startLockTimeout) ?? []
            restrict()
        }
        try apply()
        try orUnavailable { () throws(SystemError) in
            try NetworkInterfaces.add(guests.gateway, prefixLength: guests.network.prefixLength, to: index)
            try six?.addAddresses(to: index)
            try NetworkInterfaces.configure(index, up: true)
        }
        for route in guestRoutes { route.refresh() }
        guard !rules.isClosed else { return }
        six?.enable(steps6)
        forwarding.enable(steps)
        try set(KernelSetting.forwarding(on: tap), "1")
        if !rules.published.isEmpty { try set(localRouting, "1") }
    }

    private func plan(_ routes: [Route], lockTimeout: TimeAmount) -> [EgressForwarding.Step]? {
        forwarding.plan(EgressInterfaces.leading(routes, except: tap), lockTimeout: lockTimeout)
    }

    /// Has the rules drop what is forwarded between the interfaces on which forwarding is switched on.
    private func restrict() {
        firewall.rules.restrictedInterfaces = forwarding.restrictedInterfaces
        firewall.rules.restrictedInterfaces6 = six?.restrictedInterfaces ?? []
        firewall.rules.restrictsEverything6 = six?.restrictsEverything ?? false
    }

    /// Whether packets of this host's loopback network may go to guests: published ports need it.
    var localRouting: KernelSetting { KernelSetting(path: "net/ipv4/conf/\(tap)/route_localnet") }

    /// Writes a setting of the TAP, which the kernel removes together with it.
    private func set(_ setting: KernelSetting, _ value: String) throws(ExitError) {
        do throws(SystemError) {
            try setting.set(value)
        } catch {
            throw ExitError(.noPermission, "\(error); the guests' network cannot be set up")
        }
    }

    /// Takes the TAP down for good.
    func takeDown() { upkeep.takeDown() }

    private func apply() throws(ExitError) {
        let before = firewall.rules
        do throws(UnclassifiedError) {
            try firewall.apply()
        } catch {
            throw ExitError(.unavailable, error.description)
        }
        if before.hasConnectionLabels && !firewall.rules.hasConnectionLabels {
            logger.warning(
                """
                this kernel has no labels of connections (CONFIG_NF_CONNTRACK_LABELS): guests' ICMP errors about \
                connections of this host are not dropped
                """)
        }
        if before.separatesGuests && !firewall.rules.separatesGuests {
            logger.warning(
                """
                this kernel has no zones of connections (CONFIG_NF_CONNTRACK_ZONES, module nft_hash): a guest that \
                takes the address of another one can continue its connections
                """)
        }
    }

    /// Applies published ports whose guests have other addresses now.
    func publish(_ published: [PublishedPort]) {
        guard !isClosedForGood, firewall.rules.published != published else { return }
        firewall.rules.published = published
        do throws(ExitError) {
            try apply()
        } catch {
            logger.error("\(error); published ports still lead to the former addresses")
        }
    }

    // MARK: Changes of the host

    /// Called after each change of the host's network: repairs what other programs have undone, and follows to other
    /// egress interfaces.
    /// - Returns: when to call this again even without a change; nil if that is not needed.
    /// - Throws: if the TAP is in another network namespace.
    func refresh(now: Instant) throws(ExitError) -> Instant? {
        guard !isClosedForGood else { return nil }
        guard let routes = try? NetworkInterfaces.routes() else { return nil }
        try upkeep.check(routes, now: now)
        upkeep.restore(KernelSetting.forwarding(on: tap), firewall.rules.isClosed ? "0" : "1", now: now)
        for route in guestRoutes { route.refresh() }
        guard !firewall.rules.isClosed else { return upkeep.nextCheck }
        let before = firewall.rules, hadEgress = six?.hasEgress
        let steps = plan(routes, lockTimeout: .zero), steps6 = six == nil ? [] : six?.plan(lockTimeout: .zero)
        restrict()
        do throws(ExitError) {
            if firewall.rules != before { try apply() }
            forwarding.enable(steps ?? [])
            six?.enable(steps6 ?? [])
            for setting in forwarding.settings + (six?.settings ?? []) { upkeep.restore(setting, "1", now: now) }
        } catch {
            logger.error("\(error)")
        }
        if six?.hasEgress != hadEgress { onEgressChange() }
        return steps == nil || steps6 == nil ? now + HostChanges.lockRetryInterval : upkeep.nextCheck
    }

    /// Called after each change of the host's nftables rules: repairs the own tables. While the rules are missing, no
    /// packet passes that they would drop.
    func verifyFirewall(now: Instant) {
        guard !isClosedForGood, case .changed(let table, let opens) = firewall.check() else { return }
        // A change of the second table opens nothing, because the first table has the same rules.
        if opens {
            upkeep.takeDown()
            forwarding.set("0")
            six?.set("0")
        }
        guard firewall.mayRepair(now: now) else {
            isClosedForGood = opens
            if opens {
                logger.error(
                    """
                    another program has removed or changed the nftables table \(table) three times within a minute; \
                    \(tap) is down, because guests would not be filtered; find that program (nft monitor), then \
                    restart vde_vmnet
                    """
                )
            } else {
                firewall.leaveGuards()
                logger.warning(
                    """
                    another program has removed the nftables table \(table) three times within a minute; it is not \
                    repaired again: if vde_vmnet were killed, the egress interfaces would forward between each other \
                    until its next start; find that program (nft monitor)
                    """
                )
            }
            return
        }
        do throws(ExitError) {
            try apply()
            logger.notice("another program has removed or changed the nftables table \(table); it is repaired")
            if opens {
                forwarding.set("1")
                six?.set("1")
                upkeep.bringUp()
            }
        } catch {
            isClosedForGood = opens
            logger.error(
                """
                \(error); \(opens ? "\(tap) stays down" : "\(table) is missing"); fix the cause, then restart \
                vde_vmnet
                """
            )
        }
    }
}
