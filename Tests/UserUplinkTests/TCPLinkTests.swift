// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
@testable import UserUplink
import Wire

private let millisecond = MonotonicClock.millisecond

/// A sender and a receiver with a link between them that loses, repeats and reorders, on a clock of its own.
private struct Link {
    struct Frame {
        let sequence: UInt32
        let length: Int
        let isLast: Bool
    }

    struct Confirmation {
        let number: UInt32
        let window: Int
        let reports: [(start: UInt32, end: UInt32)]
    }

    var sending: TCPSending
    var receiving: TCPReceiving
    var random: SeededGenerator
    let length: Int
    let isSelective: Bool
    let loss: Int
    var now: UInt64 = 1_000_000_000
    var toReceiver: [Frame] = []
    var toSender: [Confirmation] = []
    /// Bytes of the stream, the end included, that the sender need not keep any more.
    var confirmed = 0
    var received = 0
    var room = 1 << 20

    init(seed: UInt64, length: Int, segmentSize: Int, isSelective: Bool, loss: Int) {
        random = SeededGenerator(seed: seed)
        // Numbers wrap around on the way.
        let first = UInt32.max &- UInt32(length / 2)
        sending = TCPSending(first: first, window: 65_535, segmentSize: segmentSize, isSelective: isSelective)
        receiving = TCPReceiving(next: first)
        _ = receiving.announce(65_535, scale: 0)
        self.length = length
        self.isSelective = isSelective
        self.loss = loss
    }

    mutating func send() {
        let available = length + 1 - confirmed
        while let part = sending.next(available: available, limit: 65_475, now: now) {
            precondition(
                part.range.lowerBound >= 0 && part.range.upperBound <= max(sending.window, 0)
                    && part.range.upperBound <= available)
            #expect(sending.sent <= TCPSending.maximumFlight + 4 * sending.segmentSize)
            // In segments, as the guest gets them.
            var start = part.range.lowerBound
            while start < part.range.upperBound {
                let isLast =
                    part.range.upperBound == available && part.range.upperBound - start <= sending.segmentSize + 1
                let end = isLast ? part.range.upperBound : min(part.range.upperBound, start + sending.segmentSize)
                let frame = Frame(
                    sequence: sending.first &+ UInt32(start), length: isLast ? end - start - 1 : end - start,
                    isLast: isLast)
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
            let before = receiving.announced
            if let placement = receiving.place(
                frame.sequence, length: frame.length, isLast: frame.isLast, room: 1 << 20)
            {
                #expect(
                    placement.offset + placement.part.count <= before && placement.part.lowerBound >= 0
                        && placement.part.upperBound <= frame.length)
                received += placement.inOrder
            }
            if loss > 0 { room = [0, 1000, 65_535, 1 << 20].randomElement(using: &random)! }
            _ = receiving.announce(room, scale: 7)
            let confirmation = Confirmation(
                number: receiving.next, window: receiving.announced, reports: isSelective ? receiving.reports(3) : [])
            if Int.random(in: 0..<100, using: &random) >= loss { toSender.append(confirmation) }
        }
    }

    mutating func hear() {
        let confirmations = toSender
        toSender = []
        for confirmation in confirmations {
            switch sending.acknowledge(confirmation.number, window: confirmation.window, isPlain: true, now: now) {
            case .progress(let count): confirmed += count
            case .impossible: Issue.record("of what was never sent")
            case .old: break
            }
            for report in confirmation.reports { sending.note(arrived: report.start, report.end) }
            sending.conclude(now: now)
        }
    }

    /// Runs until all is confirmed. Returns false if that takes too many steps.
    mutating func run() -> Bool {
        for _ in 0..<200_000 {
            send()
            now += millisecond
            receive()
            now += millisecond
            hear()
            if confirmed == length + 1 { return true }
            if let deadline = sending.deadline, toReceiver.isEmpty && toSender.isEmpty && deadline > now {
                now = deadline
            }
            if let deadline = sending.deadline, deadline <= now { sending.expire(now: now) }
            if sending.isQuiet {
                // Asking for room, as the connection does.
                now += 200 * millisecond
                room = 1 << 20
                _ = receiving.announce(room, scale: 7)
                toSender.append(Confirmation(number: receiving.next, window: receiving.announced, reports: []))
                hear()
            }
        }
        return false
    }
}

@Suite struct TCPLinkTests {
    @Test(arguments: [(1460, true), (1460, false), (64, true), (65_480, true), (536, false), (8960, true)])
    func theWholeStreamArrivesOverALossyLink(segmentSize: Int, isSelective: Bool) {
        for seed in Rounds.seeds(6) {
            for loss in [0, 1, 10] {
                var link = Link(
                    seed: seed, length: segmentSize * 300 + Int(seed) * 7, segmentSize: segmentSize,
                    isSelective: isSelective, loss: loss)
                let isDone = link.run()
                #expect(isDone && link.received == link.length && link.receiving.isOver, "seed \(seed), loss \(loss)")
            }
        }
    }

    private func sender(_ segments: Int, isSelective: Bool = true) -> TCPSending {
        var sending = TCPSending(first: 1000, window: 1 << 20, segmentSize: 1000, isSelective: isSelective)
        for _ in 0..<segments {
            #expect(sending.next(available: segments * 1000, limit: 1000, now: 0)?.isAgain == false)
        }
        return sending
    }

    @Test func threeDuplicatesRepeatTheFirstSegmentOnly() {
        var sending = sender(10, isSelective: false)
        for number in 0..<3 {
            #expect(sending.next(available: 10_000, limit: 65_000, now: 1) == nil, "\(number)")
            #expect(sending.acknowledge(1000, window: 1 << 20, isPlain: true, now: 1) == .old)
        }
        #expect(
            sending.next(available: 10_000, limit: 65_000, now: 1) == TCPSending.Part(range: 0..<1000, isAgain: true))
        #expect(sending.next(available: 10_000, limit: 65_000, now: 1) == nil)
        // A part of it: the next one is lost as well.
        #expect(sending.acknowledge(3000, window: 1 << 20, isPlain: true, now: 2) == .progress(2000))
        #expect(sending.next(available: 8000, limit: 65_000, now: 2) == TCPSending.Part(range: 0..<1000, isAgain: true))
        #expect(sending.acknowledge(11_000, window: 1 << 20, isPlain: true, now: 3) == .progress(8000))
        #expect(sending.isQuiet && sending.deadline == nil)
    }

    @Test func onlyHolesAreRepeatedWhereTheGuestTells() {
        var sending = sender(10)
        #expect(sending.acknowledge(1000, window: 1 << 20, isPlain: true, now: 1) == .old)
        sending.note(arrived: 2000, 4000)
        sending.conclude(now: 1)
        #expect(
            sending.next(available: 10_000, limit: 65_000, now: 1) == nil, "two segments may just have overtaken it")
        sending.note(arrived: 5000, 9000)
        sending.conclude(now: 1)
        #expect(
            sending.next(available: 10_000, limit: 65_000, now: 1) == TCPSending.Part(range: 0..<1000, isAgain: true))
        #expect(
            sending.next(available: 10_000, limit: 65_000, now: 1) == TCPSending.Part(range: 3000..<4000, isAgain: true)
        )
        #expect(sending.next(available: 10_000, limit: 65_000, now: 1) == nil)
        #expect(sending.acknowledge(9000, window: 1 << 20, isPlain: true, now: 2) == .progress(8000))
        #expect(sending.sent == 2000)
    }

    @Test func aRepetitionThatIsLostIsRepeatedBeforeTheDeadline() {
        var sending = sender(10)
        sending.note(arrived: 2000, 6000)
        sending.conclude(now: 1)
        #expect(
            sending.next(available: 100_000, limit: 1000, now: 1) == TCPSending.Part(range: 0..<1000, isAgain: true))
        // What is new goes out, and arrives.
        var more = 0
        while sending.next(available: 100_000, limit: 1000, now: 1) != nil { more += 1 }
        #expect(more > 3)
        sending.note(arrived: 6000, 1000 + UInt32(sending.sent))
        sending.conclude(now: 2)
        #expect(
            sending.next(available: 100_000, limit: 1000, now: 2) == TCPSending.Part(range: 0..<1000, isAgain: true))
    }

    @Test func deadlinesGetLongerAndHaveABound() throws {
        var sending = sender(2)
        var last: UInt64 = 0, pauses: [UInt64] = []
        for _ in 0..<12 {
            let deadline = try #require(sending.deadline)
            pauses.append(deadline - last)
            last = deadline
            sending.expire(now: deadline)
            #expect(sending.next(available: 2000, limit: 65_000, now: deadline)?.isAgain == true)
        }
        #expect(pauses[0] == TCPSending.minimumPatience && pauses[1] == 2 * pauses[0] && pauses[3] == 8 * pauses[0])
        #expect(pauses.last == 60 * MonotonicClock.second && sending.failures == 12)
        #expect(sending.acknowledge(3000, window: 1 << 20, isPlain: true, now: last) == .progress(2000))
        #expect(sending.failures == 0 && sending.deadline == nil)
        // What was repeated tells nothing of the round trip (RFC 6298 section 3).
        _ = sending.next(available: 1000, limit: 65_000, now: last)
        #expect(sending.deadline == last + TCPSending.minimumPatience)
    }

    @Test func whatWasNeverSentCannotHaveArrived() {
        var sending = sender(2)
        #expect(sending.acknowledge(3001, window: 10, isPlain: true, now: 1) == .impossible)
        #expect(sending.acknowledge(999, window: 10, isPlain: true, now: 1) == .old)
        sending.note(arrived: 2000, 9000)
        sending.note(arrived: 900, 2000)
        sending.note(arrived: 2500, 2400)
        sending.conclude(now: 1)
        #expect(
            sending.window == 1 << 20 && sending.sent == 2000
                && sending.next(available: 2000, limit: 65_000, now: 1) == nil)
    }

    @Test func smallPiecesWaitWhereMoreIsToCome() {
        var sending = TCPSending(first: 0, window: 2500, segmentSize: 1000, isSelective: true)
        #expect(sending.next(available: 10_000, limit: 65_000, now: 0)?.range == 0..<2000)
        #expect(
            sending.next(available: 10_000, limit: 65_000, now: 0) == nil, "half a segment of room is not worth one")
        #expect(sending.acknowledge(2000, window: 300, isPlain: true, now: 0) == .progress(2000))
        #expect(
            sending.next(available: 8000, limit: 65_000, now: 0)?.range == 0..<300, "where nothing is on its way it is")
        var last = TCPSending(first: 0, window: 60_000, segmentSize: 1000, isSelective: true)
        #expect(last.next(available: 1300, limit: 65_000, now: 0)?.range == 0..<1300)
    }
}

@Suite struct TCPReceivingTests {
    @Test func segmentsInAnyOrderMakeTheStream() {
        var random = SeededGenerator(seed: 3)
        for round in 0..<Rounds.of(60) {
            let length = Int.random(in: 1...5000, using: &random),
                first = UInt32.random(in: 0...UInt32.max, using: &random)
            var receiving = TCPReceiving(next: first)
            _ = receiving.announce(10_000, scale: 7)
            // Where each byte has come to, as the buffer has it: what is in order, and behind it what came early.
            var stream = [Int?](repeating: nil, count: length), inOrder = 0
            var steps = 0
            while !receiving.isOver && steps < 100_000 {
                steps += 1
                let start = Int.random(in: 0...length, using: &random),
                    end = min(length, start + Int.random(in: 0...900, using: &random))
                guard
                    let placement = receiving.place(
                        first &+ UInt32(start), length: end - start, isLast: end == length, room: 10_000)
                else { continue }
                for index in placement.part {
                    let position = inOrder + placement.offset + index - placement.part.lowerBound
                    stream[position] = start + index
                }
                inOrder += placement.inOrder
                #expect(receiving.reports(3).count <= 3)
            }
            #expect(receiving.isOver && inOrder == length && stream == Array(0..<length), "round \(round)")
            #expect(receiving.next == first &+ UInt32(length) &+ 1)
        }
    }

    @Test func whatWasNotAnnouncedIsNotTaken() {
        var receiving = TCPReceiving(next: 100)
        #expect(receiving.place(100, length: 10, isLast: false, room: 1000) == nil)
        #expect(receiving.announce(1000, scale: 0) == 1000)
        #expect(
            receiving.place(900, length: 500, isLast: true, room: 5000)
                == TCPReceiving.Placement(part: 0..<200, offset: 800, inOrder: 0))
        #expect(receiving.announce(10, scale: 0) == 1000, "what was announced is not taken back")
        #expect(
            receiving.place(100, length: 300, isLast: false, room: 100)
                == TCPReceiving.Placement(part: 0..<100, offset: 0, inOrder: 100), "there is no memory for more")
        #expect(receiving.next == 200 && receiving.announced == 900 && !receiving.isOver)
        #expect(receiving.place(50, length: 100, isLast: false, room: 1000) == nil, "known already")
    }

    @Test func theNewestPartIsReportedFirst() {
        var receiving = TCPReceiving(next: 0)
        _ = receiving.announce(60_000, scale: 0)
        for start in [5000, 1000, 9000, 3000] {
            _ = receiving.place(UInt32(start), length: 100, isLast: false, room: 60_000)
        }
        #expect(receiving.reports(3).map(\.start) == [3000, 9000, 5000])
        _ = receiving.place(0, length: 1000, isLast: false, room: 60_000)
        #expect(receiving.next == 1100 && receiving.reports(3).map(\.start).sorted() == [3000, 5000, 9000])
    }

    @Test func partsAreBounded() {
        var receiving = TCPReceiving(next: 0)
        _ = receiving.announce(60_000, scale: 0)
        let taken = (1..<1000).count {
            receiving.place(UInt32($0 * 20), length: 10, isLast: false, room: 60_000) != nil
        }
        #expect(taken == ByteRanges.capacity)
    }
}

@Suite struct ByteRangesTests {
    @Test func theyAreASet() {
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
    @Test func theEarliestComesFirst() {
        var random = SeededGenerator(seed: 1), queue = DeadlineQueue(), all: [UInt64] = []
        for _ in 0..<2000 {
            if Int.random(in: 0..<3, using: &random) > 0 {
                let deadline = UInt64.random(in: 0..<100, using: &random)
                queue.insert(deadline, deadline)
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
