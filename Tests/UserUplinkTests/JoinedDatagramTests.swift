// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
@testable import UserUplink
import Wire

/// Datagrams of one flow that pass the system as one message (UDP_SEGMENT, UDP_GRO), on systems that do so; and that
/// they arrive as they were sent on all.
@Suite struct JoinedDatagramTests {
    /// Whether this system joins datagrams.
    static let isSupported = (try? Socket.udp().joinDatagrams()) ?? 0 > 0

    private let loopback = IPv4Address("127.0.0.1")!

    private func payloads(_ lengths: [Int]) -> [[UInt8]] {
        lengths.enumerated().map { Fixture.pattern($1, from: $0 * 1000) }
    }

    /// Sends all in as few calls as possible. Returns the number of calls.
    @discardableResult
    private func send(
        _ payloads: [[UInt8]], by socket: SocketBox, to peer: (Int) -> SocketAddress, longest: inout UInt32
    ) throws -> Int {
        var queue = DatagramQueue(), calls = 0, number = 0
        while number < payloads.count {
            while number < payloads.count, queue.hasRoom(for: payloads[number].count) {
                let payload = payloads[number]
                queue.append(payload.rawSpan, to: peer(number))
                number += 1
            }
            var index = 0
            while index < queue.count {
                let sent = queue.send(by: socket.socket.raw, from: index, longestSegment: &longest)
                try #require(sent > 0, "\(sent)")
                index += sent
                calls += 1
            }
            queue.removeAll()
        }
        return calls
    }

    private func expect(_ payloads: [[UInt8]], at server: LoopbackServer) throws {
        for (number, payload) in payloads.enumerated() {
            #expect(try server.receive().payload == payload, "number \(number) of \(payloads.count)")
        }
    }

    @Test(.enabled(if: isSupported)) func equalDatagramsAndShorterLastOneAreOneMessage() throws {
        let sender = SocketBox(try Socket.udp()), server = try LoopbackServer(joins: true)
        var longest = sender.socket.joinDatagrams()
        let sent = payloads([Int](repeating: 100, count: 20) + [40])
        #expect(try send(sent, by: sender, to: { _ in server.address }, longest: &longest) == 1)
        try expect(sent, at: server)
        #expect(server.mostJoined == 21 && longest == 65_507)
        // A receiver that does not join gets each of them.
        let other = try LoopbackServer()
        try send(sent, by: sender, to: { _ in other.address }, longest: &longest)
        try expect(sent, at: other)
        #expect(other.mostJoined == 1)
    }

    /// Empty, longer, the longest, and all together longer than a datagram may be.
    @Test(arguments: [
        [0, 0, 0], [0, 10, 10, 0, 10], [10, 20, 20, 10, 10], [40, 39, 39, 40], [65_507, 65_507], [40_000, 40_000],
        [30_000, 30_000, 10_000], [1, 1, 1], [1472, 1472, 1472, 1473],
    ])
    func lengthsThatDoNotJoinArriveInOrder(lengths: [Int]) throws {
        for joins in [false, true] {
            let sender = SocketBox(try Socket.udp()), server = try LoopbackServer(joins: joins)
            var longest = sender.socket.joinDatagrams()
            try send(payloads(lengths), by: sender, to: { _ in server.address }, longest: &longest)
            try expect(payloads(lengths), at: server)
        }
    }

    @Test func anySequenceArrivesAsItWasSent() throws {
        var random = SeededGenerator(seed: 22)
        for round in 0..<Rounds.of(200) {
            let sender = SocketBox(try Socket.udp())
            let servers = try (0..<2).map { try LoopbackServer(joins: (round + $0) % 2 == 0) }
            var longest = UInt32.random(in: 0...3, using: &random) == 0 ? 0 : sender.socket.joinDatagrams()
            var length = 0, server = 0, lengths: [Int] = [], peers: [Int] = []
            for _ in 0..<40 {
                // Runs of equal lengths to one peer, with changes of either.
                if Int.random(in: 0..<5, using: &random) == 0 { length = Int.random(in: 0...1500, using: &random) }
                if Int.random(in: 0..<8, using: &random) == 0 { server = 1 - server }
                lengths.append(length)
                peers.append(server)
            }
            let sent = payloads(lengths)
            try send(sent, by: sender, to: { servers[peers[$0]].address }, longest: &longest)
            for which in 0...1 {
                try expect(sent.indices.filter { peers[$0] == which }.map { sent[$0] }, at: servers[which])
            }
        }
    }

    /// The kernel refuses what is joined of a socket without checksums (EINVAL), as it does if a datagram is longer
    /// than the path's MTU.
    @Test(.enabled(if: isSupported)) func refusedDatagramsGoOneByOne() throws {
        let sender = SocketBox(try Socket.udp()), server = try LoopbackServer(joins: true)
        sender.leaveChecksumsOut()
        var longest = sender.socket.joinDatagrams()
        let sent = payloads([Int](repeating: 100, count: 10))
        for _ in 0..<2 {
            #expect(try send(sent, by: sender, to: { _ in server.address }, longest: &longest) == 1)
            try expect(sent, at: server)
            #expect(server.mostJoined == 1 && longest == 99)
        }
        let short = payloads([50, 50])
        try send(short, by: sender, to: { _ in server.address }, longest: &longest)
        try expect(short, at: server)
        #expect(longest == 49)
    }

    /// Other errors are those of the datagrams, and concern no joining.
    @Test(.enabled(if: isSupported)) func errorOfTheDestinationLeavesJoiningOn() throws {
        let sender = SocketBox(try Socket.udp())
        var longest = sender.socket.joinDatagrams(), queue = DatagramQueue()
        let payload: [UInt8] = [1, 2]
        for _ in 0..<3 {
            queue.append(payload.rawSpan, to: SocketAddress(IPv4Address("255.255.255.255")!, port: 9))
        }
        #expect(queue.send(by: sender.socket.raw, from: 0, longestSegment: &longest) < 0)
        #expect(longest == 65_507)
    }

    // MARK: The relay

    @Test func burstOfGuestArrivesInOrder() throws {
        let harness = try DatagramHarness(), server = try LoopbackServer(joins: true)
        let sent = payloads([Int](repeating: 300, count: 70) + [10, 300, 300])
        for payload in sent { harness.ask(4000, to: server.port, payload) }
        harness.poll()
        try expect(sent, at: server)
        #expect(server.mostJoined > 1 || !Self.isSupported)
    }

    /// A router answers what is joined once. Traceroute sends with few hops left.
    @Test func fewHopsKeepDatagramsApart() throws {
        let harness = try DatagramHarness(), server = try LoopbackServer(joins: true)
        let sent = payloads([Int](repeating: 30, count: 10))
        for payload in sent { harness.ask(4000, to: server.port, payload, hops: 32) }
        harness.poll()
        try expect(sent, at: server)
        #expect(server.mostJoined == 1)
    }

    /// The address from which the server receives what the guest's port 4000 sends.
    private func guestPort(_ harness: DatagramHarness, _ server: LoopbackServer) throws -> SocketAddress {
        harness.ask(4000, to: server.port, [1])
        harness.poll()
        return try server.receive().from
    }

    @Test func joinedDatagramsAreFramesForTheGuest() throws {
        let harness = try DatagramHarness(), server = try LoopbackServer()
        let guest = try guestPort(harness, server)
        var longest = server.socket.socket.joinDatagrams()
        // The second time, the relay expects what is joined.
        for _ in 0..<2 {
            let sent = payloads([Int](repeating: 700, count: 60) + [1])
            server.socket.socket.setTrafficClass(0x48, ipv6: false)
            try send(sent, by: server.socket, to: { _ in guest }, longest: &longest)
            for payload in sent {
                let received = try harness.expectDatagram()
                #expect(received.payload == payload && received.hops == 63 && received.trafficClass == 0x48)
            }
        }
        #expect(harness.relay.drops.isEmpty)
    }

    @Test func eachRefusedDatagramIsCounted() throws {
        let harness = try DatagramHarness(), server = try LoopbackServer()
        let guest = try guestPort(harness, server)
        var longest = server.socket.socket.joinDatagrams()
        harness.refusesAnswers = true
        try send(payloads([Int](repeating: 7, count: 30)), by: server.socket, to: { _ in guest }, longest: &longest)
        try eventually("30 drops: \(harness.relay.drops)") {
            harness.poll()
            return harness.relay.drops[.refused] == 30
        }
    }

    @Test func joinedDatagramsOfClientsReachTheGuest() throws {
        let harness = try DatagramHarness(), client = try LoopbackServer(joins: true)
        var port: UInt16 = 0
        repeat {
            port = UInt16.random(in: 20_000...60_000)
        } while (try? harness.relay.publish(.ipv4(loopback), port, to: .ipv4(Fixture.guest), 7000)) == nil
        var longest = client.socket.socket.joinDatagrams()
        let sent = payloads([Int](repeating: 200, count: 25) + [0, 9])
        let address = SocketAddress(loopback, port: port)
        try send(sent, by: client.socket, to: { _ in address }, longest: &longest)
        for payload in sent {
            let received = try harness.expectDatagram()
            #expect(received.payload == payload && received.sourcePort == client.port)
        }
        for payload in sent { harness.ask(7000, to: client.port, payload) }
        harness.poll()
        for payload in sent {
            let answer = try client.receive()
            #expect(answer.payload == payload && answer.from == address)
        }
    }

    /// One error may answer several; it quotes the first of them.
    @Test(.enabled(if: isSupported)) func closedPortIsReportedWithTheFirst() throws {
        let harness = try DatagramHarness(), port = try LoopbackServer().port
        for payload in payloads([20, 20, 20, 20]) { harness.ask(4000, to: port, payload) }
        let message = try harness.expectMessage()
        let packet = try IPv4View(message.rawSpan), error = try ICMPUnreachable(parsing: packet.payload)
        #expect(error.sourcePort == 4000 && error.destinationPort == port)
        #expect(packet.payload.from(ICMPHeader.length + 28).copied() == Fixture.pattern(20))
    }
}
