// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Switching
import TestSupport
import Testing
import Timing
import Wire

/// A datagram listener without the control thread's part: strangers are attached by the test.
@Suite struct DatagramListenerTests {
    private final class Hall {
        let harness: ForwarderHarness
        let folder: TemporaryFolder
        let path: String
        let socket: Descriptor
        let number: PortNumber

        init() throws {
            harness = try ForwarderHarness()
            folder = try TemporaryFolder()
            path = folder.file("listener")
            let socket = try UnixSocket.datagram()
            try socket.bind(to: UnixPath(path))
            socket.setBuffers(send: 1 << 20, receive: 4 << 20)
            socket.reportSenders()
            let port = PortConfiguration(
                name: "listener", kind: .datagramListener, role: .service, descriptor: try socket.duplicate().release(),
                maximumFrame: 0, receivesUnknown: false)
            number = try #require(harness.control.attach(port))
            self.socket = consume socket
            harness.worker.runOnce(timeout: .zero)
        }

        /// A client whose socket is connected to the listener's.
        func client(_ name: String, _ isConnected: Bool = true) throws -> PeerSocket {
            let socket = try UnixSocket.datagram()
            try socket.bind(to: UnixPath(folder.file(name)))
            socket.setBuffers(send: 1 << 20, receive: 1 << 20)
            try socket.connect(to: UnixPath(path))
            return PeerSocket(number: 0, socket: try socket.duplicate())
        }

        func strangers() -> [UnknownPeer] {
            harness.settle()
            return harness.control.takeEvents().compactMap {
                if case .unknownPeer(number, let stranger) = $0 { stranger } else { nil }
            }
        }

        func attach(_ stranger: UnknownPeer) throws -> PortNumber {
            var port = PortConfiguration(
                name: "client", kind: .datagramClient, role: .guest, descriptor: try socket.duplicate().release(),
                maximumFrame: 65_553)
            (port.listener, port.peer, port.destination) = (number, stranger.name, stranger.name)
            defer { harness.control.rearm(number) }
            return try #require(harness.control.attach(port))
        }
    }

    @Test func unknownPeersAreReportedAndTheirFramesKept() throws {
        let hall = try Hall()
        let client = try hall.client("a")
        try client.send(Array("VFKT".utf8))
        try client.send(frame(to: .broadcast, from: mac(1), [1]))
        let strangers = hall.strangers()
        #expect(strangers.map(\.name) == [[UInt8]](repeating: Array(hall.folder.file("a").utf8), count: 2))
        #expect(strangers.allSatisfy { $0.user == Accounts.effectiveUser })
    }

    @Test func clientsAreDistinguishedAndReceiveReplies() throws {
        let hall = try Hall()
        let other = try hall.harness.attach()
        let clients = try (0..<5).map { try hall.client("client-\($0)") }
        var numbers: [PortNumber] = []
        for (index, client) in clients.enumerated() {
            try client.send(frame(to: .broadcast, from: mac(UInt64(10 + index)), [1]))
            let stranger = try #require(hall.strangers().first)
            numbers.append(try hall.attach(stranger))
            hall.harness.settle()
        }
        #expect(other.received().count == 5, "no first frame is lost")
        for client in clients { _ = client.received() }
        // All at once, mixed: each frame belongs to its own sender's port.
        var received = [[[UInt8]]](repeating: [], count: 5)
        for round in 0..<20 {
            for (index, client) in clients.enumerated() {
                try client.send(
                    frame(to: mac(UInt64(10 + (index + 1) % 5)), from: mac(UInt64(10 + index)), [UInt8(round)]))
            }
            // A socket of Linux takes ten datagrams (net.unix.max_dgram_qlen).
            hall.harness.settle()
            for (index, client) in clients.enumerated() { received[index] += client.received() }
        }
        for index in clients.indices {
            #expect(
                received[index]
                    == (0..<20).map {
                        frame(to: mac(UInt64(10 + index)), from: mac(UInt64(10 + (index + 4) % 5)), [UInt8($0)])
                    })
        }
        #expect(hall.strangers().isEmpty && other.received().isEmpty)
        // One goes: it is a stranger again, the others are as they were.
        hall.harness.control.detach(numbers[2])
        hall.harness.settle()
        try clients[2].send(frame(to: .broadcast, from: mac(12), [9]))
        #expect(hall.strangers().count == 1)
        try clients[1].send(frame(to: mac(13), from: mac(11), [8]))
        hall.harness.settle()
        #expect(clients[3].received() == [frame(to: mac(13), from: mac(11), [8])])
    }

    /// While the control thread deals with the first of them, others come, and go on coming when the port is there.
    @Test func framesOfANewClientKeepTheirOrder() throws {
        let hall = try Hall()
        let other = try hall.harness.attach(), client = try hall.client("a"), late = try hall.client("b")
        let frames = (0..<6).map { frame(to: .broadcast, from: mac(1), [UInt8($0)]) }
        try client.send(Array("VFKT".utf8))
        for sent in frames[..<2] { try client.send(sent) }
        try late.send(frame(to: .broadcast, from: mac(2), [9]))
        for sent in frames[2..<4] { try client.send(sent) }
        let strangers = hall.strangers()
        #expect(strangers.count == 6)
        // Already there, and not yet read when the port is attached.
        for sent in frames[4...] { try client.send(sent) }
        _ = try hall.attach(strangers[0])
        hall.harness.settle()
        #expect(other.received() == frames)
        // The others that were told of are the same client's, but for one.
        for _ in 0..<2 { hall.harness.control.rearm(hall.number) }
        _ = try hall.attach(try #require(strangers.first { $0.name != strangers[0].name }))
        hall.harness.settle()
        #expect(other.received() == [frame(to: .broadcast, from: mac(2), [9])])
    }

    @Test func probeReportsAClientThatHasGone() throws {
        let hall = try Hall()
        var client: PeerSocket? = try hall.client("a")
        try client!.send(frame(to: .broadcast, from: mac(1), [1]))
        let number = try hall.attach(try #require(hall.strangers().first))
        client = nil
        hall.harness.settle()
        hall.harness.control.probe(number)
        hall.harness.settle()
        #expect(
            hall.harness.control.takeEvents().contains { if case .unreachable(number, _) = $0 { true } else { false } })
    }

    @Test func floodOfUnknownPeersIsReportedInPart() throws {
        let hall = try Hall()
        // As much as the socket takes at a time, and nobody who deals with it.
        for number in 0..<100 {
            try hall.client("stranger-\(number)").send([UInt8](repeating: 0, count: 60))
            hall.harness.settle()
        }
        #expect(hall.strangers().count == 32)
        hall.harness.control.rearm(hall.number)
        hall.harness.settle()
        let nameless = try UnixSocket.datagram()
        try nameless.connect(to: UnixPath(hall.path))
        _ = try nameless.send([UInt8](repeating: 0, count: 60))
        #expect(hall.strangers().last?.name == [])
    }

    /// One answer makes room for one more: else those that wait for the control thread would grow without end while it
    /// is busy.
    @Test func pendingUnknownPeersAreBounded() throws {
        let hall = try Hall()
        for number in 0..<40 {
            try hall.client("first-\(number)").send([UInt8](repeating: 0, count: 60))
            hall.harness.settle()
        }
        hall.harness.control.rearm(hall.number)
        hall.harness.settle()
        for number in 0..<40 {
            try hall.client("second-\(number)").send([UInt8](repeating: 0, count: 60))
            hall.harness.settle()
        }
        #expect(hall.strangers().count == 33)
    }

    @Test func clientThatDoesNotReadLosesItsOwnFramesOnly() throws {
        let hall = try Hall()
        let stuck = try hall.client("stuck"), sender = try hall.harness.attach(), other = try hall.harness.attach()
        try stuck.send(frame(to: .broadcast, from: mac(1), [1]))
        _ = try hall.attach(try #require(hall.strangers().first))
        hall.harness.settle()
        _ = other.received()
        var heard = 0
        for _ in 0..<3000 {
            try sender.send(frame(to: .broadcast, from: mac(2), [UInt8](repeating: 0, count: 1400)))
            hall.harness.settle()
            heard += other.received().count
        }
        #expect(heard == 3000)
    }
}
