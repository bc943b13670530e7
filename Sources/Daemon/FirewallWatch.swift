// SPDX-License-Identifier: Apache-2.0
import Logging
import Platform
import Uplinks
import Wire

/// Reports rules of other programs that drop what guests send: at the start, and whenever rules or the way out have changed.
final class FirewallWatch {
    /// iptables-legacy reports no changes: its rules are looked at this often (nanoseconds).
    private static let legacyInterval = 60 * MonotonicClock.second

    private let tap: String
    private let network: GuestNetwork
    private let loop: ControlLoop
    private let logger: Logger
    private var known: [ForeignFirewall.Finding] = []
    private var egress: String?
    private var hasLegacyRules = false
    private var monitor: ChangeMonitor?

    init(tap: String, network: GuestNetwork, loop: ControlLoop, logger: Logger) {
        self.tap = tap
        self.network = network
        self.loop = loop
        self.logger = logger
        // After the start, which need not wait for this, and which itself changes rules.
        loop.schedule(after: 0) { [unowned self] in check() }
        lookForLegacyRules()
        do throws(SystemError) {
            monitor = try ChangeMonitor(NetworkInterfaces.firewallMonitor(), settling: MonotonicClock.second, loop: loop) { [unowned self] in check() }
        } catch {
            logger.debug("\(error)")
        }
    }

    /// Another interface may lead out now.
    func networkChanged() { if wayOut() != egress { check() } }

    /// The interface through which guests' packets to the outside leave, by all of the host's routing rules; nil where none does.
    private func wayOut() -> String? {
        guard let index = NetworkInterfaces.index(of: tap) else { return nil }
        return NetworkInterfaces.path(to: ForeignFirewall.outside, from: network.firstLease, input: index)?.interface
    }

    private func lookForLegacyRules() {
        loop.schedule(after: Self.legacyInterval) { [unowned self] in
            // Also once after the last of them have gone.
            let hadLegacyRules = hasLegacyRules
            hasLegacyRules = ForeignFirewall.hasLegacyRules
            if hasLegacyRules || hadLegacyRules { check() }
            lookForLegacyRules()
        }
    }

    private func check() {
        egress = wayOut()
        let found = egress.map { ForeignFirewall(tap: tap, network: network, egress: $0).findings() } ?? []
        for finding in found where !known.contains(finding) { logger.warning("\(finding)") }
        // While nothing leads out, nothing is known of what would be dropped.
        guard egress != nil else { return }
        for finding in known where !found.contains(where: { $0.loss == finding.loss && $0.owner == finding.owner }) {
            logger.notice("the firewall of this host (\(finding.owner.rawValue)) no longer drops \(finding.loss)")
        }
        known = found
    }
}
