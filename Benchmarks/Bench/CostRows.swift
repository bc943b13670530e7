// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport

/// What a frame costs where no clock is needed: system calls, and our instructions. Both come out the same on a
/// busy host.
struct CostRows {
    let report: Report
    let scale: Scale

    func run() throws {
        let switches = try FloodedSwitches("costs")
        if Files.exists("/usr/bin/strace") {
            systemCalls(switches)
        } else {
            report.note("no system calls counted: needs strace")
        }
        if Files.exists("/usr/bin/valgrind") && Files.exists("/usr/bin/strip") {
            instructions(switches)
        } else {
            report.note("no instructions counted: needs valgrind and binutils")
        }
    }

    /// `strace -c` of each switch under a flood. It slows them down, so that they find more frames waiting than they
    /// would otherwise.
    private func systemCalls(_ switches: FloodedSwitches) {
        report.progress("system calls a frame")
        let what = "flood, frames of 1514 B, under strace"
        scale.rounds {
            for peer in $0 ? switches.peers.reversed() : switches.peers {
                report.attempt(what, peer.who) {
                    let counts = switches.folder.file("strace")
                    let tracer = try BackgroundProgram(["strace", "-f", "-c", "-o", counts, "-p", "\(peer.process)"])
                    try tracer.wait(for: "attached", within: 10)
                    let values = try switches.flood(peer, 1514, scale.seconds)
                    tracer.signal(Signal.interrupt)
                    _ = try tracer.waitForEnd(within: 10)
                    // The last line: "100.00    0.079191           7     10734      1119 total".
                    let total =
                        String(decoding: try Files.read(counts), as: UTF8.self).split(separator: "\n").last {
                            $0.hasSuffix("total")
                        }?.split(separator: " ") ?? []
                    guard let calls = total.dropFirst(3).first.flatMap({ Double($0) }) else {
                        throw CommandFailed(description: "strace counted nothing")
                    }
                    report.add(what, "system calls a frame", peer.who, calls / max(1, values["received"] ?? 1))
                }
            }
        }
    }

    /// callgrind of the forwarder's rounds in one process: the difference of two runs is the frames', whatever starting
    /// costs.
    private func instructions(_ switches: FloodedSwitches) {
        report.progress("instructions a frame")
        let program = switches.folder.file("bench"), few = 6400, many = 32_000
        func collected(_ frames: Int) throws -> Double {
            let output = try switches.host.attempt([
                "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, "rounds", "\(frames)",
            ]).error
            guard let line = output.split(separator: "\n").last(where: { $0.contains("Collected :") }),
                let number = line.split(separator: " ").last.flatMap({ Double($0) })
            else {
                throw CommandFailed(description: output)
            }
            return number
        }
        report.attempt("instructions a frame", Report.ours) {
            // valgrind does not read the debugging information of newer compilers.
            try switches.host.run("strip", "-o", program, "/proc/\(CurrentProcess.identifier)/exe")
            report.add(
                "1514 B from client to client, under callgrind", "instructions a frame", Report.ours,
                (try collected(many) - collected(few)) / Double(many - few))
        }
    }
}
