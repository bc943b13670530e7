// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Timing

/// The switches that carry frames between two clients of libvdeplug.
final class FloodedSwitches {
    struct Peer {
        let who: String
        let path: String
        let process: Int32
    }

    let folder: TemporaryFolder
    let host: Namespace
    let peers: [Peer]
    private let kept: [Any]

    init(_ name: String) throws {
        folder = try TemporaryFolder()
        host = try Namespace(name)
        let relayPath = folder.file("relay"), ownPath = folder.file("ours")
        let relay = try host.start([Tool.relay, relayPath])
        try eventually("the relay") { Files.exists(relayPath + "/ctl") }
        let theirs = try VDESwitch(in: host, at: folder.file("theirs"), options: ["--numports", "300"])
        let ours = try VMNetDaemon(
            in: host, ["--switch", "--uplink", "none", ownPath], folder: folder, level: "warning")
        peers = [
            Peer(who: "vde_switch", path: theirs.path, process: theirs.program.identifier),
            Peer(who: Report.ours, path: ownPath, process: ours.program.identifier),
            Peer(who: "relay", path: relayPath, process: relay.identifier),
        ]
        kept = [relay, theirs, ours]
    }

    static func floodCommand(_ path: String, _ size: Int, _ seconds: Double) -> [String] {
        [Tool.frames, "flood", path, "\(size)", "\(seconds)"]
    }

    func flood(_ peer: Peer, _ size: Int, _ seconds: Double) throws -> [String: Double] {
        try Tool.values(host.attempt(FloodedSwitches.floodCommand(peer.path, size, seconds)))
    }
}

/// Two clients of libvdeplug through a switch: how many frames, how soon, at what cost.
struct FrameRows {
    let report: Report
    let scale: Scale
    private let switches: FloodedSwitches

    private typealias Peer = FloodedSwitches.Peer
    private var peers: [Peer] { switches.peers }
    private var host: Namespace { switches.host }

    init(_ report: Report, _ scale: Scale) throws {
        self.report = report
        self.scale = scale
        switches = try FloodedSwitches("frames")
    }

    func run() throws {
        try floods()
        try pairs()
        try latency()
        try ports()
        try idle()
    }

    private func flood(
        _ peer: Peer, _ size: Int, _ seconds: Double
    ) throws -> (values: [String: Double], perFrame: Double) {
        let before = ProcessorTime.used(by: peer.process)
        let values = try switches.flood(peer, size, seconds)
        let used = ProcessorTime.used(by: peer.process) - before
        if values["reordered"] != 0 || values["damaged"] != 0 { report.note("\(peer.who), \(size) bytes: \(values)") }
        return (values, used / max(1, values["received"] ?? 1))
    }

    private func floods() throws {
        for size in [64, 1514, 9014, 65_000] {
            report.progress("flood, \(size) bytes")
            let what = "flood, frames of \(size) B"
            // vde_switch cuts frames at 1518 bytes.
            let peers = size > 1518 ? Array(peers.dropFirst()) : peers
            scale.rounds {
                for peer in $0 ? peers.reversed() : peers {
                    report.attempt(what, peer.who) {
                        let (values, perFrame) = try flood(peer, size, scale.seconds)
                        report.add(what, "1000 frames/s", peer.who, (values["rate"] ?? 0) / 1000)
                        report.add(what, "% lost", peer.who, values["lost"] ?? 100)
                        report.add(what, "us of its processor a frame", peer.who, perFrame / 1000)
                    }
                }
            }
            if size <= 1518 {
                report.want(what, "1000 frames/s", .atLeast(1.4, times: "vde_switch"), .atLeast(0.95, times: "relay"))
                report.want(what, "us of its processor a frame", .atMost(0.55, times: "vde_switch"))
            } else {
                report.want(what, "1000 frames/s", .atLeast(0.95, times: "relay"))
            }
            report.want(what, "% lost", .atMost(0.1))
        }
    }

    /// Two senders and two receivers at once: at one switch, with one worker and with several, and at a daemon for each
    /// pair, which share nothing.
    private func pairs() throws {
        report.progress("two floods at once")
        let what = "two floods at once, 1514 B, together", each = "\(Report.ours), one for each",
            one = "\(Report.ours) --workers 1"
        let second = switches.folder.file("second")
        let daemon = try VMNetDaemon(
            in: host, ["--switch", "--uplink", "none", second], folder: switches.folder, level: "warning")
        let alone = switches.folder.file("single")
        let single = try VMNetDaemon(
            in: host, ["--switch", "--uplink", "none", "--workers", "1", alone], folder: switches.folder,
            level: "warning")
        let own = peers[1].path
        let tests = [
            ("vde_switch", [peers[0].path, peers[0].path]), (Report.ours, [own, own]), (one, [alone, alone]),
            (each, [own, second]),
        ]
        scale.rounds {
            for (who, paths) in $0 ? tests.reversed() : tests {
                report.attempt(what, who) {
                    let floods = try paths.map { try host.start(FloodedSwitches.floodCommand($0, 1514, scale.seconds)) }
                    var rate = 0.0
                    for flood in floods {
                        try flood.wait(for: "receiver_cpu_ns", within: 60)
                        rate += Tool.values(in: flood.output)["rate"] ?? 0
                    }
                    report.add(what, "1000 frames/s", who, rate / 1000)
                }
            }
        }
        report.want(what, "1000 frames/s", .atLeast(1.2, times: one), .atLeast(0.95, times: each))
        _ = try daemon.stop()
        _ = try single.stop()
    }

    private func latency() throws {
        report.progress("one frame in flight")
        let what = "one frame in flight, 64 B, there and back"
        scale.rounds {
            for peer in $0 ? peers.reversed() : peers {
                report.attempt(what, peer.who) {
                    let values = try Tool.values(
                        host.attempt([Tool.frames, "pingpong", peer.path, "64", "\(scale.seconds)"]))
                    report.add(what, "us, mean", peer.who, scale.seconds * 1e6 / max(1, values["count"] ?? 1))
                    report.add(what, "us, median", peer.who, values["median_us"] ?? 0)
                }
            }
        }
        report.want(what, "us, mean", .atMost(0.7, times: "vde_switch"))
    }

    /// Traffic between two ports while others are there and idle.
    private func ports() throws {
        report.progress("many ports")
        let what = "1514 B between two of so many ports"
        func measure(_ count: Int) throws {
            for _ in 0..<scale.roundCount {
                let perFrame = try flood(peers[1], 1514, scale.seconds).perFrame
                report.add(what, "us of its processor a frame", "\(Report.ours), \(count) ports", perFrame / 1000)
            }
        }
        try measure(2)
        for count in [16, 256] {
            let others = try idlers(count - 2)
            try measure(count)
            others.kill()
        }
        report.want(
            what, "us of its processor a frame",
            .atMost(1.2, "\(Report.ours), 256 ports", times: "\(Report.ours), 2 ports"))
    }

    private func idlers(_ count: Int) throws -> BackgroundProgram {
        let others = try host.start([Tool.frames, "idle", peers[1].path, "\(count)"])
        try others.wait(for: "ready", within: 20)
        return others
    }

    private func idle() throws {
        report.progress("256 idle ports")
        let others = try idlers(256)
        BootClock.sleep(.milliseconds(300))
        for _ in 0..<scale.roundCount {
            let before = ProcessorTime.used(by: peers[1].process)
            BootClock.sleep(.fractionalSeconds(2 * scale.seconds))
            report.add(
                "256 idle ports", "% of a processor", Report.ours,
                (ProcessorTime.used(by: peers[1].process) - before) / (2 * scale.seconds * 1e9) * 100)
        }
        report.want("256 idle ports", "% of a processor", .atMost(0.1))
        others.kill()
    }
}

/// How often and how long.
struct Scale {
    let roundCount: Int
    let seconds: Double

    /// Runs a round so many times; every second one in the opposite order.
    /// - Parameter times: more rounds, for goals of a few percent, which the spread of five rounds hides.
    func rounds(times: Int = 1, _ body: (_ isReversed: Bool) -> Void) {
        for round in 0..<roundCount * times { body(round % 2 == 1) }
    }
}

extension Report {
    /// A measurement that fails is noted, and the next one follows.
    func attempt(_ what: String, _ who: String, _ body: () throws -> Void) {
        do { try body() } catch { note("\(what), \(who): \(error)") }
    }
}
