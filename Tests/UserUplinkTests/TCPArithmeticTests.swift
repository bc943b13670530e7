// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
@testable import UserUplink
import Wire

/// What a stream's arithmetic makes of guests that forget, lie, or are slow.
@Suite struct TCPArithmeticTests {
    private func sender(_ segments: Int, isSelective: Bool = true) -> TCPSending {
        var sending = TCPSending(first: 1000, window: 1 << 20, segmentSize: 1000, isSelective: isSelective)
        for _ in 0..<segments {
            #expect(sending.next(available: segments * 1000, limit: 1000, now: 0)?.isAgain == false)
        }
        return sending
    }

    @Test func whatAGuestHasDroppedAgainIsSentAgain() throws {
        var sending = sender(10), now: UInt64 = 1
        sending.note(arrived: 2000, 9000)
        sending.conclude(now: now)
        #expect(sending.next(available: 10_000, limit: 65_000, now: now)?.range == 0..<1000)
        // It says now that it has nothing of what it had (RFC 2018 section 8).
        #expect(sending.acknowledge(2000, window: 1 << 20, isPlain: true, now: now) == .progress(1000))
        var steps = 0
        while !sending.isQuiet && steps < 100 {
            steps += 1
            while let part = sending.next(available: sending.sent, limit: 65_000, now: now) {
                guard part.range.lowerBound == 0 else { continue }
                _ = sending.acknowledge(
                    sending.first &+ UInt32(part.range.upperBound), window: 1 << 20, isPlain: true, now: now)
            }
            if let deadline = sending.deadline {
                now = deadline
                sending.expire(now: now)
            }
        }
        #expect(sending.isQuiet && sending.first == 11_000, "after \(steps)")
    }

    @Test func whatAGuestHasIsNotRepeatedAfterADeadline() throws {
        var sending = sender(10)
        sending.note(arrived: 3000, 9000)
        sending.conclude(now: 1)
        let deadline = try #require(sending.deadline)
        sending.expire(now: deadline)
        #expect(sending.next(available: 10_000, limit: 65_000, now: deadline)?.range == 0..<2000)
        #expect(sending.acknowledge(3000, window: 1 << 20, isPlain: true, now: deadline) == .progress(2000))
        sending.note(arrived: 3000, 9000)
        sending.conclude(now: deadline)
        #expect(sending.acknowledge(9000, window: 1 << 20, isPlain: true, now: deadline) == .progress(6000))
        #expect(
            sending.next(available: 2000, limit: 65_000, now: deadline)
                == TCPSending.Part(range: 0..<2000, isAgain: true))
    }

    /// RFC 6298 sections 2 and 3.
    @Test func patienceFollowsTheRoundTrip() throws {
        let second = MonotonicClock.second
        var sending = sender(1)
        #expect(sending.deadline == TCPSending.minimumPatience)
        #expect(sending.acknowledge(2000, window: 1 << 20, isPlain: true, now: 2 * second) == .progress(1000))
        _ = sending.next(available: 1000, limit: 1000, now: 2 * second)
        #expect(sending.deadline == 2 * second + 6 * second, "the trip and four times half of it")
        #expect(sending.acknowledge(3000, window: 1 << 20, isPlain: true, now: 4 * second) == .progress(1000))
        _ = sending.next(available: 1000, limit: 1000, now: 4 * second)
        #expect(sending.deadline == 4 * second + 5 * second, "the variation is less")
        // Of what is repeated nobody knows which of the two was confirmed.
        sending.expire(now: 9 * second)
        _ = sending.next(available: 1000, limit: 1000, now: 9 * second)
        #expect(sending.acknowledge(4000, window: 1 << 20, isPlain: true, now: 100 * second) == .progress(1000))
        _ = sending.next(available: 1000, limit: 1000, now: 100 * second)
        #expect(sending.deadline == 105 * second)
    }

    /// A guest that confirms, reports and announces at random, and then comes to its senses.
    @Test(arguments: [true, false])
    func whateverAGuestConfirmsTheStreamGoesOn(isSelective: Bool) {
        for seed in Rounds.seeds(40) {
            var random = SeededGenerator(seed: seed), now: UInt64 = 1
            let segmentSize = [64, 536, 1460, 65_480][Int(seed % 4)]
            let first = UInt32.max - 100_000
            var sending = TCPSending(first: first, window: 65_535, segmentSize: segmentSize, isSelective: isSelective)
            var left = 3_000_000
            func available() -> Int { min(left, StreamBuffer.largest + 1) }
            func send() -> Bool {
                for _ in 0..<100_000 {
                    let before = sending.sent
                    guard
                        let part = sending.next(available: available(), limit: TCPSurroundings.longestPayload, now: now)
                    else { return true }
                    #expect(
                        !part.range.isEmpty && part.range.lowerBound >= 0 && part.range.upperBound <= sending.sent
                            && sending.sent <= available())
                    #expect(
                        part.isAgain
                            ? sending.sent == before
                            : part.range == before..<sending.sent && sending.sent <= sending.window)
                    #expect(sending.deadline != nil)
                }
                return false
            }
            for _ in 0..<400 {
                #expect(send(), "it comes to an end")
                now += UInt64.random(in: 0..<50_000_000, using: &random)
                let number =
                    sending.first
                    &+ UInt32(
                        truncatingIfNeeded: Int.random(
                            in: -3 * segmentSize...sending.sent + segmentSize, using: &random))
                let window = [0, 1, 1000, 65_535, 1 << 20, 0xffff << 14].randomElement(using: &random)!
                for _ in 0..<Int.random(in: 1...4, using: &random) {
                    if case .progress(let count) = sending.acknowledge(number, window: window, isPlain: true, now: now)
                    {
                        left -= count
                    }
                }
                for _ in 0..<Int.random(in: 0...4, using: &random) {
                    let start =
                        sending.first
                        &+ UInt32(truncatingIfNeeded: Int.random(in: -1000...sending.sent, using: &random))
                    sending.note(arrived: start, start &+ UInt32(Int.random(in: 0...100_000, using: &random)))
                }
                sending.conclude(now: now)
                if let deadline = sending.deadline, deadline <= now || Bool.random(using: &random) {
                    now = max(now, deadline)
                    sending.expire(now: now)
                }
            }
            // From here on it has room, and confirms what comes to it in order.
            _ = sending.acknowledge(sending.first, window: 1 << 20, isPlain: false, now: now)
            for _ in 0..<2000 where left > 0 {
                now += 1_000_000
                while let part = sending.next(available: available(), limit: TCPSurroundings.longestPayload, now: now) {
                    guard part.range.lowerBound == 0 else { continue }
                    if case .progress(let count) = sending.acknowledge(
                        sending.first &+ UInt32(part.range.upperBound), window: 1 << 20, isPlain: true, now: now)
                    {
                        left -= count
                    }
                }
                if let deadline = sending.deadline {
                    now = max(now, deadline)
                    sending.expire(now: now)
                }
            }
            #expect(left == 0, "seed \(seed)")
        }
    }

    /// Whatever comes, in whatever order: the edge of what was announced never goes back, and nothing is taken beyond
    /// it.
    @Test func whateverAGuestSendsStaysInsideItsBounds() {
        for seed in Rounds.seeds(200) {
            var random = SeededGenerator(seed: seed)
            let first = UInt32.max - 5000
            var receiving = TCPReceiving(next: first), edge = 0, position = 0
            for _ in 0..<300 {
                if Bool.random(using: &random) {
                    let said =
                        Int(
                            receiving.announce(Int.random(in: 0...70_000, using: &random), scale: seed % 2 == 0 ? 7 : 0)
                        ) << (seed % 2 == 0 ? 7 : 0)
                    #expect(said <= receiving.announced && receiving.announced - said < 128)
                }
                #expect(position + receiving.announced >= edge, "nothing is taken back")
                edge = position + receiving.announced
                let start = [
                    Int.random(in: -2000...4000, using: &random), Int.random(in: -100_000...100_000, using: &random), 0,
                ].randomElement(using: &random)!
                let length = Int.random(in: 0...3000, using: &random),
                    room = [Int.max, Int.random(in: 0...5000, using: &random)].randomElement(using: &random)!
                let wasOver = receiving.isOver, before = receiving.next
                let placement = receiving.place(
                    before &+ UInt32(truncatingIfNeeded: start), length: length,
                    isLast: Int.random(in: 0..<40, using: &random) == 0, room: room)
                position += receiving.next.distance(after: before)
                #expect(position <= edge + 1 && (position <= edge || receiving.isOver))
                if let placement {
                    #expect(
                        !wasOver && placement.part.lowerBound >= 0 && placement.part.upperBound <= length
                            && !placement.part.isEmpty)
                    #expect(
                        placement.offset == start + placement.part.lowerBound
                            && placement.offset + placement.part.count <= room)
                    #expect(placement.inOrder == 0 || placement.offset == 0)
                }
                let reports = receiving.reports(3)
                #expect(reports.count == min(3, receiving.early.ranges.count))
                for report in reports {
                    let lower = report.start.distance(after: receiving.next),
                        upper = report.end.distance(after: receiving.next)
                    #expect(lower > 0 && upper > lower && position + upper <= edge)
                }
            }
        }
    }

    @Test func anEndBeforeWhatHasComeIsNone() {
        var receiving = TCPReceiving(next: 0)
        _ = receiving.announce(60_000, scale: 0)
        #expect(receiving.place(500, length: 100, isLast: false, room: 60_000)?.inOrder == 0)
        #expect(receiving.place(500, length: 0, isLast: true, room: 60_000) == nil)
        #expect(receiving.place(0, length: 500, isLast: false, room: 60_000)?.inOrder == 600)
        #expect(!receiving.isOver && receiving.next == 600)
        #expect(receiving.place(600, length: 10, isLast: true, room: 60_000)?.inOrder == 10)
        #expect(receiving.isOver && receiving.next == 611)
        #expect(receiving.place(611, length: 10, isLast: true, room: 60_000) == nil && receiving.next == 611)
    }

    @Test func whatCoversSeveralPartsJoinsTheLastOneToo() {
        var receiving = TCPReceiving(next: 0)
        _ = receiving.announce(60_000, scale: 0)
        for start in [100, 300, 900] as [UInt32] {
            _ = receiving.place(start, length: 200, isLast: false, room: 60_000)
        }
        #expect(
            receiving.place(0, length: 1000, isLast: false, room: 60_000)
                == TCPReceiving.Placement(part: 0..<1000, offset: 0, inOrder: 1100))
        #expect(receiving.next == 1100 && receiving.early.isEmpty)
    }

    /// The end may come when there is no room, and before what lies in front of it.
    @Test func theEndNeedsNoRoomAndWaitsForTheRest() {
        var receiving = TCPReceiving(next: 100)
        #expect(receiving.place(101, length: 0, isLast: true, room: 0) == nil && !receiving.isOver)
        #expect(
            receiving.place(100, length: 0, isLast: true, room: 0) == nil && receiving.isOver && receiving.next == 101)
        var other = TCPReceiving(next: 100)
        _ = other.announce(1000, scale: 0)
        #expect(other.place(200, length: 50, isLast: true, room: 1000)?.offset == 100)
        #expect(
            other.place(240, length: 50, isLast: false, room: 1000)?.part == 0..<10 && other.early.end == 150,
            "behind the end there is nothing")
        #expect(other.place(100, length: 100, isLast: false, room: 1000)?.inOrder == 150)
        #expect(other.isOver && other.next == 251)
    }

    @Test func oneRangeTooManyChangesNothing() {
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
