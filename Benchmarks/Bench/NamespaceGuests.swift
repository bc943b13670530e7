// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport

/// Guests that are network namespaces behind the user-mode NAT: each has an interface that the NAT's process has made
/// (`--netns`), as those of slirp4netns and of pasta.
struct NamespaceGuests {
    let guests: [Namespace]
    /// The process of the NAT.
    var process: Int32 { daemon.program.identifier }
    private let daemon: VMNetDaemon

    init(_ network: TestNetwork, count: Int = 1, mtu: Int = 1500) throws {
        guests = try (0..<count).map { _ in try Namespace("bench-guest") }
        let options = ["--uplink", "user", "--vmnet-mtu", "\(mtu)", "--state-dir", network.folder.file("state")]
        daemon = try VMNetDaemon(
            in: network.host, options + guests.flatMap { ["--netns", $0.name] }, folder: network.folder,
            level: "warning")
        for (number, guest) in guests.enumerated() {
            try guest.ip("addr", "add", "192.168.105.\(100 + number)/24", "dev", "eth0")
            try guest.ip("route", "add", "default", "via", "192.168.105.1")
            try eventually("the network of a guest") {
                try guest.attempt(["ping", "-c", "1", "-W", "1", "192.168.105.1"]).succeeded
            }
        }
    }

    /// A guest of another program, and the program; nil if there is none on this system.
    typealias Other = (guest: Namespace, program: BackgroundProgram)

    static func slirp4netns(_ network: TestNetwork, mtu: Int, _ report: Report) throws -> Other? {
        try start(
            "slirp4netns", ["--configure", "--mtu=\(mtu)", "--netns-type=path"], card: ["tap0"], network, report
        ) { try $0.attempt(["ip", "-o", "addr", "show", "dev", "tap0"]).output.contains("10.0.2.100") }
    }

    /// The server is at the gateway's address, which would be the host's loopback without `--no-map-gw`.
    static func pasta(_ network: TestNetwork, mtu: Int, _ report: Report) throws -> Other? {
        let options = ["-f", "-q", "--config-net", "--no-map-gw", "--runas", "0", "--mtu", "\(mtu)", "--netns"]
        return try start("pasta", options, network, report) {
            try $0.attempt(["ip", "-4", "route", "show", "default"]).output.contains("via")
        }
    }

    /// - Parameters:
    ///   - options: what precedes the path of the guest's namespace.
    ///   - card: what follows it.
    ///   - isReady: whether the guest has its network.
    private static func start(
        _ name: String, _ options: [String], card: [String] = [], _ network: TestNetwork, _ report: Report,
        isReady: (Namespace) throws -> Bool
    ) throws -> Other? {
        guard Files.exists("/usr/bin/" + name) else {
            report.note("no \(name) on this system")
            return nil
        }
        let guest = try Namespace("bench-" + name)
        let program = try network.host.start([name] + options + ["/run/netns/" + guest.name] + card)
        try eventually("\(name): \(program.output)") { try isReady(guest) }
        return (guest, program)
    }
}
