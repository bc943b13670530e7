// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Logging
import Platform
import Switching

/// Logs what has passed so far, every few seconds, in the form that programs which start vmnet-helper look for:
/// `[stats]` and one line of JSON.
///
/// `vm` counts what came from guests, `host` what was sent to them. Counters only grow: those of a port that has gone
/// are kept.
final class TrafficReport {
    private struct Counts {
        var frames: UInt64 = 0
        var bytes: UInt64 = 0
        var drops: UInt64 = 0

        mutating func add(_ more: Counts) {
            frames += more.frames
            bytes += more.bytes
            drops += more.drops
        }

        /// `fast` and `slow` count calls of vmnet-helper's two ways to move packets, of which there is one here.
        var json: String {
            "{\"packets\": \(frames), \"bytes\": \(bytes), \"drops\": \(drops), \"fast\": 0, \"slow\": 0}"
        }
    }

    /// Reasons for which a frame is dropped where it was to leave; for the others it is dropped where it came in.
    private static let egressReasons: [DropReason] = [.oversize, .queueFull, .unreachable]

    private let interval: UInt64
    private let loop: ControlLoop
    private let control: SwitchControl
    private let logger: Logger
    private let uplink: () -> PortNumber?
    private var fromGone: (host: Counts, vm: Counts) = (Counts(), Counts())
    /// Ports of the last report.
    private var known: [ObjectIdentifier: (counters: PortCounters, isUplink: Bool)] = [:]

    /// - Parameter uplink: the port that is not a guest's.
    init(
        seconds: Int, loop: ControlLoop, control: SwitchControl, logger: Logger, uplink: @escaping () -> PortNumber?
    ) {
        interval = UInt64(seconds) * MonotonicClock.second
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
        var there: [ObjectIdentifier: (counters: PortCounters, isUplink: Bool)] = [:]
        for port in control.ports { there[ObjectIdentifier(port.counters)] = (port.counters, port.number == uplink) }
        for (id, port) in known where there[id] == nil {
            TrafficReport.add(port.counters, isUplink: port.isUplink, to: &fromGone)
        }
        known = there
        var total = fromGone
        for port in there.values { TrafficReport.add(port.counters, isUplink: port.isUplink, to: &total) }
        logger.notice(
            "[stats] {\"time\": \"\(TrafficReport.time(WallClock.seconds))\", \"host\": \(total.host.json), \"vm\": \(total.vm.json)}"
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
            "\(padded(year, 4))-\(padded(month))-\(padded(day))T\(padded(rest / 3600)):\(padded(rest / 60 % 60)):\(padded(rest % 60))+00:00"
    }
}
