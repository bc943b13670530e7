// SPDX-License-Identifier: Apache-2.0
import Platform
import Switching
import Testing
import Timing
import Wire

/// Senders that are faster than their receivers.
@Suite struct BackpressureTests {
    private func numbered(
        _ number: Int, to destination: MACAddress, from source: MACAddress, length: Int = 1514
    ) -> [UInt8] {
        frame(
            to: destination, from: source,
            [UInt8(number >> 8 & 0xff), UInt8(number & 0xff)] + [UInt8](repeating: 7, count: length - 16))
    }

    private func number(of frame: [UInt8]) -> Int { Int(frame[14]) << 8 | Int(frame[15]) }

    /// Has the switch learn where these are.
    private func introduce(_ harness: ForwarderHarness, _ ends: [(PeerSocket, MACAddress)]) throws {
        for (end, address) in ends { try end.send(frame(to: .broadcast, from: address)) }
        harness.settle()
        for (end, _) in ends { _ = end.received() }
    }

    @Test(arguments: [1514, 9014, 60_000]) func fastSenderIsPausedAndLosesNothing(length: Int) throws {
        // No pause expires here, however slow the host is.
        let harness = try ForwarderHarness(pauseLimit: .seconds(3600))
        let a = try harness.attach(), b = try harness.attach(), c = try harness.attach()
        try introduce(harness, [(a, mac(1)), (b, mac(2)), (c, mac(3))])
        let total = 60_000_000 / length
        let deadline = BootClock.now + .seconds(120)
        var sent = 0, received: [Int] = [], waited = false
        while received.count < total {
            var before: Int
            repeat {
                before = sent
                while sent < total, (try? a.send(numbered(sent, to: mac(2), from: mac(1), length: length))) != nil {
                    sent += 1
                }
                harness.settle()
            } while sent > before
            if sent < total { waited = true }
            // While one waits for its receiver, others are served.
            let aside = frame(to: mac(2), from: mac(3), [1]), back = frame(to: mac(3), from: mac(2), [2])
            try b.send(back)
            harness.settle()
            let frames = c.received()
            #expect(frames == [back])
            if received.isEmpty { try c.send(aside) }
            var some = b.received()
            // A receiver that does not report room is tried again by the clock.
            while some.isEmpty {
                try #require(BootClock.now < deadline)
                harness.settle()
                some = b.received()
            }
            received += some.filter { $0.count == length }.map(number)
        }
        #expect(waited)
        let isComplete = received == (0..<total).map { $0 & 0xffff }
        #expect(isComplete)
        #expect(harness.counters(b).totalDrops == 0)
    }

    @Test func stoppedReceiverCostsOthersOnePause() throws {
        let harness = try ForwarderHarness(pauseLimit: .zero)
        let a = try harness.attach(), stopped = try harness.attach(), lively = try harness.attach()
        try introduce(harness, [(a, mac(1)), (stopped, mac(2)), (lively, mac(3))])
        var seen = 0
        for number in 0..<4000 {
            try a.send(numbered(number, to: number % 4 == 3 ? mac(3) : mac(2), from: mac(1)))
            if number % 32 == 31 {
                harness.settle()
                seen += lively.received().count
            }
        }
        #expect(seen == 1000)
        let counters = harness.counters(stopped)
        #expect(counters.drops(.queueFull) > 0)
        var late = 0
        while true {
            let more = stopped.received().count
            if more == 0 { break }
            late += more
            harness.settle()
        }
        #expect(late + Int(counters.drops(.queueFull)) == 3000)
    }

    @Test func twoStoppedGuestsDoNotBlockEachOther() throws {
        let harness = try ForwarderHarness(pauseLimit: .zero)
        let a = try harness.attach(), b = try harness.attach()
        try introduce(harness, [(a, mac(1)), (b, mac(2))])
        for number in 0..<4000 {
            try a.send(numbered(number, to: mac(2), from: mac(1)))
            try b.send(numbered(number, to: mac(1), from: mac(2)))
            if number % 32 == 31 { harness.settle() }
        }
        harness.settle()
        #expect(harness.counters(a).framesIn == 4001 && harness.counters(b).framesIn == 4001)
    }

    @Test func detachingAReceiverResumesItsSenders() throws {
        let harness = try ForwarderHarness(pauseLimit: .seconds(3600))
        let a = try harness.attach(), b = try harness.attach(), c = try harness.attach()
        try introduce(harness, [(a, mac(1)), (b, mac(2)), (c, mac(3))])
        var sent = 0
        while (try? a.send(numbered(sent, to: mac(2), from: mac(1)))) != nil {
            sent += 1
            harness.settle()
            try #require(sent < 100_000)
        }
        harness.control.detach(b.number)
        harness.settle()
        // Frames to the removed address are flooded now.
        while !c.received().isEmpty { harness.settle() }
        let word = frame(to: mac(3), from: mac(1), [9])
        try a.send(word)
        harness.settle()
        let frames = c.received()
        #expect(frames == [word])
        // And the other way round.
        harness.control.detach(a.number)
        harness.settle()
        try c.send(frame(to: .broadcast, from: mac(3)))
        harness.settle()
    }

    /// The uplink waits for the only guest, and no longer once there is another one.
    @Test func secondGuestResumesTheUplink() throws {
        let harness = try ForwarderHarness(pauseLimit: .seconds(3600))
        let uplink = try harness.attach(.uplink, kind: .tap), stopped = try harness.attach()
        try introduce(harness, [(stopped, mac(2))])
        let header = [UInt8](repeating: 0, count: VirtioNetHeader.length)
        var sent = 0
        while (try? uplink.send(header + numbered(sent, to: mac(2), from: mac(1)))) != nil {
            sent += 1
            harness.settle()
            try #require(sent < 100_000)
        }
        #expect(harness.counters(stopped).totalDrops == 0, "the uplink waits")
        let other = try harness.attach()
        try introduce(harness, [(other, mac(3))])
        let word = frame(to: mac(3), from: mac(1), [9])
        try uplink.send(header + word)
        harness.settle()
        let frames = other.received()
        #expect(frames == [word])
    }

    /// What lies in its socket while it waits for a slow receiver is not lost when it closes.
    @Test func framesSentBeforeCloseArrive() throws {
        let harness = try ForwarderHarness(pauseLimit: .seconds(3600))
        let a = try harness.attachStream(), b = try harness.attach(), c = try harness.attach()
        try a.send(frame(to: .broadcast, from: mac(1)))
        try introduce(harness, [(b, mac(2)), (c, mac(3))])
        var sent = 0, left = [UInt8]()
        while true {
            if left.isEmpty {
                left = StreamPeer.wrap(numbered(sent, to: mac(2), from: mac(1)))
                sent += 1
            }
            guard let taken = try? a.send(raw: left) else { break }
            left.removeFirst(taken)
            harness.settle()
            try #require(sent < 100_000)
        }
        // The last frame is not whole, or has not begun.
        sent -= 1
        a.close()
        harness.settle()
        // Others send to it; its end is not reported before its last frame.
        try c.send(frame(to: .broadcast, from: mac(3), [3]))
        try c.send(frame(to: mac(1), from: mac(3), [4]))
        harness.settle()
        #expect(harness.control.takeEvents().allSatisfy { if case .unreachable = $0 { false } else { true } })
        var received: [Int] = [], idle = 0
        while idle < 100 {
            harness.settle()
            let some = b.received().filter { $0.count == 1514 }.map(number)
            idle = some.isEmpty ? idle + 1 : 0
            received += some
        }
        #expect(received == (0..<sent).map { $0 & 0xffff } && harness.counters(b).totalDrops == 0)
        #expect(harness.control.takeEvents().contains { if case .ended(a.number, nil) = $0 { true } else { false } })
    }

    /// A client of a switch goes by its control connection, while its frames are still in its socket.
    @Test func framesInADetachedPortAreDispatched() throws {
        let harness = try ForwarderHarness(pauseLimit: .seconds(3600))
        let a = try harness.attach(), b = try harness.attach()
        try introduce(harness, [(a, mac(1)), (b, mac(2))])
        var sent = 0
        while (try? a.send(numbered(sent, to: mac(2), from: mac(1)))) != nil {
            sent += 1
            harness.settle()
            try #require(sent < 100_000)
        }
        harness.control.detach(a.number)
        var received: [Int] = [], idle = 0
        while idle < 100 {
            harness.settle()
            let some = b.received().map(number)
            idle = some.isEmpty ? idle + 1 : 0
            received += some
        }
        #expect(received.count + Int(harness.counters(b).drops(.queueFull)) == sent)
        #expect(received == (0..<received.count).map { $0 & 0xffff })
    }
}
