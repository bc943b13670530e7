// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Switching
import TestSupport
import Testing
import Wire

@Suite struct ForwarderTests {
    @Test func unknownAddressesAreFloodedAndKnownOnesAreNot() throws {
        let bench = try Bench()
        let a = try bench.attach(), b = try bench.attach(), c = try bench.attach()
        let first = frame(to: mac(2), from: mac(1))
        try a.send(first)
        bench.settle()
        #expect(b.received() == [first] && c.received() == [first] && a.received().isEmpty)
        let answer = frame(to: mac(1), from: mac(2))
        try b.send(answer)
        bench.settle()
        #expect(a.received() == [answer] && c.received().isEmpty)
        try a.send(first)
        bench.settle()
        #expect(b.received() == [first] && c.received().isEmpty)
    }

    @Test func broadcastsReachEverybodyElse() throws {
        let bench = try Bench()
        let a = try bench.attach(), b = try bench.attach(), c = try bench.attach()
        let frames = (0..<100).map { frame(to: .broadcast, from: mac(1), [UInt8($0)]) }
        for frame in frames { try a.send(frame) }
        bench.settle()
        #expect(b.received() == frames && c.received() == frames && a.received().isEmpty)
    }

    @Test func orderIsKeptBetweenUnicastAndBroadcast() throws {
        let bench = try Bench()
        let a = try bench.attach(), b = try bench.attach()
        try b.send(frame(to: .broadcast, from: mac(2)))
        bench.settle()
        _ = a.received()
        let frames = (0..<60).map { frame(to: $0 % 3 == 0 ? .broadcast : mac(2), from: mac(1), [UInt8($0)]) }
        for frame in frames { try a.send(frame) }
        bench.settle()
        #expect(b.received() == frames)
    }

    @Test func aPortWithOneKnownAddressIsSparedTheUnknown() throws {
        let bench = try Bench()
        let guest = try bench.attach(), uplink = try bench.attach(.uplink, receivesUnknown: false)
        bench.control.addStatic(mac(9), at: uplink.number)
        bench.settle()
        try guest.send(frame(to: mac(5), from: mac(1)))
        try guest.send(frame(to: mac(9), from: mac(1)))
        try guest.send(frame(to: .broadcast, from: mac(1)))
        bench.settle()
        #expect(uplink.received().map { MACAddress($0.rawSpan.big64(at: 0) >> 16) } == [mac(9), .broadcast])
    }

    @Test func runtsAndLiarsAreCountedAndDropped() throws {
        let bench = try Bench()
        let a = try bench.attach(), b = try bench.attach(), uplink = try bench.attach(.uplink)
        bench.control.addStatic(mac(9), at: uplink.number)
        bench.settle()
        try a.send([1, 2, 3])
        try a.send([UInt8](repeating: 0, count: 13))
        try a.send(frame(to: mac(2), from: MACAddress("01:00:5e:00:00:01")!))
        try a.send(frame(to: mac(2), from: mac(9)))
        try a.send([UInt8](repeating: 0, count: FrameBatch.maximumFrameLength + 1))
        bench.settle()
        #expect(b.received().isEmpty && uplink.received().isEmpty)
        let counters = bench.counters(a)
        #expect(
            counters.drops(.runt) == 2 && counters.drops(.malformed) == 1 && counters.drops(.spoofed) == 1
                && counters.drops(.oversize) == 1)
        // The next good frame passes.
        let good = frame(to: mac(2), from: mac(1))
        try a.send(good)
        bench.settle()
        #expect(b.received() == [good])
    }

    @Test func theAddressOfZerosIsNobodys() throws {
        let bench = try Bench()
        let a = try bench.attach(), b = try bench.attach(), gone = try bench.attach()
        let zero = MACAddress.zero
        // Known addresses of a port that is gone leave empty places behind, which must not be taken for the one of
        // zeros.
        for number in 0..<6000 {
            try gone.send(frame(to: mac(9999), from: mac(10_000 + UInt64(number))))
            if number % 50 == 0 { bench.settle() }
        }
        bench.settle()
        bench.control.detach(gone.number)
        repeat { bench.settle() } while !b.received().isEmpty || !a.received().isEmpty
        try a.send(frame(to: .broadcast, from: mac(1)))
        try a.send(frame(to: .broadcast, from: zero))
        try a.send(frame(to: mac(9999), from: mac(1), [7]))
        try a.send(frame(to: zero, from: mac(1), [8]))
        bench.settle()
        #expect(bench.counters(a).drops(.malformed) == 1)
        #expect(
            b.received().suffix(2) == [frame(to: mac(9999), from: mac(1), [7]), frame(to: zero, from: mac(1), [8])],
            "unknown, so flooded")
    }

    @Test func framesTooLongForAPortAreDroppedThereOnly() throws {
        let bench = try Bench()
        let a = try bench.attach(), short = try bench.attach(maximumFrame: 1518), long = try bench.attach()
        let jumbo = frame(to: .broadcast, from: mac(1), [UInt8](repeating: 7, count: 9000))
        try a.send(jumbo)
        bench.settle()
        #expect(short.received().isEmpty && long.received() == [jumbo])
        #expect(bench.counters(short).drops(.oversize) == 1)
    }

    @Test func aStuckReceiverLosesItsOwnFramesOnlyAndGetsTheRestLater() throws {
        let bench = try Bench()
        let a = try bench.attach(), stuck = try bench.attach(), lively = try bench.attach()
        var seen = 0
        let total = 3000
        for number in 0..<total {
            try a.send(
                frame(
                    to: .broadcast, from: mac(1),
                    [UInt8(number >> 8), UInt8(number & 0xff)] + [UInt8](repeating: 0, count: 1498)))
            if number % 32 == 31 || number == total - 1 {
                bench.settle()
                seen += lively.received().count
            }
        }
        #expect(seen == total)
        let counters = bench.counters(stuck)
        #expect(counters.drops(.queueFull) > 0)
        // What was queued arrives, in order, without a gap before the first drop.
        var late: [[UInt8]] = []
        while true {
            let more = stuck.received()
            if more.isEmpty { break }
            late += more
            bench.settle()
        }
        #expect(late.count + Int(counters.drops(.queueFull)) == total)
        let numbers = late.map { Int($0[14]) << 8 | Int($0[15]) }
        #expect(numbers == Array(0..<late.count))
        // And afterwards it is a port like any other.
        let last = frame(to: .broadcast, from: mac(1), [1])
        try a.send(last)
        bench.settle()
        #expect(stuck.received() == [last])
    }

    @Test func absentReceiversAreReportedOnce() throws {
        let bench = try Bench()
        let a = try bench.attach()
        let gone = try bench.attach().number
        bench.settle()
        for _ in 0..<5 { try a.send(frame(to: .broadcast, from: mac(1))) }
        bench.settle()
        let events = bench.control.takeEvents().filter { $0.port == gone }
        #expect(events.count == 1)
        bench.control.rearm(gone)
        bench.settle()
        try a.send(frame(to: .broadcast, from: mac(1)))
        bench.settle()
        #expect(bench.control.takeEvents().filter { $0.port == gone }.count == 1)
    }

    @Test func emptyDatagramsAreGoodbyes() throws {
        let bench = try Bench()
        let a = try bench.attach()
        try a.send([])
        bench.settle()
        #expect(bench.control.takeEvents().contains(.goodbye(a.number)))
    }

    @Test func detachedPortsAreForgotten() throws {
        let bench = try Bench()
        let a = try bench.attach(), b = try bench.attach()
        try b.send(frame(to: .broadcast, from: mac(2)))
        bench.settle()
        bench.control.detach(b.number)
        bench.settle()
        let c = try bench.attach()
        #expect(c.number != b.number, "the number is not used again at once")
        try a.send(frame(to: mac(2), from: mac(1)))
        bench.settle()
        #expect(c.received().count == 1, "the address is unknown, not at the old port")
    }

    // MARK: The address service

    private func discover(from source: MACAddress) -> [UInt8] {
        UDPFrame(from: (source, .any, 68), to: (.broadcast, .broadcast, 67)).bytes(
            payload: [UInt8](repeating: 0, count: 300))
    }

    @Test func dhcpGoesToTheServiceAndNowhereElse() throws {
        let bench = try Bench()
        let guest = try bench.attach(), other = try bench.attach(), uplink = try bench.attach(.uplink)
        try guest.send(discover(from: mac(1)))
        bench.settle()
        #expect(bench.control.removeServiceFrame() == nil)
        #expect(uplink.received().count == 1 && other.received().count == 1, "while nobody serves, it passes")
        bench.control.setPolicy(ServicePolicy(takesDHCP: true))
        bench.settle()
        try guest.send(discover(from: mac(1)))
        let renewal = UDPFrame(
            from: (mac(1), IPv4Address("192.168.105.2")!, 68), to: (mac(9), IPv4Address("192.168.105.1")!, 67)
        ).bytes(payload: [0])
        try guest.send(renewal)
        bench.settle()
        #expect(bench.control.removeServiceFrame()?.bytes == discover(from: mac(1)))
        #expect(bench.control.removeServiceFrame()?.bytes == renewal)
        #expect(uplink.received().isEmpty && other.received().isEmpty)
    }

    @Test func theServiceSpeaksToGuestsOnly() throws {
        let bench = try Bench()
        let guest = try bench.attach(), other = try bench.attach(), uplink = try bench.attach(.uplink)
        try guest.send(frame(to: mac(99), from: mac(1)))
        bench.settle()
        _ = (other.received(), uplink.received())
        let offer = frame(to: .broadcast, from: mac(9), [1])
        let direct = frame(to: mac(1), from: mac(9), [2])
        #expect(bench.control.sendFromService(offer) && bench.control.sendFromService(direct))
        bench.settle()
        #expect(guest.received() == [offer, direct])
        #expect(other.received() == [offer])
        #expect(uplink.received().isEmpty)
    }

    @Test func arpIsCopiedNotTaken() throws {
        let bench = try Bench()
        let guest = try bench.attach(), uplink = try bench.attach(.uplink)
        bench.control.setPolicy(ServicePolicy(watchesARP: true))
        bench.settle()
        let question = ARPPacket.probe(for: IPv4Address("192.168.105.2")!, from: mac(1)).frame(to: .broadcast)
        try guest.send(question)
        bench.settle()
        #expect(bench.control.removeServiceFrame()?.bytes == question)
        #expect(uplink.received() == [question])
        // What comes from the uplink is not the service's business.
        try uplink.send(question)
        bench.settle()
        #expect(bench.control.removeServiceFrame() == nil)
    }

    @Test func aFloodOfDHCPFillsTheServicesQueueAndNothingElse() throws {
        let bench = try Bench()
        let flooder = try bench.attach(), a = try bench.attach(), b = try bench.attach()
        bench.control.setPolicy(ServicePolicy(takesDHCP: true))
        bench.settle()
        for number in 0..<2000 {
            try flooder.send(discover(from: mac(1000 + UInt64(number))))
            if number % 50 == 0 {
                let good = frame(to: .broadcast, from: mac(1), [UInt8(number / 50)])
                try a.send(good)
                bench.settle()
                #expect(b.received() == [good])
            }
        }
        bench.settle()
        #expect(bench.control.serviceCounters.drops(.queueFull) > 1000)
    }
}
