// SPDX-License-Identifier: Apache-2.0
import EventLoop
import HostFirewall
import Lifecycle
import Logging
import NetworkModel
import Platform
import Timing
import Wire

/// Watches the host for changes that concern a guest network on a TAP.
final class HostMonitor {
    private let guestNetwork: TapNetwork
    private let loop: ControlLoop
    private let onFailure: (ExitError) -> Void
    private var rules: ChangeMonitor?
    private var timer: ControlLoop.TimerID?
    private var network: ChangeMonitor?
    private var firewall: FirewallMonitor?

    /// - Parameters:
    ///   - isShared: guests' packets leave the host through other interfaces.
    ///   - onFailure: called when the network cannot go on.
    init(
        _ network: TapNetwork, tap: String, guests: GuestNetwork, isShared: Bool, loop: ControlLoop, logger: Logger,
        onFailure: @escaping (ExitError) -> Void
    ) throws(ExitError) {
        guestNetwork = network
        self.loop = loop
        self.onFailure = onFailure
        let tables = [NATTable.tableName(tap: tap), NATTable.guardTableName(tap: tap)].map { Array($0.utf8) + [0] }
        rules = try orUnavailable { () throws(SystemError) in
            // Without delay, because the TAP must be down while the rules are missing. Each message contains the name
            // of its table (NFTA_*_TABLE, a terminated string).
            try ChangeMonitor(NetworkInterfaces.firewallMonitor(), settling: .zero, loop: loop) { message in
                tables.contains { message.firstRange(ofBytes: $0) != nil }
            } onChange: { [unowned network] in
                network.verifyFirewall(now: BootClock.now)
            }
        }
        self.network = try orUnavailable { () throws(SystemError) in
            try ChangeMonitor(NetworkInterfaces.monitor(), settling: .milliseconds(200), loop: loop) {
                [unowned self] in refresh()
            }
        }
        if isShared {
            firewall = FirewallMonitor(
                tap: tap, network: guests, network6: network.forwardedNetwork6, loop: loop, logger: logger)
        }
        // The start may have skipped steps because another instance had the directory lock.
        timer = loop.scheduleSoon { [unowned self] in refresh() }
    }

    private func refresh() {
        loop.cancel(timer)
        timer = nil
        do throws(ExitError) {
            if let next = try guestNetwork.refresh(now: BootClock.now) {
                timer = loop.schedule(at: next) { [unowned self] in refresh() }
            }
            firewall?.networkChanged()
        } catch {
            onFailure(error)
        }
    }
}
