// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import TestSupport
import Testing
@testable import UserUplink
import Uplinks
import Wire

@Suite struct TCPRelayTests {
    private func bytes(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) } }

    /// Reads from a socket as long as something comes, until so much is there.
    private func read(_ count: Int, from peer: Listening, into all: inout [UInt8]) throws {
        while all.count < count, let piece = try? peer.socket.receive(limit: 65_536), !piece.isEmpty { all += piece }
    }

    @Test func onlyWhatTheGuestOffersIsAgreed() throws {
        let (server, port) = try RelayScene.server()
        let scene = try RelayScene()
        let full = try GuestEnd(scene, server, port)
        #expect(
            full.answer.source == Scene.network.gateway && full.answer.sourcePort == port
                && full.answer.acknowledgment == 1001)
        #expect(
            full.answer.options.maximumSegment == 1460 && full.answer.options.windowScale == 7
                && full.answer.options.permitsSelective)
        let plain = try GuestEnd(scene, server, port, port: 4001, options: [])
        #expect(
            plain.answer.options.maximumSegment == 1460 && plain.answer.options.windowScale == nil
                && !plain.answer.options.permitsSelective)
        #expect(scene.relay.count == 2)
    }

    @Test func whoIsRefusedOrStrangeIsReset() throws {
        let (listening, port) = try RelayScene.server()
        let scene = try RelayScene()
        let silent = try RelayScene.server().port
        scene.give(RelayScene.segment(4000, silent, .syn, sequence: 77))
        let refusal = try scene.await()
        #expect(refusal.flags == [.rst, .ack] && refusal.sequence == 0 && refusal.acknowledgment == 78)
        #expect(scene.relay.count == 0)
        // What belongs to no connection (RFC 9293 section 3.10.7.1).
        scene.give(RelayScene.segment(4000, port, [.ack, .psh], sequence: 5, acknowledgment: 900, payload: [1, 2]))
        let stray = try scene.await()
        #expect(stray.flags == .rst && stray.sequence == 900)
        scene.give(RelayScene.segment(4000, port, .fin, sequence: 5, payload: [1, 2]))
        let without = try scene.await()
        #expect(without.flags == [.rst, .ack] && without.acknowledgment == 8)
        scene.give(RelayScene.segment(4000, port, [.rst, .ack], sequence: 5, acknowledgment: 900))
        scene.turn()
        #expect(scene.heard().isEmpty && scene.relay.count == 0)
        _ = listening
    }

    @Test func whereNobodyAnswersTheGuestIsTold() throws {
        // A server with a full queue of those who wait answers nobody else.
        let (server, port) = try RelayScene.server()
        try server.socket.listen(backlog: 0)
        let waiting = try (0..<4).map { _ in
            let client = Listening(try UnixSocket.internetStream())
            try client.socket.connect(to: SocketAddress("127.0.0.1", port: port)!)
            return client
        }
        let scene = try RelayScene()
        scene.give(RelayScene.segment(4000, port, .syn, sequence: 77))
        scene.turn()
        #expect(scene.heard().isEmpty && scene.relay.count == 1)
        scene.offset = 80 * MonotonicClock.second
        scene.turn()
        let message = try #require(scene.gateway.toGuests.first)
        // Host unreachable, about the guest's own packet.
        #expect(message[23] == IPProtocol.icmp && message[34] == 3 && message[35] == 1)
        #expect(
            Array(message[42 + 12..<42 + 20]) == Scene.guest.bytes + Scene.network.gateway.bytes
                && message.rawSpan.big32(at: 42 + 24) == 77)
        #expect(scene.relay.count == 0)
        _ = waiting
    }

    @Test func bytesGoBothWaysAndEndsOneByOne() throws {
        let (server, port) = try RelayScene.server()
        let scene = try RelayScene()
        let guest = try GuestEnd(scene, server, port)
        let up = bytes(300_000), down = bytes(500_001)
        var heard: [UInt8] = [], sent = 0, given = 0
        try guest.run("both streams") {
            if given < up.count && scene.relay.count > 0 && given - heard.count < 100_000 {
                let part = Array(up[given..<min(up.count, given + 1460)])
                guest.send([.ack, .psh], part)
                guest.next &+= UInt32(part.count)
                given += part.count
            }
            if sent < down.count { sent += (try? guest.peer.socket.send(Array(down[sent...]))) ?? 0 }
            try read(up.count, from: guest.peer, into: &heard)
            return heard.count == up.count && guest.received.count == down.count
        }
        #expect(heard == up && guest.received == down)
        // The guest ends; the other side goes on.
        guest.send([.fin, .ack])
        guest.next &+= 1
        scene.turn()
        try guest.run("the end at the server") { (try? guest.peer.socket.receive(limit: 10))?.isEmpty == true }
        _ = try guest.peer.socket.send([9, 9])
        try guest.run("what comes afterwards") { guest.received.count == down.count + 2 }
        guest.peer.socket.finishSending()
        try guest.run("the other end") { guest.isOver }
        scene.turn()
        scene.offset = 2 * MonotonicClock.second
        scene.turn()
        #expect(scene.relay.count == 0, "it is forgotten")
    }

    @Test func theServersEndComesAfterItsBytes() throws {
        let (server, port) = try RelayScene.server()
        let scene = try RelayScene()
        let guest = try GuestEnd(scene, server, port)
        _ = try guest.peer.socket.send(bytes(5000))
        guest.peer.socket.finishSending()
        try guest.run("the end") { guest.isOver }
        #expect(guest.received == bytes(5000))
        guest.send([.ack, .psh], [1, 2, 3])
        guest.next &+= 3
        guest.send([.fin, .ack])
        var heard: [UInt8] = []
        try guest.run("the rest") {
            try read(3, from: guest.peer, into: &heard)
            return heard.count == 3
        }
        // The end and its confirmation may be repeated.
        _ = scene.heard()
        guest.send([.fin, .ack])
        #expect(try scene.await { $0.flags.contains(.ack) }.acknowledgment == guest.next &+ 1)
    }

    @Test func resetsGoThrough() throws {
        let (server, port) = try RelayScene.server()
        let scene = try RelayScene()
        let guest = try GuestEnd(scene, server, port)
        guest.send(.rst, at: guest.next &- 5000)
        scene.turn()
        #expect(scene.relay.count == 1, "an old one does not count")
        guest.send(.rst)
        scene.turn()
        #expect(scene.relay.count == 0)
        #expect(throws: SystemError.self) { try guest.peer.socket.receive(limit: 1) }
        // The other way round, after what was said before.
        let other = try GuestEnd(scene, server, port, port: 4001)
        _ = try other.peer.socket.send([1, 2, 3])
        try other.run("the bytes") { other.received.count == 3 }
        other.peer.socket.resetWhenClosed()
        other.peer.close()
        #expect(try scene.await { $0.flags.contains(.rst) }.sequence == other.got)
        scene.turn()
        #expect(scene.relay.count == 0)
    }

    @Test func aGuestWithoutRoomIsAskedUntilItHasSome() throws {
        let (server, port) = try RelayScene.server()
        let scene = try RelayScene()
        let guest = try GuestEnd(scene, server, port)
        guest.send(.ack, window: 0)
        scene.turn()
        _ = try guest.peer.socket.send(bytes(3000))
        for _ in 0..<20 { scene.turn() }
        #expect(scene.heard().allSatisfy { $0.payload.isEmpty })
        scene.offset += 250 * MonotonicClock.millisecond
        let probe = try scene.await("a question")
        #expect(probe.payload.isEmpty && probe.sequence == guest.got &- 1)
        guest.send(.ack, window: 0)
        scene.offset += 250 * MonotonicClock.millisecond
        _ = try scene.await("another")
        guest.send(.ack)
        try guest.run("the bytes") { guest.received.count == 3000 }
    }

    @Test func whatIsNotConfirmedIsSentAgainUntilTheGuestCountsAsGone() throws {
        let (server, port) = try RelayScene.server()
        let scene = try RelayScene()
        let guest = try GuestEnd(scene, server, port)
        _ = try guest.peer.socket.send([1, 2, 3])
        #expect(try scene.await { !$0.payload.isEmpty }.payload == [1, 2, 3])
        scene.turn()
        #expect(scene.heard().isEmpty)
        scene.offset += 300 * MonotonicClock.millisecond
        #expect(try scene.await().payload == [1, 2, 3])
        #expect(scene.relay.repeated == 1)
        for _ in 0..<40 where scene.relay.count > 0 {
            scene.offset += 70 * MonotonicClock.second
            scene.turn()
        }
        #expect(scene.relay.count == 0)
        #expect(scene.heard().last?.flags.contains(.rst) == true)
        #expect(throws: SystemError.self) { try guest.peer.socket.receive(limit: 1) }
    }

    /// However long it lasts: what was noted for a connection and is not needed any more does not pile up.
    @Test func deadlinesDoNotPileUp() throws {
        let (server, port) = try RelayScene.server()
        let scene = try RelayScene()
        let guest = try GuestEnd(scene, server, port)
        for round in 1...300 {
            _ = try guest.peer.socket.send([1])
            try guest.run("a byte") { guest.received.count == round }
            scene.offset += MonotonicClock.second
            scene.turn()
        }
        #expect(scene.relay.deadlines.count < 50, "\(scene.relay.deadlines.count)")
        // It is still there, and is asked for when it has been silent for long.
        scene.offset += 700 * MonotonicClock.second
        #expect(try scene.await("a question").sequence == guest.got &- 1)
    }

    @Test func orderIsMadeAndRepetitionsAreConfirmed() throws {
        let (server, port) = try RelayScene.server()
        let scene = try RelayScene()
        let guest = try GuestEnd(scene, server, port)
        let all = bytes(4000), start = guest.next
        func send(_ range: Range<Int>) {
            guest.send([.ack, .psh], Array(all[range]), at: start &+ UInt32(range.lowerBound))
        }
        send(1000..<2000)
        send(3000..<4000)
        let first = try scene.await()
        #expect(
            first.acknowledgment == start
                && first.selective == [start &+ 3000, start &+ 4000, start &+ 1000, start &+ 2000])
        send(500..<1500)
        send(0..<1000)
        #expect(try scene.await().acknowledgment == start &+ 2000)
        send(0..<1000)
        #expect(try scene.await().acknowledgment == start &+ 2000, "an old one is confirmed once more")
        send(1900..<3100)
        let last = try scene.await()
        #expect(last.acknowledgment == start &+ 4000 && last.selective.isEmpty)
        var heard: [UInt8] = []
        try guest.run("the bytes") {
            try read(4000, from: guest.peer, into: &heard)
            return heard.count == 4000
        }
        #expect(heard == all)
        // Far beyond what was announced; a SYN in the middle; a confirmation of what was never sent.
        guest.next = start &+ 4000
        for (flags, sequence, acknowledgment, taken) in [
            ([.ack], start &+ 9_000_000, guest.got, 0), (.syn, guest.next, guest.got, 0),
            ([.ack], guest.next, guest.got &+ 5000, 1),
        ]
            as [(TCPFlags, UInt32, UInt32, UInt32)]
        {
            guest.send(flags, flags == .syn ? [] : [7], at: sequence, acknowledgment: acknowledgment)
            let answer = try scene.await()
            #expect(
                answer.flags == .ack && answer.sequence == guest.got && answer.acknowledgment == start &+ 4000 &+ taken)
        }
        #expect(scene.relay.count == 1)
    }

    @Test func aServerThatDoesNotReadMakesTheGuestWait() throws {
        let (server, port) = try RelayScene.server()
        let scene = try RelayScene()
        let guest = try GuestEnd(scene, server, port)
        let piece = bytes(1460)
        var window = 0, sent = 0, edge = guest.next &+ 0xffff
        for _ in 0..<20_000 {
            guest.send(.ack, piece)
            guest.next &+= UInt32(piece.count)
            sent += piece.count
            scene.turn()
            if let last = scene.heard().last { edge = last.acknowledgment &+ UInt32(last.window) << 7 }
            window = edge.distance(after: guest.next)
            if window < piece.count { break }
        }
        #expect(window < piece.count)
        // Nothing of what was taken is lost, and the guest hears of the room that there is then.
        var heard = 0, isTold = false
        try guest.run("the rest") {
            while let part = try? guest.peer.socket.receive(limit: 1 << 20), !part.isEmpty { heard += part.count }
            scene.turn()
            if scene.heard().contains(where: { Int($0.window) << 7 > 500_000 }) { isTold = true }
            return isTold
        }
        try guest.run("all of it") {
            while let part = try? guest.peer.socket.receive(limit: 1 << 20), !part.isEmpty { heard += part.count }
            return heard == sent
        }
    }

    @Test func whoHasTheMostLosesTheOldest() throws {
        let (server, port) = try RelayScene.server()
        let scene = try RelayScene { $0.flowLimit = 32 }
        let old = try GuestEnd(scene, server, port)
        // A neighbour with one of its own.
        let mac = Scene.otherMAC, address = Scene.other
        scene.give(RelayScene.segment(9, port, .syn, sequence: 1, from: address, mac: mac))
        _ = try scene.await { $0.port == 9 }
        var resets: [UInt16] = []
        for number in UInt16(0)..<40 {
            scene.give(RelayScene.segment(5000 + number, port, .syn, sequence: 1))
            scene.turn()
            resets += scene.heard().filter { $0.flags.contains(.rst) }.map(\.port)
        }
        #expect(scene.relay.count == 24 && resets.first == old.port && !resets.contains(9))
        #expect(Set(resets) == Set([old.port] + (5000..<5017)))
        try eventually("the server hears of it") {
            (try? old.peer.socket.receive(limit: 1)) == nil && old.peer.socket.pendingError == 0
        }
        #expect(throws: SystemError.self) { try old.peer.socket.send([1]) }
    }

    @Test func guestsAreAskedForWhoComesByAPublishedPort() throws {
        let scene = try RelayScene()
        let port = UInt16.random(in: 20_000...60_000)
        try scene.relay.publish(.any, port, to: Scene.guest, 80)
        func come() throws -> Listening {
            let client = Listening(try UnixSocket.internetStream())
            try client.socket.connect(to: SocketAddress("127.0.0.1", port: port)!)
            return client
        }
        let client = try come()
        let question = try scene.await("the question")
        #expect(
            question.flags == .syn && question.source == Scene.network.gateway && question.port == 80
                && question.options.windowScale == 7)
        // It is repeated.
        scene.offset += 1100 * MonotonicClock.millisecond
        #expect(try scene.await("it again").sequence == question.sequence)
        scene.give(
            RelayScene.segment(
                80, question.sourcePort, [.syn, .ack], sequence: 500, acknowledgment: question.sequence &+ 1,
                options: GuestEnd.allOptions))
        #expect(try scene.await().acknowledgment == 501)
        scene.give(
            RelayScene.segment(
                80, question.sourcePort, [.ack, .psh], sequence: 501, acknowledgment: question.sequence &+ 1,
                payload: [4, 5, 6]))
        scene.turn()
        #expect(!client.socket.wait(for: .readable, until: MonotonicClock.now + 5 * MonotonicClock.second).isEmpty)
        #expect(try client.socket.receive(limit: 10) == [4, 5, 6])
        // A guest that does not want.
        let other = try come()
        let second = try scene.await { $0.flags == .syn }
        scene.give(
            RelayScene.segment(80, second.sourcePort, [.rst, .ack], sequence: 0, acknowledgment: second.sequence &+ 1))
        scene.turn()
        #expect(!other.socket.wait(for: .hangup, until: MonotonicClock.now + 5 * MonotonicClock.second).isEmpty)
        #expect(throws: SystemError.self) { try other.socket.receive(limit: 10) }
        #expect(scene.relay.count == 1)
        #expect(throws: SystemError.self) { try scene.relay.publish(.any, port, to: Scene.guest, 81) }
    }

    @Test func aGuestThatIsNotThereIsLookedFor() throws {
        let scene = try RelayScene()
        let port = UInt16.random(in: 20_000...60_000)
        try scene.relay.publish(.any, port, to: Scene.other, 80)
        let client = Listening(try UnixSocket.internetStream())
        try client.socket.connect(to: SocketAddress("127.0.0.1", port: port)!)
        try eventually("a question for the address") {
            scene.turn()
            return scene.gateway.toGuests.contains { $0[12] == 8 && $0[13] == 6 }
        }
        #expect(scene.heard().isEmpty)
        scene.gateway.lease(Scene.other, to: Scene.otherMAC, until: .max, now: 0)
        scene.offset += 2 * MonotonicClock.second
        #expect(try scene.await().flags == .syn)
        for _ in 0..<10 {
            scene.offset += 70 * MonotonicClock.second
            scene.turn()
        }
        #expect(scene.relay.count == 0)
        #expect(throws: SystemError.self) { try client.socket.receive(limit: 1) }
    }

    @Test func whateverGuestsSendANeighboursConnectionWorks() throws {
        let (server, port) = try RelayScene.server()
        let scene = try RelayScene()
        let neighbour = try GuestEnd(scene, server, port), victim = try GuestEnd(scene, server, port, port: 4001)
        let good = RelayScene.segment(
            4001, port, [.ack, .psh], sequence: victim.next, acknowledgment: victim.got,
            options: [1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 9], payload: bytes(200))
        var turns = 0
        for seed in UInt64(1)...4 {
            fuzz(Array(good[34...]), rounds: 4000, seed: seed) { bytes in
                var bytes = bytes
                guard bytes.count >= 20 else { return }
                // Mostly about its own connection, and with a checksum that holds.
                if bytes[0] & 3 != 0 { bytes.replaceSubrange(0..<4, with: good[34..<38]) }
                if Array(bytes[0..<2]) == Array(neighbour.port.bytes) { return }
                bytes.replaceSubrange(16..<18, with: [0, 0])
                var sum = InternetChecksum.pseudoHeader(
                    source: Scene.guest, destination: Scene.network.gateway, protocolNumber: IPProtocol.tcp,
                    length: bytes.count)
                sum.add(bytes.rawSpan)
                bytes.replaceSubrange(16..<18, with: sum.finished.bytes)
                scene.give(Scene.ipv4(IPProtocol.tcp, to: Scene.network.gateway, bytes))
                turns += 1
                if turns % 16 == 0 {
                    scene.turn()
                    _ = scene.heard()
                    scene.offset += 30 * MonotonicClock.millisecond
                }
            }
        }
        neighbour.send([.ack, .psh], [1, 2, 3])
        neighbour.next &+= 3
        var heard: [UInt8] = []
        try neighbour.run("the neighbour's bytes") {
            try read(3, from: neighbour.peer, into: &heard)
            return heard.count == 3
        }
        _ = try neighbour.peer.socket.send([4, 5])
        try neighbour.run("the answer") { neighbour.received == [4, 5] }
    }
}

extension UInt16 {
    fileprivate var bytes: [UInt8] { [UInt8(self >> 8), UInt8(truncatingIfNeeded: self)] }
}
