// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Switching
import TestSupport
import Testing
import Timing
import Wire

@Suite struct StreamTests {
    private func ended(_ bench: Bench, _ end: StreamEnd) -> PortEvent? {
        bench.control.takeEvents().first { if case .ended(end.number, _) = $0 { true } else { false } }
    }

    @Test func framesTravelBetweenAStreamAndADatagramPort() throws {
        let bench = try Bench()
        let stream = try bench.attachStream(), datagram = try bench.attach()
        try stream.send(frame(to: mac(2), from: mac(1), [1, 2, 3]))
        bench.settle()
        #expect(datagram.received() == [frame(to: mac(2), from: mac(1), [1, 2, 3])])
        try datagram.send(frame(to: mac(1), from: mac(2), [4, 5]))
        bench.settle()
        #expect(stream.receive() == [frame(to: mac(1), from: mac(2), [4, 5])])
    }

    @Test func aFrameMayComeInPiecesAndManyAtOnce() throws {
        let bench = try Bench()
        let stream = try bench.attachStream(), other = try bench.attachStream()
        var random = SeededGenerator(seed: 6)
        let sent = (0..<500).map {
            frame(
                to: mac(2), from: mac(1),
                [UInt8($0 & 255)] + [UInt8](repeating: UInt8($0 & 255), count: Int.random(in: 0...2000, using: &random))
            )
        }
        let bytes = sent.flatMap(StreamEnd.wrap)
        var position = 0, received: [[UInt8]] = []
        while position < bytes.count {
            // Now a byte, now hundreds of frames.
            let piece = min(bytes.count - position, [1, 2, 3, 5, 700, 40_000, 200_000].randomElement(using: &random)!)
            try position += stream.send(raw: Array(bytes[position..<position + piece]))
            bench.settle()
            received += other.receive()
        }
        bench.settle()
        received += other.receive()
        #expect(received == sent)
    }

    @Test func manySmallFramesInOnePieceAllArrive() throws {
        let bench = try Bench()
        let stream = try bench.attachStream(), other = try bench.attachStream()
        let small = frame(to: mac(2), from: mac(1))
        // More than one turn's batches, which lie in the buffer where no poller sees them.
        try stream.send(raw: [[UInt8]](repeating: StreamEnd.wrap(small), count: 5000).flatMap(\.self))
        for _ in 0..<3 { bench.forwarder.runOnce(timeout: .zero) }
        #expect(other.receive() == [[UInt8]](repeating: small, count: 5000))
    }

    @Test func theLongestFrameFits() throws {
        let bench = try Bench()
        let stream = try bench.attachStream(), other = try bench.attachStream()
        let long = frame(to: mac(2), from: mac(1), [UInt8](repeating: 7, count: 65_536))
        #expect(long.count == StreamDeframer.maximumFrameLength)
        try stream.send(long)
        bench.settle()
        #expect(other.receive() == [long])
    }

    @Test(arguments: [0, 1, 13, 65_551, 0x0100_0000, .max] as [UInt32])
    func aBadLengthEndsThatClientOnly(length: UInt32) throws {
        let bench = try Bench()
        let bad = try bench.attachStream(), one = try bench.attachStream(), two = try bench.attachStream()
        let good = frame(to: mac(2), from: mac(9), [9])
        try bad.send(
            raw: StreamEnd.wrap(good) + (0..<4).map { UInt8(truncatingIfNeeded: length >> (24 - 8 * $0)) }
                + StreamEnd.wrap(good))
        bench.settle()
        #expect(
            one.receive() == [good] && two.receive() == [good], "what came before it counts, what came behind does not")
        #expect(ended(bench, bad) == .ended(bad.number, badLength: length))
        // Nobody has detached it yet: it neither spins nor takes anything.
        try bad.send(raw: StreamEnd.wrap(good))
        try one.send(frame(to: mac(2), from: mac(1), [1]))
        bench.settle()
        #expect(two.receive() == [frame(to: mac(2), from: mac(1), [1])])
        #expect(bad.receive().isEmpty && ended(bench, bad) == nil)
        bench.control.detach(bad.number)
        bench.settle()
        try two.send(frame(to: mac(1), from: mac(2), [2]))
        bench.settle()
        #expect(one.receive() == [frame(to: mac(1), from: mac(2), [2])])
    }

    @Test func aClientThatGoesIsReported() throws {
        let bench = try Bench()
        let gone = try bench.attachStream(), other = try bench.attachStream()
        try gone.send(frame(to: mac(2), from: mac(1), [1]))
        // And half of another.
        try gone.send(raw: [0, 0, 0, 60, 1, 2, 3])
        gone.close()
        bench.settle()
        #expect(other.receive() == [frame(to: mac(2), from: mac(1), [1])])
        #expect(ended(bench, gone) == .ended(gone.number, badLength: nil))
    }

    @Test func aClientThatGoesWithUnreadFramesIsReported() throws {
        let bench = try Bench()
        let gone = try bench.attachStream(), other = try bench.attachStream()
        try other.send(frame(to: mac(1), from: mac(2), [1]))
        bench.settle()
        gone.close()
        bench.settle()
        #expect(ended(bench, gone) == .ended(gone.number, badLength: nil))
    }

    @Test func aStalledClientLosesWholeFramesOfItsOwnOnly() throws {
        let bench = try Bench()
        let stalled = try bench.attachStream(sendBuffer: 4096), other = try bench.attachStream(),
            sender = try bench.attach()
        var random = SeededGenerator(seed: 7)
        // Broadcasts, each with its number, of all lengths.
        func broadcast(_ number: Int) -> [UInt8] {
            frame(
                to: .broadcast, from: mac(1),
                [UInt8(number >> 8), UInt8(number & 255)]
                    + [UInt8](repeating: UInt8(number & 255), count: Int.random(in: 0...9000, using: &random)))
        }
        var sent: [[UInt8]] = [], heard: [[UInt8]] = []
        for number in 0..<600 {
            sent.append(broadcast(number))
            try sender.send(sent[number])
            bench.settle()
            heard += other.receive()
        }
        #expect(heard == sent, "the other one hears everything")
        let counters = bench.control.counters(of: stalled.number)!
        #expect(counters.drops(.queueFull) > 0)
        // It goes on, in small steps: what comes is whole, in order, and the rest was counted.
        var late: [[UInt8]] = [], idle = 0
        while idle < 10 && !stalled.isTorn {
            let before = stalled.rest.count
            let frames = stalled.receive(limit: 777)
            bench.settle()
            idle = frames.isEmpty && stalled.rest.count == before ? idle + 1 : 0
            late += frames
        }
        #expect(!stalled.isTorn && stalled.rest.isEmpty)
        #expect(late.count < sent.count && late.count + Int(counters.drops(.queueFull)) == sent.count)
        let isInOrder = late == sent.filter { late.contains($0) }
        #expect(isInOrder)
        // And it is on the network as before.
        try sender.send(broadcast(700))
        bench.settle()
        #expect(stalled.receive().count == 1)
    }

    @Test func rubbishNeverBreaksTheForwarder() throws {
        let bench = try Bench()
        let other = try bench.attachStream()
        var random = SeededGenerator(seed: 8)
        for _ in 0..<200 {
            let client = try bench.attachStream()
            let bytes = (0..<Int.random(in: 1...3000, using: &random)).map { _ in
                Bool.random(using: &random) ? 0 : UInt8.random(in: .min ... .max, using: &random)
            }
            try client.send(raw: bytes)
            bench.settle()
            if Bool.random(using: &random) { client.close() }
            bench.settle()
            _ = other.receive()
            #expect(!other.isTorn)
            bench.control.detach(client.number)
            bench.settle()
        }
        let last = try bench.attachStream()
        try last.send(frame(to: .broadcast, from: mac(1), [5]))
        bench.settle()
        #expect(other.receive() == [frame(to: .broadcast, from: mac(1), [5])])
    }
}
