// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import TestSupport
import Testing
import Timing
@testable import UserUplink
import Wire

/// The address of a guest goes to another one, which does not continue its connections and flows.
@Suite struct HolderTests {
    /// As `NeighborTable` does with an address without a lease whose holder does not answer.
    private func move(_ gateway: inout NATGateway, now: Instant) {
        gateway.lease(Fixture.guest, to: Fixture.otherMAC, until: .distantFuture, now: now)
    }

    @Test func segmentOfNextHolderEndsConnection() throws {
        let harness = try RelayHarness(), (server, port) = try RelayHarness.server()
        let guest = try GuestPeer(harness, server, port)
        move(&harness.gateway, now: harness.now)
        harness.send(
            Fixture.segment(
                4000, port, .ack, sequence: guest.sndNxt, acknowledgment: guest.rcvNxt, payload: [1, 2, 3],
                mac: Fixture.otherMAC))
        _ = try harness.expectSegment("a reset") { $0.flags.contains(.rst) }
        harness.poll()
        #expect(harness.relay.count == 0)
        #expect(throws: (any Error).self) { try guest.peer.socket.receive(limit: 10) }
    }

    @Test func nextHolderOpensItsOwnConnection() throws {
        let harness = try RelayHarness(), (server, port) = try RelayHarness.server()
        let guest = try GuestPeer(harness, server, port)
        move(&harness.gateway, now: harness.now)
        harness.send(Fixture.segment(4000, port, .syn, sequence: 77_000, mac: Fixture.otherMAC))
        let answer = try harness.expectSegment("SYN-ACK") { $0.flags == [.syn, .ack] }
        #expect(answer.acknowledgment == 77_001)
        #expect(throws: (any Error).self) { try guest.peer.socket.receive(limit: 10) }
        let key = FlowKey(
            IPProtocol.tcp, guest: .ipv4(Fixture.guest), 4000, remote: .ipv4(Fixture.network.gateway), port)
        #expect(harness.relay.hasConnection(key, isSYN: false, from: Fixture.otherMAC))
        #expect(!harness.relay.hasConnection(key, isSYN: false, from: Fixture.mac))
    }

    /// A published port leads to its guest, and its client's address leads nowhere.
    @Test func nextHolderConnectsToNoClientOfPublishedPort() throws {
        let harness = try RelayHarness {
            $0.policy.isDenying = true
            $0.policy.opensHostLoopback = false
        }
        let port = UInt16.random(in: 20_000...60_000), client = SocketBox(try Socket.tcp())
        try harness.relay.publish(.ipv4(.any), port, to: .ipv4(Fixture.guest), 80)
        try client.socket.connect(to: SocketAddress("127.0.0.1", port: port)!)
        let question = try harness.expectSegment("the question")
        move(&harness.gateway, now: harness.now)
        harness.send(Fixture.segment(80, question.sourcePort, .syn, sequence: 77_000, mac: Fixture.otherMAC))
        harness.poll()
        #expect(harness.relay.count == 0)
        #expect(throws: (any Error).self) { try client.socket.receive(limit: 10) }
    }

    @Test func datagramOfNextHolderHasItsOwnSocket() throws {
        let harness = try DatagramHarness(), server = try LoopbackServer()
        harness.ask(4000, to: server.port, [1])
        harness.poll()
        let before = try server.receive().from
        move(&harness.gateway, now: harness.now)
        harness.ask(4000, to: server.port, [2], from: (Fixture.guest, Fixture.otherMAC))
        harness.poll()
        let next = try server.receive()
        #expect(next.payload == [2] && next.from != before)
        try server.send([3], to: next.from)
        #expect(try harness.expectDatagram().payload == [3])
        // Its socket is closed.
        try server.send([4], to: before)
        harness.poll()
        #expect(harness.relay.count == 1 && harness.rest == 0)
    }

    @Test func answerToFormerHolderReachesNoGuest() throws {
        let harness = try DatagramHarness(), server = try LoopbackServer()
        harness.ask(4000, to: server.port, [1])
        harness.poll()
        let before = try server.receive().from
        move(&harness.gateway, now: harness.now)
        try server.send([2], to: before)
        try eventually("the end of the flow") {
            harness.poll()
            return harness.relay.count == 0
        }
        #expect(harness.rest == 0)
    }
}
