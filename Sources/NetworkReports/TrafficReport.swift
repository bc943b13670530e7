// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Logging
import Platform
import Switching
import Timing

/// Logs the traffic so far, every few seconds, in the form that programs which start vmnet-helper parse: `[stats]` and
/// one line of JSON.
///
/// `vm` counts frames from guests, `host` frames to guests. Counters only grow: those of ports that are gone are kept.
package final class TrafficReport {
    private struct Counts {
        var frames: UInt64 = 0
        var bytes: UInt64 = 0
        var drops: UInt64 = 0

        mutating func add(_ more: Counts) {
            frames += more.frames
            bytes += more.bytes
            drops += more.drops
        }

        /// `fast` and `slow` count calls of vmnet-helper's two ways to move packets. This program has one way.
        var json: String {
            "{\"packets\": \(frames), \"bytes\": \(bytes), \"drops\": \(drops), \"fast\": 0, \"slow\": 0}"
        }
    }

    /// The reasons for which a frame is dropped at the port that it leaves by. The others apply to the port that it
    /// came in by.
    private static let egressReasons: [DropReason] = [.oversize, .queueFull, .unreachable]

    private let interval: TimeAmount
    private let loop: ControlLoop
    private let control: SwitchControl
    private let logger: Logger
    private let uplink: () -> PortNumber?
    /// The counters of ports that are gone.
    private var fromGone: (host: Counts, vm: Counts) = (Counts(), Counts())
    /// Ports of the last report.
    private var known: [ObjectIdentifier: (counters: PortCounters, isUplink: Bool)] = [:]

    /// - Parameter uplink: returns the uplink's port.
    package init(
        interval: TimeAmount, loop: ControlLoop, control: SwitchControl, logger: Logger,
        uplink: @escaping () -> PortNumber?
    ) {
        self.interval = interval
        self.loop = loop
        self.control = control
        self.logger = logger
        self.uplink = uplink
        schedule()
    }

    private func schedule() {
        loop.schedule(after: interval) { [unowned self] in
            report()
            schedule()
        }
    }

    private func report() {
        let uplink = uplink()
        var current: [ObjectIdentifier: (counters: PortCounters, isUplink: Bool)] = [:]
        for port in control.ports { current[ObjectIdentifier(port.counters)] = (port.counters, port.number == uplink) }
        for (id, port) in known where current[id] == nil {
            TrafficReport.add(port.counters, isUplink: port.isUplink, to: &fromGone)
        }
        known = current
        var total = fromGone
        for port in current.values { TrafficReport.add(port.counters, isUplink: port.isUplink, to: &total) }
        logger.notice(
            """
            [stats] {\"time\": \"\(TrafficReport.time(WallClock.seconds))\", \"host\": \(total.host.json), \"vm\": \
            \(total.vm.json)}
            """
        )
    }

    private static func add(_ counters: PortCounters, isUplink: Bool, to total: inout (host: Counts, vm: Counts)) {
        let atEgress = egressReasons.reduce(0) { $0 + counters.drops($1) }
        let atIngress = counters.totalDrops - min(counters.totalDrops, atEgress)
        if isUplink {
            total.vm.drops += atEgress
            total.host.drops += atIngress
        } else {
            total.vm.add(Counts(frames: counters.framesIn, bytes: counters.bytesIn, drops: atIngress))
            total.host.add(Counts(frames: counters.framesOut, bytes: counters.bytesOut, drops: atEgress))
        }
    }

    /// Seconds since 1970 in the form of ISO 8601, such as `2026-07-25T01:27:25+00:00`.
    static func time(_ seconds: Int64) -> String {
        func padded(_ number: Int64, _ width: Int = 2) -> String {
            String(repeating: "0", count: max(0, width - String(number).count)) + String(number)
        }
        let days = seconds / 86_400, rest = seconds % 86_400
        // Years that begin in March end with the leap day, and 400 of them have 146,097 days.
        let shifted = days + 719_468, era = shifted / 146_097, ofEra = shifted % 146_097
        let yearOfEra = (ofEra - ofEra / 1460 + ofEra / 36_524 - ofEra / 146_096) / 365
        let dayOfYear = ofEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1,
            month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return
            "\(padded(year, 4))-\(padded(month))-\(padded(day))T"
            + "\(padded(rest / 3600)):\(padded(rest / 60 % 60)):\(padded(rest % 60))+00:00"
    }
}
