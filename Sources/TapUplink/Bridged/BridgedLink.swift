// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Logging
import Platform
import Timing
import Uplink

/// The interface of a bridged network's port, and its connection to that network. What becomes of it while guests run
/// is logged; its end is the network's.
final class BridgedLink {
    private let network: BridgedNetwork
    private let context: UplinkContext
    /// The interface of the port: the TAP, or the NIC itself.
    let name: String
    private let index: UInt32
    private var monitor: ChangeMonitor?
    private var reported: String?

    /// - Throws: if the host's links cannot be watched.
    init(_ network: BridgedNetwork, by name: String, index: UInt32, _ context: UplinkContext) throws(SystemError) {
        self.network = network
        self.context = context
        self.name = name
        self.index = index
        monitor = try ChangeMonitor(
            NetworkInterfaces.monitor(), settling: .milliseconds(200), loop: context.loop
        ) { [unowned self] in check() }
        check()
    }

    /// Ends watching.
    func stop() {
        monitor?.stop()
        monitor = nil
    }

    /// Why guests do not reach the network, with the next step; nil while they do.
    var loss: String? {
        guard let link = NetworkInterfaces.link(index) else { return "\(name) is gone" }
        if !link.isUp { return "\(name) is down; set it up: sudo ip link set \(name) up" }
        switch network.kind {
        case .bridge:
            let bridge = network.interface
            guard let state = NetworkInterfaces.link(network.index) else {
                return "the bridge \(bridge) is gone; make it, and start vde_vmnet again"
            }
            guard link.bridge == network.index else {
                return "\(name) is not a port of \(bridge) any more; sudo ip link set \(name) master \(bridge)"
            }
            return state.isUp ? nil : "\(bridge) is down; set it up: sudo ip link set \(bridge) up"
        // Open vSwitch's bridges are interfaces that may be down.
        case .openVSwitch: return nil
        case .nic, .wireless: return link.isRunning ? nil : "\(name) has no carrier; check its cable"
        }
    }

    private func check() {
        guard NetworkInterfaces.link(index) != nil else { return context.reportRemoval(of: name) }
        let loss = loss
        if let loss, loss != reported {
            context.logger.warning("guests do not reach \(network.interface): \(loss)")
        } else if loss == nil, reported != nil {
            context.logger.notice("guests reach \(network.interface) again")
        }
        reported = loss
    }
}
