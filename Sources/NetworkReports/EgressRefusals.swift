// SPDX-License-Identifier: Apache-2.0
import DHCPService
import EventLoop
import Logging
import NameService
import NetworkModel
import Platform
import Timing
import Uplink
import Wire

/// Collects what the egress policy refuses, from the uplink and the name service, for the log and for events. Control
/// thread only.
package final class EgressRefusals {
    private static let interval = TimeAmount.seconds(1)

    /// Where refusals come from, and what describes guests. Each is looked up at every use, because the network may get
    /// another uplink or name service while it starts.
    package struct Sources {
        /// nil while there is none.
        package var uplink: () -> (any Uplink)?
        /// nil while there is no name service.
        package var names: () -> NamePolicy?
        /// Names guests in the log.
        package var assignedAddresses: () -> [MACAddress: AssignedAddress]

        package init(
            uplink: @escaping () -> (any Uplink)?, names: @escaping () -> NamePolicy?,
            assignedAddresses: @escaping () -> [MACAddress: AssignedAddress]
        ) {
            self.uplink = uplink
            self.names = names
            self.assignedAddresses = assignedAddresses
        }
    }

    private let sources: Sources
    private let onRefusal: (EgressRefusal) -> Void
    private let loop: ControlLoop
    private let logger: Logger
    /// nil while refusals are not logged.
    private var log: EgressLog?
    private var timer: ControlLoop.TimerID?
    /// The uplink notes refusals, for the log or for events.
    private var areNoted = false

    /// - Parameter onRefusal: called for each refusal that `report` takes.
    package init(
        _ sources: Sources, loop: ControlLoop, logger: Logger, onRefusal: @escaping (EgressRefusal) -> Void
    ) {
        self.sources = sources
        self.loop = loop
        self.logger = logger
        self.onRefusal = onRefusal
    }

    /// Refusals are logged.
    package var isLogging: Bool { log != nil }

    /// Starts to log what the egress policy refuses, at the start of the network.
    package func startLog(of egress: EgressPolicy) {
        guard let uplink = sources.uplink() else { return }
        // An uplink without a policy has no refusals.
        try? note(true, by: uplink)
        beginLog(of: egress)
    }

    /// Logs what the egress policy refuses from now on, or no longer. A failure changes nothing.
    /// - Parameter hasEvents: a client receives refusals as events.
    package func setLog(_ isOn: Bool, of egress: EgressPolicy, hasEvents: Bool) throws(ChangeRefusal) {
        guard let uplink = sources.uplink(), isOn != isLogging else { return }
        // Earlier refusals are not for the log, and the last ones of a log that ends are.
        report()
        try note(isOn || hasEvents, by: uplink)
        if isOn { return beginLog(of: egress) }
        loop.cancel(timer)
        timer = nil
        log?.end(label: label())
        log = nil
    }

    /// Has the uplink note refusals for events, or no longer. The log may need them nevertheless. A failure changes
    /// nothing.
    package func setEvents(_ isOn: Bool) throws(ChangeRefusal) {
        guard let uplink = sources.uplink() else { return }
        // Earlier refusals are no events.
        if isOn { report() }
        try note(isOn || isLogging, by: uplink)
    }

    private func note(_ isOn: Bool, by uplink: any Uplink) throws(ChangeRefusal) {
        guard isOn != areNoted else { return }
        try uplink.change(notesRefusals: isOn)
        areNoted = isOn
    }

    private func beginLog(of egress: EgressPolicy) {
        if !egress.isDenying && !egress.deniesPrivate {
            logger.warning(
                """
                the log of refusals has little to show, because guests may connect to every destination beyond the \
                host; use --egress deny with --allow, or --deny private
                """)
        }
        log = EgressLog(logger: logger)
        schedule()
    }

    private func schedule() {
        timer = loop.schedule(after: EgressRefusals.interval) { [unowned self] in
            report()
            schedule()
        }
    }

    /// Logs and publishes the refusals since the last call.
    package func report() {
        let label = label()
        for taken in [sources.names()?.takeRefusals(), sources.uplink()?.takeRefusals()].compactMap(\.self) {
            for refusal in taken.refusals { onRefusal(refusal) }
            guard isLogging else { continue }
            log?.log(taken.refusals, taken.further, now: BootClock.now, label: label)
        }
    }

    /// Names guests. All guests are looked up at the first one.
    private func label() -> (MACAddress) -> String? {
        var known: [MACAddress: AssignedAddress]?
        return { [sources] hardware in
            let assigned = known ?? sources.assignedAddresses()
            known = assigned
            return assigned[hardware]?.description
        }
    }
}
