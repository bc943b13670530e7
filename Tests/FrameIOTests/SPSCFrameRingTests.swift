// SPDX-License-Identifier: Apache-2.0
import FrameIO
import TestSupport
import Testing
import Wire

@Suite struct SPSCFrameRingTests {
    @Test func framesOfAnyLengthKeepTheirOrderAndBytes() {
        let ring = SPSCFrameRing(capacity: 4096)
        var random = SeededGenerator(seed: 1)
        var waiting: [[UInt8]] = []
        for _ in 0..<20_000 {
            if Bool.random(using: &random) {
                let frame = random.bytes(Int.random(in: 1...900, using: &random))
                if ring.append(frame.rawSpan) { waiting.append(frame) }
            } else {
                let first = ring.removeFirst { $0.bytes.copied() }
                #expect(first == (waiting.isEmpty ? nil : waiting.removeFirst()))
            }
            #expect(ring.count == waiting.count)
        }
    }

    @Test func fullRingRefusesThenAccepts() {
        let ring = SPSCFrameRing(capacity: 1024)
        let frame = [UInt8](repeating: 7, count: 248)
        func append(_ frame: [UInt8]) -> Bool { ring.append(frame.rawSpan) }
        for _ in 0..<4 { #expect(append(frame)) }
        #expect(!append([1]))
        #expect(ring.removeFirst { $0.byteCount } == 248)
        #expect(append(frame))
        #expect(!append([UInt8](repeating: 0, count: 2000)))
    }

    /// The producer goes on at the start of the memory when the ring is empty. The consumer may not follow for long.
    @Test(arguments: 1...40) func emptiedRingHasRoomForItsCapacity(frames: Int) {
        let capacity = 16_384, ring = SPSCFrameRing(capacity: capacity)
        func append(_ frame: [UInt8]) -> Bool { ring.append(frame.rawSpan) }
        for number in 0..<frames {
            #expect(append([UInt8](repeating: UInt8(number), count: 504)))
            let first = ring.removeFirst { $0.bytes.copied() }
            #expect(first == [UInt8](repeating: UInt8(number), count: 504))
        }
        var appended: [[UInt8]] = []
        while true {
            let frame = [UInt8](repeating: UInt8(appended.count), count: 504)
            guard append(frame) else { break }
            appended.append(frame)
        }
        #expect(appended.count == capacity / 512)
        for frame in appended {
            let first = ring.removeFirst { $0.bytes.copied() }
            #expect(first == frame)
        }
        #expect(!ring.hasFrames)
    }
}
