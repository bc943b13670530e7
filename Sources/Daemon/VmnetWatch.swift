// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Logging
import NetworkModel
import Platform
import Switching
import Uplinks
import Wire

/// Notices what may have ended a vmnet interface without a word: the machine's sleep, and a network adapter that was
/// taken away and has come back.
///
/// A bridged interface is then taken for dead, for nobody on its network can be counted on to answer. Of the other
/// modes the host itself is part, and is asked: an interface that works is not replaced, since on macOS 26 the end of
/// one network may cost another its way out.
final class VmnetWatch {
    /// Nanoseconds between two looks, and for an answer of the gateway.
    private static let interval = 2 * MonotonicClock.second
    /// Questions that the gateway may leave unanswered.
    private static let questionLimit = 3

    private let options: VmnetOptions
    private let provider: any VmnetProvider
    private let loop: ControlLoop
    private let control: SwitchControl
    private let logger: Logger
    private let port: () -> PortNumber?
    private let onLoss: (String) -> Void
    private var timer: ControlLoop.TimerID?
    private var lastAsleep: UInt64
    /// The adapter's number, which is another when it comes back; nil while it is not there.
    private var adapter: UInt32?
    private var questions: Questions?

    private struct Questions {
        let port: PortNumber
        let framesIn: UInt64
        var count = 0
    }

    /// - Parameters:
    ///   - options: those of the interface, with the network that it has.
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

    func stop() { loop.cancel(timer) }

    private func schedule() {
        timer = loop.schedule(after: VmnetWatch.interval) { [unowned self] in
            look()
            schedule()
        }
    }

    private func look() {
        let asleep = provider.timeAsleep
        let hasSlept = asleep > lastAsleep + MonotonicClock.second
        lastAsleep = asleep
        if case .bridged(let name) = options.mode { return lookAtBridged(name, hasSlept: hasSlept) }
        guard let port = port() else {
            // It is being replaced already.
            questions = nil
            return
        }
        if hasSlept { questions = Questions(port: port, framesIn: framesIn(port)) }
        ask(port)
    }

    private func lookAtBridged(_ name: String, hasSlept: Bool) {
        let now = NetworkInterfaces.index(of: name)
        let isBack = now != nil && now != adapter
        adapter = now
        guard port() != nil else { return }
        if isBack {
            onLoss("\(name) has come back, which a bridged interface may not notice")
        } else if hasSlept {
            onLoss("the machine has slept, which a bridged interface may not survive")
        }
    }

    /// After sleep: whether the host's end is still there. Any frame from it tells.
    private func ask(_ port: PortNumber) {
        guard var current = questions else { return }
        if current.port != port || framesIn(port) != current.framesIn {
            logger.info("the vmnet interface has survived the machine's sleep")
            questions = nil
        } else if current.count == VmnetWatch.questionLimit || options.network == nil {
            questions = nil
            onLoss("the vmnet interface is silent since the machine has slept")
        } else if let gateway = options.network?.gateway {
            control.sendFrame(
                ARPPacket.probe(for: gateway, from: SwitchControl.ownAddress).frame(to: .broadcast), by: port)
            current.count += 1
            questions = current
        }
    }

    private func framesIn(_ port: PortNumber) -> UInt64 { control.counters(of: port)?.framesIn ?? 0 }
}
