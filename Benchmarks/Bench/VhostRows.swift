// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Timing

/// Guests that share their memory (vhost-user). DPDK's testpmd plays two guests that forward between their two ports;
/// QEMU runs a real one.
///
/// The newest passt that Debian 12 has has no vhost-user: VDE_VMNET_PASST names one that has it.
struct VhostRows {
    let report: Report
    let scale: Scale

    func run() throws {
        try frames()
        try guests()
    }

    // MARK: Frames

    /// A program that forwards between two virtio-user ports.
    private enum Forwarder: String, CaseIterable {
        case ours = "vde_vmnet"
        /// The same program between two `net_vhost` ports, which polls all the time.
        case testpmd = "testpmd with net_vhost"
    }

    private static let testpmd = "/usr/bin/dpdk-testpmd"

    private static func testpmd(_ prefix: String, cores: String) -> [String] {
        [
            testpmd, "--no-huge", "--no-pci", "--no-telemetry", "-m", "256", "-l", "0,1", "--main-lcore", cores,
            "--file-prefix", prefix,
        ]
    }

    private func frames() throws {
        guard Files.exists(VhostRows.testpmd) else { return report.note("no dpdk-testpmd on this system") }
        guard WorkerThread.processors > 1 else { return report.note("testpmd needs two processors") }
        for length in [64, 1514] {
            let what = "testpmd, two ports that share memory, frames of \(length) B"
            report.progress(what)
            scale.rounds {
                for forwarder in $0 ? Forwarder.allCases.reversed() : Forwarder.allCases {
                    report.attempt(what, forwarder.rawValue) {
                        report.add(what, "1000 frames/s", forwarder.rawValue, try rate(of: forwarder, length) / 1000)
                    }
                }
            }
            report.want(what, "1000 frames/s", .atLeast(0.7, times: Forwarder.testpmd.rawValue))
        }
    }

    /// Frames a second of both ports together. The forwarder has processor 0, the ports have processor 1.
    private func rate(of forwarder: Forwarder, _ length: Int) throws -> Double {
        let folder = try TemporaryFolder(), host = try Namespace("testpmd")
        let path = folder.file("vhost")
        let kept: Any
        var paths = [path, path]
        switch forwarder {
        case .ours:
            let daemon = try VMNetDaemon(
                in: host, ["--vhost-user", path, "--uplink", "none", "--workers", "1"], folder: folder, level: "warning"
            )
            try host.run("taskset", "-a", "-p", "1", "\(daemon.program.identifier)")
            kept = daemon
        case .testpmd:
            paths[1] = path + "2"
            let backend = try host.start(
                VhostRows.testpmd("backend\(CurrentProcess.identifier)", cores: "1")
                    + ["--vdev", "net_vhost0,iface=\(paths[0])", "--vdev", "net_vhost1,iface=\(paths[1])", "--"]
                    + ["--total-num-mbufs=8192", "--auto-start", "--stats-period", "1000"])
            try eventually("testpmd: \(backend.output)", within: 20) { paths.allSatisfy { Files.exists($0) } }
            kept = backend
        }
        defer { withExtendedLifetime(kept) {} }
        func hardware(_ port: Int) -> String { "02:00:00:00:00:0\(port + 1)" }
        let ports = (0..<2).flatMap {
            ["--vdev", "net_virtio_user\($0),path=\(paths[$0]),mac=\(hardware($0)),queue_size=1024"]
        }
        let guests = try host.start(
            VhostRows.testpmd("guests\(CurrentProcess.identifier)", cores: "0") + ports + [
                "--", "--total-num-mbufs=16384", "--forward-mode=mac", "--eth-peer=0,\(hardware(1))",
                "--eth-peer=1,\(hardware(0))", "--txpkts=\(length)", "--tx-first", "--stats-period", "1", "--txd",
                "1024", "--rxd", "1024",
            ])
        // The first of these numbers is about the time before.
        let samples = 2 * max(2, Int(2 * scale.seconds) + 1)
        try eventually("testpmd: \(guests.output)", within: 60) {
            VhostRows.rates(in: guests.output).count >= samples || guests.poll() != nil
        }
        let rates = VhostRows.rates(in: guests.output)
        guard rates.count >= samples else { throw CommandFailed(description: String(guests.output.suffix(500))) }
        return rates.suffix(from: 2).reduce(0, +) / Double(rates.count / 2 - 1)
    }

    /// The numbers after `Rx-pps:`, two for each second.
    private static func rates(in output: String) -> [Double] {
        output.split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ", omittingEmptySubsequences: true)
            guard let index = words.firstIndex(of: "Rx-pps:"), index + 1 < words.count else { return nil }
            return Double(words[index + 1])
        }
    }

    // MARK: Guests

    private typealias Peer = GuestRows.Peer

    private static let user = "\(Report.ours) --uplink user", passt = "passt with vhost-user"

    private func guests() throws {
        guard VirtualMachine.canRunQEMU else { return report.note("no guests: \(VirtualMachine.qemuReason)") }
        report.progress("guests that share their memory")
        var peers: [Peer] = []
        for (who, make) in [
            (Report.ours, { try own([]) }), (VhostRows.user, { try own(["--uplink", "user"]) }),
            (VhostRows.passt, passt),
        ] as [(String, () throws -> Peer?)] {
            report.attempt("a guest that shares its memory", who) { if let peer = try make() { peers.append(peer) } }
        }
        let others = GuestRows(report: report, scale: scale)
        report.attempt("a guest that shares its memory", GuestRows.tapWithTSO) {
            if let tap = try others.tap() { peers.append(tap) }
        }
        for (direction, label, factor) in [("up", "guest to host", 1.5), ("down", "host to guest", 1.1)] {
            let what = "TCP, QEMU in software emulation, shared memory, \(label)"
            others.measure(what, direction, peers)
            report.want(
                what, "Mbit/s", .atLeast(1, times: GuestRows.tapWithTSO),
                .atLeast(factor, VhostRows.user, times: VhostRows.passt))
        }
    }

    private func vm(
        _ name: String, at path: String, in host: Namespace, _ folder: TemporaryFolder
    ) throws -> VirtualMachine {
        let vm = try VirtualMachine.vhostUser(
            name, socket: "path=\(path)", mac: "52:54:00:00:00:01", in: host, tools: [Tool.stream], folder: folder)
        try vm.waitUntilBooted()
        return vm
    }

    private func own(_ options: [String]) throws -> Peer? {
        let network = try TestNetwork()
        let path = network.folder.file("vhost")
        let daemon = try VMNetDaemon(
            in: network.host, ["--vhost-user", path] + options, folder: network.folder, level: "warning")
        let vm = try vm("ours", at: path, in: network.host, network.folder)
        _ = try vm.lease()
        // In user mode the guest reaches the host at the host's own address.
        let target = options.isEmpty ? "192.168.105.1" : TestNetwork.hostAddress
        return Peer(
            who: options.isEmpty ? Report.ours : VhostRows.user, vm: vm, target: target,
            kept: [daemon, network, try GuestRows.server(in: network.host)])
    }

    private func passt() throws -> Peer? {
        guard let program = CurrentProcess.environment("VDE_VMNET_PASST") else {
            report.note("VDE_VMNET_PASST names no passt with vhost-user")
            return nil
        }
        let network = try TestNetwork()
        let socket = network.folder.file("passt.sock")
        try Files.setMode(network.folder.path, 0o777)
        let passt = try network.host.start([program, "--vhost-user", "-f", "-s", socket, "-q", "--runas", "0"])
        try eventually("passt: \(passt.output)") { Files.exists(socket) || passt.poll() != nil }
        let vm = try vm("passt", at: socket, in: network.host, network.folder)
        let lease = try vm.lease()
        return Peer(
            who: VhostRows.passt, vm: vm, target: GuestRows.router(lease),
            kept: [network, passt, try GuestRows.server(in: network.host)])
    }
}
