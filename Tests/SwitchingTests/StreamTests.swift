// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Switching
import TestSupport
import Testing
import Timing
import Wire

@Suite struct StreamTests {
    private func ended(_ harness: ForwarderHarness, _ end: StreamPeer) -> PortEvent? {
        harness.control.takeEvents().first { if case .ended(end.number, _) = $0 { true } else { false } }
    }

    @Test func framesPassBetweenStreamAndDatagramPorts() throws {
        let harness = try ForwarderHarness()
        let stream = try harness.attachStream(), datagram = try harness.attach()
        try stream.send(frame(to: mac(2), from: mac(1), [1, 2, 3]))
        harness.settle()
        #expect(datagram.received() == [frame(to: mac(2), from: mac(1), [1, 2, 3])])
        try datagram.send(frame(to: mac(1), from: mac(2), [4, 5]))
        harness.settle()
        #expect(stream.receive() == [frame(to: mac(1), from: mac(2), [4, 5])])
    }

    @Test func framesArriveInPiecesAndManyAtOnce() throws {
        let harness = try ForwarderHarness()
        let stream = try harness.attachStream(), other = try harness.attachStream()
        var random = SeededGenerator(seed: 6)
        let sent = (0..<500).map {
            frame(
                to: mac(2), from: mac(1),
                [UInt8($0 & 255)] + [UInt8](repeating: UInt8($0 & 255), count: Int.random(in: 0...2000, using: &random))
            )
        }
        let bytes = sent.flatMap(StreamPeer.wrap)
        var position = 0, received: [[UInt8]] = []
        while position < bytes.count {
            // Now a byte, now hundreds of frames.
            let piece = min(bytes.count - position, [1, 2, 3, 5, 700, 40_000, 200_000].randomElement(using: &random)!)
            try position += stream.send(raw: Array(bytes[position..<position + piece]))
            harness.settle()
            received += other.receive()
        }
        harness.settle()
        received += other.receive()
        #expect(received == sent)
    }

    @Test func manySmallFramesInOnePieceAllArrive() throws {
        let harness = try ForwarderHarness()
        let stream = try harness.attachStream(), other = try harness.attachStream()
        let small = frame(to: mac(2), from: mac(1))
        // More than the batches of one run; the rest is in the buffer, which no poller watches.
        try stream.send(raw: [[UInt8]](repeating: StreamPeer.wrap(small), count: 5000).flatMap(\.self))
        for _ in 0..<3 { harness.worker.runOnce(timeout: .zero) }
        #expect(other.receive() == [[UInt8]](repeating: small, count: 5000))
    }

    @Test func longestFrameFits() throws {
        let harness = try ForwarderHarness()
        let stream = try harness.attachStream(), other = try harness.attachStream()
        let long = frame(to: mac(2), from: mac(1), [UInt8](repeating: 7, count: 65_536))
        #expect(long.count == StreamDeframer.maximumFrameLength)
        try stream.send(long)
        harness.settle()
        #expect(other.receive() == [long])
    }

    @Test(arguments: [0, 1, 13, 65_551, 0x0100_0000, .max] as [UInt32])
    func invalidLengthDisconnectsThatClientOnly(length: UInt32) throws {
        let harness = try ForwarderHarness()
        let bad = try harness.attachStream(), one = try harness.attachStream(), two = try harness.attachStream()
        let good = frame(to: mac(2), from: mac(9), [9])
        try bad.send(
            raw: StreamPeer.wrap(good) + (0..<4).map { UInt8(truncatingIfNeeded: length >> (24 - 8 * $0)) }
                + StreamPeer.wrap(good))
        harness.settle()
        #expect(
            one.receive() == [good] && two.receive() == [good], "what came before it counts, what came after does not")
        #expect(ended(harness, bad) == .ended(bad.number, badLength: length))
        // The port is not detached yet: it neither spins nor takes frames.
        try bad.send(raw: StreamPeer.wrap(good))
        try one.send(frame(to: mac(2), from: mac(1), [1]))
        harness.settle()
        #expect(two.receive() == [frame(to: mac(2), from: mac(1), [1])])
        #expect(bad.receive().isEmpty && ended(harness, bad) == nil)
        harness.control.detach(bad.number)
        harness.settle()
        try two.send(frame(to: mac(1), from: mac(2), [2]))
        harness.settle()
        #expect(one.receive() == [frame(to: mac(1), from: mac(2), [2])])
    }

    @Test func endOfAStreamIsReported() throws {
        let harness = try ForwarderHarness()
        let gone = try harness.attachStream(), other = try harness.attachStream()
        try gone.send(frame(to: mac(2), from: mac(1), [1]))
        // And half of another.
        try gone.send(raw: [0, 0, 0, 60, 1, 2, 3])
        gone.close()
        harness.settle()
        #expect(other.receive() == [frame(to: mac(2), from: mac(1), [1])])
        #expect(ended(harness, gone) == .ended(gone.number, badLength: nil))
    }

    @Test func endOfAStreamWithUnreadFramesIsReported() throws {
        let harness = try ForwarderHarness()
        let gone = try harness.attachStream(), other = try harness.attachStream()
        try other.send(frame(to: mac(1), from: mac(2), [1]))
        harness.settle()
        gone.close()
        harness.settle()
        #expect(ended(harness, gone) == .ended(gone.number, badLength: nil))
    }

    @Test func stalledClientLosesItsOwnWholeFramesOnly() throws {
        let harness = try ForwarderHarness()
        let stalled = try harness.attachStream(sendBuffer: 4096), other = try harness.attachStream(),
            sender = try harness.attach()
        var random = SeededGenerator(seed: 7)
        // Broadcasts, each with its number, of all lengths.
        func broadcast(_ number: Int) -> [UInt8] {
            frame(
                to: .broadcast, from: mac(1),
                [UInt8(number >> 8), UInt8(number & 255)]
                    + [UInt8](repeating: UInt8(number & 255), count: Int.random(in: 0...9000, using: &random)))
        }
        var sent: [[UInt8]] = [], arrived: [[UInt8]] = []
        for number in 0..<600 {
            sent.append(broadcast(number))
            try sender.send(sent[number])
            harness.settle()
            arrived += other.receive()
        }
        #expect(arrived == sent, "the other client receives every frame")
        let counters = harness.control.counters(of: stalled.number)!
        #expect(counters.drops(.queueFull) > 0)
        // It reads again, in small steps: frames are whole, in order, and the others were counted.
        var late: [[UInt8]] = [], idle = 0
        while idle < 10 && !stalled.isTorn {
            let before = stalled.rest.count
            let frames = stalled.receive(limit: 777)
            harness.settle()
            idle = frames.isEmpty && stalled.rest.count == before ? idle + 1 : 0
            late += frames
        }
        #expect(!stalled.isTorn && stalled.rest.isEmpty)
        #expect(late.count < sent.count && late.count + Int(counters.drops(.queueFull)) == sent.count)
        let isInOrder = late == sent.filter { late.contains($0) }
        #expect(isInOrder)
        // And it is on the network as before.
        try sender.send(broadcast(700))
        harness.settle()
        #expect(stalled.receive().count == 1)
    }

    @Test func randomBytesDoNotBreakTheWorker() throws {
        let harness = try ForwarderHarness()
        let other = try harness.attachStream()
        var random = SeededGenerator(seed: 8)
        for _ in 0..<200 {
            let client = try harness.attachStream()
            let bytes = (0..<Int.random(in: 1...3000, using: &random)).map { _ in
                Bool.random(using: &random) ? 0 : UInt8.random(in: .min ... .max, using: &random)
            }
            try client.send(raw: bytes)
            harness.settle()
            if Bool.random(using: &random) { client.close() }
            harness.settle()
            _ = other.receive()
            #expect(!other.isTorn)
            harness.control.detach(client.number)
            harness.settle()
        }
        let last = try harness.attachStream()
        try last.send(frame(to: .broadcast, from: mac(1), [5]))
        harness.settle()
        #expect(other.receive() == [frame(to: .broadcast, from: mac(1), [5])])
    }
}
