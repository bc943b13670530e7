// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import TestSupport
import Testing
import Timing
@testable import UserUplink
import Wire

@Suite struct DatagramRelayTests {
    /// A port at which nothing listens.
    private func closedPort() throws -> UInt16 { try LoopbackServer().port }

    @Test func portIsOneSocketForAllDestinations() throws {
        let harness = try DatagramHarness(), first = try LoopbackServer(), second = try LoopbackServer()
        harness.ask(4000, to: first.port, [1])
        harness.ask(4000, to: second.port, [2])
        harness.ask(4001, to: second.port, [3])
        harness.poll()
        let one = try first.receive(), two = try second.receive(), three = try second.receive()
        #expect(one.payload == [1] && two.payload == [2] && three.payload == [3])
        #expect(one.from == two.from, "the mapping does not depend on the endpoint")
        #expect(two.from != three.from)
        #expect(harness.relay.count == 2)
    }

    @Test func answersComeFromWhereTheGuestHasSent() throws {
        let harness = try DatagramHarness(), server = try LoopbackServer()
        harness.ask(4000, to: server.port, [1])
        harness.poll()
        try server.send([4, 5], to: try server.receive().from)
        let answer = try harness.expectDatagram()
        #expect(answer.source == .ipv4(Fixture.network.gateway) && answer.sourcePort == server.port)
        #expect(answer.port == 4000 && answer.payload == [4, 5])
    }

    @Test(arguments: [0, 1, 1472, 1473, 4000, 65_507])
    func datagramsOfAnyLengthPassBothWays(length: Int) throws {
        let harness = try DatagramHarness(), server = try LoopbackServer(), payload = Fixture.pattern(length)
        harness.ask(4000, to: server.port, payload)
        harness.poll()
        let question = try server.receive()
        #expect(question.payload == payload)
        try server.send(payload.reversed(), to: question.from)
        #expect(try harness.expectDatagram().payload == payload.reversed())
    }

    @Test func orderIsKeptAcrossSocketsAndFields() throws {
        let harness = try DatagramHarness(), server = try LoopbackServer()
        for number in UInt8(0)..<100 {
            harness.ask(4000 + UInt16(number) % 3, to: server.port, [number], hops: number < 50 ? 64 : 32)
        }
        harness.poll()
        for number in UInt8(0)..<100 { #expect(try server.receive().payload == [number]) }
    }

    @Test func hopsAndTrafficClassAreCarriedBothWays() throws {
        let harness = try DatagramHarness(), server = try LoopbackServer()
        harness.ask(4000, to: server.port, [1], hops: 17, trafficClass: 0xb8)
        harness.poll()
        let question = try server.receive()
        #expect(question.hops == 16 && question.trafficClass == 0xb8)
        harness.ask(4000, to: server.port, [1], hops: 9, trafficClass: 0)
        harness.poll()
        let second = try server.receive()
        #expect(second.hops == 8 && second.trafficClass == 0)
        server.socket.socket.setHops(40, ipv6: false)
        server.socket.socket.setTrafficClass(0x48, ipv6: false)
        try server.send([2], to: question.from)
        let answer = try harness.expectDatagram()
        #expect(answer.hops == 39 && answer.trafficClass == 0x48)
    }

    @Test func closedPortIsReportedWithTheDatagram() throws {
        let harness = try DatagramHarness()
        let port = try closedPort()
        harness.ask(4000, to: port, [1, 2, 3])
        let message = try harness.expectMessage()
        let packet = try IPv4View(message.rawSpan)
        let error = try ICMPUnreachable(parsing: packet.payload)
        #expect(error.code == 3 && packet.source == Fixture.network.gateway && packet.destination == Fixture.guest)
        #expect(error.sourcePort == 4000 && error.destinationPort == port)
        #expect(error.destination == Fixture.network.gateway)
        let quoted = packet.payload.from(ICMPHeader.length)
        #expect(quoted.from(28).copied() == [1, 2, 3])
    }

    /// An error of one destination costs no datagram to another.
    @Test func pendingErrorCostsNoDatagram() throws {
        let harness = try DatagramHarness(), server = try LoopbackServer()
        let closed = try closedPort()
        for number in UInt8(0)..<20 {
            harness.ask(4000, to: closed, [number])
            harness.relay.flush()
            harness.ask(4000, to: server.port, [number])
            harness.relay.flush()
        }
        for number in UInt8(0)..<20 { #expect(try server.receive().payload == [number]) }
    }

    @Test func floodOfPortsReplacesTheOldestAndIsNeverSilent() throws {
        let harness = try DatagramHarness { $0.flowLimit = 100 }, server = try LoopbackServer()
        for port in UInt16(1000)..<1200 {
            harness.ask(port, to: server.port, [1])
            harness.poll()
            try server.send([2], to: try server.receive().from)
            #expect(try harness.expectDatagram().port == port)
        }
        #expect(harness.relay.count == 25)
    }

    @Test func floodOfOneGuestCostsNoOther() throws {
        let harness = try DatagramHarness { $0.flowLimit = 100 }, server = try LoopbackServer()
        harness.ask(4000, to: server.port, [1], from: (Fixture.other, Fixture.otherMAC))
        harness.poll()
        let other = try server.receive().from
        for port in UInt16(1000)..<1200 {
            harness.ask(port, to: server.port, [1])
            harness.poll()
            _ = try server.receive()
        }
        try server.send([3], to: other)
        #expect(try harness.expectDatagram().payload == [3])
    }

    @Test func idleFlowsEndAndThoseOfDNSSooner() throws {
        let harness = try DatagramHarness(), server = try LoopbackServer()
        harness.ask(4000, to: server.port, [1])
        harness.poll()
        #expect(harness.relay.count == 1 && harness.relay.nextDeadline < .distantFuture)
        harness.clockOffset = .seconds(290)
        harness.poll()
        #expect(harness.relay.count == 1)
        harness.ask(4001, to: RelayPolicy.dnsPort, [1])
        harness.poll()
        #expect(harness.relay.count == 2)
        harness.clockOffset = .seconds(325)
        harness.poll()
        #expect(harness.relay.count == 0, "one after 300 s, the other after 30 s")
        #expect(harness.relay.nextDeadline == .distantFuture, "no flow, no timer")
    }

    @Test func portWorksAgainAfterItsFlowHasEnded() throws {
        let harness = try DatagramHarness(), server = try LoopbackServer()
        for _ in 0..<3 {
            harness.ask(4000, to: server.port, [1])
            harness.poll()
            try server.send([2], to: try server.receive().from)
            #expect(try harness.expectDatagram().payload == [2])
            harness.clockOffset += .seconds(400)
            harness.poll()
            #expect(harness.relay.count == 0)
        }
    }

    @Test func policyIsAskedAboutAnswers() throws {
        let harness = try DatagramHarness(), server = try LoopbackServer()
        harness.ask(4000, to: server.port, [1])
        harness.poll()
        let guest = try server.receive().from
        harness.refusesAnswers = true
        try server.send([1], to: guest)
        try eventually("the drop") {
            harness.poll()
            return harness.relay.drops[.refused] == 1
        }
        harness.refusesAnswers = false
        try server.send([2], to: guest)
        #expect(try harness.expectDatagram().payload == [2])
    }

    @Test func addressesOfIPv6ArePassed() throws {
        let harness = try DatagramHarness(), gateway = try #require(harness.gateway.gateway6)
        guard let server = try? LoopbackServer(.ipv6(.loopback)) else { return }
        harness.send(Fixture.udp6(to: gateway, port: server.port))
        harness.poll()
        let question = try server.receive()
        #expect(question.payload == [1, 2, 3] && question.hops == 63)
        try server.send(Fixture.pattern(5000), to: question.from)
        let answer = try harness.expectDatagram()
        #expect(answer.source == .ipv6(gateway) && answer.sourcePort == server.port && answer.port == 4000)
        #expect(answer.payload == Fixture.pattern(5000))
    }
}

@Suite struct PeerFilterTests {
    private func address(_ number: Int) -> IPv6Address { IPv6Address(0, UInt64(number)) }

    @Test func addressesThatWereSentToMayAnswer() {
        var filter = PeerFilter()
        #expect(!filter.contains(address(1)))
        #expect(filter.note(address(1), at: 1, hasRoom: true) == 0)
        #expect(filter.note(address(1), at: 2, hasRoom: true) == 0)
        #expect(filter.note(address(2), at: 2, hasRoom: true) == 1)
        #expect(filter.contains(address(1)) && filter.contains(address(2)) && !filter.contains(address(3)))
    }

    @Test func oldestAddressesMakeRoom() {
        var filter = PeerFilter(), count = 0
        for number in 0...3 * PeerFilter.limit {
            count += filter.note(address(number), at: CoarseInstant(seconds: UInt32(number)), hasRoom: true)
            #expect(filter.count == count && count <= PeerFilter.limit && filter.contains(address(number)))
        }
        #expect(filter.contains(address(2 * PeerFilter.limit + PeerFilter.limit / 2)))
        #expect(!filter.contains(address(1)))
    }

    @Test func withoutRoomTheLastAddressMayAnswer() {
        var filter = PeerFilter()
        for number in 1...10 {
            #expect(filter.note(address(number), at: CoarseInstant(seconds: UInt32(number)), hasRoom: false) == 0)
            #expect(filter.contains(address(number)) && filter.count == 0)
        }
    }
}
