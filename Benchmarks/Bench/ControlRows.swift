// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport

/// A flood beside clients of the control socket, and without them.
struct ControlRows {
    let report: Report
    let scale: Scale

    private static let watched = "\(Report.ours), status --watch and events beside"

    func run() throws {
        report.progress("a flood beside clients of the control socket")
        let what = "flood, frames of 1514 B, beside the control socket's clients"
        let folder = try TemporaryFolder(), host = try Namespace("control")
        let path = folder.file("vde"), control = folder.file("control")
        let daemon = try VMNetDaemon(
            in: host, ["--switch", "--uplink", "none", "--control", control, path], folder: folder, level: "warning")
        func flood(_ who: String) throws {
            let before = ProcessorTime.used(by: daemon.program.identifier)
            let values = try Tool.values(
                host.attempt(FloodedSwitches.floodCommand(path, 1514, scale.seconds)))
            let used = ProcessorTime.used(by: daemon.program.identifier) - before
            report.add(what, "us of its processor a frame", who, used / max(1, values["received"] ?? 1) / 1000)
            report.add(what, "1000 frames/s", who, (values["rate"] ?? 0) / 1000)
        }
        func floodBesideClients() throws {
            let program = TestHost.product("vde_vmnet")
            let watch = try host.start([program, "status", "--watch", control])
            try watch.wait(for: "uplink", within: 10)
            let events = try host.start([program, "events", "--json", control])
            try flood(ControlRows.watched)
            for client in [watch, events] {
                client.signal(Signal.interrupt)
                _ = try client.waitForEnd(within: 10)
            }
        }
        scale.rounds { isReversed in
            report.attempt(what, Report.ours) {
                if isReversed { try floodBesideClients() }
                try flood(Report.ours)
                if !isReversed { try floodBesideClients() }
            }
        }
        report.want(what, "1000 frames/s", .atLeast(0.98, ControlRows.watched, times: Report.ours))
        report.want(what, "us of its processor a frame", .atMost(1.02, ControlRows.watched, times: Report.ours))
        _ = try daemon.stop()
    }
}
