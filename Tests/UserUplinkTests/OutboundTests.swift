// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import TestSupport
import Testing
import Timing
@testable import UserUplink
import Wire

/// The outbound path that the user has chosen. The guests' gateway stands for the host's loopback, so that what leaves
/// is tested with addresses of the loopback network.
@Suite struct OutboundTests {
    private let outside = Fixture.outside

    @Test func destinationsOnTheHostAreReachedWithoutIt() throws {
        let harness = try DatagramHarness { $0.outbound = .addresses(IPv4Address("127.0.0.9"), nil) }
        let server = try LoopbackServer()
        harness.ask(5000, to: server.port, [1])
        harness.poll()
        let question = try server.receive()
        #expect(question.from.ipv4 == IPv4Address("127.0.0.1"), "not from the chosen address")
        try server.send([2], to: question.from)
        #expect(try harness.expectDatagram().payload == [2])
    }

    /// One port of a guest has a socket for the host and another one for the outside.
    @Test func flowToTheHostSurvivesTheLossOfTheOutside() throws {
        let harness = try DatagramHarness { $0.outbound = .addresses(IPv4Address("127.0.0.9"), nil) }
        let server = try LoopbackServer()
        harness.ask(5000, to: server.port, [1])
        harness.send(Fixture.udp(5000, to: outside, 9))
        harness.poll()
        #expect(harness.relay.count == 2)
        let port = try server.receive().from.port
        harness.relay.hostHasChanged([], endsFlows: true)
        #expect(harness.relay.count == 1)
        harness.ask(5000, to: server.port, [2])
        harness.poll()
        #expect(try server.receive().from.port == port)
    }

    @Test func addressesOfTheHostNeedNoWayOut() throws {
        let harness = try DatagramHarness { $0.outbound = .addresses(IPv4Address("127.0.0.9"), nil) }
        let key = FlowKey(IPProtocol.udp, guest: .ipv4(Fixture.guest), 5000, remote: .ipv4(outside), 9)
        #expect(!harness.relay.isOnHost(key))
        harness.relay.hostHasChanged([.ipv4(outside)], endsFlows: false)
        #expect(harness.relay.isOnHost(key))
    }

    @Test(arguments: [Outbound.addresses(IPv4Address("203.0.113.99"), nil), .interface("absent0")])
    func withoutTheWayOutGuestsGetUnreachable(outbound: Outbound) throws {
        let harness = try DatagramHarness { $0.outbound = outbound }
        for port in [9, 10] as [UInt16] {
            harness.send(Fixture.udp(5000, to: outside, port))
            let packet = try harness.expectMessage()
            let message = try IPv4View(packet.rawSpan)
            #expect(message.source == Fixture.network.gateway)
            #expect(message.payload.byte(at: 0) == ICMPType.destinationUnreachable)
            #expect(message.payload.byte(at: 1) == ICMPUnreachableCode.network)
        }
        #expect(harness.relay.count == 0)
    }

    @Test func addressOfTheOtherVersionIsNoWayOut() throws {
        let socket = try Socket.udp(ipv6: true)
        #expect(throws: SystemError.self) {
            try Outbound.addresses(IPv4Address("127.0.0.1"), nil).bind(socket, ipv6: true)
        }
        try Outbound.addresses(nil, .loopback).bind(socket, ipv6: true)
    }

    @Test(arguments: [false, true]) func socketsAreBoundToTheInterface(ipv6: Bool) throws {
        let name = OperatingSystem.loopbackInterface
        let sockets = [SocketBox(try Socket.udp(ipv6: ipv6)), SocketBox(try Socket.tcp(ipv6: ipv6))]
        for socket in sockets {
            #expect(socket.boundInterface == 0)
            try Outbound.interface(name).bind(socket.socket, ipv6: ipv6)
            #expect(socket.boundInterface == NetworkInterfaces.index(of: name))
        }
    }

    @Test func streamLeavesFromTheChosenAddress() throws {
        let (server, port) = try RelayHarness.server(), client = try Socket.tcp()
        try Outbound.addresses(IPv4Address("127.0.0.9"), nil).bind(client, ipv6: false)
        try client.connect(to: SocketAddress(IPv4Address("127.0.0.1")!, port: port))
        _ = server.socket.wait(for: .readable, until: BootClock.now + .seconds(Int64(ampleTime)))
        #expect(try server.socket.accept().internetPeer?.ipv4 == IPv4Address("127.0.0.9"))
    }
}
