// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Logging
import NetworkModel
import Platform
import Uplinks
import Wire

// What lets a guest network on a TAP out of the host, and keeps it closed: rules, forwarding, routes.

extension Privileged {
    // MARK: Start and end

    /// Puts the rules of the guests' network in place, and only then brings the TAP up with the gateway's address and
    /// switches forwarding on: nothing passes that the rules would stop.
    /// - Parameter rules: of the TAP that `openTAP` made.
    package func start(_ rules: Firewall, for guests: GuestNetwork, on device: borrowing TapDevice) throws(ExitError) {
        let tap = device.name
        reservations = try PortReservations(rules.published)
        let firewall = GuestFirewall(rules),
            forwarding = EgressForwarding(tap: tap, record: record, directory: directory, logger: logger)
        self.firewall = firewall
        self.forwarding = forwarding
        upkeep = TapUpkeep(tap: tap, index: device.index, guests: guests, logger: logger)
        route = GuestRoute(guests.network, record: record, logger: logger)
        try orUnavailable { () throws(SystemError) in for table in firewall.tables { try record.add(.table(table)) } }
        // A new interface forwards where the host is a router.
        try set(KernelSetting.forwarding(on: tap), "0")
        var steps: [EgressForwarding.Step] = []
        if !rules.isClosed {
            steps = forwarding.plan((try? NetworkInterfaces.routes()) ?? [], waiting: Privileged.startPatience) ?? []
            firewall.rules.guarded = forwarding.guarded
        }
        try apply()
        try address(device, guests)
        route?.refresh()
        guard !rules.isClosed else { return }
        forwarding.enable(steps)
        try set(KernelSetting.forwarding(on: tap), "1")
        if !rules.published.isEmpty { try set(KernelSetting(path: "net/ipv4/conf/\(tap)/route_localnet"), "1") }
    }

    /// A setting of the TAP, which goes with it.
    private func set(_ setting: KernelSetting, _ value: String) throws(ExitError) {
        do throws(SystemError) {
            try setting.set(value)
        } catch {
            throw ExitError(.noPermission, "\(error); the guests' network cannot be set up")
        }
    }

    /// Takes the TAP down, before anything is undone that keeps its guests where they may be.
    package func closeNetwork() { upkeep?.takeDown() }

    private func apply() throws(ExitError) {
        do throws(NFTables.Failure) {
            try firewall?.apply()
        } catch {
            throw ExitError(.unavailable, error.description)
        }
    }

    /// Published ports lead to other addresses now.
    package func publish(_ published: [PublishedPort]) {
        guard let firewall, !isGivenUp, firewall.rules.published != published else { return }
        firewall.rules.published = published
        do throws(ExitError) {
            try apply()
        } catch {
            logger.error("\(error); published ports lead where they led before")
        }
    }

    // MARK: Changes of the host

    /// Something about the host's network has changed: puts back what other programs have undone, and follows to other
    /// ways out.
    /// - Returns: when to look again, in nanoseconds of the monotonic clock, though nothing changes; nil if that is not
    ///   needed.
    /// - Throws: if the TAP is out of our reach.
    package func refresh(now: UInt64) throws(ExitError) -> UInt64? {
        guard let firewall, let forwarding, let upkeep, let tap, !isGivenUp else { return nil }
        guard let routes = try? NetworkInterfaces.routes() else { return nil }
        try upkeep.check(routes, now: now)
        upkeep.restore(KernelSetting.forwarding(on: tap), firewall.rules.isClosed ? "0" : "1", now: now)
        route?.refresh()
        guard !firewall.rules.isClosed else { return upkeep.nextCheck }
        let before = firewall.rules
        let steps = forwarding.plan(routes, waiting: 0)
        firewall.rules.guarded = forwarding.guarded
        do throws(ExitError) {
            if firewall.rules != before { try apply() }
            forwarding.enable(steps ?? [])
            for setting in forwarding.settings { upkeep.restore(setting, "1", now: now) }
        } catch {
            logger.error("\(error)")
        }
        return steps == nil ? now + Privileged.lockPause : upkeep.nextCheck
    }

    /// Rules of this host have changed. If they were ours, they are put back; while they are missing, nothing passes
    /// that they would stop.
    package func verifyFirewall(now: UInt64) {
        guard let firewall, let upkeep, !isGivenUp, case .changed(let table, let opens) = firewall.check() else {
            return
        }
        // The other table only repeats rules that are in force.
        if opens {
            upkeep.takeDown()
            forwarding?.set("0")
        }
        guard firewall.mayRepair(now: now) else {
            isGivenUp = opens
            if opens {
                logger.error(
                    "another program has removed or changed the nftables table \(table) three times within a minute; \(upkeep.tap) is down, so that guests are not without its rules; find that program (nft monitor), then restart vde_vmnet"
                )
            } else {
                firewall.leaveGuards()
                logger.warning(
                    "another program has removed the nftables table \(table) three times within a minute; it is left so: were vde_vmnet killed, the interfaces that lead out would forward between each other until its next start"
                )
            }
            return
        }
        do throws(ExitError) {
            try apply()
            logger.notice("another program has removed or changed the nftables table \(table); it is in place again")
            if opens {
                forwarding?.set("1")
                upkeep.bringUp()
            }
        } catch {
            isGivenUp = opens
            logger.error(
                "\(error); \(opens ? "\(upkeep.tap) stays down" : "\(table) is missing"); restart vde_vmnet once that is mended"
            )
        }
    }
}
