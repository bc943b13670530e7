// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Lifecycle
import Logging
import Platform
import Timing
import Uplink
import Wire

/// Follows the interface or the addresses of `--outbound` while the network runs, on the control thread. Where the
/// system reports no changes, it looks every second.
final class OutboundMonitor {
    private static let interval = TimeAmount.seconds(1)

    private let outbound: Outbound
    private let network: UserNAT
    private let context: UplinkContext
    private var binding: Outbound.Binding
    private var hostAddresses: Set<IPAddress> = []
    private var timer: ControlLoop.TimerID?

    /// Gives the NAT the host's addresses.
    init(_ outbound: Outbound, _ network: UserNAT, _ context: UplinkContext) {
        self.outbound = outbound
        self.network = network
        self.context = context
        binding = outbound.binding
        refresh()
    }

    /// Looks at the host. Flows whose sockets are bound to what is no longer there end.
    func refresh() {
        let found = outbound.binding, addresses = Outbound.hostAddresses()
        guard found != binding || addresses != hostAddresses else { return }
        network.hostHasChanged(addresses, endsFlows: found != binding)
        if found.isUnavailable != binding.isUnavailable {
            if found.isUnavailable {
                context.logger.warning(
                    """
                    --outbound: this host has lost \(outbound.text); guests' connections to the outside are refused as \
                    unreachable until it is back
                    """)
            } else {
                context.logger.notice("--outbound: \(outbound.text) is back")
            }
        }
        binding = found
        hostAddresses = addresses
    }

    /// Looks every second, for lack of reports.
    func poll() {
        timer = context.loop.schedule(after: OutboundMonitor.interval) { [unowned self] in
            refresh()
            poll()
        }
    }

    func stop() { context.loop.cancel(timer) }
}

extension Outbound {
    /// Checks that the host has the interface or the addresses.
    /// - Throws: `unavailable` with what there is, `usage` for the loopback interface.
    func check() throws(ExitError) {
        switch self {
        case .interface(let name):
            let others = NetworkInterfaces.names().filter { $0 != OperatingSystem.loopbackInterface }
            let list = others.isEmpty ? "(none)" : others.joined(separator: ", ")
            if name == OperatingSystem.loopbackInterface {
                throw ExitError(
                    .usage, "--outbound \(name): nothing leaves this host by the loopback interface; it has: \(list)")
            }
            guard NetworkInterfaces.index(of: name) != nil else {
                throw ExitError(
                    .unavailable, "--outbound: there is no interface \(name); give one that this host has: \(list)")
            }
        case .addresses(let four, let six):
            let own = Outbound.hostAddresses()
            for address in [four.map { IPAddress.ipv4($0) }, six.map { .ipv6($0) }].compactMap({ $0 })
            where !own.contains(address) {
                let others = own.filter { $0.isIPv6 == address.isIPv6 && !$0.isLoopback && !$0.isLinkLocal }
                let list = others.map(\.description).sorted().joined(separator: ", ")
                throw ExitError(
                    .unavailable,
                    """
                    --outbound: \(address) is no address of this host; give one that it has: \
                    \(list.isEmpty ? "(none of this IP version)" : list)
                    """)
            }
        }
    }
}
