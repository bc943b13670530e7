// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Timing
@testable import UserUplink
import Wire

/// Guests and servers that misbehave, and resources that run out.
@Suite struct TCPEdgeCaseTests {
    /// RFC 9293 section 3.8.6.3: every second full-sized segment is acknowledged at once, a short one as well, and a
    /// single one after a short delay.
    @Test func fullSizedSegmentsAreAcknowledgedInPairs() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let guest = try GuestPeer(harness, server, port)
        func send(_ length: Int, at now: Instant) -> [UInt32] {
            harness.fixedTime = now
            guest.send(.ack, Fixture.pattern(length))
            guest.sndNxt &+= UInt32(length)
            harness.poll()
            return harness.segments().map(\.acknowledgment)
        }
        let start = BootClock.now
        for _ in 0..<3 {
            #expect(send(1460, at: start).isEmpty)
            #expect(send(1460, at: start) == [guest.sndNxt])
        }
        #expect(send(700, at: start) == [guest.sndNxt])
        #expect(send(1460, at: start).isEmpty)
        #expect(send(700, at: start) == [guest.sndNxt])
        // Two at once.
        #expect(send(2920, at: start) == [guest.sndNxt])
        #expect(send(1460, at: start).isEmpty)
        harness.fixedTime = start + .milliseconds(2)
        harness.poll()
        #expect(harness.segments().map(\.acknowledgment) == [guest.sndNxt])
        // A gap is reported at once.
        #expect(send(1460, at: start).isEmpty)
        let missing = guest.sndNxt
        guest.sndNxt &+= 1460
        #expect(send(1460, at: start) == [missing])
    }

    @Test func exhaustedBudgetDoesNotSpin() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness(memory: 0)
        let guest = try GuestPeer(harness, server, port)
        let all = Fixture.pattern(200_000)
        var sent = 0
        while let count = try? guest.peer.socket.send(Array(all[sent...])), sent + count < all.count { sent += count }
        #expect(harness.settles(), "what there is no room for does not call again and again")
        #expect(harness.relay.memoryUsed == StreamBuffer.minimumCapacity)
        sent = 0
        try guest.run("all of it") { guest.received.count >= all.count }
        #expect(guest.received == all)
    }

    @Test func exhaustedBudgetDeliversWholeStreams() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness(memory: 0)
        let guest = try GuestPeer(harness, server, port)
        let all = Fixture.pattern(300_000)
        // The guest sends whole windows, and again
        // from the last acknowledgment on.
        var received: [UInt8] = [], start = guest.sndNxt
        let first = start
        try guest.run("all of it") {
            let done = Int(start &- first)
            for offset in stride(from: done, to: min(all.count, done + 60_000), by: 1460) {
                guest.send(.ack, Array(all[offset..<min(all.count, offset + 1460)]), at: first &+ UInt32(offset))
            }
            harness.poll()
            if let last = harness.segments().last { start = last.acknowledgment }
            while let piece = try? guest.peer.socket.receive(limit: 65_536), !piece.isEmpty { received += piece }
            guest.sndNxt = start
            return received.count == all.count
        }
        #expect(received == all && harness.relay.memoryUsed <= 2 * StreamBuffer.minimumCapacity)
    }

    @Test func dataBeyondTheWindowTakesNoMemory() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let guest = try GuestPeer(harness, server, port)
        for distance in [2 << 20, 1 << 30, 0x7fff_fff0] as [UInt32] {
            guest.send([.ack, .psh], [1], at: guest.sndNxt &+ distance)
            harness.poll()
            #expect(harness.relay.memoryUsed <= StreamBuffer.minimumCapacity, "\(distance)")
            #expect(harness.segments().map(\.acknowledgment) == [guest.sndNxt])
        }
        guest.send([.fin, .ack], at: guest.sndNxt &+ (2 << 20))
        harness.poll()
        #expect(harness.segments().map(\.acknowledgment) == [guest.sndNxt], "nor is it the end")
    }

    @Test func closedConnectionsFreeTheirMemory() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let ended = try GuestPeer(harness, server, port), gone = try GuestPeer(harness, server, port, port: 4001),
            quiet = try GuestPeer(harness, server, port, port: 4002)
        for guest in [ended, gone, quiet] {
            // Fill both buffers: data out of order, and unacknowledged data.
            guest.send([.ack, .psh], [1])
            guest.sndNxt &+= 1
            harness.poll()
            guest.send([.ack, .psh], [1], at: guest.sndNxt &+ 40_000)
            _ = try guest.peer.socket.send(Fixture.pattern(9000))
            #expect(harness.settles())
        }
        #expect(harness.relay.memoryUsed == 3 * (StreamBuffer.minimumCapacity + (64 << 10)))
        gone.send(.rst)
        harness.poll()
        #expect(harness.relay.memoryUsed == 2 * (StreamBuffer.minimumCapacity + (64 << 10)))
        ended.peer.close()
        ended.send([.ack, .psh], [1], acknowledgment: ended.rcvNxt &+ 9000)
        try eventually("the end of two") {
            harness.poll()
            return harness.relay.count == 1
        }
        quiet.send(.ack, acknowledgment: quiet.rcvNxt &+ 9000)
        harness.poll()
        harness.relay.trim()
        #expect(harness.relay.memoryUsed == 64 << 10, "what came early is kept")
        quiet.send(.rst)
        harness.poll()
        #expect(harness.relay.memoryUsed == 0 && harness.relay.count == 0)
    }

    @Test func timeWaitExpiresDespiteRetransmissions() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let guest = try GuestPeer(harness, server, port)
        try guest.close()
        _ = harness.segments()
        // The ACK of its FIN was lost.
        guest.send([.fin, .ack])
        #expect(try harness.expectSegment().acknowledgment == guest.sndNxt &+ 1)
        harness.clockOffset += .seconds(2)
        harness.poll()
        #expect(harness.relay.count == 0)
    }

    @Test func synReplacesConnectionInTimeWait() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let guest = try GuestPeer(harness, server, port)
        try guest.close()
        #expect(harness.relay.count == 1)
        _ = harness.segments()
        let again = try GuestPeer(harness, server, port)
        #expect(again.synAck.acknowledgment == 1001 && harness.relay.count == 1)
    }

    /// A guest with a half-open older connection: its ACK is answered with a reset, and the next SYN is
    /// accepted.
    @Test func halfOpenOldConnectionIsReset() throws {
        let harness = try RelayHarness()
        let port = try harness.publish(to: 80)
        let client = SocketBox(try Socket.tcp())
        try client.socket.connect(to: SocketAddress("127.0.0.1", port: port)!)
        let question = try harness.expectSegment { $0.flags == .syn }
        harness.send(
            Fixture.segment(
                80, question.sourcePort, .ack, sequence: 7_000_000, acknowledgment: question.sequence &- 5000))
        let reset = try harness.expectSegment()
        #expect(reset.flags == .rst && reset.sequence == question.sequence &- 5000)
        harness.send(
            Fixture.segment(
                80, question.sourcePort, [.rst, .ack], sequence: 0, acknowledgment: question.sequence &- 5000))
        harness.poll()
        #expect(harness.segments().isEmpty && harness.relay.count == 1, "a reset of that one is not of this one")
        harness.clockOffset += .milliseconds(1100)
        let again = try harness.expectSegment { $0.flags == .syn }
        harness.send(
            Fixture.segment(
                80, again.sourcePort, [.syn, .ack], sequence: 500, acknowledgment: again.sequence &+ 1,
                options: GuestPeer.allOptions))
        #expect(try harness.expectSegment().acknowledgment == 501)
    }

    /// Data that a server sent before it reset the connection is delivered, even if sending to it fails first.
    @Test func dataBeforeServerResetIsDelivered() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let guest = try GuestPeer(harness, server, port)
        guest.send(.ack, window: 0)
        guest.send([.ack, .psh], [1, 2, 3], window: 0)
        guest.sndNxt &+= 3
        let all = Fixture.pattern(60_000)
        #expect(try guest.peer.socket.send(all) == all.count)
        #expect(harness.settles())
        #expect(harness.relay.memoryUsed == 2 * StreamBuffer.minimumCapacity, "the rest waits in the socket")
        // Closing a socket with unread data resets the connection.
        guest.peer.close()
        #expect(harness.settles())
        guest.send([.ack, .psh], [4], window: 0)
        guest.sndNxt &+= 1
        #expect(harness.settles() && harness.relay.count == 1)
        var resets: [ReceivedSegment] = []
        _ = harness.segments()
        guest.send(.ack)
        let deadline = BootClock.now + .seconds(10)
        while resets.isEmpty && BootClock.now < deadline {
            harness.poll()
            resets += guest.receive().filter { $0.flags.contains(.rst) }
        }
        #expect(guest.received == all && !guest.isFinReceived)
        #expect(resets.map(\.sequence) == [guest.rcvNxt] && harness.relay.count == 0)
    }

    @Test func zeroWindowProbeIntervalGrows() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let guest = try GuestPeer(harness, server, port)
        guest.send(.ack, window: 0)
        _ = try guest.peer.socket.send(Fixture.pattern(3000))
        #expect(harness.settles())
        var questions = 0
        for _ in 0..<600 {
            harness.clockOffset += .milliseconds(100)
            harness.poll()
            for segment in harness.segments() {
                #expect(segment.payload.isEmpty && segment.sequence == guest.rcvNxt &- 1)
                questions += 1
                guest.send(.ack, window: 0)
            }
        }
        // In a minute, at most five seconds apart, because the window update may be lost.
        #expect((12...25).contains(questions), "\(questions)")
        guest.send(.ack)
        try guest.run("the bytes") { guest.received.count == 3000 }
        // The next zero window begins with the short interval again.
        guest.send(.ack, window: 0)
        _ = try guest.peer.socket.send(Fixture.pattern(3000))
        #expect(harness.settles())
        _ = harness.segments()
        harness.clockOffset += .milliseconds(250)
        #expect(try harness.expectSegment().sequence == guest.rcvNxt &- 1)
    }

    @Test func connectionTokensDifferFromListenerTokens() {
        for generation in [0, 1, 0x7fff_ffff, 0x8000_0000, .max] as [UInt32] {
            let token = TCPRelay.token(5, generation: generation)
            #expect(token & TCPListeners.tokenFlag == 0 && token & 0xffff_ffff == 5)
        }
        #expect(TCPRelay.token(5, generation: 1) != TCPRelay.token(5, generation: 2))
    }

    @Test func eventsOfEvictedConnectionsAreIgnored() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness { $0.flowLimit = 16 }
        var guests: [GuestPeer] = []
        for number in UInt16(0)..<16 { guests.append(try GuestPeer(harness, server, port, port: 5000 + number)) }
        // All sockets become readable, and new connections evict theirs before that is handled.
        for guest in guests { _ = try guest.peer.socket.send([UInt8(truncatingIfNeeded: guest.port)]) }
        for number in UInt16(0)..<16 { harness.send(Fixture.segment(6000 + number, port, .syn, sequence: 1)) }
        #expect(harness.settles())
        let segments = harness.segments()
        #expect(Set(segments.filter { $0.flags.contains(.rst) }.map(\.port)) == Set(5000..<5016))
        #expect(Set(segments.filter { $0.flags == [.syn, .ack] }.map(\.port)) == Set(6000..<6016))
        #expect(segments.allSatisfy { $0.payload.isEmpty } && harness.relay.count == 16)
    }

    /// Segments of one byte in random order.
    @Test func tinySegmentsMakeTheStream() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let guest = try GuestPeer(harness, server, port)
        let all = Fixture.pattern(3000), start = guest.sndNxt
        var random = SeededGenerator(seed: 8), received: [UInt8] = []
        try guest.run("all of it") {
            let base = received.count
            for offset in (base..<min(all.count, base + 200)).shuffled(using: &random) {
                guest.send(.ack, [all[offset]], at: start &+ UInt32(offset))
            }
            harness.poll()
            while let piece = try? guest.peer.socket.receive(limit: 65_536), !piece.isEmpty { received += piece }
            return received.count == all.count
        }
        #expect(received == all)
    }

    @Test func byteWiseAcknowledgmentsAreAccepted() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let guest = try GuestPeer(harness, server, port)
        let all = Fixture.pattern(40_000)
        #expect(try guest.peer.socket.send(all) == all.count)
        guest.peer.socket.finishSending()
        var confirmed = guest.rcvNxt
        while !guest.isFinReceived {
            harness.poll()
            guest.receive(acknowledges: false)
            guard confirmed != guest.rcvNxt else { break }
            while confirmed != guest.rcvNxt {
                confirmed &+= 1
                guest.send(.ack, acknowledgment: confirmed)
                if confirmed & 63 == 0 {
                    harness.poll()
                    guest.receive(acknowledges: false)
                }
            }
        }
        #expect(guest.received == all && guest.isFinReceived && harness.relay.retransmissions == 0)
    }
}
