// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Platform
import TestSupport
import Testing
import Timing
import Wire

@testable import NameService

/// Sockets to a server that is the test itself.
private final class UpstreamHarness {
    /// An address that no other test uses: a program that another test starts may keep a closed socket open until it
    /// runs.
    private static let block = IPv4Address("127.9.0.0")!
    let address = SocketAddress(IPv4Address(block.value | UInt32.random(in: 1...0xfffe)), port: 5399)

    let loop: ControlLoop
    let server: Descriptor
    var responses: [(message: [UInt8], transaction: UInt64)] = []
    var failures: [UInt64] = []
    private(set) lazy var sockets: UpstreamSockets = UpstreamSockets(loop: loop, limit: 8) {
        [unowned self] message, _, transaction in
        responses.append((message, transaction))
        sockets.close(transaction)
    } onFailure: { [unowned self] _, transaction in
        failures.append(transaction)
        sockets.close(transaction)
    } onEventEnd: {
    }

    init() throws {
        loop = try ControlLoop()
        server = try Socket.udp()
        try server.bind(to: address)
    }

    static func message(_ id: UInt16, _ rest: UInt8 = 0) -> [UInt8] {
        [UInt8(id >> 8), UInt8(truncatingIfNeeded: id)] + [UInt8](repeating: rest, count: 10)
    }

    func send(_ id: UInt16, _ transaction: UInt64) throws {
        try sockets.send(UpstreamHarness.message(id), to: address, of: transaction)
    }

    /// The senders of the queries that the server has received since the last call.
    func senders() -> [SocketAddress] {
        var found: [SocketAddress] = []
        while let (_, sender) = try? server.receiveFrom(limit: 64) { found.append(sender) }
        return found
    }

    func run(_ what: String, until isDone: () throws -> Bool) throws {
        let deadline = BootClock.now + .seconds(Int64(ampleTime))
        while !(try isDone()) {
            guard BootClock.now < deadline else { throw TimedOut(what) }
            _ = loop.schedule(after: .milliseconds(1)) {}
            loop.runOnce()
        }
    }
}

@Suite struct UpstreamSocketsTests {
    @Test func onlyTheServersResponsesWithAnIDUnderWayCount() throws {
        let harness = try UpstreamHarness()
        try harness.send(7, 1)
        let sender = try #require(harness.senders().first)
        // Another host cannot send to the socket, and the kernel of the sender may report that.
        let other = try Socket.udp()
        try other.bind(to: SocketAddress(IPv4Address("127.8.9.7")!, port: 5399))
        try? other.send(UpstreamHarness.message(7, 1), to: sender)
        for forged in [[], [0], [0, 7], UpstreamHarness.message(8), .init(repeating: 0xff, count: 4000)] {
            try harness.server.send(forged, to: sender)
        }
        try harness.server.send(UpstreamHarness.message(7, 2), to: sender)
        try harness.run("the response") { !harness.responses.isEmpty }
        #expect(harness.responses[0].message == UpstreamHarness.message(7, 2) && harness.responses[0].transaction == 1)
        // The same once more: no query is under way.
        try harness.server.send(UpstreamHarness.message(7, 2), to: sender)
        try harness.send(9, 2)
        let second = try #require(harness.senders().first)
        try harness.server.send(UpstreamHarness.message(9), to: second)
        try harness.run("the next response") { harness.responses.count > 1 }
        #expect(harness.responses.map(\.transaction) == [1, 2] && harness.failures.isEmpty)
    }

    @Test func socketsAreSharedAndReplaced() throws {
        let harness = try UpstreamHarness()
        var ports: [UInt16] = []
        for number in 0..<400 {
            try harness.send(UInt16(number), UInt64(number))
            let sender = try #require(harness.senders().first)
            ports.append(sender.port)
            try harness.server.send(UpstreamHarness.message(UInt16(number)), to: sender)
            try harness.run("a response") { harness.responses.count > number }
        }
        let uses = Dictionary(grouping: ports) { $0 }.mapValues(\.count)
        #expect((12...40).contains(uses.count) && uses.values.max() ?? 0 <= 64, "\(uses)")
    }

    @Test func repetitionLeavesFromTheSamePort() throws {
        let harness = try UpstreamHarness()
        for _ in 0..<3 { try harness.send(7, 1) }
        let senders = harness.senders()
        #expect(senders.count == 3 && Set(senders).count == 1)
    }

    @Test func queriesWithoutResponsesUseABoundedNumberOfSockets() throws {
        let harness = try UpstreamHarness()
        for number in 0..<10_000 {
            try harness.send(UInt16(number), UInt64(number))
            #expect(harness.sockets.count <= 8)
            // As when it times out.
            if number >= 500 { harness.sockets.close(UInt64(number - 500)) }
            if number % 100 == 99 { _ = harness.senders() }
        }
        for number in 9500..<10_000 { harness.sockets.close(UInt64(number)) }
        try harness.run("the end of all sockets") { harness.sockets.count == 0 }
        #expect(harness.responses.isEmpty)
    }

    @Test func unreachableServerFailsAllQueriesOfTheSocket() throws {
        let loop = try ControlLoop()
        var failures: Set<UInt64> = []
        let sockets = UpstreamSockets(loop: loop, limit: 1) { _, _, _ in
        } onFailure: { _, transaction in
            failures.insert(transaction)
        } onEventEnd: {
        }
        let closed = SocketAddress(IPv4Address("127.9.9.6")!, port: 5398)
        for number in 1...3 as ClosedRange<UInt64> {
            do { try sockets.send(UpstreamHarness.message(UInt16(number)), to: closed, of: number) } catch {
                failures.insert(number)
            }
        }
        let deadline = BootClock.now + .seconds(Int64(ampleTime))
        while failures.count < 3, BootClock.now < deadline {
            _ = loop.schedule(after: .milliseconds(1)) {}
            loop.runOnce()
        }
        #expect(failures == [1, 2, 3])
    }
}
