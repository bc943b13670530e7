// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Timing
@testable import UserUplink
import Wire

/// A sender and a receiver with a link between them that loses, duplicates and reorders, on a simulated clock.
private struct LossyLink {
    struct Frame {
        let sequence: UInt32
        let length: Int
        let isFin: Bool
    }

    struct Confirmation {
        let number: UInt32
        let window: Int
        let reports: [(start: UInt32, end: UInt32)]
    }

    var sender: TCPSender
    var receiver: TCPReceiver
    var random: SeededGenerator
    let length: Int
    let sackPermitted: Bool
    let loss: Int
    var now = Instant.seconds(1)
    var toReceiver: [Frame] = []
    var toSender: [Confirmation] = []
    /// Acknowledged bytes of the stream, the FIN included.
    var confirmed = 0
    var received = 0
    var room = 1 << 20

    init(seed: UInt64, length: Int, segmentSize: Int, sackPermitted: Bool, loss: Int) {
        random = SeededGenerator(seed: seed)
        // Sequence numbers wrap around on the way.
        let first = UInt32.max &- UInt32(length / 2)
        sender = TCPSender(sndUna: first, window: 65_535, smss: segmentSize, sackPermitted: sackPermitted)
        receiver = TCPReceiver(rcvNxt: first)
        _ = receiver.advertise(65_535, scale: 0)
        self.length = length
        self.sackPermitted = sackPermitted
        self.loss = loss
    }

    mutating func send() {
        let available = length + 1 - confirmed
        while let part = sender.nextChunk(available: available, limit: 65_475, now: now) {
            precondition(
                part.range.lowerBound >= 0 && part.range.upperBound <= max(sender.sndWnd, 0)
                    && part.range.upperBound <= available)
            #expect(sender.flightSize <= TCPSender.maximumCongestionWindow + 4 * sender.smss)
            // Split into segments, as the guest receives them.
            var start = part.range.lowerBound
            while start < part.range.upperBound {
                let isLast =
                    part.range.upperBound == available && part.range.upperBound - start <= sender.smss + 1
                let end = isLast ? part.range.upperBound : min(part.range.upperBound, start + sender.smss)
                let frame = Frame(
                    sequence: sender.sndUna &+ UInt32(start), length: isLast ? end - start - 1 : end - start,
                    isFin: isLast)
                if Int.random(in: 0..<100, using: &random) >= loss { toReceiver.append(frame) }
                if loss > 0 && Int.random(in: 0..<100, using: &random) < 2 { toReceiver.append(frame) }
                start = end
            }
        }
        if loss > 0 && toReceiver.count > 4 && Int.random(in: 0..<10, using: &random) == 0 {
            toReceiver.swapAt(0, Int.random(in: 1..<4, using: &random))
        }
    }

    mutating func receive() {
        let frames = toReceiver
        toReceiver = []
        for frame in frames {
            let before = receiver.rcvWnd
            if let placement = receiver.accept(
                frame.sequence, length: frame.length, isFin: frame.isFin, room: 1 << 20)
            {
                #expect(
                    placement.offset + placement.accepted.count <= before && placement.accepted.lowerBound >= 0
                        && placement.accepted.upperBound <= frame.length)
                received += placement.delivered
            }
            if loss > 0 { room = [0, 1000, 65_535, 1 << 20].randomElement(using: &random)! }
            _ = receiver.advertise(room, scale: 7)
            let confirmation = Confirmation(
                number: receiver.rcvNxt, window: receiver.rcvWnd,
                reports: sackPermitted ? receiver.sackBlocks(atMost: 3) : [])
            if Int.random(in: 0..<100, using: &random) >= loss { toSender.append(confirmation) }
        }
    }

    mutating func receiveConfirmations() {
        let confirmations = toSender
        toSender = []
        for confirmation in confirmations {
            switch sender.processAck(confirmation.number, window: confirmation.window, isPure: true, now: now) {
            case .advanced(let count): confirmed += count
            case .beyondSent, .implausible: Issue.record("of what was never sent")
            case .duplicate: break
            }
            for report in confirmation.reports { sender.recordSack(report.start, report.end) }
            sender.detectLoss(now: now)
        }
    }

    /// Runs until everything is acknowledged. Returns false if that takes too many steps.
    mutating func run() -> Bool {
        for _ in 0..<200_000 {
            send()
            now += .milliseconds(1)
            receive()
            now += .milliseconds(1)
            receiveConfirmations()
            if confirmed == length + 1 { return true }
            if let deadline = sender.retransmitDeadline, toReceiver.isEmpty && toSender.isEmpty && deadline > now {
                now = deadline
            }
            if let deadline = sender.retransmitDeadline, deadline <= now { sender.retransmitTimeout(now: now) }
            if sender.isIdle {
                // A window probe, as the connection sends it.
                now += .milliseconds(200)
                room = 1 << 20
                _ = receiver.advertise(room, scale: 7)
                toSender.append(Confirmation(number: receiver.rcvNxt, window: receiver.rcvWnd, reports: []))
                receiveConfirmations()
            }
        }
        return false
    }
}

@Suite struct TCPLinkTests {
    @Test(arguments: [(1460, true), (1460, false), (64, true), (65_480, true), (536, false), (8960, true)])
    func wholeStreamArrivesOverLossyLink(segmentSize: Int, sackPermitted: Bool) {
        for seed in UInt64(0)..<6 {
            for loss in [0, 1, 10] {
                var link = LossyLink(
                    seed: seed, length: segmentSize * 300 + Int(seed) * 7, segmentSize: segmentSize,
                    sackPermitted: sackPermitted, loss: loss)
                let isDone = link.run()
                #expect(
                    isDone && link.received == link.length && link.receiver.isFinReceived, "seed \(seed), loss \(loss)")
            }
        }
    }

    private func sender(_ segments: Int, sackPermitted: Bool = true) -> TCPSender {
        var sender = TCPSender(sndUna: 1000, window: 1 << 20, smss: 1000, sackPermitted: sackPermitted)
        for _ in 0..<segments {
            #expect(
                sender.nextChunk(available: segments * 1000, limit: 1000, now: .nanoseconds(0))?.isRetransmission
                    == false)
        }
        return sender
    }

    @Test func threeDuplicateAcksRetransmitFirstSegmentOnly() {
        var sender = TCPSender.afterSending(10, sackPermitted: false)
        for number in 0..<3 {
            #expect(sender.nextChunk(available: 10_000, limit: 65_000, now: .nanoseconds(1)) == nil, "\(number)")
            #expect(sender.processAck(1000, window: 1 << 20, isPure: true, now: .nanoseconds(1)) == .duplicate)
        }
        #expect(
            sender.nextChunk(available: 10_000, limit: 65_000, now: .nanoseconds(1))
                == TCPSender.Chunk(range: 0..<1000, isRetransmission: true))
        #expect(sender.nextChunk(available: 10_000, limit: 65_000, now: .nanoseconds(1)) == nil)
        // A partial acknowledgment: the next segment is lost as well.
        #expect(sender.processAck(3000, window: 1 << 20, isPure: true, now: .nanoseconds(2)) == .advanced(2000))
        #expect(
            sender.nextChunk(available: 8000, limit: 65_000, now: .nanoseconds(2))
                == TCPSender.Chunk(range: 0..<1000, isRetransmission: true))
        #expect(sender.processAck(11_000, window: 1 << 20, isPure: true, now: .nanoseconds(3)) == .advanced(8000))
        #expect(sender.isIdle && sender.retransmitDeadline == nil)
    }

    @Test func sackRetransmitsHolesOnly() {
        var sender = TCPSender.afterSending(10)
        #expect(sender.processAck(1000, window: 1 << 20, isPure: true, now: .nanoseconds(1)) == .duplicate)
        sender.recordSack(2000, 4000)
        sender.detectLoss(now: .nanoseconds(1))
        #expect(
            sender.nextChunk(available: 10_000, limit: 65_000, now: .nanoseconds(1)) == nil,
            "two segments may just have overtaken it")
        sender.recordSack(5000, 9000)
        sender.detectLoss(now: .nanoseconds(1))
        #expect(
            sender.nextChunk(available: 10_000, limit: 65_000, now: .nanoseconds(1))
                == TCPSender.Chunk(range: 0..<1000, isRetransmission: true))
        #expect(
            sender.nextChunk(available: 10_000, limit: 65_000, now: .nanoseconds(1))
                == TCPSender.Chunk(range: 3000..<4000, isRetransmission: true)
        )
        #expect(sender.nextChunk(available: 10_000, limit: 65_000, now: .nanoseconds(1)) == nil)
        #expect(sender.processAck(9000, window: 1 << 20, isPure: true, now: .nanoseconds(2)) == .advanced(8000))
        #expect(sender.flightSize == 2000)
    }

    @Test func lostRetransmissionIsRepeatedBeforeTimeout() {
        var sender = TCPSender.afterSending(10)
        sender.recordSack(2000, 6000)
        sender.detectLoss(now: .nanoseconds(1))
        #expect(
            sender.nextChunk(available: 100_000, limit: 1000, now: .nanoseconds(1))
                == TCPSender.Chunk(range: 0..<1000, isRetransmission: true))
        // New data is sent, and arrives.
        var more = 0
        while sender.nextChunk(available: 100_000, limit: 1000, now: .nanoseconds(1)) != nil { more += 1 }
        #expect(more > 3)
        sender.recordSack(6000, 1000 + UInt32(sender.flightSize))
        sender.detectLoss(now: .nanoseconds(2))
        #expect(
            sender.nextChunk(available: 100_000, limit: 1000, now: .nanoseconds(2))
                == TCPSender.Chunk(range: 0..<1000, isRetransmission: true))
    }

    @Test func rtoBacksOffUpToABound() throws {
        var sender = TCPSender.afterSending(2)
        var last = Instant.distantPast, pauses: [TimeAmount] = []
        for _ in 0..<12 {
            let deadline = try #require(sender.retransmitDeadline)
            pauses.append(deadline - last)
            last = deadline
            sender.retransmitTimeout(now: deadline)
            #expect(sender.nextChunk(available: 2000, limit: 65_000, now: deadline)?.isRetransmission == true)
        }
        #expect(pauses[0] == TCPSender.minimumRTO && pauses[1] == 2 * pauses[0] && pauses[3] == 8 * pauses[0])
        #expect(pauses.last == .seconds(60) && sender.consecutiveTimeouts == 12)
        #expect(sender.processAck(3000, window: 1 << 20, isPure: true, now: last) == .advanced(2000))
        #expect(sender.consecutiveTimeouts == 0 && sender.retransmitDeadline == nil)
        // A retransmission gives no RTT sample (RFC 6298 section 3).
        _ = sender.nextChunk(available: 1000, limit: 65_000, now: last)
        #expect(sender.retransmitDeadline == last + TCPSender.minimumRTO)
    }

    @Test func acknowledgmentBeyondSentIsRejected() {
        var sender = TCPSender.afterSending(2)
        #expect(sender.processAck(3001, window: 10, isPure: true, now: .nanoseconds(1)) == .beyondSent)
        #expect(sender.processAck(999, window: 10, isPure: true, now: .nanoseconds(1)) == .duplicate)
        sender.recordSack(2000, 9000)
        sender.recordSack(900, 2000)
        sender.recordSack(2500, 2400)
        sender.detectLoss(now: .nanoseconds(1))
        #expect(
            sender.sndWnd == 1 << 20 && sender.flightSize == 2000
                && sender.nextChunk(available: 2000, limit: 65_000, now: .nanoseconds(1)) == nil)
    }

    @Test func partialSegmentsWaitForMore() {
        var sender = TCPSender(sndUna: 0, window: 2500, smss: 1000, sackPermitted: true)
        #expect(sender.nextChunk(available: 10_000, limit: 65_000, now: .nanoseconds(0))?.range == 0..<2000)
        #expect(
            sender.nextChunk(available: 10_000, limit: 65_000, now: .nanoseconds(0)) == nil,
            "half a segment of room is not worth one")
        #expect(sender.processAck(2000, window: 300, isPure: true, now: .nanoseconds(0)) == .advanced(2000))
        #expect(
            sender.nextChunk(available: 8000, limit: 65_000, now: .nanoseconds(0)) == nil,
            "nor is a small part of the largest window")
        #expect(sender.processAck(2000, window: 1250, isPure: true, now: .nanoseconds(0)) == .duplicate)
        #expect(sender.nextChunk(available: 8000, limit: 65_000, now: .nanoseconds(0))?.range == 0..<1000)
        #expect(sender.processAck(3000, window: 300, isPure: true, now: .nanoseconds(0)) == .advanced(1000))
        #expect(sender.nextChunk(available: 7000, limit: 65_000, now: .nanoseconds(0)) == nil)
        sender.overrideSillyWindowAvoidance()
        #expect(
            sender.nextChunk(available: 7000, limit: 65_000, now: .nanoseconds(0))?.range == 0..<300,
            "after a time it is")
        // A window that never holds a segment: half of it does.
        var small = TCPSender(sndUna: 0, window: 600, smss: 1000, sackPermitted: true)
        #expect(small.nextChunk(available: 8000, limit: 65_000, now: .nanoseconds(0))?.range == 0..<600)
        #expect(small.processAck(600, window: 299, isPure: true, now: .nanoseconds(0)) == .advanced(600))
        #expect(small.nextChunk(available: 7400, limit: 65_000, now: .nanoseconds(0)) == nil)
        #expect(small.processAck(600, window: 300, isPure: true, now: .nanoseconds(0)) == .duplicate)
        #expect(small.nextChunk(available: 7400, limit: 65_000, now: .nanoseconds(0))?.range == 0..<300)
        var last = TCPSender(sndUna: 0, window: 60_000, smss: 1000, sackPermitted: true)
        #expect(last.nextChunk(available: 1300, limit: 65_000, now: .nanoseconds(0))?.range == 0..<1300)
    }
}

@Suite struct TCPReceiverTests {
    @Test func segmentsInAnyOrderMakeTheStream() {
        var random = SeededGenerator(seed: 3)
        for round in 0..<60 {
            let length = Int.random(in: 1...5000, using: &random),
                first = UInt32.random(in: 0...UInt32.max, using: &random)
            var receiver = TCPReceiver(rcvNxt: first)
            _ = receiver.advertise(10_000, scale: 7)
            // The position of each byte in the buffer: bytes in order, and after them those out of order.
            var stream = [Int?](repeating: nil, count: length), inOrder = 0
            var steps = 0
            while !receiver.isFinReceived && steps < 100_000 {
                steps += 1
                let start = Int.random(in: 0...length, using: &random),
                    end = min(length, start + Int.random(in: 0...900, using: &random))
                guard
                    let placement = receiver.accept(
                        first &+ UInt32(start), length: end - start, isFin: end == length, room: 10_000)
                else { continue }
                for index in placement.accepted {
                    let position = inOrder + placement.offset + index - placement.accepted.lowerBound
                    stream[position] = start + index
                }
                inOrder += placement.delivered
                #expect(receiver.sackBlocks(atMost: 3).count <= 3)
            }
            #expect(receiver.isFinReceived && inOrder == length && stream == Array(0..<length), "round \(round)")
            #expect(receiver.rcvNxt == first &+ UInt32(length) &+ 1)
        }
    }

    @Test func dataOutsideTheWindowIsNotAccepted() {
        var receiver = TCPReceiver(rcvNxt: 100)
        #expect(receiver.accept(100, length: 10, isFin: false, room: 1000) == nil)
        #expect(receiver.advertise(1000, scale: 0) == 1000)
        #expect(
            receiver.accept(900, length: 500, isFin: true, room: 5000)
                == TCPReceiver.Placement(accepted: 0..<200, offset: 800, delivered: 0))
        #expect(receiver.advertise(10, scale: 0) == 1000, "what was announced is not taken back")
        #expect(
            receiver.accept(100, length: 300, isFin: false, room: 100)
                == TCPReceiver.Placement(accepted: 0..<100, offset: 0, delivered: 100), "there is no memory for more")
        #expect(receiver.rcvNxt == 200 && receiver.rcvWnd == 900 && !receiver.isFinReceived)
        #expect(receiver.accept(50, length: 100, isFin: false, room: 1000) == nil, "known already")
    }

    @Test func newestSackBlockComesFirst() {
        var receiver = TCPReceiver(rcvNxt: 0)
        _ = receiver.advertise(60_000, scale: 0)
        for start in [5000, 1000, 9000, 3000] {
            _ = receiver.accept(UInt32(start), length: 100, isFin: false, room: 60_000)
        }
        #expect(receiver.sackBlocks(atMost: 3).map(\.start) == [3000, 9000, 5000])
        _ = receiver.accept(0, length: 1000, isFin: false, room: 60_000)
        #expect(receiver.rcvNxt == 1100 && receiver.sackBlocks(atMost: 3).map(\.start).sorted() == [3000, 5000, 9000])
    }

    @Test func outOfOrderBlocksAreBounded() {
        var receiver = TCPReceiver(rcvNxt: 0)
        _ = receiver.advertise(60_000, scale: 0)
        let taken = (1..<1000).count {
            receiver.accept(UInt32($0 * 20), length: 10, isFin: false, room: 60_000) != nil
        }
        #expect(taken == ByteRanges.capacity)
    }
}

@Suite struct ByteRangesTests {
    @Test func rangesBehaveAsASet() {
        var random = SeededGenerator(seed: 9)
        for _ in 0..<200 {
            var ranges = ByteRanges(), model = Set<Int>()
            for _ in 0..<60 {
                let start = Int.random(in: 0..<400, using: &random)
                switch Int.random(in: 0..<10, using: &random) {
                case 0:
                    let distance = Int.random(in: 0..<50, using: &random)
                    ranges.advance(distance)
                    model = Set(model.compactMap { $0 >= distance ? $0 - distance : nil })
                default:
                    let part = start..<start + Int.random(in: 0..<20, using: &random)
                    if ranges.insert(part) {
                        model.formUnion(part)
                    } else {
                        #expect(ranges.ranges.count == ByteRanges.capacity)
                    }
                }
                #expect(ranges.count == model.count && ranges.end == (model.max() ?? -1) + 1)
                #expect(ranges.covered(before: start) == model.count { $0 < start })
                let gap = (start..<420).first { !model.contains($0) }
                #expect(ranges.gap(from: start, before: 420)?.lowerBound == gap)
                #expect(zip(ranges.ranges, ranges.ranges.dropFirst()).allSatisfy { $0.upperBound < $1.lowerBound })
            }
        }
    }
}

@Suite struct DeadlineQueueTests {
    @Test func earliestDeadlineComesFirst() {
        var random = SeededGenerator(seed: 1), queue = DeadlineQueue(), all: [Instant] = []
        for _ in 0..<2000 {
            if Int.random(in: 0..<3, using: &random) > 0 {
                let deadline = Instant.nanoseconds(Int64.random(in: 0..<100, using: &random))
                queue.insert(deadline, 0)
                all.append(deadline)
            } else {
                let least = all.min()
                #expect(queue.removeFirst()?.deadline == least)
                if let least { all.remove(at: all.firstIndex(of: least)!) }
            }
            #expect(queue.count == all.count && queue.first?.deadline == all.min())
        }
    }
}
