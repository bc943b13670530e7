// SPDX-License-Identifier: Apache-2.0
import Atomics
import Platform
import Testing
import Timing
import Wire

@testable import Switching

/// Several workers at one switch.
@Suite struct WorkerSetTests {
    /// A switch of two workers that the test runs step by step.
    private final class Pair: @unchecked Sendable {
        let harness: ForwarderHarness
        var second: ForwardingWorker

        init(pauseLimit: TimeAmount = .seconds(3600)) throws {
            harness = try ForwarderHarness(pauseLimit: pauseLimit, workers: 2)
            second = harness.worker.makeWorker(1)
        }

        func settle() {
            for _ in 0..<20 {
                harness.worker.runOnce(timeout: .zero)
                second.runOnce(timeout: .zero)
            }
        }

        func toSecond(_ end: PeerSocket) {
            harness.worker.exclusively { $0.fabric.migrate(end.number, from: 0, to: 1) }
        }

        func toFirst(_ end: PeerSocket) { second.exclusively { $0.fabric.migrate(end.number, from: 1, to: 0) } }
    }

    private func introduce(_ pair: Pair, _ ends: [(PeerSocket, MACAddress)]) throws {
        for (end, address) in ends { try end.send(frame(to: .broadcast, from: address)) }
        pair.settle()
        for (end, _) in ends { _ = end.received() }
    }

    @Test func portIsReadByItsWorkerOnly() throws {
        let pair = try Pair()
        let a = try pair.harness.attach(), b = try pair.harness.attach()
        try introduce(pair, [(a, mac(1)), (b, mac(2))])
        let there = frame(to: mac(2), from: mac(1)), back = frame(to: mac(1), from: mac(2))
        pair.toSecond(a)
        try a.send(there)
        try b.send(back)
        pair.harness.settle()
        #expect(b.received().isEmpty)
        #expect(a.received() == [back])
        pair.second.runOnce(timeout: .zero)
        // Events from before a migration are discarded.
        pair.second.runOnce(timeout: .zero)
        #expect(b.received() == [there])
        pair.toFirst(a)
        try a.send(there)
        pair.second.runOnce(timeout: .zero)
        pair.second.runOnce(timeout: .zero)
        #expect(b.received().isEmpty)
        pair.harness.settle()
        #expect(b.received() == [there])
        #expect(pair.harness.counters(a).framesIn == 3)
    }

    @Test func framesSentBeforeDetachArriveFromAnotherWorkersPort() throws {
        let pair = try Pair()
        let a = try pair.harness.attach(), b = try pair.harness.attach()
        try introduce(pair, [(a, mac(1)), (b, mac(2))])
        pair.toSecond(a)
        let there = frame(to: mac(2), from: mac(1))
        try a.send(there)
        pair.harness.control.detach(a.number)
        pair.harness.settle()
        #expect(b.received() == [there])
        pair.settle()
        // A third port is attached, which the second worker does not have.
        let c = try pair.harness.attach()
        try c.send(frame(to: mac(2), from: mac(3)))
        pair.second.runOnce(timeout: .zero)
        #expect(b.received().isEmpty)
        pair.harness.settle()
        #expect(b.received().count == 1)
    }

    @Test func pausedSenderResumesForAnotherWorkersReceiver() throws {
        guard Poller.reportsWritability else { return }
        let pair = try Pair()
        let a = try pair.harness.attach(), b = try pair.harness.attach()
        try introduce(pair, [(a, mac(1)), (b, mac(2))])
        pair.toSecond(b)
        let one = frame(to: mac(2), from: mac(1), [UInt8](repeating: 1, count: 1500))
        var sent = 0
        // Until the sender's socket is full, because no worker reads it.
        while true {
            var count = 0
            while (try? a.send(one)) != nil { count += 1 }
            pair.harness.settle()
            sent += count
            if count == 0 { break }
        }
        #expect(sent > 64)
        // It changes hands while it waits.
        pair.toSecond(a)
        var received = 0
        while true {
            let some = b.received().count
            if some == 0 { break }
            received += some
            // The first has neither of them any more.
            pair.harness.settle()
            for _ in 0..<20 { pair.second.runOnce(timeout: .zero) }
        }
        #expect(received == sent)
        #expect(pair.harness.counters(b).totalDrops == 0)
    }

    @Test func pauseOfAMigratedPortEnds() throws {
        let pair = try Pair(pauseLimit: .zero)
        let a = try pair.harness.attach(), b = try pair.harness.attach(), c = try pair.harness.attach()
        try introduce(pair, [(a, mac(1)), (b, mac(2)), (c, mac(3))])
        let one = frame(to: mac(2), from: mac(1), [UInt8](repeating: 1, count: 1500))
        for _ in 0..<4000 {
            if (try? a.send(one)) == nil { pair.settle() }
        }
        pair.toSecond(a)
        pair.settle()
        let aside = frame(to: mac(3), from: mac(1))
        try a.send(aside)
        pair.settle()
        #expect(c.received() == [aside])
        #expect(pair.harness.counters(b).drops(.queueFull) > 0)
    }

    @Test func allWorkersEndOnce() throws {
        let control = try SwitchControl()
        let end = try ThreadExitCounter()
        try ForwardingWorker.start(control: control, workers: 4) { end.arrive() }
        #expect(control.barrier())
        control.stop()
        #expect(
            end.wakeup.descriptor.wait(for: .readable, until: BootClock.now + .seconds(30))
                == .readable)
        #expect(end.count.load(ordering: .relaxed) == 1)
    }

    // MARK: Side by side

    /// Runs one of two workers on its own thread, and hands ports to the other one all the time.
    private final class MigratingWorker: @unchecked Sendable {
        private var worker: ForwardingWorker
        private let numbers: [PortNumber]
        private let isOver = ManagedAtomic<Bool>(false)
        let moves = ManagedAtomic<Int>(0)
        let ended: Wakeup

        init(_ worker: consuming ForwardingWorker, _ numbers: [PortNumber]) throws {
            self.worker = worker
            self.numbers = numbers
            ended = try Wakeup()
        }

        func start() throws {
            try WorkerThread.start(named: "worker") { [self] in
                var round = 0
                while !isOver.load(ordering: .relaxed) {
                    worker.runOnce(timeout: .milliseconds(1))
                    round += 1
                    let number = numbers[round / 3 % numbers.count]
                    guard round % 3 == 0 else { continue }
                    worker.exclusively { $0.fabric.migrate(number, from: $0.index, to: 1 - $0.index) }
                    moves.wrappingIncrement(ordering: .relaxed)
                }
                ended.signal()
            }
        }

        func stop() throws {
            isOver.store(true, ordering: .relaxed)
            try #require(
                ended.descriptor.wait(for: .readable, until: BootClock.now + .seconds(30))
                    == .readable)
        }
    }

    /// Four guests send to each other and to all, through ports that migrate all the time, and others come
    /// and go.
    @Test func framesKeepTheirOrderWhilePortsMigrate() throws {
        let harness = try ForwarderHarness(workers: 2)
        let ends = try (0..<4).map { _ in try harness.attach() }
        let control = harness.control
        for (index, end) in ends.enumerated() { try end.send(frame(to: .broadcast, from: mac(UInt64(index + 1)))) }
        harness.settle()
        for end in ends { _ = end.received() }
        let helper = harness.worker.makeWorker(1)
        let runners = [
            try MigratingWorker(harness.takeWorker(), ends.map(\.number)),
            try MigratingWorker(helper, ends.map(\.number)),
        ]
        for runner in runners { try runner.start() }

        var sent = [[Int]](repeating: [Int](repeating: 0, count: 4), count: 4)
        var last = [[Int]](repeating: [Int](repeating: 0, count: 4), count: 4), disorder = 0, received = 0
        func take(_ receiver: Int) {
            for one in ends[receiver].received() where one.count >= 40 {
                let number = Int(one[16]) << 16 | Int(one[17]) << 8 | Int(one[18]), sender = Int(one[14]),
                    target = Int(one[15])
                // Those for everybody are counted by themselves.
                if target == receiver {
                    if number <= last[sender][receiver] { disorder += 1 }
                    last[sender][receiver] = number
                }
                received += 1
            }
        }
        let deadline = BootClock.now + .seconds(120)
        var round = 0, visitor: PeerSocket?
        while round < 4000 || runners.contains(where: { $0.moves.load(ordering: .relaxed) < 200 }) {
            try #require(BootClock.now < deadline)
            let sender = round % 4
            for step in 0..<8 {
                let target = (sender + 1 + step % 3) % 4
                sent[sender][target] += 1
                let number = sent[sender][target]
                let payload =
                    [
                        UInt8(sender), UInt8(target), UInt8(number >> 16 & 0xff), UInt8(number >> 8 & 0xff),
                        UInt8(number & 0xff),
                    ] + [UInt8](repeating: 0, count: 60)
                if (try? ends[sender].send(frame(to: mac(UInt64(target + 1)), from: mac(UInt64(sender + 1)), payload)))
                    == nil
                {
                    sent[sender][target] -= 1
                }
            }
            if round % 50 == 0 { try? ends[sender].send(frame(to: .broadcast, from: mac(UInt64(sender + 1)), [9])) }
            if round % 100 == 0 {
                if let visitor { control.detach(visitor.number) }
                visitor = try harness.attach(runsOnce: false)
                try visitor?.send(frame(to: mac(1), from: mac(77), [1]))
            }
            for receiver in 0..<4 { take(receiver) }
            round += 1
        }
        for runner in runners { try runner.stop() }
        for receiver in 0..<4 { take(receiver) }
        #expect(disorder == 0)
        #expect(received > 1000)
    }

    // MARK: Decisions

    @Test func saturatedWorkerMigratesAPortToTheLeastLoadedOne() {
        func decision(_ worker: Int, _ loads: [Int]) -> RebalanceDecision {
            RebalanceDecision(worker, count: loads.count) { loads[$0] }
        }
        #expect(decision(0, [100]) == .keep)
        #expect(decision(0, [100, 0]) == .migrate(to: 1))
        #expect(decision(0, [89, 0]) == .keep)
        #expect(decision(0, [95, 70, 20, 40]) == .migrate(to: 2))
        #expect(decision(0, [95, 61]) == .keep)
        #expect(decision(2, [10, 0, 95]) == .migrate(to: 1))
        #expect(decision(1, [20, 20]) == .returnPorts)
        #expect(decision(1, [50, 20]) == .keep)
        #expect(decision(1, [20, 50]) == .keep)
        #expect(decision(0, [5, 0]) == .keep)
    }

    @Test func workerWithoutARecentSampleCountsAsIdle() {
        var tables = ForwardingTables(ports: 4, workers: 2)
        let now = Instant.distantPast + .seconds(10)
        tables.loads = [
            WorkerLoad(percent: 95, sampledAt: now), WorkerLoad(percent: 99, sampledAt: now - .milliseconds(1)),
        ]
        #expect(tables.rebalance(0, at: now) == .keep)
        #expect(tables.rebalance(0, at: now + LoadSampler.period) == .keep)
        tables.loads[0].sampledAt += 10 * LoadSampler.period
        #expect(tables.rebalance(0, at: now + 10 * LoadSampler.period) == .migrate(to: 1))
    }

    @Test func migratedPortIsWorthItAndNotMoreThanHalf() {
        func candidate(_ times: [Int64]) -> PortNumber? {
            var candidate = MigrationCandidate(
                total: .nanoseconds(times.reduce(0, +)), period: .nanoseconds(100))
            for (index, time) in times.enumerated() { candidate.consider(PortNumber(index + 1), .nanoseconds(time)) }
            return candidate.port
        }
        #expect(candidate([95]) == nil)
        #expect(candidate([50, 49]) == 1)
        #expect(candidate([70, 25]) == 2)
        #expect(candidate([92, 7]) == nil)
        #expect(candidate([30, 33, 35]) == 3)
        #expect(candidate([9, 9, 9, 9, 9, 9, 9, 9, 9, 9]) == nil)
        #expect(candidate([]) == nil)
    }
}
