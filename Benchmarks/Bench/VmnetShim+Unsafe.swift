// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import TestSupport
import Timing
import VmnetSimulator
import VmnetFramework
import VmnetUplink
import Wire

/// Frames through the macOS C file and the simulator: one interface writes, another of the same network reads.
enum VmnetShim {
    private static let frames = 400_000

    /// With calls of as many frames as the interface takes, and of one.
    static func measure(_ report: Report, _ scale: Scale) throws {
        report.progress("the macOS C file, on the simulator")
        let what = "1514 B through the macOS C file and the simulator"
        scale.rounds { isReversed in
            let kinds: [(String, UInt32)] = [("batches of 200", 200), ("one frame a call", 1)]
            for (who, batch) in isReversed ? kinds.reversed() : kinds {
                report.attempt(what, who) { report.add(what, "frames/s", who, try run(batch: batch)) }
            }
        }
    }

    /// - Parameter batch: frames that the simulator takes in one call.
    /// - Returns: frames a second, written and read.
    static func run(batch: UInt32) throws -> Double {
        var settings = vmnet_simulator_settings()
        settings.batch = batch
        unsafe vmnet_simulator_set(&settings)
        let writer = try VmnetFramework().start(VmnetOptions(mode: .host)),
            reader = try VmnetFramework().start(VmnetOptions(mode: .host))
        var outgoing = FrameBatch(capacity: 1), incoming = FrameBatch(capacity: 64)
        let receiver = ReceiveVector(for: incoming)
        let frame: [UInt8] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb6] + [UInt8](repeating: 0, count: 1500)
        outgoing.append(copying: frame.rawSpan)
        var sender = SendVector()
        for _ in 0..<64 { sender.append(frame: outgoing[0], of: outgoing) }
        let start = BootClock.now
        var read = 0, sent = 0
        while read < frames && sent < 2 * frames {
            sent += sender.send(to: writer.device).sent
            while true {
                incoming.removeAll()
                let outcome = receiver.receive(from: reader.device, into: &incoming)
                read += outcome.frames
                if outcome.frames == 0 { break }
            }
        }
        let seconds = Double((BootClock.now - start).nanoseconds) / 1e9
        try writer.stop()
        try reader.stop()
        return Double(read) / seconds
    }
}
