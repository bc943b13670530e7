// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport

/// NAT in user mode beside that of QEMU and of passt: real guests (software emulation) and a server behind the host's
/// own uplink.
struct UserRows {
    let report: Report
    let scale: Scale

    private struct Peer {
        let who: String
        let vms: [VirtualMachine]
        let kept: [Any]
    }

    private static let jumbo = "\(Report.ours), MTU 65520"
    private static let user = "QEMU user"
    private static let passt = "passt, MTU 65520"
    private static let target = TestNetwork.internetAddress

    func run() throws {
        guard VirtualMachine.canRunQEMU else { return report.note("no machines: \(VirtualMachine.qemuReason)") }
        report.progress("NAT in user mode")
        var peers: [Peer] = []
        for (who, make) in [
            (UserRows.user, user), (Report.ours, { try own(mtu: nil, vms: 3) }),
            (UserRows.jumbo, { try own(mtu: 65_520, vms: 1) }), (UserRows.passt, passt),
        ] as [(String, () throws -> Peer?)] {
            report.attempt("a machine behind NAT in user mode", who) { if let peer = try make() { peers.append(peer) } }
        }
        let rate = "Mbit/s", count = "connections a second"
        for (direction, label) in [("up", "out of the guest"), ("down", "into the guest")] {
            let what = "NAT in user mode, TCP \(label)"
            measure(what, rate, peers, "\(direction) \(UserRows.target) 5001 \(2 * scale.seconds) 1")
            report.want(
                what, rate, .atLeast(1, times: UserRows.user), .atLeast(2, UserRows.jumbo, times: UserRows.user),
                .atLeast(1, UserRows.jumbo, times: UserRows.passt))
        }
        let what = "NAT in user mode, TCP, one after the other"
        measure(what, count, peers, "connect \(UserRows.target) 5001 \(2 * scale.seconds) 1")
        report.want(what, count, .atLeast(1, times: UserRows.user))
        try share(peers)
    }

    private func measure(_ what: String, _ unit: String, _ peers: [Peer], _ order: String) {
        scale.rounds {
            for peer in $0 ? peers.reversed() : peers {
                report.attempt(what, peer.who) {
                    report.add(
                        what, unit, peer.who,
                        try UserRows.number(in: peer.vms[0].run("/bin/stream \(order)", within: 60).output))
                }
            }
        }
    }

    /// What each of several guests gets that send at the same time: of the least, how much the most is.
    private func share(_ peers: [Peer]) throws {
        guard let own = peers.first(where: { $0.who == Report.ours }) else { return }
        let what = "NAT in user mode, \(own.vms.count) guests at once"
        scale.rounds { _ in
            report.attempt(what, own.who) {
                for vm in own.vms {
                    try vm.run(
                        "(/bin/stream up \(UserRows.target) 5001 \(2 * scale.seconds) 1 >/tmp/rate; echo end "
                            + ">>/tmp/rate) >/dev/null 2>&1 &"
                    )
                }
                let rates = try own.vms.map { vm in
                    try eventually("the end of a transfer", within: 60) {
                        try vm.run("grep -q end /tmp/rate").status == 0
                    }
                    return try UserRows.number(in: vm.run("head -n 1 /tmp/rate").output)
                }
                report.add(what, "Mbit/s, all together", own.who, rates.reduce(0, +))
                report.add(
                    what, "least of a fair share", own.who,
                    (rates.min() ?? 0) * Double(rates.count) / max(0.001, rates.reduce(0, +)))
            }
        }
        report.want(
            what, "least of a fair share", Goal(subject: Report.ours, reference: nil, limit: 0.5, isMinimum: true))
    }

    private static func number(in output: String) throws -> Double {
        guard let last = output.split(separator: " ").last, let number = Double(last) else {
            throw CommandFailed(description: output)
        }
        return number
    }

    // MARK: Peers

    private func network() throws -> (TestNetwork, BackgroundProgram) {
        let network = try TestNetwork()
        try Files.setMode(network.folder.path, 0o777)
        // A port rests for a minute, and the search for one that does not takes milliseconds when half of them are used
        // up: after a few rounds only that would be measured.
        try network.host.run("sysctl", "-q", "-w", "net.ipv4.tcp_max_tw_buckets=1000")
        let server = try network.internet.start([Tool.stream, "serve", "5001"])
        try network.internet.waitForListener(on: 5001)
        return (network, server)
    }

    private func vm(
        _ number: Int, _ netdev: String, device: String = "", _ network: TestNetwork
    ) throws -> VirtualMachine {
        try VirtualMachine.qemu(
            "guest\(number)", netdev: netdev, mac: "52:54:00:00:00:0\(number)", in: network.host, device: device,
            tools: [Tool.stream], folder: network.folder)
    }

    private func ready(_ who: String, _ vms: [VirtualMachine], _ kept: [Any]) throws -> Peer {
        for vm in vms {
            try vm.waitUntilBooted()
            _ = try vm.lease()
        }
        return Peer(who: who, vms: vms, kept: kept)
    }

    private func own(mtu: Int?, vms count: Int) throws -> Peer? {
        let (network, server) = try network()
        let path = network.folder.file("vde")
        let daemon = try VMNetDaemon(
            in: network.host,
            ["--switch", "--uplink", "user"] + (mtu.map { ["--vmnet-mtu", "\($0)"] } ?? []) + [path],
            folder: network.folder, level: "warning")
        let vms = try (1...count).map {
            try vm($0, "vde,id=net0,sock=\(path)", device: mtu.map { ",host_mtu=\($0)" } ?? "", network)
        }
        return try ready(mtu == nil ? Report.ours : UserRows.jumbo, vms, [network, server, daemon])
    }

    private func user() throws -> Peer? {
        let (network, server) = try network()
        return try ready(UserRows.user, [try vm(1, "user,id=net0", network)], [network, server])
    }

    /// Its defaults, which offer an MTU of 65,520 by DHCP.
    private func passt() throws -> Peer? {
        guard Files.exists("/usr/bin/passt") else {
            report.note("no passt on this system")
            return nil
        }
        let (network, server) = try network()
        let socket = network.folder.file("passt.sock")
        // The server is at the gateway's address, which would be the host's loopback otherwise.
        let passt = try network.host.start(["passt", "-f", "-s", socket, "-q", "--no-map-gw", "--runas", "0"])
        try eventually("passt: \(passt.output)") { Files.exists(socket) || passt.poll() != nil }
        let vm = try vm(
            1, "stream,id=net0,server=off,addr.type=unix,addr.path=\(socket)", device: ",host_mtu=65520", network)
        return try ready(UserRows.passt, [vm], [network, server, passt])
    }
}
