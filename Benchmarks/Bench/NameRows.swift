// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport

/// Queries for names a second beside dnsmasq: one guest on a TAP, the same resolver behind both, no cache in either.
struct NameRows {
    private static let peer = "dnsmasq"
    private static let upstream = "127.0.0.2"
    /// Of dnsmasq, on the gateway's address.
    private static let peerPort = 5300

    /// What dnsperf does. dnsmasq ends a TCP connection after 100 queries; a client that sends more loses some.
    private struct Load {
        let name: String
        let options: [String]
        let hasPeer: Bool
    }

    private static let loads = [
        Load(name: "by UDP", options: [], hasPeer: true),
        Load(
            name: "by TCP, 8 connections of 90 queries each",
            options: ["-m", "tcp", "-c", "8", "-O", "num-queries-per-conn=90"], hasPeer: true),
        Load(name: "by TCP, 4 connections", options: ["-m", "tcp", "-c", "4"], hasPeer: false),
    ]

    let report: Report
    let scale: Scale

    func run() throws {
        guard Files.exists("/usr/bin/dnsperf"), Files.exists("/usr/sbin/dnsmasq") else {
            return report.note("no queries for names measured: needs dnsperf and dnsmasq")
        }
        report.progress("queries for names")
        let network = try TestNetwork(), path = network.folder.file("vde"), gateway = "192.168.105.1"
        // With --no-daemon, one connection over TCP would be served at a time.
        let common = [
            "dnsmasq", "--keep-in-foreground", "--pid-file=", "--conf-file=/dev/null", "--user=root", "--no-resolv",
            "--no-hosts",
        ]
        let upstream = try network.host.start(
            common + ["--bind-interfaces", "--listen-address=\(NameRows.upstream)", "--address=/#/192.0.2.9"])
        defer { _ = try? upstream.stop() }
        try network.host.setResolvers("nameserver \(NameRows.upstream)\n")
        try network.host.waitForListener(on: 53)
        let daemon = try VMNetDaemon(
            in: network.host, ["--switch", "--uplink", "tap", "--dns-cache", "off", path], folder: network.folder,
            level: "warning")
        defer { _ = try? daemon.stop() }
        let peer = try network.host.start(
            common + [
                "--port=\(NameRows.peerPort)", "--bind-interfaces", "--listen-address=\(gateway)", "--cache-size=0",
                "--server=\(NameRows.upstream)", "--dns-forward-max=1000",
            ])
        defer { _ = try? peer.stop() }
        try network.host.waitForListener(on: NameRows.peerPort)
        let guest = try PlugGuest("guest", path: path, folder: network.folder)
        try guest.lease()
        let names = network.folder.file("names")
        try Files.replace(names, Array((0..<1000).map { "n\($0).example A\n" }.joined().utf8))
        let unit = "queries a second"
        for load in NameRows.loads {
            let what = "names \(load.name), one guest on a TAP, no cache"
            scale.rounds {
                let order = [(Report.ours, 53)] + (load.hasPeer ? [(NameRows.peer, NameRows.peerPort)] : [])
                for (who, port) in $0 ? order.reversed() : order {
                    report.attempt(what, who) {
                        let result = try guest.namespace.attempt(
                            [
                                "dnsperf", "-s", gateway, "-p", "\(port)", "-d", names, "-l",
                                "\(Int((2 * scale.seconds).rounded(.up)))",
                            ] + load.options)
                        report.add(what, unit, who, try NameRows.rate(in: result.output + result.error))
                    }
                }
            }
            if load.hasPeer { report.want(what, unit, .atLeast(1, times: NameRows.peer)) }
        }
    }

    /// Only successful responses count.
    private static func rate(in output: String) throws -> Double {
        guard output.contains("NOERROR"), output.contains("(100.00%)"),
            let line = output.split(separator: "\n").first(where: { $0.contains("Queries per second") }),
            let number = line.split(separator: " ").last.flatMap({ Double($0) })
        else { throw CommandFailed(description: output) }
        return number
    }
}
