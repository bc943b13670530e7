// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Logging
import NetworkModel
import Platform
import Uplinks
import Wire

/// Reports rules of other programs that drop what guests send: at the start, and whenever rules or the way out have
/// changed.
final class FirewallWatch {
    /// iptables-legacy reports no changes: its rules are looked at this often (nanoseconds).
    private static let legacyInterval = 60 * MonotonicClock.second

    /// Between two checks while rules change all the time (nanoseconds).
    private static let pause = 5 * MonotonicClock.second

    private let tap: String
    private let network: GuestNetwork
    private let loop: ControlLoop
    private let logger: Logger
    private var known: [ForeignFirewall.Finding] = []
    private var egress: String?
    private var hasLegacyRules = false
    private var monitor: ChangeMonitor?
    private var isChecking = false
    /// Rules have changed since the check began.
    private var isStale = false

    init(tap: String, network: GuestNetwork, loop: ControlLoop, logger: Logger) {
        self.tap = tap
        self.network = network
        self.loop = loop
        self.logger = logger
        // After the start, which need not wait for this, and which itself changes rules.
        loop.schedule(after: 0) { [weak self] in self?.check() }
        lookForLegacyRules()
        do throws(SystemError) {
            monitor = try ChangeMonitor(
                NetworkInterfaces.firewallMonitor(), settling: MonotonicClock.second, loop: loop
            ) { [unowned self] in check() }
        } catch {
            logger.debug("\(error)")
        }
    }

    /// Another interface may lead out now.
    func networkChanged() { if wayOut() != egress { check() } }

    /// The interface through which guests' packets to the outside leave, by all of the host's routing rules; nil where
    /// none does.
    private func wayOut() -> String? {
        guard let index = NetworkInterfaces.index(of: tap) else { return nil }
        return NetworkInterfaces.path(to: ForeignFirewall.outside, from: network.firstLease, input: index)?.interface
    }

    private func lookForLegacyRules() {
        loop.schedule(after: Self.legacyInterval) { [weak self] in
            guard let self else { return }
            // Also once after the last of them have gone.
            let hadLegacyRules = hasLegacyRules
            hasLegacyRules = ForeignFirewall.hasLegacyRules
            if hasLegacyRules || hadLegacyRules { check() }
            lookForLegacyRules()
        }
    }

    /// Reads the rules on a thread of its own: nft(8) starts over whenever they change meanwhile, and may take long
    /// where there are many.
    private func check() {
        guard !isChecking else {
            isStale = true
            return
        }
        let way = wayOut()
        egress = way
        guard let way else {
            // While nothing leads out, nothing is known of what would be dropped.
            return
        }
        let firewall = ForeignFirewall(tap: tap, network: network, egress: way)
        do throws(SystemError) {
            isChecking = true
            try loop.runInBackground(named: "firewall check") {
                firewall.findings()
            } then: { [weak self] found in
                self?.finish(found)
            }
        } catch {
            isChecking = false
            logger.debug("\(error)")
        }
    }

    private func finish(_ found: [ForeignFirewall.Finding]?) {
        isChecking = false
        if let found { report(found) }
        guard isStale else { return }
        isStale = false
        loop.schedule(after: Self.pause) { [weak self] in self?.check() }
    }

    private func report(_ found: [ForeignFirewall.Finding]) {
        for finding in found where !known.contains(finding) { logger.warning("\(finding)") }
        for finding in known where !found.contains(where: { $0.loss == finding.loss && $0.owner == finding.owner }) {
            logger.notice("the firewall of this host (\(finding.owner.rawValue)) no longer drops \(finding.loss)")
        }
        known = found
    }
}
