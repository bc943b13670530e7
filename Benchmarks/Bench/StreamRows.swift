// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport

/// A host with a TAP behind a switch, and guests that are namespaces with a TAP that vde_plug2tap or we serve.
final class StreamScene {
    enum Switch { case theirs, ours, oursIntoTheirs }

    let host: Namespace
    private(set) var guests: [Namespace] = []
    let target = "192.168.105.1"
    /// The program that holds the host's TAP.
    private(set) var process: Int32 = 0
    private let folder: TemporaryFolder
    private let path: String
    private var kept: [Any] = []

    init(_ name: String, _ kind: Switch) throws {
        folder = try TemporaryFolder()
        host = try Namespace(name)
        path = folder.file("vde")
        switch kind {
        case .theirs:
            let vde = try VDESwitch(in: host, at: path, options: ["--tap", "tap0"])
            try host.ip("addr", "add", target + "/24", "dev", "tap0")
            try host.ip("link", "set", "tap0", "up")
            process = vde.program.identifier
            kept.append(vde)
        case .ours:
            try startOurs(["--switch"])
        case .oursIntoTheirs:
            kept.append(try VDESwitch(in: host, at: path))
            try startOurs(["--dhcp", "off"])
        }
        kept.append(try host.start([Tool.stream, "serve", "5001"]))
        try host.waitForListener(on: 5001)
    }

    private func startOurs(_ options: [String]) throws {
        let daemon = try VMNetDaemon(
            in: host, options + ["--uplink", "tap", "--vmnet-gateway", target, path], folder: folder, level: "warning")
        process = daemon.program.identifier
        kept.append(daemon)
    }

    /// A guest whose card is vde_plug2tap's.
    func addPlainGuest() throws {
        let guest = try PlugGuest("bench-guest", path: path, folder: folder)
        try guest.namespace.ip("addr", "add", "192.168.105.\(100 + guests.count)/24", "dev", PlugGuest.interface)
        guests.append(guest.namespace)
        kept.append(guest)
    }

    /// A guest whose card is ours.
    func addOwnGuest() throws {
        let namespace = try Namespace("bench-own-guest")
        kept.append(
            try VMNetDaemon(
                in: namespace,
                [
                    "--uplink", "tap", "--vmnet-mode", "host", "--dhcp", "off", "--vmnet-gateway",
                    "192.168.105.\(100 + guests.count)", "--state-dir", folder.file("guest"), path,
                ],
                folder: folder, level: "warning"))
        guests.append(namespace)
    }

    /// Megabits a second of all streams of so many guests together.
    func transfer(_ direction: String, seconds: Double, streams: Int = 1, guests count: Int = 1) throws -> Double {
        let clients = try guests.prefix(count).map {
            try $0.start([Tool.stream, direction, target, "5001", "\(seconds)", "\(streams)"])
        }
        return try clients.reduce(0) { sum, client in
            try client.waitForEnd(within: seconds * 3 + 20)
            try eventually("the result of a stream") { client.output.contains("\n") }
            guard let value = Double(client.output.split(separator: "\n").first?.split(separator: " ").last ?? "")
            else { throw CommandFailed(description: client.output) }
            return sum + value
        }
    }

    /// Microseconds of a ping's way there and back, the next one sent when the last one has come.
    func ping(seconds: Double) throws -> Double {
        let result = try guests[0].attempt(["ping", "-A", "-q", "-w", "\(max(1, Int(seconds)))", target])
        // rtt min/avg/max/mdev = 0.050/0.083/3.571/0.048 ms
        guard let line = result.output.split(separator: "\n").first(where: { $0.hasPrefix("rtt") }),
            let values = line.split(separator: " ").dropFirst(3).first,
            let average = Double(values.split(separator: "/").dropFirst().first ?? "")
        else { throw CommandFailed(description: result.output) }
        return average * 1000
    }
}

/// TCP and ping between guests that are namespaces and the host.
struct StreamRows {
    let report: Report
    let scale: Scale
    let isQuick: Bool
    private let ownGuest = "\(Report.ours) at both ends"
    private let plug = "\(Report.ours) as a plug of vde_switch"

    init(_ report: Report, _ scale: Scale, isQuick: Bool) {
        self.report = report
        self.scale = scale
        self.isQuick = isQuick
    }

    func run() throws {
        try one()
        try several()
    }

    private func one() throws {
        report.progress("one guest: streams and ping")
        let theirs = try StreamScene("theirs", .theirs), ours = try StreamScene("ours", .ours),
            both = try StreamScene("both", .ours)
        let joined = try StreamScene("plug", .oursIntoTheirs)
        for scene in [theirs, ours, joined] { try scene.addPlainGuest() }
        try both.addOwnGuest()
        let scenes = [("vde_switch", theirs), (Report.ours, ours), (ownGuest, both), (plug, joined)]
        for (direction, label) in [("up", "guest to host"), ("down", "host to guest")] {
            let what = "TCP, one stream, \(label), MTU 1500"
            scale.rounds {
                for (who, scene) in $0 ? scenes.reversed() : scenes {
                    report.attempt(what, who) {
                        let before = ProcessorTime.used(by: scene.process)
                        let rate = try scene.transfer(direction, seconds: scale.seconds)
                        report.add(what, "Mbit/s", who, rate)
                        report.add(
                            what, "ms of its processor a Gbit", who,
                            (ProcessorTime.used(by: scene.process) - before) / 1e6
                                / max(0.001, rate * scale.seconds / 1000))
                    }
                }
            }
            let isUp = direction == "up"
            report.want(
                what, "Mbit/s", .atLeast(isUp ? 1.5 : 2.3, times: "vde_switch"),
                .atLeast(isUp ? 2.5 : 4, ownGuest, times: "vde_switch"), .atLeast(1, plug, times: "vde_switch"))
        }
        let what = "ping from a guest, one after the other"
        scale.rounds {
            for (who, scene) in $0 ? scenes.reversed() : scenes {
                report.attempt(what, who) { report.add(what, "us", who, try scene.ping(seconds: scale.seconds)) }
            }
        }
        report.want(what, "us", .atMost(0.7, times: "vde_switch"))
    }

    private func several() throws {
        report.progress("several guests")
        let theirs = try StreamScene("theirs", .theirs), ours = try StreamScene("ours", .ours)
        let scenes = [("vde_switch", theirs), (Report.ours, ours)]
        let cases = isQuick ? [(1, 4), (4, 1)] : [(1, 1), (1, 4), (4, 1), (16, 1)]
        for (guests, streams) in cases {
            for (_, scene) in scenes { while scene.guests.count < guests { try scene.addPlainGuest() } }
            for (direction, label) in [("up", "guests to host"), ("down", "host to guests")] {
                let what =
                    "TCP, \(guests) guest\(guests > 1 ? "s" : "") with \(streams) stream\(streams > 1 ? "s" : "") "
                    + "each, \(label), total"
                scale.rounds {
                    for (who, scene) in $0 ? scenes.reversed() : scenes {
                        report.attempt(what, who) {
                            report.add(
                                what, "Mbit/s", who,
                                try scene.transfer(direction, seconds: scale.seconds, streams: streams, guests: guests))
                        }
                    }
                }
                report.want(what, "Mbit/s", .atLeast(1, times: "vde_switch"))
            }
        }
    }
}
