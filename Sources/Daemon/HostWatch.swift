// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Lifecycle
import Logging
import NetworkModel
import Platform
import Uplinks

/// Follows what changes on the host, as far as it matters to a guest network on a TAP.
final class HostWatch {
    private let privileged: Privileged
    private let loop: ControlLoop
    private let onFailure: (ExitError) -> Void
    private var rules: ChangeMonitor?
    private var timer: ControlLoop.TimerID?
    private var network: ChangeMonitor?
    private var firewall: FirewallWatch?

    /// - Parameters:
    ///   - leadsOut: guests leave the host through other interfaces.
    ///   - onFailure: called when the network cannot go on.
    init(
        _ privileged: Privileged, tap: String, guests: GuestNetwork, leadsOut: Bool, loop: ControlLoop, logger: Logger,
        onFailure: @escaping (ExitError) -> Void
    ) throws(ExitError) {
        self.privileged = privileged
        self.loop = loop
        self.onFailure = onFailure
        let tables = [Firewall.tableName(tap: tap), Firewall.guardTableName(tap: tap)].map { Array($0.utf8) + [0] }
        rules = try orUnavailable { () throws(SystemError) in
            // At once: while our rules are missing, the TAP is to be down. Messages name the table that they are about
            // (NFTA_*_TABLE, a terminated string).
            try ChangeMonitor(NetworkInterfaces.firewallMonitor(), settling: 0, loop: loop) { message in
                tables.contains { message.firstRange(of: $0) != nil }
            } onChange: { [unowned privileged] in
                privileged.verifyFirewall(now: MonotonicClock.now)
            }
        }
        network = try orUnavailable { () throws(SystemError) in
            try ChangeMonitor(NetworkInterfaces.monitor(), settling: 200 * MonotonicClock.millisecond, loop: loop) {
                [unowned self] in refresh()
            }
        }
        if leadsOut { firewall = FirewallWatch(tap: tap, network: guests, loop: loop, logger: logger) }
        // What the lock of another instance kept from the start is done now.
        timer = loop.schedule(after: 0) { [unowned self] in refresh() }
    }

    private func refresh() {
        loop.cancel(timer)
        timer = nil
        do throws(ExitError) {
            if let next = try privileged.refresh(now: MonotonicClock.now) {
                timer = loop.schedule(at: next) { [unowned self] in refresh() }
            }
            firewall?.networkChanged()
        } catch {
            onFailure(error)
        }
    }
}
