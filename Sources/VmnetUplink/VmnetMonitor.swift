// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Logging
import NetworkModel
import Platform
import Switching
import Timing
import Wire

/// Detects events after which a vmnet interface may be dead although vmnet reports no error: the host has slept, or a
/// network adapter was removed and has come back.
///
/// A bridged interface is then replaced, because no host on its network is certain to answer a probe. In the other
/// modes the host is on the network, and is probed by ARP: an interface that works is not replaced, because on macOS 26
/// the end of one network may cut another network's connection to the outside.
final class VmnetMonitor {
    /// The time between two checks, which is also the time to answer a probe.
    private static let interval = TimeAmount.seconds(2)
    /// The number of probes that the gateway may leave unanswered.
    private static let probeLimit = 3

    private let options: VmnetOptions
    private let provider: any VmnetProvider
    private let loop: ControlLoop
    private let control: SwitchControl
    private let logger: Logger
    private let port: () -> PortNumber?
    private let onLoss: (String) -> Void
    private var timer: ControlLoop.TimerID?
    private var lastAsleep: TimeAmount
    /// The adapter's interface index, which is a new one when it comes back; nil while it is missing.
    private var adapter: UInt32?
    private var probes: Probes?

    private struct Probes {
        let port: PortNumber
        let framesIn: UInt64
        var count = 0
    }

    /// - Parameters:
    ///   - options: of the interface, with the network that vmnet has chosen.
    ///   - port: the interface's; nil while it is being replaced.
    ///   - onLoss: called with the reason to replace it.
    init(
        _ options: VmnetOptions, provider: any VmnetProvider, loop: ControlLoop, control: SwitchControl,
        logger: Logger, port: @escaping () -> PortNumber?,
        onLoss: @escaping (String) -> Void
    ) {
        self.options = options
        self.provider = provider
        self.loop = loop
        self.control = control
        self.logger = logger
        self.port = port
        self.onLoss = onLoss
        lastAsleep = provider.timeAsleep
        if case .bridged(let name) = options.mode { adapter = NetworkInterfaces.index(of: name) }
        schedule()
    }

    /// Ends the checks.
    func stop() { loop.cancel(timer) }

    private func schedule() {
        timer = loop.schedule(after: VmnetMonitor.interval) { [unowned self] in
            check()
            schedule()
        }
    }

    private func check() {
        let asleep = provider.timeAsleep
        let hasSlept = asleep > lastAsleep + .seconds(1)
        lastAsleep = asleep
        if case .bridged(let name) = options.mode { return checkBridged(name, hasSlept: hasSlept) }
        guard let port = port() else {
            // The interface is being replaced already.
            probes = nil
            return
        }
        if hasSlept { probes = Probes(port: port, framesIn: framesIn(port)) }
        probe(port)
    }

    private func checkBridged(_ name: String, hasSlept: Bool) {
        let now = NetworkInterfaces.index(of: name)
        let isBack = now != nil && now != adapter
        adapter = now
        guard port() != nil else { return }
        if isBack {
            onLoss("\(name) has come back, which a bridged interface may not notice")
        } else if hasSlept {
            onLoss("this Mac has slept, which a bridged interface may not survive")
        }
    }

    /// After sleep: probes the host's end. Any frame from it proves that the interface works.
    private func probe(_ port: PortNumber) {
        guard var current = probes else { return }
        if current.port != port || framesIn(port) != current.framesIn {
            logger.info("the vmnet interface has survived this Mac's sleep")
            probes = nil
        } else if current.count == VmnetMonitor.probeLimit || options.network == nil {
            probes = nil
            onLoss("the vmnet interface does not respond since this Mac has slept")
        } else if let gateway = options.network?.gateway {
            control.sendFrame(
                ARPPacket.probe(for: gateway, from: SwitchControl.ownAddress).frame(to: .broadcast), by: port)
            current.count += 1
            probes = current
        }
    }

    private func framesIn(_ port: PortNumber) -> UInt64 { control.counters(of: port)?.framesIn ?? 0 }
}
