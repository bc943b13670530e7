// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Logging
import NetworkModel
import Platform
import Timing
import Wire

/// Reports rules of other programs that drop guests' packets: at the start, and whenever the rules or the egress
/// interface have changed.
package final class FirewallMonitor {
    /// How often the rules of iptables-legacy are read, which reports no changes.
    private static let legacyInterval = TimeAmount.minutes(1)

    /// The pause between two checks while the rules keep changing.
    private static let recheckInterval = TimeAmount.seconds(5)

    private let tap: String
    private let network: GuestNetwork
    private let network6: IPv6Network?
    private let loop: ControlLoop
    private let logger: Logger
    private var known: [HostFirewallInspector.Finding] = []
    private var egress: String?
    private var egress6: String?
    private var hasLegacyRules = false
    private var monitor: ChangeMonitor?
    private var isChecking = false
    /// The rules have changed since the running check began.
    private var isStale = false

    /// - Parameters:
    ///   - tap: the interface that guests are behind.
    ///   - network6: the guests' IPv6 network; nil for none.
    package init(tap: String, network: GuestNetwork, network6: IPv6Network?, loop: ControlLoop, logger: Logger) {
        self.tap = tap
        self.network = network
        self.network6 = network6
        self.loop = loop
        self.logger = logger
        // Later, because the start must not wait for this, and changes rules itself.
        loop.schedule(after: .zero) { [weak self] in self?.check() }
        pollLegacyRules()
        do throws(SystemError) {
            monitor = try ChangeMonitor(
                NetworkInterfaces.firewallMonitor(), settling: .seconds(1), loop: loop
            ) { [unowned self] in check() }
        } catch {
            logger.debug("\(error)")
        }
    }

    /// Checks again if guests' packets leave the host through another interface now.
    package func networkChanged() { if egressInterface() != egress || egressInterface6() != egress6 { check() } }

    /// The interface through which guests' packets to the outside leave, by all of the host's routing rules; nil if
    /// there is none.
    private func egressInterface() -> String? {
        guard let index = NetworkInterfaces.index(of: tap) else { return nil }
        return NetworkInterfaces.path(to: HostFirewallInspector.outside, from: network.firstLease, input: index)?
            .interface
    }

    /// The same over IPv6; nil without IPv6.
    private func egressInterface6() -> String? {
        network6 == nil ? nil : HostFirewallInspector.egressInterface6(except: tap)
    }

    private func pollLegacyRules() {
        loop.schedule(after: Self.legacyInterval) { [weak self] in
            guard let self else { return }
            // Also once after the last rule is gone.
            let hadLegacyRules = hasLegacyRules
            hasLegacyRules = HostFirewallInspector.hasLegacyRules || HostFirewallInspector.hasLegacyRules6
            if hasLegacyRules || hadLegacyRules { check() }
            pollLegacyRules()
        }
    }

    /// Reads the rules on a background thread: nft(8) starts over whenever the rules change, and may take long if there
    /// are many.
    private func check() {
        guard !isChecking else {
            isStale = true
            return
        }
        egress = egressInterface()
        egress6 = egressInterface6()
        // Without an egress interface, no packet can be traced.
        guard egress != nil || egress6 != nil else { return }
        let firewall = HostFirewallInspector(
            tap: tap, network: network, egress: egress, network6: network6, egress6: egress6)
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

    private func finish(_ found: [HostFirewallInspector.Finding]?) {
        isChecking = false
        // Guests need no pings of the gateway.
        if let found { report(found.filter { $0.purpose != .pings }) }
        guard isStale else { return }
        isStale = false
        loop.schedule(after: Self.recheckInterval) { [weak self] in self?.check() }
    }

    private func report(_ found: [HostFirewallInspector.Finding]) {
        for finding in found where !known.contains(finding) { logger.warning("\(finding)") }
        for finding in known where !found.contains(where: { $0.effect == finding.effect && $0.owner == finding.owner })
        {
            logger.notice("the firewall of this host (\(finding.owner.rawValue)) no longer drops \(finding.effect)")
        }
        known = found
    }
}
