// SPDX-License-Identifier: Apache-2.0
import Platform
import Switching
import TestSupport
import Testing
import Timing
import Wire

@Suite struct LoopTests {
    /// A cable between two ports, as two switches have it that are connected twice: what comes out of one goes into the
    /// other.
    /// - Parameter tagging: a switch on the way gives frames a tag.
    private func carry(
        _ harness: ForwarderHarness, _ one: PeerSocket, _ other: PeerSocket, limit: Int, tagging: Bool = false
    ) throws -> Int {
        func changed(_ frame: [UInt8]) -> [UInt8] {
            !tagging || frame[12] == 0x81 ? frame : frame[0..<12] + [0x81, 0, 0, 0] + frame[12...]
        }
        var carried = 0
        while carried < limit {
            let a = one.received(), b = other.received()
            if a.isEmpty && b.isEmpty { break }
            for frame in a { try other.send(changed(frame)) }
            for frame in b { try one.send(changed(frame)) }
            carried += a.count + b.count
            for _ in 0..<4 { harness.worker.runOnce(timeout: .zero) }
        }
        return carried
    }

    @Test(arguments: [false, true]) func loopIsBlockedAndItsStormEnds(tagging: Bool) throws {
        let harness = try ForwarderHarness()
        let guest = try harness.attach(), one = try harness.attach(), other = try harness.attach()
        for number in 0..<4 { try guest.send(frame(to: .broadcast, from: mac(UInt64(100 + number)))) }
        harness.settle()
        let carried = try carry(harness, one, other, limit: 5000, tagging: tagging)
        #expect(carried < 5000, "the storm went on")
        let loops = harness.control.takeEvents().compactMap { event -> (PortNumber, PortNumber)? in
            if case .loop(let port, let with) = event { (port, with) } else { nil }
        }
        #expect(loops.count == 1)
        #expect(loops.first.map { [$0.0, $0.1].sorted() } == [one.number, other.number].sorted())
        // One of the two still works.
        _ = guest.received()
        try guest.send(frame(to: .broadcast, from: mac(100), [1]))
        harness.settle()
        #expect(one.received().count + other.received().count == 1)
        let closed = loops[0].0 == one.number ? one : other
        try closed.send(frame(to: .broadcast, from: mac(200)))
        harness.settle()
        #expect(guest.received().isEmpty)
        #expect(harness.counters(closed).drops(.loop) > 0)
    }

    @Test func blockedPortOpensWhenTheLoopIsGone() throws {
        let harness = try ForwarderHarness(loopBlockTime: .seconds(1))
        let guest = try harness.attach(), one = try harness.attach(), other = try harness.attach()
        for number in 0..<4 { try guest.send(frame(to: .broadcast, from: mac(UInt64(100 + number)))) }
        harness.settle()
        _ = try carry(harness, one, other, limit: 5000)
        // While the cable is there the port stays closed, whatever the time.
        let stillLooped = BootClock.now + .seconds(4)
        while BootClock.now < stillLooped {
            harness.worker.runOnce(timeout: .milliseconds(50))
            _ = try carry(harness, one, other, limit: 100)
        }
        let before = harness.control.takeEvents()
        #expect(!before.contains { if case .loopEnded = $0 { true } else { false } })
        // Then it is pulled.
        var ended = false
        let deadline = BootClock.now + .seconds(10)
        while !ended && BootClock.now < deadline {
            harness.worker.runOnce(timeout: .milliseconds(50))
            _ = (one.received(), other.received())
            ended = harness.control.takeEvents().contains { if case .loopEnded = $0 { true } else { false } }
        }
        #expect(ended)
        try guest.send(frame(to: .broadcast, from: mac(100), [1]))
        harness.settle()
        #expect(one.received().count == 1 && other.received().count == 1)
    }

    @Test func forgedProbeBlocksTheForgersPortOnly() throws {
        let harness = try ForwarderHarness()
        let forger = try harness.attach(), a = try harness.attach(), b = try harness.attach()
        // Addresses that jump back and forth make the switch send probes.
        for _ in 0..<200 {
            try forger.send(frame(to: .broadcast, from: mac(50)))
            harness.settle()
            try a.send(frame(to: .broadcast, from: mac(50)))
            harness.settle()
        }
        let probes = forger.received().filter { $0.count == 60 && $0[0] == 0x03 }
        #expect(!probes.isEmpty)
        for probe in probes {
            var forged = probe
            for index in 34..<44 { forged[index] &+= 1 }
            try forger.send(forged)
            try forger.send(probe)
        }
        harness.settle()
        let loops = harness.control.takeEvents().filter { if case .loop = $0 { true } else { false } }
        #expect(loops.isEmpty)
        _ = (a.received(), b.received())
        try a.send(frame(to: .broadcast, from: mac(60)))
        harness.settle()
        #expect(b.received().count == 1)
    }

    @Test func fewMovesAreNoLoop() throws {
        let harness = try ForwarderHarness()
        let a = try harness.attach(), b = try harness.attach(), c = try harness.attach()
        for number in 0..<20 {
            try (number % 2 == 0 ? a : b).send(frame(to: .broadcast, from: mac(1), [UInt8(number)]))
            harness.settle()
        }
        #expect(c.received().count == 20)
        // The address is known where it was seen last, at once.
        _ = (a.received(), b.received())
        try c.send(frame(to: mac(1), from: mac(2)))
        harness.settle()
        #expect(a.received().isEmpty && b.received().count == 1)
    }
}

@Suite struct SwitchFeatureTests {
    @Test func hubCopiesEveryFrameToEveryPort() throws {
        let harness = try ForwarderHarness()
        let a = try harness.attach(), b = try harness.attach(), c = try harness.attach(),
            uplink = try harness.attach(.uplink, receivesUnknown: false)
        harness.control.setHub(true)
        harness.settle()
        try b.send(frame(to: .broadcast, from: mac(2)))
        harness.settle()
        _ = (a.received(), c.received(), uplink.received())
        try a.send(frame(to: mac(2), from: mac(1)))
        harness.settle()
        #expect(
            b.received().count == 1 && c.received().count == 1 && uplink.received().count == 1 && a.received().isEmpty)
    }

    @Test func isolatedGuestsReachTheUplinkAndNotEachOther() throws {
        let harness = try ForwarderHarness()
        let a = try harness.attach(), b = try harness.attach(), uplink = try harness.attach(.uplink)
        harness.control.setIsolation(true)
        harness.settle()
        try b.send(frame(to: .broadcast, from: mac(2)))
        try uplink.send(frame(to: .broadcast, from: mac(9)))
        harness.settle()
        #expect(a.received() == [frame(to: .broadcast, from: mac(9))])
        #expect(uplink.received().count == 1)
        try a.send(frame(to: mac(2), from: mac(1)))
        try a.send(frame(to: mac(9), from: mac(1)))
        harness.settle()
        #expect(b.received().count == 1, "the uplink's broadcast only")
        #expect(uplink.received() == [frame(to: mac(9), from: mac(1))])
        #expect(harness.counters(a).drops(.isolated) == 1)
    }

    /// A TAP and the NAT beside it serve the same guests, and are in the same VLAN.
    @Test func uplinksReachGuestsAndNotEachOther() throws {
        let harness = try ForwarderHarness()
        let guest = try harness.attach(), tap = try harness.attach(.uplink), nat = try harness.attach(.uplink)
        harness.control.addStatic(mac(8), at: tap.number)
        harness.control.addStatic(mac(9), at: nat.number)
        harness.settle()
        try guest.send(frame(to: .broadcast, from: mac(1)))
        harness.settle()
        #expect(tap.received().count == 1 && nat.received().count == 1)
        for destination in [.broadcast, mac(9)] { try tap.send(frame(to: destination, from: mac(8))) }
        harness.settle()
        #expect(nat.received().isEmpty && guest.received() == [frame(to: .broadcast, from: mac(8))])
        try guest.send(frame(to: mac(9), from: mac(1)))
        harness.settle()
        #expect(nat.received() == [frame(to: mac(9), from: mac(1))] && tap.received().isEmpty)
        // The NAT follows the TAP to another VLAN, with its address.
        harness.control.setVLANAware(true)
        for port in [guest.number, tap.number] { harness.control.setVLANs(of: port, untagged: 7, tagged: []) }
        harness.settle()
        try guest.send(frame(to: mac(9), from: mac(1)))
        harness.settle()
        #expect(nat.received() == [frame(to: mac(9), from: mac(1))])
    }

    @Test func groupMembersReceiveTheSameAndNothingFromEachOther() throws {
        let harness = try ForwarderHarness()
        let one = try harness.attach(group: 3), two = try harness.attach(group: 3),
            three = try harness.attach(group: 3),
            other = try harness.attach()
        try one.send(frame(to: .broadcast, from: mac(1)))
        harness.settle()
        #expect(other.received().count == 1 && two.received().isEmpty && three.received().isEmpty)
        let answer = frame(to: mac(1), from: mac(2))
        try other.send(answer)
        harness.settle()
        #expect(one.received() == [answer] && two.received() == [answer] && three.received() == [answer])
        try two.send(frame(to: mac(1), from: mac(3)))
        harness.settle()
        #expect(one.received().isEmpty && other.received().isEmpty)
        // An end that goes leaves the others as they were.
        harness.control.detach(two.number)
        harness.settle()
        try other.send(answer)
        harness.settle()
        #expect(one.received() == [answer] && three.received() == [answer])
    }

    @Test func addressIsForgottenAfterItsAgeingTime() throws {
        let harness = try ForwarderHarness()
        let a = try harness.attach(), b = try harness.attach(), c = try harness.attach()
        harness.control.setAgeing(.seconds(1))
        harness.settle()
        try b.send(frame(to: .broadcast, from: mac(2)))
        harness.settle()
        _ = (a.received(), c.received())
        let deadline = BootClock.now + .seconds(5)
        var flooded = false
        while !flooded && BootClock.now < deadline {
            try a.send(frame(to: mac(2), from: mac(1)))
            harness.worker.runOnce(timeout: .milliseconds(20))
            flooded = !c.received().isEmpty
        }
        #expect(flooded)
    }

    @Test func tableIsReadable() throws {
        let harness = try ForwarderHarness()
        let a = try harness.attach(), uplink = try harness.attach(.uplink)
        harness.control.addStatic(mac(9), at: uplink.number)
        harness.settle()
        try a.send(frame(to: .broadcast, from: mac(1)))
        harness.settle()
        let control = harness.control, answer = Mutex<[KnownAddress]?>(nil)
        try WorkerThread.start(named: "reader") {
            let addresses = control.addresses()
            answer.withLock { $0 = addresses ?? [] }
        }
        try eventually("an answer") {
            harness.worker.runOnce(timeout: .milliseconds(1))
            return answer.withLock { $0 } != nil
        }
        let found = answer.withLock { $0! }.sorted { $0.address.value < $1.address.value }
        #expect(found.map(\.address) == [mac(1), mac(9)])
        #expect(found.map(\.port) == [a.number, uplink.number])
        #expect(found[0].age != nil && found[1].age == nil)
    }
}
