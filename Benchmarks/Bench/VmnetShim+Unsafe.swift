// SPDX-License-Identifier: Apache-2.0
import Frames
import Platform
import Uplinks
import VmnetSimulator
import VmnetUplink
import Wire

/// Frames through the macOS C file and the simulator: one interface writes, another of the same network reads.
enum VmnetShim {
    private static let frames = 400_000

    /// - Parameter batch: frames that the simulator takes in one call.
    /// - Returns: frames a second, written and read.
    static func run(batch: UInt32) throws -> Double {
        var settings = vmnet_simulator_settings()
        settings.batch = batch
        unsafe vmnet_simulator_set(&settings)
        let writer = try VmnetFramework().start(VmnetOptions(mode: .host)), reader = try VmnetFramework().start(VmnetOptions(mode: .host))
        var outgoing = FrameBatch(capacity: 1), incoming = FrameBatch(capacity: 64)
        let receiver = ReceiveVector(for: incoming)
        let frame: [UInt8] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb6] + [UInt8](repeating: 0, count: 1500)
        outgoing.append(copying: frame.rawSpan)
        var sender = SendVector()
        for _ in 0..<64 { sender.append(frame: outgoing[0], of: outgoing) }
        let start = MonotonicClock.now
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
        let seconds = Double(MonotonicClock.now - start) / 1e9
        try writer.stop()
        try reader.stop()
        return Double(read) / seconds
    }
}
