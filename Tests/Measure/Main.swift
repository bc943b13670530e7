// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport

/// `make measure`: what docs/performance.md says of start-up, leases and memory, measured on this machine.
@main
struct Measure {
    static func main() throws {
        guard Machine.isRoot else {
            StandardOutput.writeError("Measuring makes network namespaces and needs root; type: make measure\n")
            ProcessExit.exit(77)
        }
        SignalPipe.ignore(Signal.pipe)
        let network = try TestNetwork()
        let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
        try measureStart(network, vde)
        try measureLeases(network, vde)
        try measureStalled(network)
        for batch in [256, 1] as [UInt32] {
            report("vmnet shim and simulator, \(batch) frames in a call", "thousand frames/s", try (0..<5).map { _ in try VmnetShim.run(batch: batch) / 1000 })
        }
    }

    /// In turn, so that both meet the same machine.
    private static func measureStalled(_ network: TestNetwork) throws {
        let switches = [
            ("vde_switch", try VDESwitch(in: network.host, at: network.folder.file("theirs"))),
            ("vde_vmnet switch", try VDESwitch(in: network.host, at: network.folder.file("ours"), command: VDESwitch.ours)),
        ]
        var rates: [String: [Double]] = [:], delivered: [String: [Double]] = [:]
        for _ in 0..<5 {
            for (name, vde) in switches {
                for isStalled in [false, true] {
                    let result = try Stalled.run(path: vde.path, isStalled: isStalled)
                    let key = "\(name), third client \(isStalled ? "stopped" : "reading")"
                    rates[key, default: []].append(result.framesPerSecond / 1000)
                    delivered[key, default: []].append(result.delivered * 100)
                }
            }
        }
        for key in rates.keys.sorted() {
            report("\(key)", "thousand frames/s", rates[key]!)
            report("\(key)", "% delivered", delivered[key]!)
        }
    }

    private static func report(_ what: String, _ unit: String, _ values: [Double]) {
        let sorted = values.sorted()
        func text(_ value: Double) -> String { String((value * 10).rounded() / 10) }
        StandardOutput.write("\(what): median \(text(sorted[sorted.count / 2])) \(unit) (\(text(sorted.first!)) to \(text(sorted.last!)), \(sorted.count) runs)\n")
    }

    /// A program that does nothing is started in the same way, so that the namespace's share can be taken off.
    private static func measureStart(_ network: TestNetwork, _ vde: VDESwitch) throws {
        var times: [Double] = [], baseline: [Double] = []
        for _ in 0..<20 {
            var start = MonotonicClock.now
            _ = try network.host.attempt(["true"])
            baseline.append(milliseconds(since: start))
            start = MonotonicClock.now
            let daemon = try VMNetDaemon(in: network.host, ["--dhcp", "builtin", vde.path], folder: network.folder, level: "warning")
            times.append(milliseconds(since: start))
            _ = try daemon.stop()
        }
        report("ip netns exec true, for comparison", "ms", baseline)
        report("start to ready", "ms", times)
    }

    private static func measureLeases(_ network: TestNetwork, _ vde: VDESwitch) throws {
        let daemon = try VMNetDaemon(in: network.host, ["--dhcp", "builtin", vde.path], folder: network.folder, level: "warning")
        func lease(_ user: String?) throws -> Double {
            let check = try network.host.attempt(Namespace.running(as: user) + [Machine.product("vde_vmnet"), "check", "--json", vde.path])
            guard let hop = check.output.firstRange(of: "\"hop\":\"lease\""), let time = check.output[hop.upperBound...].firstRange(of: "\"milliseconds\":") else {
                throw CommandFailed(description: check.output)
            }
            return Double(check.output[time.upperBound...].prefix { $0.isNumber || $0 == "." }) ?? 0
        }
        // Each name makes a tiny guest of its own, so each first time is a new client's.
        try Files.setMode(network.folder.path, 0o755)
        let new = try lease(nil)
        var known: [Double] = []
        for _ in 0..<20 { known.append(try lease(nil)) }
        report("DISCOVER to ACK, a client that held its address last", "ms", known)
        report("DISCOVER to ACK, a new client (50 ms of it wait for an answer to the ARP probe)", "ms", [new])
        let memory = try ChildProcess.run(["sh", "-c", "grep -h VmRSS /proc/$(pgrep -n -x vde_vmnet)/status"]).output
        report("resident memory, idle", "kB", [Double(memory.filter(\.isNumber)) ?? 0])
        _ = try daemon.stop()
    }

    private static func milliseconds(since moment: UInt64) -> Double { Double(MonotonicClock.now - moment) / 1e6 }
}
