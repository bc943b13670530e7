// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Timing

/// Start, leases, memory.
struct LifeRows {
    let report: Report
    let scale: Scale

    func run() throws {
        report.progress("start, leases, memory")
        let network = try TestNetwork()
        let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
        try start(network, vde)
        try leases(network, vde)
    }

    /// A program that does nothing is started in the same way, so that the namespace's share can be taken off.
    private func start(_ network: TestNetwork, _ vde: VDESwitch) throws {
        for _ in 0..<4 * scale.roundCount {
            var start = BootClock.now
            _ = try network.host.attempt(["true"])
            report.add("start to ready", "ms", "ip netns exec true, for comparison", milliseconds(since: start))
            start = BootClock.now
            let switched = try VMNetDaemon(
                in: network.host, ["--switch", "--uplink", "none", network.folder.file("own")], folder: network.folder,
                level: "warning")
            report.add("start to ready", "ms", "\(Report.ours) --uplink none", milliseconds(since: start))
            _ = try switched.stop()
            start = BootClock.now
            let daemon = try VMNetDaemon(
                in: network.host, ["--dhcp", "builtin", vde.path], folder: network.folder, level: "warning")
            report.add("start to ready", "ms", Report.ours, milliseconds(since: start))
            _ = try daemon.stop()
        }
        report.want("start to ready", "ms", .atMost(30))
    }

    private func leases(_ network: TestNetwork, _ vde: VDESwitch) throws {
        let daemon = try VMNetDaemon(
            in: network.host, ["--dhcp", "builtin", vde.path], folder: network.folder, level: "warning")
        report.add(
            "resident memory, idle", "MB", Report.ours, ProcessorTime.memory(of: daemon.program.identifier) / 1e6)
        report.add("resident memory, idle", "MB", "vde_switch", ProcessorTime.memory(of: vde.program.identifier) / 1e6)
        report.want("resident memory, idle", "MB", .atMost(15))
        func lease() throws -> Double {
            let check = try network.host.attempt([TestHost.product("vde_vmnet"), "check", "--json", vde.path])
            guard let hop = check.output.firstRange(of: "\"hop\":\"lease\""),
                let time = check.output[hop.upperBound...].firstRange(of: "\"milliseconds\":")
            else {
                throw CommandFailed(description: check.output)
            }
            return Double(check.output[time.upperBound...].prefix { $0.isNumber || $0 == "." }) ?? 0
        }
        // The first one is a new client's, for which 50 ms are spent on waiting for an answer to the ARP probe.
        report.add("DISCOVER to ACK, a new client", "ms", Report.ours, try lease())
        for _ in 0..<4 * scale.roundCount {
            report.add("DISCOVER to ACK, a client that held its address last", "ms", Report.ours, try lease())
        }
        _ = try daemon.stop()
    }

    private func milliseconds(since start: Instant) -> Double { Double((BootClock.now - start).nanoseconds) / 1e6 }
}
