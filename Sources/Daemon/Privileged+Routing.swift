// SPDX-License-Identifier: Apache-2.0
import Logging
import Platform
import Uplinks
import Wire

// What lets a guest network on a TAP out of the host, and keeps it closed: rules, forwarding, routes.

extension Privileged {
    // MARK: Firewall

    /// Puts the rules of the guests' network in place, then switches on what they need: forwarding on the TAP and on the interfaces that lead out.
    /// - Parameter rules: of the TAP that `openTAP` made.
    package func start(_ rules: Firewall, for guests: GuestNetwork) throws(ExitError) {
        guard let tap else { return }
        reservations = try PortReservations(rules.published)
        let firewall = GuestFirewall(rules)
        self.firewall = firewall
        if let index = NetworkInterfaces.index(of: tap) { upkeep = TapUpkeep(tap: tap, index: index, guests: guests, logger: logger) }
        try orUnavailable { () throws(SystemError) in for table in firewall.tables { try record.add(.table(table)) } }
        // A new interface forwards where the host is a router.
        try set(KernelSetting.forwarding(on: tap), "0")
        let settings = planForwarding()
        try apply()
        refreshRule(rules.network)
        guard !rules.isClosed else { return }
        enable(settings)
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

    /// Something about the host's network has changed: puts back what other programs have undone, and follows to other ways out.
    package func refresh(now: UInt64) {
        guard let firewall, let tap, !isGivenUp else { return }
        upkeep?.check(now: now)
        upkeep?.restore(KernelSetting.forwarding(on: tap), firewall.rules.isClosed ? "0" : "1", now: now)
        refreshRule(firewall.rules.network)
        if !firewall.rules.isClosed { refreshForwarding(firewall, now) }
    }

    /// Other interfaces may lead out now, or another program may have made the host a router, or none.
    private func refreshForwarding(_ firewall: GuestFirewall, _ now: UInt64) {
        let before = firewall.rules
        let settings = planForwarding()
        do throws(ExitError) {
            if firewall.rules != before { try apply() }
            enable(settings)
            for interface in forwarding { upkeep?.restore(KernelSetting.forwarding(on: interface), "1", now: now) }
        } catch {
            logger.error("\(error)")
        }
    }

    private func apply() throws(ExitError) {
        do throws(NFTables.Failure) {
            try firewall?.apply()
        } catch {
            throw ExitError(.unavailable, error.description)
        }
    }

    static let everywhere = KernelSetting(path: "net/ipv4/conf/all/forwarding")

    /// Notes the interfaces that lead out and do not forward yet, in the record and in the rules, which are to be applied before `enable`.
    private func planForwarding() -> [(interface: String, setting: KernelSetting)] {
        guard let tap, let firewall, !firewall.rules.isClosed, let lock = try? Privileged.lock(directory), let egress = try? EgressInterfaces.current(except: tap) else { return [] }
        let others = record.actsOfOthers()
        var planned: [(interface: String, setting: KernelSetting)] = []
        for interface in egress where !forwarding.contains(interface) {
            let setting = KernelSetting.forwarding(on: interface)
            // Another instance may have switched it on: then what it found is what was there before us all.
            var original: String?
            for case .setting(setting, let before) in others { original = before }
            guard let before = original ?? setting.value, before == "0" else { continue }
            do throws(SystemError) {
                try record.add(.setting(setting, before: before))
                forwarding.insert(interface)
                planned.append((interface, setting))
            } catch {
                logger.warning("\(error); guests do not get out through \(interface)")
            }
        }
        _ = consume lock
        // Once the host is a router for all, as Docker makes it, our guards would stand in the way of what others want.
        firewall.rules.guarded = Privileged.everywhere.value == "1" ? [] : forwarding.sorted()
        return planned
    }

    private func enable(_ settings: [(interface: String, setting: KernelSetting)]) {
        for (interface, setting) in settings {
            do throws(SystemError) {
                try setting.set("1")
                logger.info("forwarding for guests through \(interface)")
            } catch {
                forwarding.remove(interface)
                logger.warning("\(error); guests do not get out through \(interface)")
            }
        }
    }

    // MARK: Routing rule

    /// Adds, moves or removes the rule that leads to guests past the rules of VPNs.
    private func refreshRule(_ network: IPv4Network) {
        guard let rules = try? NetworkInterfaces.rules() else { return }
        let obstacle = PolicyRouting.obstacle(in: rules), wanted = PolicyRouting.preference(among: rules)
        if let current = rulePreference, wanted != current || !rules.contains(where: { $0.preference == current && $0.table == Route.mainTable }) {
            try? NetworkInterfaces.change(ruleFor: network, preference: current, isAdded: false)
            try? record.forget(.rule(network, preference: current))
            rulePreference = nil
            if wanted == nil { logger.info("the routing rule \(current) for \(network) is needed no longer; it is removed") }
        }
        guard rulePreference == nil, let wanted, let obstacle else { return }
        do throws(SystemError) {
            try record.add(.rule(network, preference: wanted))
            try NetworkInterfaces.change(ruleFor: network, preference: wanted, isAdded: true)
            rulePreference = wanted
            let table = obstacle.table.map { "looks up table \($0) before" } ?? "comes before"
            logger.notice("routing rule \(obstacle.preference) \(table) the main table; a rule at \(wanted) keeps \(network) reachable, until the end")
        } catch {
            logger.warning("\(error); guests may be cut off by routing rule \(obstacle.preference)")
        }
    }

    // MARK: Rules that other programs remove

    /// Rules of this host have changed. If they were ours, they are put back; while they are missing, nothing passes that they would stop.
    package func verifyFirewall(now: UInt64) {
        guard let firewall, let tap, !isGivenUp, case .changed(let table, let opens) = firewall.check() else { return }
        if opens { close(tap) }
        guard firewall.mayRepair(now: now) else {
            isGivenUp = true
            if !opens { close(tap) }
            logger.error(
                "another program has removed or changed the nftables table \(table) three times within a minute; \(tap) is down, so that guests are not without its rules; find that program (nft monitor), then restart vde_vmnet")
            return
        }
        do throws(ExitError) {
            try apply()
            logger.notice("another program has removed or changed the nftables table \(table); it is in place again")
            if opens { open(tap) }
        } catch {
            isGivenUp = opens
            logger.error("\(error); \(opens ? "\(tap) stays down" : "\(table) is missing"); restart vde_vmnet once that is mended")
        }
    }

    /// Takes the TAP down, and forwarding back that only its rules made harmless.
    private func close(_ tap: String) {
        if let index = NetworkInterfaces.index(of: tap) { try? NetworkInterfaces.configure(index, up: false) }
        setForwarding("0")
    }

    private func open(_ tap: String) {
        setForwarding("1")
        if let index = NetworkInterfaces.index(of: tap) { try? NetworkInterfaces.configure(index, up: true) }
    }

    private func setForwarding(_ value: String) {
        guard Privileged.everywhere.value != "1" else { return }
        for interface in forwarding { try? KernelSetting.forwarding(on: interface).set(value) }
    }
}
