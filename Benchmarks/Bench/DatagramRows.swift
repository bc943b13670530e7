// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport

/// UDP and pings in user mode, beside slirp4netns, QEMU's own NAT and passt: a guest that is a namespace, and one that
/// is QEMU's (software emulation), with a server behind the host's own uplink.
struct DatagramRows {
    let report: Report
    let scale: Scale

    /// A guest behind one of the programs.
    private struct Peer {
        let who: String
        let network: TestNetwork
        /// Runs `datagrams` with these words in the guest, and returns what it prints.
        let run: ([String], Double) throws -> String
        let kept: [Any]
    }

    private static let slirp = "slirp4netns", passt = "passt", qemu = "QEMU user"
    private static let shared = "\(Report.ours) --vhost-user"
    private static let target = TestNetwork.internetAddress, port = "5001", steadyPort = "5002"

    func run() throws {
        report.progress("UDP and pings in user mode")
        try rates(
            "namespace guest", [(Report.ours, { try own() }), (Self.slirp, { try slirp4netns() }), (Self.passt, pasta)])
        try rates(
            "QEMU guest",
            [
                (Report.ours, { try ownQEMU() }), (Self.shared, { try sharedQEMU() }), (Self.qemu, { try qemuUser() }),
                (Self.passt, passtQEMU),
            ])
        try roundTrips()
        try questions()
        try idle()
    }

    // MARK: Rates

    /// Datagrams a second that arrive while none is lost.
    private func rates(_ kind: String, _ makers: [(String, () throws -> Peer?)]) throws {
        guard kind != "QEMU guest" || VirtualMachine.canRunQEMU else {
            return report.note("no QEMU guests: \(VirtualMachine.qemuReason)")
        }
        var peers: [Peer] = []
        for (who, make) in makers {
            report.attempt("UDP, \(kind)", who) { if let peer = try make() { peers.append(peer) } }
        }
        for (direction, label) in [("up", "out"), ("down", "in")] {
            for flows in [1, 1000] {
                for size in [64, 1400] {
                    let what =
                        "UDP \(label), \(size) B, \(flows) flow\(flows > 1 ? "s" : ""), \(kind)"
                    scale.rounds {
                        for peer in $0 ? peers.reversed() : peers {
                            report.attempt(what, peer.who) {
                                let output = try peer.run(
                                    [direction, Self.target, Self.port, "\(scale.seconds)", "\(size)", "\(flows)"], 60)
                                report.add(what, "datagrams a second", peer.who, try Self.number(in: output))
                            }
                        }
                    }
                    report.want(
                        what, "datagrams a second", .atLeast(3, times: Self.slirp), .atLeast(3, times: Self.qemu),
                        .atLeast(1, times: Self.passt), .atLeast(3, Self.shared, times: Self.qemu),
                        .atLeast(1, Self.shared, times: Self.passt))
                }
            }
        }
    }

    /// Pings of a guest's namespace beside a request and its answer over TCP.
    private func roundTrips() throws {
        let peer = try own(), what = "round trip of a namespace in user mode"
        scale.rounds { isReversed in
            for kind in isReversed ? ["ping", "tcp"] : ["tcp", "ping"] {
                report.attempt(what, kind) {
                    report.add(
                        what, "us", kind == "ping" ? "\(Report.ours), ping" : "\(Report.ours), TCP",
                        try Self.number(
                            in: peer.run([kind, Self.target, Self.port, "\(scale.seconds)"], 30)))
                }
            }
        }
        report.want(what, "us", .atMost(1.2, "\(Report.ours), ping", times: "\(Report.ours), TCP"))
    }

    // MARK: Many ports

    /// A guest that sends queries from 10,000 ports, beside a steady flow of another one.
    private func questions() throws {
        let count = 10_000, seconds = 20
        let what = "\(count) ports ask in \(seconds) s, beside 200 Mbit/s of another guest"
        scale.rounds { _ in
            report.attempt(what, Report.ours) {
                let (peer, other) = try pair()
                let flow = try other.start([
                    Tool.datagrams, "paced", Self.target, Self.steadyPort, "\(seconds)", "1400", "200",
                ])
                let unanswered = try Self.number(
                    in: peer.run(["questions", Self.target, Self.port, "\(seconds)", "\(count)"], 120))
                try flow.waitForEnd(within: 60)
                report.add(what, "not answered", Report.ours, unanswered)
                report.add(what, "% of the flow lost", Report.ours, try Self.number(in: flow.output))
            }
        }
        report.want(what, "not answered", .atMost(0))
        report.want(what, "% of the flow lost", .atMost(0.1))
    }

    /// Memory and time of the process while so many flows are open and silent.
    private func idle() throws {
        let count = 10_000, what = "\(count) idle flows in user mode"
        scale.rounds { _ in
            report.attempt(what, Report.ours) {
                let (peer, guest, process) = try single()
                let holder = try guest.start([
                    Tool.datagrams, "hold", Self.target, Self.port, "\(4 + scale.seconds)", "\(count)",
                ])
                let opened = try holder.wait(for: "\n", within: 120)
                guard opened.contains("open \(count)") else { throw CommandFailed(description: opened) }
                report.add(what, "MB resident", Report.ours, ProcessorTime.memory(of: process) / 1_048_576)
                let before = ProcessorTime.used(by: process)
                try holder.waitForEnd(within: 60)
                report.add(
                    what, "% of a processor", Report.ours,
                    (ProcessorTime.used(by: process) - before) / 1e7 / (4 + scale.seconds))
                _ = peer
            }
        }
        report.want(what, "MB resident", .atMost(48))
        report.want(what, "% of a processor", .atMost(0.5))
    }

    private static func number(in output: String) throws -> Double {
        guard let last = output.split(whereSeparator: \.isWhitespace).last, let number = Double(last) else {
            throw CommandFailed(description: output)
        }
        return number
    }

    // MARK: Peers

    private func network() throws -> (TestNetwork, [Any]) {
        let network = try TestNetwork()
        try Files.setMode(network.folder.path, 0o777)
        try network.host.run("sysctl", "-q", "-w", "net.ipv4.ping_group_range=0 2147483647")
        let servers = try [Self.port, Self.steadyPort].map { port in
            let server = try network.internet.start([Tool.datagrams, "serve", port])
            try server.wait(for: "serving", within: 10)
            return server
        }
        return (network, servers)
    }

    private func peer(_ who: String, _ guest: Namespace, _ network: TestNetwork, _ kept: [Any]) -> Peer {
        Peer(
            who: who, network: network,
            run: { words, limit in
                let program = try guest.start([Tool.datagrams] + words)
                try program.waitForEnd(within: limit)
                try eventually("the result") { program.output.contains("\n") }
                return program.output
            }, kept: kept + [guest])
    }

    private func own() throws -> Peer {
        let (network, servers) = try network(), own = try NamespaceGuests(network)
        return peer(Report.ours, own.guests[0], network, [servers, own])
    }

    private func pair() throws -> (Peer, Namespace) {
        let (network, servers) = try network(), own = try NamespaceGuests(network, count: 2)
        return (peer(Report.ours, own.guests[0], network, [servers, own]), own.guests[1])
    }

    private func single() throws -> (Peer, Namespace, Int32) {
        let (network, servers) = try network(), own = try NamespaceGuests(network)
        return (peer(Report.ours, own.guests[0], network, [servers, own]), own.guests[0], own.process)
    }

    private func slirp4netns() throws -> Peer? {
        let (network, servers) = try network()
        guard let (guest, program) = try NamespaceGuests.slirp4netns(network, mtu: 1500, report) else { return nil }
        return peer(Self.slirp, guest, network, [servers, program])
    }

    private func pasta() throws -> Peer? {
        let (network, servers) = try network()
        guard let (guest, program) = try NamespaceGuests.pasta(network, mtu: 1500, report) else { return nil }
        return peer(Self.passt, guest, network, [servers, program])
    }

    // MARK: QEMU guests

    private func qemuGuest(
        _ who: String, _ netdev: String, _ network: TestNetwork, _ kept: [Any]
    ) throws -> Peer {
        let vm = try VirtualMachine.qemu(
            "guest", netdev: netdev, mac: "52:54:00:00:00:01", in: network.host, tools: [Tool.datagrams],
            folder: network.folder)
        return try peer(who, vm, network, kept)
    }

    private func peer(_ who: String, _ vm: VirtualMachine, _ network: TestNetwork, _ kept: [Any]) throws -> Peer {
        try vm.waitUntilBooted()
        _ = try vm.lease()
        // Sockets for 1,000 flows.
        return Peer(
            who: who, network: network,
            run: { words, limit in
                try vm.run("ulimit -n 4096; /bin/datagrams \(words.joined(separator: " "))", within: limit).output
            }, kept: kept + [vm])
    }

    private func ownQEMU() throws -> Peer {
        let (network, servers) = try network(), path = network.folder.file("vde")
        let daemon = try VMNetDaemon(
            in: network.host, ["--switch", "--uplink", "user", path], folder: network.folder, level: "warning")
        return try qemuGuest(Report.ours, "vde,id=net0,sock=\(path)", network, [servers, daemon])
    }

    private func sharedQEMU() throws -> Peer {
        let (network, servers) = try network(), path = network.folder.file("vhost")
        let daemon = try VMNetDaemon(
            in: network.host, ["--vhost-user", path, "--uplink", "user"], folder: network.folder, level: "warning")
        let vm = try VirtualMachine.vhostUser(
            "guest", socket: "path=\(path)", mac: "52:54:00:00:00:01", in: network.host, tools: [Tool.datagrams],
            folder: network.folder)
        return try peer(Self.shared, vm, network, [servers, daemon])
    }

    private func qemuUser() throws -> Peer {
        let (network, servers) = try network()
        return try qemuGuest(Self.qemu, "user,id=net0", network, [servers])
    }

    private func passtQEMU() throws -> Peer? {
        guard Files.exists("/usr/bin/passt") else {
            report.note("no passt on this system")
            return nil
        }
        let (network, servers) = try network(), socket = network.folder.file("passt.sock")
        let passt = try network.host.start([
            "passt", "-f", "-s", socket, "-q", "--no-map-gw", "--runas", "0", "--mtu", "1500",
        ])
        try eventually("passt: \(passt.output)") { Files.exists(socket) || passt.poll() != nil }
        return try qemuGuest(
            Self.passt, "stream,id=net0,server=off,addr.type=unix,addr.path=\(socket)", network, [servers, passt])
    }
}
