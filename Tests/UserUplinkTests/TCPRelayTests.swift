// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import TestSupport
import Testing
import Timing
@testable import UserUplink
import Wire

@Suite struct TCPRelayTests {

    /// Receives until nothing more is there, or `count` bytes in all are.
    private func read(_ count: Int, from peer: SocketBox, into all: inout [UInt8]) throws {
        while all.count < count, let piece = try? peer.socket.receive(limit: 65_536), !piece.isEmpty { all += piece }
    }

    @Test func onlyOfferedOptionsAreNegotiated() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let full = try GuestPeer(harness, server, port)
        #expect(
            full.synAck.source == Fixture.network.gateway && full.synAck.sourcePort == port
                && full.synAck.acknowledgment == 1001)
        #expect(
            full.synAck.options.maximumSegment == 1460 && full.synAck.options.windowScale == 7
                && full.synAck.options.permitsSelective)
        let plain = try GuestPeer(harness, server, port, port: 4001, options: [])
        #expect(
            plain.synAck.options.maximumSegment == 1460 && plain.synAck.options.windowScale == nil
                && !plain.synAck.options.permitsSelective)
        #expect(harness.relay.count == 2)
    }

    @Test func refusedAndUnknownConnectionsAreReset() throws {
        let (listening, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let silent = try RelayHarness.server().port
        harness.send(Fixture.segment(4000, silent, .syn, sequence: 77))
        let refusal = try harness.expectSegment()
        #expect(refusal.flags == [.rst, .ack] && refusal.sequence == 0 && refusal.acknowledgment == 78)
        #expect(harness.relay.count == 0)
        // A segment without a connection (RFC 9293 section 3.10.7.1).
        harness.send(Fixture.segment(4000, port, [.ack, .psh], sequence: 5, acknowledgment: 900, payload: [1, 2]))
        let stray = try harness.expectSegment()
        #expect(stray.flags == .rst && stray.sequence == 900)
        harness.send(Fixture.segment(4000, port, .fin, sequence: 5, payload: [1, 2]))
        let without = try harness.expectSegment()
        #expect(without.flags == [.rst, .ack] && without.acknowledgment == 8)
        harness.send(Fixture.segment(4000, port, [.rst, .ack], sequence: 5, acknowledgment: 900))
        harness.poll()
        #expect(harness.segments().isEmpty && harness.relay.count == 0)
        _ = listening
    }

    /// A router does not notice that a remote host does not answer.
    @Test func connectTimeoutEndsInSilence() throws {
        // A server with a full accept queue does not answer further SYNs.
        let (server, port) = try RelayHarness.server()
        try server.socket.listen(backlog: 0)
        let waiting = try (0..<4).map { _ in
            let client = SocketBox(try Socket.tcp())
            try client.socket.connect(to: SocketAddress("127.0.0.1", port: port)!)
            return client
        }
        let harness = try RelayHarness()
        harness.send(Fixture.segment(4000, port, .syn, sequence: 77))
        harness.poll()
        #expect(harness.segments().isEmpty && harness.relay.count == 1)
        harness.clockOffset = .seconds(80)
        harness.poll()
        #expect(harness.relay.count == 0 && harness.gateway.toGuests.isEmpty && harness.segments().isEmpty)
        _ = waiting
    }

    @Test func bothStreamsAndHalfClosesWork() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let guest = try GuestPeer(harness, server, port)
        let up = Fixture.pattern(300_000), down = Fixture.pattern(500_001)
        var received: [UInt8] = [], sent = 0, given = 0
        try guest.run("both streams") {
            if given < up.count && harness.relay.count > 0 && given - received.count < 100_000 {
                let part = Array(up[given..<min(up.count, given + 1460)])
                guest.send([.ack, .psh], part)
                guest.sndNxt &+= UInt32(part.count)
                given += part.count
            }
            if sent < down.count { sent += (try? guest.peer.socket.send(Array(down[sent...]))) ?? 0 }
            try read(up.count, from: guest.peer, into: &received)
            return received.count == up.count && guest.received.count == down.count
        }
        #expect(received == up && guest.received == down)
        // The guest sends FIN; the server goes on.
        guest.send([.fin, .ack])
        guest.sndNxt &+= 1
        harness.poll()
        try guest.run("the end at the server") { (try? guest.peer.socket.receive(limit: 10))?.isEmpty == true }
        _ = try guest.peer.socket.send([9, 9])
        try guest.run("what comes afterwards") { guest.received.count == down.count + 2 }
        guest.peer.socket.finishSending()
        try guest.run("the other end") { guest.isFinReceived }
        harness.poll()
        harness.clockOffset = .seconds(2)
        harness.poll()
        #expect(harness.relay.count == 0, "it is forgotten")
    }

    @Test func serverFinFollowsItsData() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let guest = try GuestPeer(harness, server, port)
        _ = try guest.peer.socket.send(Fixture.pattern(5000))
        guest.peer.socket.finishSending()
        try guest.run("the end") { guest.isFinReceived }
        #expect(guest.received == Fixture.pattern(5000))
        guest.send([.ack, .psh], [1, 2, 3])
        guest.sndNxt &+= 3
        guest.send([.fin, .ack])
        var received: [UInt8] = []
        try guest.run("the rest") {
            try read(3, from: guest.peer, into: &received)
            return received.count == 3
        }
        // FIN and its ACK may be repeated.
        _ = harness.segments()
        guest.send([.fin, .ack])
        #expect(try harness.expectSegment { $0.flags.contains(.ack) }.acknowledgment == guest.sndNxt &+ 1)
    }

    @Test func resetsPassInBothDirections() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let guest = try GuestPeer(harness, server, port)
        guest.send(.rst, at: guest.sndNxt &- 5000)
        harness.poll()
        #expect(harness.relay.count == 1, "an old one does not count")
        guest.send(.rst)
        harness.poll()
        #expect(harness.relay.count == 0)
        #expect(throws: SystemError.self) { try guest.peer.socket.receive(limit: 1) }
        // The other direction, after data.
        let other = try GuestPeer(harness, server, port, port: 4001)
        _ = try other.peer.socket.send([1, 2, 3])
        try other.run("the bytes") { other.received.count == 3 }
        other.peer.socket.resetWhenClosed()
        other.peer.close()
        #expect(try harness.expectSegment { $0.flags.contains(.rst) }.sequence == other.rcvNxt)
        harness.poll()
        #expect(harness.relay.count == 0)
    }

    @Test func zeroWindowIsProbedUntilItOpens() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let guest = try GuestPeer(harness, server, port)
        guest.send(.ack, window: 0)
        harness.poll()
        _ = try guest.peer.socket.send(Fixture.pattern(3000))
        for _ in 0..<20 { harness.poll() }
        #expect(harness.segments().allSatisfy { $0.payload.isEmpty })
        harness.clockOffset += .milliseconds(250)
        let probe = try harness.expectSegment("a question")
        #expect(probe.payload.isEmpty && probe.sequence == guest.rcvNxt &- 1)
        guest.send(.ack, window: 0)
        harness.clockOffset += .milliseconds(250)
        _ = try harness.expectSegment("another")
        guest.send(.ack)
        try guest.run("the bytes") { guest.received.count == 3000 }
    }

    @Test func unacknowledgedDataIsRetransmittedUntilReset() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let guest = try GuestPeer(harness, server, port)
        _ = try guest.peer.socket.send([1, 2, 3])
        #expect(try harness.expectSegment { !$0.payload.isEmpty }.payload == [1, 2, 3])
        harness.poll()
        #expect(harness.segments().isEmpty)
        harness.clockOffset += .milliseconds(300)
        #expect(try harness.expectSegment().payload == [1, 2, 3])
        #expect(harness.relay.retransmissions == 1)
        for _ in 0..<40 where harness.relay.count > 0 {
            harness.clockOffset += .seconds(70)
            harness.poll()
        }
        #expect(harness.relay.count == 0)
        #expect(harness.segments().last?.flags.contains(.rst) == true)
        #expect(throws: SystemError.self) { try guest.peer.socket.receive(limit: 1) }
    }

    /// Obsolete entries of a long-lived connection leave the heap.
    @Test func deadlinesDoNotAccumulate() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let guest = try GuestPeer(harness, server, port)
        for round in 1...300 {
            _ = try guest.peer.socket.send([1])
            try guest.run("a byte") { guest.received.count == round }
            harness.clockOffset += .seconds(1)
            harness.poll()
        }
        #expect(harness.relay.deadlines.count < 50, "\(harness.relay.deadlines.count)")
        // The connection is still there, and gets a keep-alive probe after the idle time.
        harness.clockOffset += .seconds(700)
        #expect(try harness.expectSegment("a question").sequence == guest.rcvNxt &- 1)
    }

    @Test func reorderingIsRepairedAndDuplicatesAreAcknowledged() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let guest = try GuestPeer(harness, server, port)
        let all = Fixture.pattern(4000), start = guest.sndNxt
        func send(_ range: Range<Int>) {
            guest.send([.ack, .psh], Array(all[range]), at: start &+ UInt32(range.lowerBound))
        }
        send(1000..<2000)
        send(3000..<4000)
        let first = try harness.expectSegment()
        #expect(
            first.acknowledgment == start
                && first.sackBlocks == [start &+ 3000, start &+ 4000, start &+ 1000, start &+ 2000])
        send(500..<1500)
        send(0..<1000)
        #expect(try harness.expectSegment().acknowledgment == start &+ 2000)
        send(0..<1000)
        #expect(try harness.expectSegment().acknowledgment == start &+ 2000, "an old one is confirmed once more")
        // And reported as received twice (RFC 2883), before the block that is out of order.
        send(3500..<3600)
        #expect(
            try harness.expectSegment().sackBlocks == [start &+ 3500, start &+ 3600, start &+ 3000, start &+ 4000])
        send(1900..<3100)
        let last = try harness.expectSegment()
        #expect(last.acknowledgment == start &+ 4000 && last.sackBlocks == [start &+ 1900, start &+ 2000])
        var received: [UInt8] = []
        try guest.run("the bytes") {
            try read(4000, from: guest.peer, into: &received)
            return received.count == 4000
        }
        #expect(received == all)
        // Data beyond the window, a SYN in between, an ACK beyond SND.NXT.
        guest.sndNxt = start &+ 4000
        for (flags, sequence, acknowledgment, taken) in [
            ([.ack], start &+ 9_000_000, guest.rcvNxt, 0), (.syn, guest.sndNxt, guest.rcvNxt, 0),
            ([.ack], guest.sndNxt, guest.rcvNxt &+ 5000, 0),
        ]
            as [(TCPFlags, UInt32, UInt32, UInt32)]
        {
            guest.send(flags, flags == .syn ? [] : [7], at: sequence, acknowledgment: acknowledgment)
            let answer = try harness.expectSegment()
            #expect(
                answer.flags == .ack && answer.sequence == guest.rcvNxt
                    && answer.acknowledgment == start &+ 4000 &+ taken)
        }
        #expect(harness.relay.count == 1)
    }

    @Test func unreadServerClosesTheWindow() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let guest = try GuestPeer(harness, server, port)
        let piece = Fixture.pattern(1460)
        var window = 0, sent = 0, edge = guest.sndNxt &+ 0xffff
        for _ in 0..<20_000 {
            guest.send(.ack, piece)
            guest.sndNxt &+= UInt32(piece.count)
            sent += piece.count
            harness.poll()
            if let last = harness.segments().last { edge = last.acknowledgment &+ UInt32(last.window) << 7 }
            window = edge.distance(after: guest.sndNxt)
            if window < piece.count { break }
        }
        #expect(window < piece.count)
        // Nothing accepted is lost, and the guest gets a window update.
        var received = 0, isWindowReported = false
        try guest.run("the rest") {
            while let part = try? guest.peer.socket.receive(limit: 1 << 20), !part.isEmpty { received += part.count }
            harness.poll()
            if harness.segments().contains(where: { Int($0.window) << 7 > 500_000 }) { isWindowReported = true }
            return isWindowReported
        }
        try guest.run("all of it") {
            while let part = try? guest.peer.socket.receive(limit: 1 << 20), !part.isEmpty { received += part.count }
            return received == sent
        }
    }

    /// An ICMP error has ended the connection, and the system has lost its errno.
    @Test func socketWithoutErrorAndPeerIsNotConnected() throws {
        let harness = try RelayHarness()
        let socket = try Socket.tcp()
        let ready = socket.wait(for: .writable, until: .distantPast)
        #expect(ready == [.writable, .hangup] && socket.pendingError == 0)
        let frame = Fixture.segment(7, 80, .syn, sequence: 1)
        let verdict = harness.gateway.fromGuest(frame.rawSpan, now: harness.now, hasConnection: { _, _, _ in false })
        guard case .tcp(let segment) = verdict else {
            Issue.record("the gateway refuses the SYN")
            return
        }
        let view = try TCPView(frame.rawSpan.extracting(segment.range))
        let connection = TCPConnection(
            harness.relay.endpoints(of: segment), of: .address(segment.key.guest), connecting: socket, syn: view,
            harness.relay.context)
        #expect(connection.socketReady(ready, &harness.relay.context) == Errno.timedOut)
        #expect(harness.segments().isEmpty, "the guest gets no SYN-ACK")
    }

    @Test func largestOwnerLosesItsOldestConnection() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness { $0.flowLimit = 32 }
        let old = try GuestPeer(harness, server, port)
        // Another guest with one connection.
        let mac = Fixture.otherMAC, address = Fixture.other
        harness.send(Fixture.segment(9, port, .syn, sequence: 1, from: address, mac: mac))
        _ = try harness.expectSegment { $0.port == 9 }
        var resets: [UInt16] = []
        for number in UInt16(0)..<40 {
            harness.send(Fixture.segment(5000 + number, port, .syn, sequence: 1))
            harness.poll()
            resets += harness.segments().filter { $0.flags.contains(.rst) }.map(\.port)
        }
        #expect(harness.relay.count == 24 && resets.first == old.port && !resets.contains(9))
        #expect(Set(resets) == Set([old.port] + (5000..<5017)))
        try eventually("the server hears of it") {
            (try? old.peer.socket.receive(limit: 1)) == nil && old.peer.socket.pendingError == 0
        }
        #expect(throws: SystemError.self) { try old.peer.socket.send([1]) }
    }

    @Test func publishedPortSendsSYNToGuest() throws {
        let harness = try RelayHarness()
        let port = UInt16.random(in: 20_000...60_000)
        try harness.relay.publish(.ipv4(.any), port, to: .ipv4(Fixture.guest), 80)
        func come() throws -> SocketBox {
            let client = SocketBox(try Socket.tcp())
            try client.socket.connect(to: SocketAddress("127.0.0.1", port: port)!)
            return client
        }
        let client = try come()
        let question = try harness.expectSegment("the question")
        #expect(
            question.flags == .syn && question.source == Fixture.network.gateway && question.port == 80
                && question.options.windowScale == 7)
        harness.sendARPReply()
        // It is retransmitted.
        harness.clockOffset += .milliseconds(1100)
        #expect(try harness.expectSegment("it again").sequence == question.sequence)
        harness.send(
            Fixture.segment(
                80, question.sourcePort, [.syn, .ack], sequence: 500, acknowledgment: question.sequence &+ 1,
                options: GuestPeer.allOptions))
        #expect(try harness.expectSegment().acknowledgment == 501)
        harness.send(
            Fixture.segment(
                80, question.sourcePort, [.ack, .psh], sequence: 501, acknowledgment: question.sequence &+ 1,
                payload: [4, 5, 6]))
        harness.poll()
        #expect(!client.socket.wait(for: .readable, until: BootClock.now + .seconds(5)).isEmpty)
        #expect(try client.socket.receive(limit: 10) == [4, 5, 6])
        // A guest that refuses.
        let other = try come()
        let second = try harness.expectSegment { $0.flags == .syn }
        harness.send(
            Fixture.segment(80, second.sourcePort, [.rst, .ack], sequence: 0, acknowledgment: second.sequence &+ 1))
        harness.poll()
        #expect(!other.socket.wait(for: .hangup, until: BootClock.now + .seconds(5)).isEmpty)
        #expect(throws: SystemError.self) { try other.socket.receive(limit: 10) }
        #expect(harness.relay.count == 1)
        #expect(throws: SystemError.self) { try harness.relay.publish(.ipv4(.any), port, to: .ipv4(Fixture.guest), 81) }
    }

    @Test func unknownGuestIsResolvedByARP() throws {
        let harness = try RelayHarness()
        let port = UInt16.random(in: 20_000...60_000)
        try harness.relay.publish(.ipv4(.any), port, to: .ipv4(Fixture.other), 80)
        let client = SocketBox(try Socket.tcp())
        try client.socket.connect(to: SocketAddress("127.0.0.1", port: port)!)
        try eventually("a question for the address") {
            harness.poll()
            return harness.gateway.toGuests.contains { $0[12] == 8 && $0[13] == 6 }
        }
        #expect(harness.segments().isEmpty)
        harness.gateway.lease(Fixture.other, to: Fixture.otherMAC, until: .distantFuture, now: .distantPast)
        harness.clockOffset += .seconds(2)
        #expect(try harness.expectSegment().flags == .syn)
        for _ in 0..<10 {
            harness.clockOffset += .seconds(70)
            harness.poll()
        }
        #expect(harness.relay.count == 0)
        #expect(throws: SystemError.self) { try client.socket.receive(limit: 1) }
    }

    @Test func fuzzedSegmentsLeaveOtherConnectionsWorking() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let neighbour = try GuestPeer(harness, server, port), victim = try GuestPeer(harness, server, port, port: 4001)
        let good = Fixture.segment(
            4001, port, [.ack, .psh], sequence: victim.sndNxt, acknowledgment: victim.rcvNxt,
            options: [1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 9], payload: Fixture.pattern(200))
        var turns = 0
        for seed in UInt64(1)...4 {
            fuzz(Array(good[34...]), rounds: 4000, seed: seed) { bytes in
                var bytes = bytes
                guard bytes.count >= 20 else { return }
                // Mostly for its own connection, and with a valid checksum.
                if bytes[0] & 3 != 0 { bytes.replaceSubrange(0..<4, with: good[34..<38]) }
                if Array(bytes[0..<2]) == Array(neighbour.port.bytes) { return }
                bytes.replaceSubrange(16..<18, with: [0, 0])
                var sum = InternetChecksum.pseudoHeader(
                    source: Fixture.guest, destination: Fixture.network.gateway, protocolNumber: IPProtocol.tcp,
                    length: bytes.count)
                sum.add(bytes.rawSpan)
                bytes.replaceSubrange(16..<18, with: sum.finished.bytes)
                harness.send(Fixture.ipv4(IPProtocol.tcp, to: Fixture.network.gateway, bytes))
                turns += 1
                if turns % 16 == 0 {
                    harness.poll()
                    _ = harness.segments()
                    harness.clockOffset += .milliseconds(30)
                }
            }
        }
        neighbour.send([.ack, .psh], [1, 2, 3])
        neighbour.sndNxt &+= 3
        var received: [UInt8] = []
        try neighbour.run("the neighbour's bytes") {
            try read(3, from: neighbour.peer, into: &received)
            return received.count == 3
        }
        _ = try neighbour.peer.socket.send([4, 5])
        try neighbour.run("the answer") { neighbour.received == [4, 5] }
    }
}

extension UInt16 {
    fileprivate var bytes: [UInt8] { [UInt8(self >> 8), UInt8(truncatingIfNeeded: self)] }
}
