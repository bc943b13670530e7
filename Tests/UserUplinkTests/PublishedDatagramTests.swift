// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import TestSupport
import Testing
import Timing
@testable import UserUplink
import Wire

/// Published UDP ports.
@Suite struct PublishedDatagramTests {
    private let loopback = IPv4Address("127.0.0.1")!

    private func publish(_ harness: DatagramHarness, to guest: IPv4Address = Fixture.guest) throws -> SocketAddress {
        while true {
            let port = UInt16.random(in: 20_000...60_000)
            guard (try? harness.relay.publish(.ipv4(loopback), port, to: .ipv4(guest), 7000)) != nil else { continue }
            return SocketAddress(loopback, port: port)
        }
    }

    @Test func clientsAreDistinguishedAndAnsweredFromThePort() throws {
        let harness = try DatagramHarness {
            $0.policy.isDenying = true; $0.policy.opensHostLoopback = false
        }
        let port = try publish(harness), clients = try (0..<20).map { _ in try LoopbackServer() }
        for (number, client) in clients.enumerated() {
            try client.send([UInt8(number)], to: port)
            let question = try harness.expectDatagram()
            #expect(question.source == .ipv4(Fixture.network.gateway), "a guest's kernel drops a loopback address")
            #expect(question.sourcePort == client.port && question.port == 7000)
            #expect(question.payload == [UInt8(number)])
        }
        for (number, client) in clients.enumerated().reversed() {
            harness.ask(7000, to: client.port, [UInt8(100 + number)])
            harness.poll()
            let answer = try client.receive()
            #expect(answer.payload == [UInt8(100 + number)] && answer.from == port)
        }
        let stranger = Fixture.udp(7000, to: Fixture.network.gateway, 9)
        #expect(harness.send(stranger) == .drop(.refused), "no client has that port")
    }

    @Test func longDatagramsPassBothWays() throws {
        let harness = try DatagramHarness(), port = try publish(harness), client = try LoopbackServer()
        try client.send(Fixture.pattern(65_507), to: port)
        #expect(try harness.expectDatagram().payload == Fixture.pattern(65_507))
        harness.ask(7000, to: client.port, Fixture.pattern(30_000))
        harness.poll()
        #expect(try client.receive().payload == Fixture.pattern(30_000))
    }

    @Test func datagramWaitsForTheGuestToAnswerARP() throws {
        let harness = try DatagramHarness(), port = try publish(harness, to: Fixture.other)
        let client = try LoopbackServer()
        try client.send([1], to: port)
        let request = try harness.expectMessage("an ARP request")
        let packet = try ARPPacket(parsing: request.rawSpan)
        #expect(packet.operation == .request && packet.targetAddress == Fixture.other)
        harness.send(
            ARPPacket(
                operation: .reply, senderHardware: Fixture.otherMAC, senderAddress: Fixture.other,
                targetHardware: Fixture.router, targetAddress: Fixture.network.gateway
            ).frame(to: Fixture.router))
        #expect(try harness.expectDatagram().payload == [1])
        #expect(harness.relay.nextDeadline > harness.now + .seconds(5))
    }

    @Test func absentGuestIsReported() throws {
        let harness = try DatagramHarness(), port = try publish(harness, to: Fixture.other)
        try LoopbackServer().send([1], to: port)
        _ = try harness.expectMessage("an ARP request")
        harness.clockOffset = .seconds(1)
        #expect(harness.relay.nextDeadline <= harness.now)
        harness.poll()
        #expect(harness.others.count == 1, "another request")
        harness.clockOffset = .seconds(3)
        harness.poll()
        let taken = harness.relay.unreached.take()
        let report = try #require(taken)
        #expect(report.count == 1 && report.last.description.contains("192.168.105.3:7000/udp was dropped: no guest"))
        #expect(harness.relay.waiting.isEmpty)
    }

    @Test func endedPortForgetsItsClients() throws {
        let harness = try DatagramHarness {
            $0.policy.isDenying = true; $0.policy.opensHostLoopback = false
        }
        let port = try publish(harness), client = try LoopbackServer()
        try client.send([1], to: port)
        _ = try harness.expectDatagram()
        harness.relay.unpublish(.ipv4(loopback), port.port)
        #expect(harness.relay.clients.count == 0)
        #expect(harness.send(Fixture.udp(7000, to: Fixture.network.gateway, client.port)) == .drop(.refused))
        // The port is free again.
        try harness.relay.publish(.ipv4(loopback), port.port, to: .ipv4(Fixture.guest), 7000)
    }

    @Test func portFollowsTheLeaseOfItsGuest() throws {
        let harness = try DatagramHarness(), client = try LoopbackServer()
        let port = UInt16.random(in: 20_000...60_000)
        try harness.relay.publish(
            .ipv4(loopback), port, to: .ipv4(.any), 7000, following: .hardware(Fixture.otherMAC))
        try client.send([1], to: SocketAddress(loopback, port: port))
        try eventually("a report") {
            harness.poll()
            return harness.relay.unreached.count == 1
        }
        harness.gateway.lease(Fixture.other, to: Fixture.otherMAC, until: .distantFuture, now: harness.now)
        harness.relay.note(lease: Fixture.other, to: Fixture.otherMAC, named: nil)
        try client.send([2], to: SocketAddress(loopback, port: port))
        #expect(try harness.expectDatagram().payload == [2])
    }

    // MARK: Clients

    private func route(_ port: UInt16, local: IPv4Address? = nil) -> DatagramClients.Route {
        DatagramClients.Route(
            listener: 0, peer: SocketAddress(Fixture.outside, port: port),
            local: local.map { SocketAddress($0, port: 0) })
    }

    @Test func clientOfTwoAddressesIsAnsweredFromTheRightOne() throws {
        var clients = DatagramClients()
        let one = route(5000, local: ip(8)), two = route(5000, local: ip(9))
        func key(_ route: DatagramClients.Route) -> FlowKey? {
            clients.key(
                of: route, for: (.ipv4(Fixture.guest), 7000), visible: .ipv4(Fixture.outside), by: .unknown,
                now: .seconds(1))
        }
        let first = try #require(key(one)), second = try #require(key(two))
        #expect(first.remotePort == 5000 && second.remotePort != 5000 && second.remote == first.remote)
        #expect(key(one) == first && key(two) == second)
        #expect(clients.route(of: first, now: .seconds(2)) == one)
        #expect(clients.route(of: second, now: .seconds(2)) == two)
        clients.expire(now: .seconds(400))
        #expect(clients.count == 0 && clients.route(of: first, now: .seconds(400)) == nil)
    }

    /// Any order of clients, answers and time: an answer goes to the client that has the address and port.
    @Test func tableOfClientsIsConsistent() {
        var clients = DatagramClients(), random = SeededGenerator(seed: 3)
        var known: [FlowKey: DatagramClients.Route] = [:]
        for round in 0..<Rounds.of(30_000) {
            let one = route(
                UInt16.random(in: 1...20_000, using: &random), local: ip(Int.random(in: 8...9, using: &random)))
            let now = Instant.seconds(Int64(round / 100))
            guard
                let key = clients.key(
                    of: one, for: (.ipv4(Fixture.guest), 7000), visible: .ipv4(Fixture.outside), by: .unknown, now: now)
            else { continue }
            known[key] = one
            #expect(clients.count <= 8192 && clients.route(of: key, now: now) == one)
            if round % 50 == 0, let (key, route) = known.randomElement(using: &random) {
                let found = clients.route(of: key, now: now)
                #expect(found == nil || found == route)
            }
            if round % 1000 == 0 { clients.expire(now: now) }
        }
    }
}
