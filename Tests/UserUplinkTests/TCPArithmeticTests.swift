// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Timing
@testable import UserUplink
import Wire

/// Sender and receiver against guests that renege, lie, or are slow.
@Suite struct TCPArithmeticTests {
    private func sender(_ segments: Int, sackPermitted: Bool = true) -> TCPSender {
        var sender = TCPSender(sndUna: 1000, window: 1 << 20, smss: 1000, sackPermitted: sackPermitted)
        for _ in 0..<segments {
            #expect(
                sender.nextChunk(available: segments * 1000, limit: 1000, now: .nanoseconds(0))?.isRetransmission
                    == false)
        }
        return sender
    }

    @Test func renegedDataIsRetransmitted() throws {
        var sender = TCPSender.afterSending(10), now = Instant.nanoseconds(1)
        sender.recordSack(2000, 9000)
        sender.detectLoss(now: now)
        #expect(sender.nextChunk(available: 10_000, limit: 65_000, now: now)?.range == 0..<1000)
        // The guest reneges: it reports nothing of what it had SACKed (RFC 2018 section 8).
        #expect(sender.processAck(2000, window: 1 << 20, isPure: true, now: now) == .advanced(1000))
        var steps = 0
        while !sender.isIdle && steps < 100 {
            steps += 1
            while let part = sender.nextChunk(available: sender.flightSize, limit: 65_000, now: now) {
                guard part.range.lowerBound == 0 else { continue }
                _ = sender.processAck(
                    sender.sndUna &+ UInt32(part.range.upperBound), window: 1 << 20, isPure: true, now: now)
            }
            if let deadline = sender.retransmitDeadline {
                now = deadline
                sender.retransmitTimeout(now: now)
            }
        }
        #expect(sender.isIdle && sender.sndUna == 11_000, "after \(steps)")
    }

    @Test func sackedDataIsNotRetransmittedAfterTimeout() throws {
        var sender = TCPSender.afterSending(10)
        sender.recordSack(3000, 9000)
        sender.detectLoss(now: .nanoseconds(1))
        let deadline = try #require(sender.retransmitDeadline)
        sender.retransmitTimeout(now: deadline)
        #expect(sender.nextChunk(available: 10_000, limit: 65_000, now: deadline)?.range == 0..<2000)
        #expect(sender.processAck(3000, window: 1 << 20, isPure: true, now: deadline) == .advanced(2000))
        sender.recordSack(3000, 9000)
        sender.detectLoss(now: deadline)
        #expect(sender.processAck(9000, window: 1 << 20, isPure: true, now: deadline) == .advanced(6000))
        #expect(
            sender.nextChunk(available: 2000, limit: 65_000, now: deadline)
                == TCPSender.Chunk(range: 0..<2000, isRetransmission: true))
    }

    /// RFC 6298 sections 2 and 3.
    @Test func rtoFollowsTheRoundTripTime() throws {
        var sender = TCPSender.afterSending(1)
        #expect(sender.retransmitDeadline == .distantPast + TCPSender.minimumRTO)
        #expect(sender.processAck(2000, window: 1 << 20, isPure: true, now: .seconds(2)) == .advanced(1000))
        _ = sender.nextChunk(available: 1000, limit: 1000, now: .seconds(2))
        #expect(sender.retransmitDeadline == .seconds(2 + 6), "the trip and four times half of it")
        #expect(sender.processAck(3000, window: 1 << 20, isPure: true, now: .seconds(4)) == .advanced(1000))
        _ = sender.nextChunk(available: 1000, limit: 1000, now: .seconds(4))
        #expect(sender.retransmitDeadline == .seconds(4 + 5), "the variation is less")
        // A retransmitted segment gives no sample: the ACK may be for either copy (Karn's algorithm).
        sender.retransmitTimeout(now: .seconds(9))
        _ = sender.nextChunk(available: 1000, limit: 1000, now: .seconds(9))
        #expect(sender.processAck(4000, window: 1 << 20, isPure: true, now: .seconds(100)) == .advanced(1000))
        _ = sender.nextChunk(available: 1000, limit: 1000, now: .seconds(100))
        #expect(sender.retransmitDeadline == .seconds(105))
    }

    /// A guest that sends random ACKs, SACK blocks and windows, and then behaves.
    @Test(arguments: [true, false])
    func fuzzedAcknowledgmentsDoNotStopTheStream(sackPermitted: Bool) {
        for seed in UInt64(0)..<40 {
            var random = SeededGenerator(seed: seed), now = Instant.nanoseconds(1)
            let segmentSize = [64, 536, 1460, 65_480][Int(seed % 4)]
            let first = UInt32.max - 100_000
            var sender = TCPSender(sndUna: first, window: 65_535, smss: segmentSize, sackPermitted: sackPermitted)
            var left = 3_000_000
            func available() -> Int { min(left, StreamBuffer.maximumCapacity + 1) }
            func send() -> Bool {
                for _ in 0..<100_000 {
                    let before = sender.flightSize
                    guard
                        let part = sender.nextChunk(available: available(), limit: TCPContext.maximumPayload, now: now)
                    else { return true }
                    #expect(
                        !part.range.isEmpty && part.range.lowerBound >= 0 && part.range.upperBound <= sender.flightSize
                            && sender.flightSize <= available())
                    #expect(
                        part.isRetransmission
                            ? sender.flightSize == before
                            : part.range == before..<sender.flightSize && sender.flightSize <= sender.sndWnd)
                    #expect(sender.retransmitDeadline != nil)
                }
                return false
            }
            for _ in 0..<400 {
                #expect(send(), "it comes to an end")
                now += .nanoseconds(Int64.random(in: 0..<50_000_000, using: &random))
                let number =
                    sender.sndUna
                    &+ UInt32(
                        truncatingIfNeeded: Int.random(
                            in: -3 * segmentSize...sender.flightSize + segmentSize, using: &random))
                let window = [0, 1, 1000, 65_535, 1 << 20, 0xffff << 14].randomElement(using: &random)!
                for _ in 0..<Int.random(in: 1...4, using: &random) {
                    if case .advanced(let count) = sender.processAck(number, window: window, isPure: true, now: now) {
                        left -= count
                    }
                }
                for _ in 0..<Int.random(in: 0...4, using: &random) {
                    let start =
                        sender.sndUna
                        &+ UInt32(truncatingIfNeeded: Int.random(in: -1000...sender.flightSize, using: &random))
                    sender.recordSack(start, start &+ UInt32(Int.random(in: 0...100_000, using: &random)))
                }
                sender.detectLoss(now: now)
                if let deadline = sender.retransmitDeadline, deadline <= now || Bool.random(using: &random) {
                    now = max(now, deadline)
                    sender.retransmitTimeout(now: now)
                }
            }
            // From here on it has room, and acknowledges what arrives in order.
            _ = sender.processAck(sender.sndUna, window: 1 << 20, isPure: false, now: now)
            for _ in 0..<2000 where left > 0 {
                now += .milliseconds(1)
                while let part = sender.nextChunk(available: available(), limit: TCPContext.maximumPayload, now: now) {
                    guard part.range.lowerBound == 0 else { continue }
                    if case .advanced(let count) = sender.processAck(
                        sender.sndUna &+ UInt32(part.range.upperBound), window: 1 << 20, isPure: true, now: now)
                    {
                        left -= count
                    }
                }
                if let deadline = sender.retransmitDeadline {
                    now = max(now, deadline)
                    sender.retransmitTimeout(now: now)
                }
            }
            #expect(left == 0, "seed \(seed)")
        }
    }

    /// Whatever arrives in whatever order, the right edge of the window never moves left, and nothing beyond it is
    /// accepted.
    @Test func fuzzedSegmentsStayInsideTheWindow() {
        for seed in UInt64(0)..<200 {
            var random = SeededGenerator(seed: seed)
            let first = UInt32.max - 5000
            var receiver = TCPReceiver(rcvNxt: first), edge = 0, position = 0
            for _ in 0..<300 {
                if Bool.random(using: &random) {
                    let said =
                        Int(
                            receiver.advertise(Int.random(in: 0...70_000, using: &random), scale: seed % 2 == 0 ? 7 : 0)
                        ) << (seed % 2 == 0 ? 7 : 0)
                    #expect(said <= receiver.rcvWnd && receiver.rcvWnd - said < 128)
                }
                #expect(position + receiver.rcvWnd >= edge, "nothing is taken back")
                edge = position + receiver.rcvWnd
                let start = [
                    Int.random(in: -2000...4000, using: &random), Int.random(in: -100_000...100_000, using: &random), 0,
                ].randomElement(using: &random)!
                let length = Int.random(in: 0...3000, using: &random),
                    room = [Int.max, Int.random(in: 0...5000, using: &random)].randomElement(using: &random)!
                let wasOver = receiver.isFinReceived, before = receiver.rcvNxt
                let placement = receiver.accept(
                    before &+ UInt32(truncatingIfNeeded: start), length: length,
                    isFin: Int.random(in: 0..<40, using: &random) == 0, room: room)
                position += receiver.rcvNxt.distance(after: before)
                #expect(position <= edge + 1 && (position <= edge || receiver.isFinReceived))
                if let placement {
                    #expect(
                        !wasOver && placement.accepted.lowerBound >= 0 && placement.accepted.upperBound <= length
                            && !placement.accepted.isEmpty)
                    #expect(
                        placement.offset == start + placement.accepted.lowerBound
                            && placement.offset + placement.accepted.count <= room)
                    #expect(placement.delivered == 0 || placement.offset == 0)
                }
                // Another test has D-SACK blocks.
                receiver.forgetDuplicate()
                let reports = receiver.sackBlocks(atMost: 3)
                #expect(reports.count == min(3, receiver.outOfOrder.ranges.count))
                for report in reports {
                    let lower = report.start.distance(after: receiver.rcvNxt),
                        upper = report.end.distance(after: receiver.rcvNxt)
                    #expect(lower > 0 && upper > lower && position + upper <= edge)
                }
            }
        }
    }

    @Test func finBeforeReceivedDataIsIgnored() {
        var receiver = TCPReceiver(rcvNxt: 0)
        _ = receiver.advertise(60_000, scale: 0)
        #expect(receiver.accept(500, length: 100, isFin: false, room: 60_000)?.delivered == 0)
        #expect(receiver.accept(500, length: 0, isFin: true, room: 60_000) == nil)
        #expect(receiver.accept(0, length: 500, isFin: false, room: 60_000)?.delivered == 600)
        #expect(!receiver.isFinReceived && receiver.rcvNxt == 600)
        #expect(receiver.accept(600, length: 10, isFin: true, room: 60_000)?.delivered == 10)
        #expect(receiver.isFinReceived && receiver.rcvNxt == 611)
        #expect(receiver.accept(611, length: 10, isFin: true, room: 60_000) == nil && receiver.rcvNxt == 611)
    }

    @Test func segmentCoveringSeveralBlocksMergesThem() {
        var receiver = TCPReceiver(rcvNxt: 0)
        _ = receiver.advertise(60_000, scale: 0)
        for start in [100, 300, 900] as [UInt32] {
            _ = receiver.accept(start, length: 200, isFin: false, room: 60_000)
        }
        #expect(
            receiver.accept(0, length: 1000, isFin: false, room: 60_000)
                == TCPReceiver.Placement(accepted: 0..<1000, offset: 0, delivered: 1100))
        #expect(receiver.rcvNxt == 1100 && receiver.outOfOrder.isEmpty)
    }

    /// A FIN may arrive with a closed window, and before the data that precedes it.
    @Test func finNeedsNoRoomAndWaitsForData() {
        var receiver = TCPReceiver(rcvNxt: 100)
        #expect(receiver.accept(101, length: 0, isFin: true, room: 0) == nil && !receiver.isFinReceived)
        #expect(
            receiver.accept(100, length: 0, isFin: true, room: 0) == nil && receiver.isFinReceived
                && receiver.rcvNxt == 101)
        var other = TCPReceiver(rcvNxt: 100)
        _ = other.advertise(1000, scale: 0)
        #expect(other.accept(200, length: 50, isFin: true, room: 1000)?.offset == 100)
        #expect(
            other.accept(240, length: 50, isFin: false, room: 1000)?.accepted == 0..<10 && other.outOfOrder.end == 150,
            "after the end there is nothing")
        #expect(other.accept(100, length: 100, isFin: false, room: 1000)?.delivered == 150)
        #expect(other.isFinReceived && other.rcvNxt == 251)
    }

    @Test func insertBeyondCapacityChangesNothing() {
        var ranges = ByteRanges()
        func insert(_ part: Range<Int>) -> Bool { ranges.insert(part) }
        for number in 0..<ByteRanges.capacity { #expect(insert(number * 10..<number * 10 + 5)) }
        let before = ranges.ranges
        for part in [7..<8, 1000..<1001] { #expect(!insert(part) && ranges.ranges == before, "\(part)") }
        for part in [5..<6, 630..<640, 3..<3] { #expect(insert(part), "\(part)") }
        #expect(ranges.ranges.first == 0..<6 && ranges.end == 640 && ranges.ranges.count == ByteRanges.capacity)
        for part in [6..<10, 1000..<1001] { #expect(insert(part), "\(part)") }
        #expect(ranges.ranges.first == 0..<15)
    }
}
