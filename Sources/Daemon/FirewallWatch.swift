// SPDX-License-Identifier: Apache-2.0
import Logging
import Platform
import Uplinks

/// Tells the user when rules of others drop what guests send, at the start and whenever the rules have changed.
final class FirewallWatch {
    private let tap: String
    private let network: GuestNetwork
    private let logger: Logger
    private var known: [ForeignFirewall.Finding] = []
    private var monitor: ChangeMonitor?

    init(tap: String, network: GuestNetwork, loop: ControlLoop, logger: Logger) {
        self.tap = tap
        self.network = network
        self.logger = logger
        // After the start, which need not wait for this, and which itself changes rules.
        loop.schedule(after: 0) { [unowned self] in look() }
        do throws(SystemError) {
            monitor = try ChangeMonitor(NetworkInterfaces.firewallMonitor(), settling: MonotonicClock.second, loop: loop) { [unowned self] in look() }
        } catch {
            logger.debug("\(error)")
        }
    }

    private func look() {
        guard let egress = try? EgressInterfaces.current(except: tap).first else { return }
        let found = ForeignFirewall(tap: tap, network: network, egress: egress).findings()
        for finding in found where !known.contains(finding) { logger.warning("\(finding)") }
        if found.isEmpty && !known.isEmpty { logger.notice("no firewall of this host stands in the guests' way any more") }
        known = found
    }
}
