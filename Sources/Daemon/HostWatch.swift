// SPDX-License-Identifier: Apache-2.0
import Logging
import Platform
import Uplinks

/// Follows what changes on the host, as far as it matters to a guest network on a TAP.
final class HostWatch {
    private let rules: ChangeMonitor
    private var network: ChangeMonitor?
    private var firewall: FirewallWatch?

    /// - Parameter leadsOut: guests leave the host through other interfaces.
    init(_ privileged: Privileged, tap: String, guests: GuestNetwork, leadsOut: Bool, loop: ControlLoop, logger: Logger) throws(ExitError) {
        rules = try orUnavailable { () throws(SystemError) in
            // At once: while our rules are missing, the TAP is to be down.
            try ChangeMonitor(NetworkInterfaces.firewallMonitor(), settling: 0, spacing: 100 * MonotonicClock.millisecond, loop: loop) { [unowned privileged] in
                privileged.verifyFirewall(now: MonotonicClock.now)
            }
        }
        network = try orUnavailable { () throws(SystemError) in
            try ChangeMonitor(NetworkInterfaces.monitor(), settling: 200 * MonotonicClock.millisecond, loop: loop) { [unowned self, unowned privileged] in
                privileged.refresh(now: MonotonicClock.now)
                firewall?.networkChanged()
            }
        }
        if leadsOut { firewall = FirewallWatch(tap: tap, network: guests, loop: loop, logger: logger) }
    }
}
