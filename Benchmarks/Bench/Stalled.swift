// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Timing
import VDEPlug

/// What a guest that has stopped reading costs the others: two clients exchange frames while a third, which is sent
/// every fourth of them too, reads or does not.
enum Stalled {
    private static let length = 1514

    /// A client that reads as fast as it can, on its own thread, and counts.
    private final class Reader: @unchecked Sendable {
        private let count = Mutex(0)
        private let isStopped = Mutex(false)

        init(_ socket: borrowing Descriptor) throws {
            let raw = try socket.duplicate().release()
            let count = count, isStopped = isStopped
            try WorkerThread.start(named: "reader") {
                let socket = Descriptor(adopting: raw)
                while !isStopped.withLock({ $0 }) {
                    guard
                        socket.wait(for: .readable, until: BootClock.now + .milliseconds(20))
                            .contains(.readable)
                    else { continue }
                    var read = 0
                    while let frame = try? socket.receive(limit: 2048), !frame.isEmpty { read += 1 }
                    count.withLock { $0 += read }
                }
            }
        }

        var total: Int { count.withLock { $0 } }

        func stop() { isStopped.withLock { $0 = true } }
    }

    struct Result {
        let framesPerSecond: Double
        let delivered: Double
    }

    /// - Parameter isStalled: whether the third client reads nothing.
    static func run(path: String, isStalled: Bool, frames: Int) throws -> Result {
        func join() throws -> Plug {
            try Plug.join(
                path: path, port: 0, options: PlugOptions(description: "measure"),
                deadline: BootClock.now + .seconds(5))
        }
        let sender = try join(), receiver = try join(), third = try join()
        let reader = try Reader(receiver.data), thirdReader = isStalled ? nil : try Reader(third.data)
        func frame(to last: UInt8, from source: UInt8) -> [UInt8] {
            let destination: [UInt8] = last == 0xff ? [UInt8](repeating: 0xff, count: 6) : [2, 0, 0, 0, 0, last]
            return destination + [2, 0, 0, 0, 0, source, 0x88, 0xb6] + [UInt8](repeating: 0, count: length - 14)
        }
        _ = try receiver.data.send(frame(to: 0xff, from: 2))
        BootClock.sleep(.milliseconds(50))
        let unicast = frame(to: 2, from: 1), broadcast = frame(to: 0xff, from: 1)
        let before = reader.total, start = BootClock.now
        for number in 0..<frames {
            while (try? sender.data.send(number % 4 == 0 ? broadcast : unicast)) == nil {
                _ = sender.data.wait(for: .writable, until: BootClock.now + .seconds(1))
            }
        }
        // What is still on its way arrives within a moment; then the count stands still.
        var last = -1
        while reader.total != last {
            last = reader.total
            BootClock.sleep(.milliseconds(30))
        }
        let seconds = Double((BootClock.now - start).nanoseconds) / 1e9 - 0.03
        reader.stop()
        thirdReader?.stop()
        return Result(
            framesPerSecond: Double(frames) / seconds, delivered: Double(reader.total - before) / Double(frames))
    }

    /// Alternately, so that both run under the same conditions.
    static func measure(_ report: Report, _ scale: Scale, isQuick: Bool) throws {
        report.progress("a guest that has stopped reading")
        let folder = try TemporaryFolder(), host = try Namespace("stalled")
        let switches = [
            ("vde_switch", try VDESwitch(in: host, at: folder.file("theirs"))),
            (Report.ours, try VDESwitch(in: host, at: folder.file("ours"), command: VDESwitch.ours)),
        ]
        scale.rounds {
            for (who, vde) in $0 ? switches.reversed() : switches {
                for isStalled in [false, true] {
                    let what =
                        "1514 B to one client, every fourth to all; a third \(isStalled ? "has stopped" : "reads")"
                    report.attempt(what, who) {
                        let result = try run(path: vde.path, isStalled: isStalled, frames: isQuick ? 30_000 : 200_000)
                        report.add(what, "1000 frames/s taken", who, result.framesPerSecond / 1000)
                        report.add(what, "% delivered", who, result.delivered * 100)
                    }
                }
            }
        }
    }
}
