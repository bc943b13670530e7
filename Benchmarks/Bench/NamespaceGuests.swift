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

    /// A guest of slirp4netns; nil if there is none on this system.
    static func slirp4netns(
        _ network: TestNetwork, mtu: Int, _ report: Report
    ) throws -> (guest: Namespace, program: BackgroundProgram)? {
        guard Files.exists("/usr/bin/slirp4netns") else {
            report.note("no slirp4netns on this system")
            return nil
        }
        let guest = try Namespace("bench-slirp")
        let program = try network.host.start([
            "slirp4netns", "--configure", "--mtu=\(mtu)", "--netns-type=path", "/run/netns/\(guest.name)", "tap0",
        ])
        try eventually("slirp4netns: \(program.output)") {
            try guest.attempt(["ip", "-o", "addr", "show", "dev", "tap0"]).output.contains("10.0.2.100")
        }
        return (guest, program)
    }

    /// A guest of pasta; nil if there is none on this system.
    static func pasta(
        _ network: TestNetwork, mtu: Int, _ report: Report
    ) throws -> (guest: Namespace, program: BackgroundProgram)? {
        guard Files.exists("/usr/bin/pasta") else {
            report.note("no pasta on this system")
            return nil
        }
        let guest = try Namespace("bench-pasta")
        // The server is at the gateway's address, which would be the host's loopback otherwise.
        let program = try network.host.start([
            "pasta", "-f", "-q", "--config-net", "--no-map-gw", "--runas", "0", "--mtu", "\(mtu)", "--netns",
            "/run/netns/\(guest.name)",
        ])
        try eventually("pasta: \(program.output)") {
            try guest.attempt(["ip", "-4", "route", "show", "default"]).output.contains("via")
        }
        return (guest, program)
    }
}
