// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Logging
import NetworkModel
import Platform
import TestSupport
import Testing
import Timing
import Wire

@testable import NameService

/// A name server without any network: its resolver is a port of the loopback address at which nothing listens, or the
/// test itself.
private final class DNSProxyHarness {
    let folder: TemporaryFolder
    let loop: ControlLoop
    let server: DNSProxy
    var answers: [[UInt8]] = []

    init(_ resolvers: String = "nameserver 127.9.9.9\n", descriptors: Int = 384) throws {
        folder = try TemporaryFolder()
        loop = try ControlLoop()
        try Files.replace(folder.file("resolv.conf"), Array(resolvers.utf8))
        server = DNSProxy(
            resolvers: Resolvers(path: folder.file("resolv.conf")),
            names: LocalNames(zone: nil, hosts: HostsFile(path: folder.file("hosts"))),
            policy: NamePolicy(EgressPolicy(), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }),
            cachesNames: false, descriptors: descriptors, loop: loop,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        server.onReply = { [unowned self] message, _ in answers.append(message) }
    }

    /// A guest's end of a connection.
    func connect(_ guest: Int = 1) throws -> ClientSocket {
        let pair = try DescriptorPair.streamSockets()
        server.connections.accept(try pair.first.duplicate(), of: DNSGuest(address: IPv4Address(UInt32(guest))))
        return ClientSocket(try pair.second.duplicate())
    }

    /// Lets the server work until `isDone`.
    func run(_ what: String, until isDone: () throws -> Bool) throws {
        let deadline = BootClock.now + .seconds(Int64(ampleTime))
        while !(try isDone()) {
            guard BootClock.now < deadline else { throw TimedOut(what) }
            _ = loop.schedule(after: .milliseconds(1)) {}
            loop.runOnce()
        }
    }
}

private final class ClientSocket {
    let socket: Descriptor
    var received: [UInt8] = []
    private(set) var hasEnded = false

    init(_ socket: consuming Descriptor) { self.socket = socket }

    func listen() {
        do throws(SystemError) {
            let more = try socket.receive(limit: 1 << 20)
            hasEnded = more.isEmpty
            received += more
        } catch {
            hasEnded = error.code != Errno.again
        }
    }

    /// The ids of the messages that have come.
    var ids: [UInt16] {
        var found: [UInt16] = [], offset = 0
        while offset + 2 <= received.count, case let length = Int(received.rawSpan.big16(at: offset)),
            offset + 2 + length <= received.count
        {
            found.append(received.rawSpan.big16(at: offset + 2))
            offset += 2 + length
        }
        return found
    }

    func ask(_ name: String, id: UInt16) throws {
        let query = DNSMessage.query(id: id, DNSQuestion(name: DNSName(name)!, type: DNSType.a))
        #expect(try socket.send([0, UInt8(query.count)] + query) == query.count + 2)
    }
}

@Suite struct DNSOverTCPProxyTests {
    /// Each is answered at once, and by the time the last one's turn comes there must not be thousands of answers on
    /// the stack.
    @Test func thousandsOfPipelinedQueriesAreAnswered() throws {
        let harness = try DNSProxyHarness(), client = try harness.connect()
        client.socket.setBuffers(send: 1 << 20, receive: 1 << 20)
        // An unassigned operation, after a question that takes a moment.
        let query: [UInt8] = [0, 12, 0x12, 0x34, 0x78, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        let all =
            [0, 19, 0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0x61, 0, 0, 1, 0, 1]
            + [[UInt8]](repeating: query, count: 9300).flatMap(\.self)
        var sent = 0
        try harness.run("all answers") {
            if sent < all.count, let more = try? client.socket.send(Array(all[sent...])) { sent += more }
            client.listen()
            return client.ids.count == 9301
        }
        #expect(client.received.count == 21 + 9300 * query.count)
    }

    @Test func slowResponseDoesNotDelayTheNext() throws {
        let harness = try DNSProxyHarness(), client = try harness.connect()
        // To find out that no resolver is there takes a turn of the loop at least.
        try client.ask("slow.example.org", id: 1)
        try client.ask("localhost", id: 2)
        try harness.run("both answers") {
            client.listen()
            return client.ids.count == 2
        }
        #expect(client.ids == [2, 1])
    }

    @Test func halfClosedConnectionGetsItsResponses() throws {
        let harness = try DNSProxyHarness(), client = try harness.connect()
        try client.ask("localhost", id: 3)
        try client.ask("gone.example.org", id: 4)
        client.socket.finishSending()
        try harness.run("both answers, and then the end") {
            client.listen()
            return client.hasEnded
        }
        #expect(client.ids.sorted() == [3, 4])
        #expect(harness.server.connections.count == 0)
    }

    @Test func idleConnectionsOfOneGuestDoNotAffectOthers() throws {
        let harness = try DNSProxyHarness()
        let other = try harness.connect(2)
        var held: [ClientSocket] = []
        // The guest's oldest go first, and only its own.
        for _ in 0..<200 { held.append(try harness.connect(1)) }
        #expect(harness.server.connections.count == 17)
        for end in held { end.listen() }
        #expect(held.prefix(184).allSatisfy(\.hasEnded) && !held.suffix(16).contains(where: \.hasEnded))
        // Several guests together leave room for each, too.
        for guest in 3..<9 { for _ in 0..<16 { held.append(try harness.connect(guest)) } }
        #expect(harness.server.connections.count == 64)
        let late = try harness.connect(99)
        for end in [other, late] {
            try end.ask("localhost", id: 9)
            try harness.run("an answer") {
                end.listen()
                return end.ids == [9]
            }
        }
        #expect(harness.server.connections.count == 64)
    }

    @Test func idleConnectionIsClosed() throws {
        let harness = try DNSProxyHarness(), client = try harness.connect()
        // An unsolicited answer.
        #expect(try client.socket.send([0, 12, 0, 1, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0]) == 14)
        try harness.run("the end") {
            client.listen()
            return client.hasEnded
        }
        #expect(harness.server.connections.count == 0)
    }

    /// Whatever comes in whatever pieces: no crash, and each connection is its own.
    @Test(arguments: 1...3 as ClosedRange<UInt64>)
    func hostileStreamEndsAlone(seed: UInt64) throws {
        let harness = try DNSProxyHarness(), good = try harness.connect(2)
        var random = SeededGenerator(seed: seed), round = 0
        var ends: [ClientSocket] = []
        let query = DNSMessage.query(id: 1, DNSQuestion(name: DNSName("localhost")!, type: DNSType.a))
        fuzz([0, UInt8(query.count)] + query, rounds: 400, seed: seed) { bytes in
            round += 1
            if round % 20 == 0 { ends.removeAll() }
            guard let end = ends.randomElement(using: &random) ?? (try? harness.connect(1)) else { return }
            ends.append(end)
            _ = try? end.socket.send(bytes)
            _ = harness.loop.schedule(after: .nanoseconds(0)) {}
            harness.loop.runOnce()
        }
        try good.ask("localhost", id: 7)
        try harness.run("an answer") {
            good.listen()
            return good.ids == [7]
        }
    }
}
