// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

@testable import Daemon

@Suite struct NameStreamsTests {
    /// Each is answered at once, and by the time the last one's turn comes there must not be thousands of answers on the stack.
    @Test func thousandsOfQueriesInOnePieceAreAnsweredOneAfterTheOther() throws {
        let folder = try TemporaryFolder()
        let loop = try ControlLoop()
        // Nobody is there, which takes a moment to find out, in which the others come.
        try Files.replace(folder.file("none"), Array("nameserver 127.0.0.1\n".utf8))
        let (server, port) = try NameStreams.onLoopback(resolvers: Resolvers(path: folder.file("none"), excluding: .any), loop: loop)
        let client = try UnixSocket.internetStream()
        client.setBlocking()
        client.setBuffers(send: 1 << 20, receive: 1 << 20)
        try client.connect(to: SocketAddress(IPv4Address("127.0.0.1")!, port: port))
        // An operation that nobody has.
        let query: [UInt8] = [0, 12, 0x12, 0x34, 0x78, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        let count = 9300
        let sent = try client.send([0, 19, 0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0x61, 0, 0, 1, 0, 1] + [[UInt8]](repeating: query, count: count).flatMap(\.self))
        #expect(sent == 21 + count * query.count)
        var received: [UInt8] = []
        client.setNonBlocking()
        let deadline = MonotonicClock.now + 10 * MonotonicClock.second
        while received.count < 21 + count * query.count, MonotonicClock.now < deadline {
            _ = loop.schedule(after: MonotonicClock.millisecond) {}
            loop.turn()
            if let more = try? client.receive(limit: 1 << 20) { received += more }
        }
        #expect(received.count == 21 + count * query.count)
        withExtendedLifetime(server) {}
    }
}
