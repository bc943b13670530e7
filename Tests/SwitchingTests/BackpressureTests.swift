// SPDX-License-Identifier: Apache-2.0
import Platform
import Switching
import Testing
import Timing
import Wire

/// Senders that are faster than their receivers.
@Suite struct HoldingTests {
    private func numbered(
        _ number: Int, to destination: MACAddress, from source: MACAddress, length: Int = 1514
    ) -> [UInt8] {
        frame(
            to: destination, from: source,
            [UInt8(number >> 8 & 0xff), UInt8(number & 0xff)] + [UInt8](repeating: 7, count: length - 16))
    }

    private func number(of frame: [UInt8]) -> Int { Int(frame[14]) << 8 | Int(frame[15]) }

    /// Tells the forwarder where these are.
    private func introduce(_ bench: Bench, _ ends: [(FarEnd, MACAddress)]) throws {
        for (end, address) in ends { try end.send(frame(to: .broadcast, from: address)) }
        bench.settle()
        for (end, _) in ends { _ = end.received() }
    }

    @Test(arguments: [1514, 9014, 60_000]) func aFastSenderWaitsAndLosesNothing(length: Int) throws {
        // Nobody loses patience here, however slow the machine is.
        let bench = try Bench(pauseLimit: .seconds(3600))
        let a = try bench.attach(), b = try bench.attach(), c = try bench.attach()
        try introduce(bench, [(a, mac(1)), (b, mac(2)), (c, mac(3))])
        let total = 60_000_000 / length
        let deadline = MonotonicClock.now + 120 * MonotonicClock.second
        var sent = 0, received: [Int] = [], waited = false
        while received.count < total {
            var before: Int
            repeat {
                before = sent
                while sent < total, (try? a.send(numbered(sent, to: mac(2), from: mac(1), length: length))) != nil {
                    sent += 1
                }
                bench.settle()
            } while sent > before
            if sent < total { waited = true }
            // While one waits for its receiver, others are served.
            let aside = frame(to: mac(2), from: mac(3), [1]), back = frame(to: mac(3), from: mac(2), [2])
            try b.send(back)
            bench.settle()
            let heard = c.received()
            #expect(heard == [back])
            if received.isEmpty { try c.send(aside) }
            var some = b.received()
            // Where nobody tells of room, it is looked for by the clock.
            while some.isEmpty {
                try #require(MonotonicClock.now < deadline)
                bench.settle()
                some = b.received()
            }
            received += some.filter { $0.count == length }.map(number)
        }
        #expect(waited)
        let isComplete = received == (0..<total).map { $0 & 0xffff }
        #expect(isComplete)
        #expect(bench.counters(b).totalDrops == 0)
    }

    @Test func whoHasStoppedReadingCostsOthersOnePause() throws {
        let bench = try Bench(pauseLimit: .zero)
        let a = try bench.attach(), stopped = try bench.attach(), lively = try bench.attach()
        try introduce(bench, [(a, mac(1)), (stopped, mac(2)), (lively, mac(3))])
        var seen = 0
        for number in 0..<4000 {
            try a.send(numbered(number, to: number % 4 == 3 ? mac(3) : mac(2), from: mac(1)))
            if number % 32 == 31 {
                bench.settle()
                seen += lively.received().count
            }
        }
        #expect(seen == 1000)
        let counters = bench.counters(stopped)
        #expect(counters.drops(.queueFull) > 0)
        var late = 0
        while true {
            let more = stopped.received().count
            if more == 0 { break }
            late += more
            bench.settle()
        }
        #expect(late + Int(counters.drops(.queueFull)) == 3000)
    }

    @Test func twoThatDoNotReadDoNotBlockEachOther() throws {
        let bench = try Bench(pauseLimit: .zero)
        let a = try bench.attach(), b = try bench.attach()
        try introduce(bench, [(a, mac(1)), (b, mac(2))])
        for number in 0..<4000 {
            try a.send(numbered(number, to: mac(2), from: mac(1)))
            try b.send(numbered(number, to: mac(1), from: mac(2)))
            if number % 32 == 31 { bench.settle() }
        }
        bench.settle()
        #expect(bench.counters(a).framesIn == 4001 && bench.counters(b).framesIn == 4001)
    }

    @Test func aPortThatGoesLetsGoOfWhoWaitsForIt() throws {
        let bench = try Bench(pauseLimit: .seconds(3600))
        let a = try bench.attach(), b = try bench.attach(), c = try bench.attach()
        try introduce(bench, [(a, mac(1)), (b, mac(2)), (c, mac(3))])
        var sent = 0
        while (try? a.send(numbered(sent, to: mac(2), from: mac(1)))) != nil {
            sent += 1
            bench.settle()
            try #require(sent < 100_000)
        }
        bench.control.detach(b.number)
        bench.settle()
        // What was on its way to nobody's address is flooded now.
        while !c.received().isEmpty { bench.settle() }
        let word = frame(to: mac(3), from: mac(1), [9])
        try a.send(word)
        bench.settle()
        let heard = c.received()
        #expect(heard == [word])
        // And the other way round.
        bench.control.detach(a.number)
        bench.settle()
        try c.send(frame(to: .broadcast, from: mac(3)))
        bench.settle()
    }

    /// What lies in its socket while it waits for a slow receiver is not lost when it closes.
    @Test func whatASenderHasSentBeforeItClosedArrives() throws {
        let bench = try Bench(pauseLimit: .seconds(3600))
        let a = try bench.attachStream(), b = try bench.attach(), c = try bench.attach()
        try a.send(frame(to: .broadcast, from: mac(1)))
        try introduce(bench, [(b, mac(2)), (c, mac(3))])
        var sent = 0, left = [UInt8]()
        while true {
            if left.isEmpty {
                left = StreamEnd.wrap(numbered(sent, to: mac(2), from: mac(1)))
                sent += 1
            }
            guard let taken = try? a.send(raw: left) else { break }
            left.removeFirst(taken)
            bench.settle()
            try #require(sent < 100_000)
        }
        // The last one is not whole, or has not begun.
        sent -= 1
        a.close()
        bench.settle()
        // Others speak to it, and hear nothing of its end before it has come.
        try c.send(frame(to: .broadcast, from: mac(3), [3]))
        try c.send(frame(to: mac(1), from: mac(3), [4]))
        bench.settle()
        #expect(bench.control.takeEvents().allSatisfy { if case .unreachable = $0 { false } else { true } })
        var received: [Int] = [], idle = 0
        while idle < 100 {
            bench.settle()
            let some = b.received().filter { $0.count == 1514 }.map(number)
            idle = some.isEmpty ? idle + 1 : 0
            received += some
        }
        #expect(received == (0..<sent).map { $0 & 0xffff } && bench.counters(b).totalDrops == 0)
        #expect(bench.control.takeEvents().contains { if case .ended(a.number, nil) = $0 { true } else { false } })
    }

    /// A client of a switch goes by its control connection, while its frames are still in its socket.
    @Test func whatLiesInAPortThatGoesIsSentOn() throws {
        let bench = try Bench(pauseLimit: .seconds(3600))
        let a = try bench.attach(), b = try bench.attach()
        try introduce(bench, [(a, mac(1)), (b, mac(2))])
        var sent = 0
        while (try? a.send(numbered(sent, to: mac(2), from: mac(1)))) != nil {
            sent += 1
            bench.settle()
            try #require(sent < 100_000)
        }
        bench.control.detach(a.number)
        var received: [Int] = [], idle = 0
        while idle < 100 {
            bench.settle()
            let some = b.received().map(number)
            idle = some.isEmpty ? idle + 1 : 0
            received += some
        }
        #expect(received.count + Int(bench.counters(b).drops(.queueFull)) == sent)
        #expect(received == (0..<received.count).map { $0 & 0xffff })
    }
}
