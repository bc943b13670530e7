// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Switching
import TestSupport
import Testing
import Wire

@Suite struct DispatcherTests {
    @Test func unknownAddressesAreFloodedAndLearnedOnesAreNot() throws {
        let harness = try ForwarderHarness()
        let a = try harness.attach(), b = try harness.attach(), c = try harness.attach()
        let first = frame(to: mac(2), from: mac(1))
        try a.send(first)
        harness.settle()
        #expect(b.received() == [first] && c.received() == [first] && a.received().isEmpty)
        let answer = frame(to: mac(1), from: mac(2))
        try b.send(answer)
        harness.settle()
        #expect(a.received() == [answer] && c.received().isEmpty)
        try a.send(first)
        harness.settle()
        #expect(b.received() == [first] && c.received().isEmpty)
    }

    @Test func broadcastsReachAllOtherPorts() throws {
        let harness = try ForwarderHarness()
        let a = try harness.attach(), b = try harness.attach(), c = try harness.attach()
        let frames = (0..<100).map { frame(to: .broadcast, from: mac(1), [UInt8($0)]) }
        for frame in frames { try a.send(frame) }
        harness.settle()
        #expect(b.received() == frames && c.received() == frames && a.received().isEmpty)
    }

    @Test func orderIsKeptBetweenUnicastAndBroadcast() throws {
        let harness = try ForwarderHarness()
        let a = try harness.attach(), b = try harness.attach()
        try b.send(frame(to: .broadcast, from: mac(2)))
        harness.settle()
        _ = a.received()
        let frames = (0..<60).map { frame(to: $0 % 3 == 0 ? .broadcast : mac(2), from: mac(1), [UInt8($0)]) }
        for frame in frames { try a.send(frame) }
        harness.settle()
        #expect(b.received() == frames)
    }

    @Test func unknownDestinationsSkipPortsThatDoNotReceiveThem() throws {
        let harness = try ForwarderHarness()
        let guest = try harness.attach(), uplink = try harness.attach(.uplink, receivesUnknown: false)
        harness.control.addStatic(mac(9), at: uplink.number)
        harness.settle()
        try guest.send(frame(to: mac(5), from: mac(1)))
        try guest.send(frame(to: mac(9), from: mac(1)))
        try guest.send(frame(to: .broadcast, from: mac(1)))
        harness.settle()
        #expect(uplink.received().map { MACAddress($0.rawSpan.big64(at: 0) >> 16) } == [mac(9), .broadcast])
    }

    @Test func runtsAndForgedSourcesAreDroppedAndCounted() throws {
        let harness = try ForwarderHarness()
        let a = try harness.attach(), b = try harness.attach(), uplink = try harness.attach(.uplink)
        harness.control.addStatic(mac(9), at: uplink.number)
        harness.settle()
        try a.send([1, 2, 3])
        try a.send([UInt8](repeating: 0, count: 13))
        try a.send(frame(to: mac(2), from: MACAddress("01:00:5e:00:00:01")!))
        try a.send(frame(to: mac(2), from: mac(9)))
        try a.send([UInt8](repeating: 0, count: FrameBatch.maximumFrameLength + 1))
        harness.settle()
        #expect(b.received().isEmpty && uplink.received().isEmpty)
        let counters = harness.counters(a)
        #expect(
            counters.drops(.runt) == 2 && counters.drops(.malformed) == 1 && counters.drops(.spoofed) == 1
                && counters.drops(.oversize) == 1)
        // The next good frame passes.
        let good = frame(to: mac(2), from: mac(1))
        try a.send(good)
        harness.settle()
        #expect(b.received() == [good])
    }

    @Test func zeroSourceAddressIsDropped() throws {
        let harness = try ForwarderHarness()
        let a = try harness.attach(), b = try harness.attach(), gone = try harness.attach()
        let zero = MACAddress.zero
        // Known addresses of a port that is gone leave empty places behind, which must not be taken for the one of
        // zeros.
        for number in 0..<6000 {
            try gone.send(frame(to: mac(9999), from: mac(10_000 + UInt64(number))))
            if number % 50 == 0 { harness.settle() }
        }
        harness.settle()
        harness.control.detach(gone.number)
        repeat { harness.settle() } while !b.received().isEmpty || !a.received().isEmpty
        try a.send(frame(to: .broadcast, from: mac(1)))
        try a.send(frame(to: .broadcast, from: zero))
        try a.send(frame(to: mac(9999), from: mac(1), [7]))
        try a.send(frame(to: zero, from: mac(1), [8]))
        harness.settle()
        #expect(harness.counters(a).drops(.malformed) == 1)
        #expect(
            b.received().suffix(2) == [frame(to: mac(9999), from: mac(1), [7]), frame(to: zero, from: mac(1), [8])],
            "unknown, so flooded")
    }

    @Test func oversizeFramesAreDroppedAtThatPortOnly() throws {
        let harness = try ForwarderHarness()
        let a = try harness.attach(), short = try harness.attach(maximumFrame: 1518), long = try harness.attach()
        let jumbo = frame(to: .broadcast, from: mac(1), [UInt8](repeating: 7, count: 9000))
        try a.send(jumbo)
        harness.settle()
        #expect(short.received().isEmpty && long.received() == [jumbo])
        #expect(harness.counters(short).drops(.oversize) == 1)
    }

    @Test func fullReceiverLosesItsOwnFramesOnlyAndGetsTheRestLater() throws {
        let harness = try ForwarderHarness()
        let a = try harness.attach(), stuck = try harness.attach(), lively = try harness.attach()
        var seen = 0
        let total = 3000
        for number in 0..<total {
            try a.send(
                frame(
                    to: .broadcast, from: mac(1),
                    [UInt8(number >> 8), UInt8(number & 0xff)] + [UInt8](repeating: 0, count: 1498)))
            if number % 32 == 31 || number == total - 1 {
                harness.settle()
                seen += lively.received().count
            }
        }
        #expect(seen == total)
        let counters = harness.counters(stuck)
        #expect(counters.drops(.queueFull) > 0)
        // What was queued arrives, in order, without a gap before the first drop.
        var late: [[UInt8]] = []
        while true {
            let more = stuck.received()
            if more.isEmpty { break }
            late += more
            harness.settle()
        }
        #expect(late.count + Int(counters.drops(.queueFull)) == total)
        let numbers = late.map { Int($0[14]) << 8 | Int($0[15]) }
        #expect(numbers == Array(0..<late.count))
        // And afterwards it is a port like any other.
        let last = frame(to: .broadcast, from: mac(1), [1])
        try a.send(last)
        harness.settle()
        #expect(stuck.received() == [last])
    }

    @Test func absentReceiversAreReportedOnce() throws {
        let harness = try ForwarderHarness()
        let a = try harness.attach()
        let gone = try harness.attach().number
        harness.settle()
        for _ in 0..<5 { try a.send(frame(to: .broadcast, from: mac(1))) }
        harness.settle()
        let events = harness.control.takeEvents().filter { $0.port == gone }
        #expect(events.count == 1)
        harness.control.rearm(gone)
        harness.settle()
        try a.send(frame(to: .broadcast, from: mac(1)))
        harness.settle()
        #expect(harness.control.takeEvents().filter { $0.port == gone }.count == 1)
    }

    @Test func emptyDatagramIsReportedAsGoodbye() throws {
        let harness = try ForwarderHarness()
        let a = try harness.attach()
        try a.send([])
        harness.settle()
        #expect(harness.control.takeEvents().contains(.goodbye(a.number)))
    }

    @Test func detachedPortsAreForgotten() throws {
        let harness = try ForwarderHarness()
        let a = try harness.attach(), b = try harness.attach()
        try b.send(frame(to: .broadcast, from: mac(2)))
        harness.settle()
        harness.control.detach(b.number)
        harness.settle()
        let c = try harness.attach()
        #expect(c.number != b.number, "the number is not used again at once")
        try a.send(frame(to: mac(2), from: mac(1)))
        harness.settle()
        #expect(c.received().count == 1, "the address is unknown, not at the old port")
    }

    // MARK: The DHCP server

    private func discover(from source: MACAddress) -> [UInt8] {
        Forged.discover(from: source)
    }

    @Test func dhcpRequestsReachTheServiceOnly() throws {
        let harness = try ForwarderHarness()
        let guest = try harness.attach(), other = try harness.attach(), uplink = try harness.attach(.uplink)
        try guest.send(discover(from: mac(1)))
        harness.settle()
        #expect(harness.control.removeServiceFrame() == nil)
        #expect(uplink.received().count == 1 && other.received().count == 1, "without a service it passes")
        harness.control.setPolicy(ServicePolicy(takesDHCP: true))
        harness.settle()
        try guest.send(discover(from: mac(1)))
        let renewal = Frames.udp(
            from: Endpoint(mac(1), IPv4Address("192.168.105.2")!, port: 68),
            to: Endpoint(mac(9), IPv4Address("192.168.105.1")!, port: 67), [0])
        try guest.send(renewal)
        harness.settle()
        #expect(harness.control.removeServiceFrame()?.bytes == discover(from: mac(1)))
        #expect(harness.control.removeServiceFrame()?.bytes == renewal)
        #expect(uplink.received().isEmpty && other.received().isEmpty)
    }

    @Test func serviceSendsToGuestsOnly() throws {
        let harness = try ForwarderHarness()
        let guest = try harness.attach(), other = try harness.attach(), uplink = try harness.attach(.uplink)
        try guest.send(frame(to: mac(99), from: mac(1)))
        harness.settle()
        _ = (other.received(), uplink.received())
        let offer = frame(to: .broadcast, from: mac(9), [1])
        let direct = frame(to: mac(1), from: mac(9), [2])
        #expect(harness.control.sendFromService(offer) && harness.control.sendFromService(direct))
        harness.settle()
        #expect(guest.received() == [offer, direct])
        #expect(other.received() == [offer])
        #expect(uplink.received().isEmpty)
    }

    @Test func arpIsCopiedToTheService() throws {
        let harness = try ForwarderHarness()
        let guest = try harness.attach(), uplink = try harness.attach(.uplink)
        harness.control.setPolicy(ServicePolicy(watchesARP: true))
        harness.settle()
        let question = ARPPacket.probe(for: IPv4Address("192.168.105.2")!, from: mac(1)).frame(to: .broadcast)
        try guest.send(question)
        harness.settle()
        #expect(harness.control.removeServiceFrame()?.bytes == question)
        #expect(uplink.received() == [question])
        // What comes from the uplink is not the service's business.
        try uplink.send(question)
        harness.settle()
        #expect(harness.control.removeServiceFrame() == nil)
    }

    @Test func floodOfDHCPFillsTheServicesRingOnly() throws {
        let harness = try ForwarderHarness()
        let flooder = try harness.attach(), a = try harness.attach(), b = try harness.attach()
        harness.control.setPolicy(ServicePolicy(takesDHCP: true))
        harness.settle()
        for number in 0..<2000 {
            try flooder.send(discover(from: mac(1000 + UInt64(number))))
            if number % 50 == 0 {
                let good = frame(to: .broadcast, from: mac(1), [UInt8(number / 50)])
                try a.send(good)
                harness.settle()
                #expect(b.received() == [good])
            }
        }
        harness.settle()
        #expect(harness.control.serviceCounters.drops(.queueFull) > 1000)
    }
}
