// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
@testable import UserUplink
import Uplinks
import Wire

/// Guests and servers that do what nobody hopes for.
@Suite struct TCPTroubleTests {
    private func bytes(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) } }

    /// Turns until nothing happens any more. Returns false if it goes on and on.
    private func settles(_ scene: RelayScene) -> Bool {
        for _ in 0..<2000 {
            scene.turn()
            if !scene.hasEvents { return true }
        }
        return false
    }

    /// RFC 9293 section 3.8.6.3: every second segment of full length at once; what is shorter may be all that a guest
    /// has, and one alone is not left for long.
    @Test func segmentsOfFullLengthAreConfirmedInPairs() throws {
        let (server, port) = try RelayScene.server()
        let scene = try RelayScene()
        let guest = try GuestEnd(scene, server, port)
        func send(_ length: Int, at now: UInt64) -> [UInt32] {
            scene.stoppedAt = now
            guest.send(.ack, bytes(length))
            guest.next &+= UInt32(length)
            scene.turn()
            return scene.heard().map(\.acknowledgment)
        }
        let start = MonotonicClock.now
        for _ in 0..<3 {
            #expect(send(1460, at: start).isEmpty)
            #expect(send(1460, at: start) == [guest.next])
        }
        #expect(send(700, at: start) == [guest.next])
        #expect(send(1460, at: start).isEmpty)
        #expect(send(700, at: start) == [guest.next])
        // Two at once.
        #expect(send(2920, at: start) == [guest.next])
        #expect(send(1460, at: start).isEmpty)
        scene.stoppedAt = start + 2 * MonotonicClock.millisecond
        scene.turn()
        #expect(scene.heard().map(\.acknowledgment) == [guest.next])
        // What is missing is told of at once.
        #expect(send(1460, at: start).isEmpty)
        let missing = guest.next
        guest.next &+= 1460
        #expect(send(1460, at: start) == [missing])
    }

    @Test func whereMemoryIsShortNobodyIsAskedInVain() throws {
        let (server, port) = try RelayScene.server()
        let scene = try RelayScene(memory: 0)
        let guest = try GuestEnd(scene, server, port)
        let all = bytes(200_000)
        var sent = 0
        while let count = try? guest.peer.socket.send(Array(all[sent...])), sent + count < all.count { sent += count }
        #expect(settles(scene), "what there is no room for does not call again and again")
        #expect(scene.relay.memoryUsed == StreamBuffer.smallest)
        sent = 0
        try guest.run("all of it") { guest.received.count >= all.count }
        #expect(guest.received == all)
    }

    @Test func whereMemoryIsShortStreamsAreSlowAndWhole() throws {
        let (server, port) = try RelayScene.server()
        let scene = try RelayScene(memory: 0)
        let guest = try GuestEnd(scene, server, port)
        let all = bytes(300_000)
        // As a guest that believes what it was told of room: until it hears otherwise, everything at once, and again
        // from where it was heard.
        var heard: [UInt8] = [], start = guest.next
        let first = start
        try guest.run("all of it") {
            let done = Int(start &- first)
            for offset in stride(from: done, to: min(all.count, done + 60_000), by: 1460) {
                guest.send(.ack, Array(all[offset..<min(all.count, offset + 1460)]), at: first &+ UInt32(offset))
            }
            scene.turn()
            if let last = scene.heard().last { start = last.acknowledgment }
            while let piece = try? guest.peer.socket.receive(limit: 65_536), !piece.isEmpty { heard += piece }
            guest.next = start
            return heard.count == all.count
        }
        #expect(heard == all && scene.relay.memoryUsed <= 2 * StreamBuffer.smallest)
    }

    @Test func whatIsFarAwayTakesNoMemory() throws {
        let (server, port) = try RelayScene.server()
        let scene = try RelayScene()
        let guest = try GuestEnd(scene, server, port)
        for distance in [2 << 20, 1 << 30, 0x7fff_fff0] as [UInt32] {
            guest.send([.ack, .psh], [1], at: guest.next &+ distance)
            scene.turn()
            #expect(scene.relay.memoryUsed <= StreamBuffer.smallest, "\(distance)")
            #expect(scene.heard().map(\.acknowledgment) == [guest.next])
        }
        guest.send([.fin, .ack], at: guest.next &+ (2 << 20))
        scene.turn()
        #expect(scene.heard().map(\.acknowledgment) == [guest.next], "nor is it the end")
    }

    @Test func memoryIsGivenBack() throws {
        let (server, port) = try RelayScene.server()
        let scene = try RelayScene()
        let ended = try GuestEnd(scene, server, port), gone = try GuestEnd(scene, server, port, port: 4001),
            quiet = try GuestEnd(scene, server, port, port: 4002)
        for guest in [ended, gone, quiet] {
            // Both ways: what comes early, and what is not confirmed.
            guest.send([.ack, .psh], [1])
            guest.next &+= 1
            scene.turn()
            guest.send([.ack, .psh], [1], at: guest.next &+ 300_000)
            _ = try guest.peer.socket.send(bytes(9000))
            #expect(settles(scene))
        }
        #expect(scene.relay.memoryUsed == 3 * (StreamBuffer.smallest + StreamBuffer.largest))
        gone.send(.rst)
        scene.turn()
        #expect(scene.relay.memoryUsed == 2 * (StreamBuffer.smallest + StreamBuffer.largest))
        ended.peer.close()
        ended.send([.ack, .psh], [1], acknowledgment: ended.got &+ 9000)
        try eventually("the end of two") {
            scene.turn()
            return scene.relay.count == 1
        }
        quiet.send(.ack, acknowledgment: quiet.got &+ 9000)
        scene.turn()
        scene.relay.tick()
        #expect(scene.relay.memoryUsed == StreamBuffer.largest, "what came early is kept")
        quiet.send(.rst)
        scene.turn()
        #expect(scene.relay.memoryUsed == 0 && scene.relay.count == 0)
    }

    @Test func aConnectionThatIsOverIsForgottenThoughTheGuestGoesOn() throws {
        let (server, port) = try RelayScene.server()
        let scene = try RelayScene()
        let guest = try GuestEnd(scene, server, port)
        try guest.end()
        _ = scene.heard()
        // The confirmation of its end was lost.
        guest.send([.fin, .ack])
        #expect(try scene.await().acknowledgment == guest.next &+ 1)
        scene.offset += 2 * MonotonicClock.second
        scene.turn()
        #expect(scene.relay.count == 0)
    }

    @Test func aPortMayBeUsedAgainAtOnce() throws {
        let (server, port) = try RelayScene.server()
        let scene = try RelayScene()
        let guest = try GuestEnd(scene, server, port)
        try guest.end()
        #expect(scene.relay.count == 1)
        _ = scene.heard()
        let again = try GuestEnd(scene, server, port)
        #expect(again.answer.acknowledgment == 1001 && scene.relay.count == 1)
    }

    /// A guest that still has a connection of which nothing is known here: its confirmation is answered by a reset, and
    /// then it can be asked.
    @Test func aGuestThatBelievesInAnOldConnectionIsToldOtherwise() throws {
        let scene = try RelayScene()
        let port = try RelayScene.publish(scene, to: 80)
        let client = Listening(try UnixSocket.internetStream())
        try client.socket.connect(to: SocketAddress("127.0.0.1", port: port)!)
        let question = try scene.await { $0.flags == .syn }
        scene.give(
            RelayScene.segment(
                80, question.sourcePort, .ack, sequence: 7_000_000, acknowledgment: question.sequence &- 5000))
        let reset = try scene.await()
        #expect(reset.flags == .rst && reset.sequence == question.sequence &- 5000)
        scene.give(
            RelayScene.segment(
                80, question.sourcePort, [.rst, .ack], sequence: 0, acknowledgment: question.sequence &- 5000))
        scene.turn()
        #expect(scene.heard().isEmpty && scene.relay.count == 1, "a reset of that one is not of this one")
        scene.offset += 1100 * MonotonicClock.millisecond
        let again = try scene.await { $0.flags == .syn }
        scene.give(
            RelayScene.segment(
                80, again.sourcePort, [.syn, .ack], sequence: 500, acknowledgment: again.sequence &+ 1,
                options: GuestEnd.allOptions))
        #expect(try scene.await().acknowledgment == 501)
    }

    /// What a server said before it went away is not lost, though the guest's own words find that it has gone.
    @Test func whatWasSaidBeforeAResetIsHeardWhole() throws {
        let (server, port) = try RelayScene.server()
        let scene = try RelayScene()
        let guest = try GuestEnd(scene, server, port)
        guest.send(.ack, window: 0)
        guest.send([.ack, .psh], [1, 2, 3], window: 0)
        guest.next &+= 3
        let all = bytes(60_000)
        #expect(try guest.peer.socket.send(all) == all.count)
        #expect(settles(scene))
        #expect(scene.relay.memoryUsed == 2 * StreamBuffer.smallest, "the rest waits in the socket")
        // It has not read all: closing it is a reset.
        guest.peer.close()
        #expect(settles(scene))
        guest.send([.ack, .psh], [4], window: 0)
        guest.next &+= 1
        #expect(settles(scene) && scene.relay.count == 1)
        var resets: [HeardSegment] = []
        _ = scene.heard()
        guest.send(.ack)
        let deadline = MonotonicClock.now + 10 * MonotonicClock.second
        while resets.isEmpty && MonotonicClock.now < deadline {
            scene.turn()
            resets += guest.listen().filter { $0.flags.contains(.rst) }
        }
        #expect(guest.received == all && !guest.isOver)
        #expect(resets.map(\.sequence) == [guest.got] && scene.relay.count == 0)
    }

    @Test func aGuestWithoutRoomIsAskedLessAndLess() throws {
        let (server, port) = try RelayScene.server()
        let scene = try RelayScene()
        let guest = try GuestEnd(scene, server, port)
        guest.send(.ack, window: 0)
        _ = try guest.peer.socket.send(bytes(3000))
        #expect(settles(scene))
        var questions = 0
        for _ in 0..<600 {
            scene.offset += 100 * MonotonicClock.millisecond
            scene.turn()
            for segment in scene.heard() {
                #expect(segment.payload.isEmpty && segment.sequence == guest.got &- 1)
                questions += 1
                guest.send(.ack, window: 0)
            }
        }
        // In a minute; they stay at most five seconds apart, for what opens the window may be lost.
        #expect((12...25).contains(questions), "\(questions)")
        guest.send(.ack)
        try guest.run("the bytes") { guest.received.count == 3000 }
        // From the beginning the next time.
        guest.send(.ack, window: 0)
        _ = try guest.peer.socket.send(bytes(3000))
        #expect(settles(scene))
        _ = scene.heard()
        scene.offset += 250 * MonotonicClock.millisecond
        #expect(try scene.await().sequence == guest.got &- 1)
    }

    @Test func tokensOfConnectionsAreNeverThoseOfListeners() {
        for generation in [0, 1, 0x7fff_ffff, 0x8000_0000, .max] as [UInt32] {
            let token = TCPRelay.token(5, generation: generation)
            #expect(token & TCPRelay.listenerToken == 0 && token & 0xffff_ffff == 5)
        }
        #expect(TCPRelay.token(5, generation: 1) != TCPRelay.token(5, generation: 2))
    }

    @Test func aDroppedConnectionsEventsAreNobodys() throws {
        let (server, port) = try RelayScene.server()
        let scene = try RelayScene { $0.flowLimit = 16 }
        var guests: [GuestEnd] = []
        for number in UInt16(0)..<16 { guests.append(try GuestEnd(scene, server, port, port: 5000 + number)) }
        // Every server speaks; before that is looked at, new connections take all places.
        for guest in guests { _ = try guest.peer.socket.send([UInt8(truncatingIfNeeded: guest.port)]) }
        for number in UInt16(0)..<16 { scene.give(RelayScene.segment(6000 + number, port, .syn, sequence: 1)) }
        #expect(settles(scene))
        let heard = scene.heard()
        #expect(Set(heard.filter { $0.flags.contains(.rst) }.map(\.port)) == Set(5000..<5016))
        #expect(Set(heard.filter { $0.flags == [.syn, .ack] }.map(\.port)) == Set(6000..<6016))
        #expect(heard.allSatisfy { $0.payload.isEmpty } && scene.relay.count == 16)
    }

    /// However small and many the pieces are, and in whatever order.
    @Test func tinySegmentsMakeTheStream() throws {
        let (server, port) = try RelayScene.server()
        let scene = try RelayScene()
        let guest = try GuestEnd(scene, server, port)
        let all = bytes(3000), start = guest.next
        var random = SeededGenerator(seed: 8), heard: [UInt8] = []
        try guest.run("all of it") {
            let base = heard.count
            for offset in (base..<min(all.count, base + 200)).shuffled(using: &random) {
                guest.send(.ack, [all[offset]], at: start &+ UInt32(offset))
            }
            scene.turn()
            while let piece = try? guest.peer.socket.receive(limit: 65_536), !piece.isEmpty { heard += piece }
            return heard.count == all.count
        }
        #expect(heard == all)
    }

    @Test func aGuestThatConfirmsByteByByteGetsItAll() throws {
        let (server, port) = try RelayScene.server()
        let scene = try RelayScene()
        let guest = try GuestEnd(scene, server, port)
        let all = bytes(40_000)
        #expect(try guest.peer.socket.send(all) == all.count)
        guest.peer.socket.finishSending()
        var confirmed = guest.got
        while !guest.isOver {
            scene.turn()
            guest.listen(confirms: false)
            guard confirmed != guest.got else { break }
            while confirmed != guest.got {
                confirmed &+= 1
                guest.send(.ack, acknowledgment: confirmed)
                if confirmed & 63 == 0 {
                    scene.turn()
                    guest.listen(confirms: false)
                }
            }
        }
        #expect(guest.received == all && guest.isOver && scene.relay.repeated == 0)
    }
}
