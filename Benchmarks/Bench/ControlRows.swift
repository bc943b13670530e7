// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport

/// A flood beside clients of the control socket, and without them.
struct ControlRows {
    let report: Report
    let scale: Scale

    func run() throws {
        try compare("status --watch and events", atLeast: 0.98, atMost: 1.02) { host, control, _ in
            let watch = try host.start([ControlRows.program, "status", "--watch", control])
            try watch.wait(for: "uplink", within: 10)
            return [watch, try host.start([ControlRows.program, "events", "--json", control])]
        }
        try compare("a capture of another port", atLeast: 0.95, atMost: 1.05) { host, control, folder in
            let file = folder.file("capture.pcapng")
            if Files.exists(file) { try Files.remove(file) }
            let capture = try host.start([ControlRows.program, "capture", control, "--port", "1", "-w", file])
            // The header of the file.
            try eventually("the capture") { try Files.exists(file) && Files.status(file).size > 0 }
            return [capture]
        }
    }

    private static let program = TestHost.product("vde_vmnet")

    /// - Parameters:
    ///   - atLeast: the goal for the rate, as a ratio to that without clients; `atMost`, for the daemon's CPU time.
    ///   - start: starts the clients.
    private func compare(
        _ clients: String, atLeast: Double, atMost: Double,
        start: (Namespace, _ control: String, TemporaryFolder) throws -> [BackgroundProgram]
    ) throws {
        report.progress("a flood beside \(clients)")
        let what = "flood, frames of 1514 B, beside \(clients)"
        let alone = Report.ours, beside = "\(Report.ours), with them"
        let folder = try TemporaryFolder(), host = try Namespace("control")
        let path = folder.file("vde"), control = folder.file("control")
        let daemon = try VMNetDaemon(
            in: host, ["--switch", "--uplink", "none", "--control", control, path], folder: folder, level: "warning")
        let other = try host.start([Tool.frames, "idle", path, "1"])
        try other.wait(for: "ready", within: 20)
        scale.rounds(times: 4) { isReversed in
            for program in isReversed ? [beside, alone] : [alone, beside] {
                report.attempt(what, program) {
                    let started = program == beside ? try start(host, control, folder) : []
                    let before = ProcessorTime.used(by: daemon.program.identifier)
                    let values = try Tool.values(
                        host.attempt(FloodedSwitches.floodCommand(path, 1514, scale.seconds)))
                    let used = ProcessorTime.used(by: daemon.program.identifier) - before
                    for client in started {
                        client.signal(Signal.interrupt)
                        _ = try client.waitForEnd(within: 10)
                    }
                    report.add(what, "1000 frames/s", program, (values["rate"] ?? 0) / 1000)
                    report.add(
                        what, "us of its processor a frame", program, used / max(1, values["received"] ?? 1) / 1000)
                }
            }
        }
        report.want(what, "1000 frames/s", .atLeast(atLeast, beside, times: alone))
        report.want(what, "us of its processor a frame", .atMost(atMost, beside, times: alone))
        other.kill()
        _ = try daemon.stop()
    }
}
