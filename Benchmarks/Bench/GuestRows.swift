// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport

/// TCP of a real guest, QEMU in software emulation, over every back-end that this system has: all guests are
/// started first, and then used in turn.
struct GuestRows {
    let report: Report
    let scale: Scale

    struct Peer {
        let who: String
        let vm: VirtualMachine
        /// The host as the guest sees it.
        let target: String
        let kept: [Any]
    }

    static let tapWithTSO = "QEMU tap with TSO"
    private static let jumbo = "\(Report.ours), MTU 65520"

    func run() throws {
        guard VirtualMachine.canRunQEMU else { return report.note("no machines: \(VirtualMachine.qemuReason)") }
        report.progress("machines")
        var peers: [Peer] = []
        for (who, make) in [
            ("vde_switch", vdeSwitch), (Report.ours, { try own(mtu: nil) }),
            (GuestRows.jumbo, { try own(mtu: 65_520) }), ("passt, MTU 65520", passt), ("QEMU user", user),
            (GuestRows.tapWithTSO, tap),
        ] as [(String, () throws -> Peer?)] {
            report.attempt("a machine (software emulation)", who) { if let peer = try make() { peers.append(peer) } }
        }
        for (direction, label) in [("up", "guest to host"), ("down", "host to guest")] {
            let what = "TCP, QEMU in software emulation, \(label)"
            measure(what, direction, peers)
            report.want(
                what, "Mbit/s", .atLeast(1.4, times: "vde_switch"),
                .atLeast(1.1, GuestRows.jumbo, times: "passt, MTU 65520"))
        }
    }

    /// Measures one TCP stream between each guest and its server, in turn.
    func measure(_ what: String, _ direction: String, _ peers: [Peer]) {
        scale.rounds {
            for peer in $0 ? peers.reversed() : peers {
                report.attempt(what, peer.who) {
                    report.add(what, "Mbit/s", peer.who, try rate(of: peer, direction))
                }
            }
        }
    }

    private func rate(of peer: Peer, _ direction: String) throws -> Double {
        let result = try peer.vm.run(
            "/bin/stream \(direction) \(peer.target) 5001 \(2 * scale.seconds) 1", within: 60)
        guard result.output.hasPrefix("mbits "), let rate = Double(result.output.split(separator: " ").last ?? "")
        else { throw CommandFailed(description: result.output) }
        return rate
    }

    private func vm(
        _ name: String, netdev: String, device: String = "", in namespace: Namespace, _ folder: TemporaryFolder
    ) throws -> VirtualMachine {
        let vm = try VirtualMachine.qemu(
            name, netdev: netdev, mac: "52:54:00:00:00:01", in: namespace, device: device, tools: [Tool.stream],
            folder: folder)
        try vm.waitUntilBooted()
        return vm
    }

    static func server(in host: Namespace) throws -> BackgroundProgram {
        let server = try host.start([Tool.stream, "serve", "5001"])
        try host.waitForListener(on: 5001)
        return server
    }

    private func vdeSwitch() throws -> Peer? {
        let folder = try TemporaryFolder(), host = try Namespace("theirs")
        let vde = try VDESwitch(in: host, at: folder.file("vde"), options: ["--tap", "tap0"])
        try host.ip("addr", "add", "192.168.105.1/24", "dev", "tap0")
        try host.ip("link", "set", "tap0", "up")
        let vm = try vm("theirs", netdev: "vde,id=net0,sock=\(vde.path)", in: host, folder)
        try configure(vm, "192.168.105.2")
        return Peer(
            who: "vde_switch", vm: vm, target: "192.168.105.1",
            kept: [vde, host, folder, try GuestRows.server(in: host)])
    }

    private func configure(_ vm: VirtualMachine, _ address: String) throws {
        try vm.run("ip link set eth0 up; ip addr add \(address)/24 dev eth0")
    }

    private func own(mtu: Int?) throws -> Peer? {
        let folder = try TemporaryFolder(), host = try Namespace("ours")
        let options = mtu.map { ["--vmnet-mtu", "\($0)"] } ?? []
        let daemon = try VMNetDaemon(
            in: host, ["--switch"] + options + [folder.file("vde")], folder: folder, level: "warning")
        let vm = try vm(
            "ours", netdev: "vde,id=net0,sock=\(folder.file("vde"))", device: mtu.map { ",host_mtu=\($0)" } ?? "",
            in: host, folder)
        _ = try vm.lease()
        return Peer(
            who: mtu == nil ? Report.ours : GuestRows.jumbo, vm: vm, target: "192.168.105.1",
            kept: [daemon, host, folder, try GuestRows.server(in: host)])
    }

    /// Its defaults, which offer an MTU of 65,520 by DHCP; its gateway is the host.
    private func passt() throws -> Peer? {
        guard Files.exists("/usr/bin/passt") else {
            report.note("no passt on this system")
            return nil
        }
        let network = try TestNetwork()
        let socket = network.folder.file("passt.sock")
        try Files.setMode(network.folder.path, 0o777)
        // Buffers as passt(1) recommends them for high throughput. They belong to the whole host, and go back to what
        // they were.
        let limits = try SocketLimits(16_777_216)
        let passt = try network.host.start(["passt", "-f", "-s", socket, "-q", "--runas", "0"])
        try eventually("passt: \(passt.output)") { Files.exists(socket) || passt.poll() != nil }
        let vm = try vm(
            "passt", netdev: "stream,id=net0,server=off,addr.type=unix,addr.path=\(socket)", device: ",host_mtu=65520",
            in: network.host, network.folder)
        let lease = try vm.lease()
        return Peer(
            who: "passt, MTU 65520", vm: vm, target: GuestRows.router(lease),
            kept: [limits, network, passt, try GuestRows.server(in: network.host)])
    }

    static func router(_ lease: String) -> String {
        lease.split(separator: " ").first { $0.hasPrefix("router=") }.map { String($0.dropFirst(7)) } ?? ""
    }

    private func user() throws -> Peer? {
        let folder = try TemporaryFolder(), host = try Namespace("user")
        let vm = try vm("user", netdev: "user,id=net0", in: host, folder)
        let lease = try vm.lease()
        return Peer(
            who: "QEMU user", vm: vm, target: GuestRows.router(lease),
            kept: [folder, host, try GuestRows.server(in: host)])
    }

    func tap() throws -> Peer? {
        let folder = try TemporaryFolder(), host = try Namespace("tap")
        let vm = try vm("tap", netdev: "tap,id=net0,ifname=tap0,script=no,downscript=no", in: host, folder)
        try host.ip("addr", "add", "192.168.105.1/24", "dev", "tap0")
        try host.ip("link", "set", "tap0", "up")
        try configure(vm, "192.168.105.2")
        return Peer(
            who: GuestRows.tapWithTSO, vm: vm, target: "192.168.105.1",
            kept: [folder, host, try GuestRows.server(in: host)])
    }
}

/// The host's limits for socket buffers, raised for as long as this lives.
private final class SocketLimits {
    private static let paths = ["/proc/sys/net/core/rmem_max", "/proc/sys/net/core/wmem_max"]
    private let before: [String]

    init(_ limit: Int) throws {
        before = SocketLimits.paths.map { (Files.text($0) ?? "").trimmed }
        for path in SocketLimits.paths where Int((Files.text(path) ?? "").trimmed) ?? 0 < limit {
            try Files.overwrite(path, "\(limit)\n")
        }
    }

    deinit {
        for (path, value) in zip(SocketLimits.paths, before) where !value.isEmpty {
            try? Files.overwrite(path, value + "\n")
        }
    }
}
