// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Switching
import TestSupport
import Testing
import Timing
import Wire

/// A datagram listener without the control thread's part: unknown peers are attached by the test.
@Suite struct DatagramListenerTests {
    private final class ListenerScene {
        let harness: ForwarderHarness
        let folder: TemporaryFolder
        let path: String
        let socket: Descriptor
        let number: PortNumber

        init() throws {
            harness = try ForwarderHarness()
            folder = try TemporaryFolder()
            path = folder.file("listener")
            let socket = try Socket.unixDatagram()
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
            let socket = try Socket.unixDatagram()
            try socket.bind(to: UnixPath(folder.file(name)))
            socket.setBuffers(send: 1 << 20, receive: 1 << 20)
            try socket.connect(to: UnixPath(path))
            return PeerSocket(number: 0, socket: try socket.duplicate())
        }

        func unknownPeers() -> [UnknownPeer] {
            harness.settle()
            return harness.control.takeEvents().compactMap {
                if case .unknownPeer(number, let peer) = $0 { peer } else { nil }
            }
        }

        func attach(_ peer: UnknownPeer) throws -> PortNumber {
            var port = PortConfiguration(
                name: "client", kind: .datagramClient, role: .guest, descriptor: try socket.duplicate().release(),
                maximumFrame: 65_553)
            (port.listener, port.peer, port.destination) = (number, peer.name, peer.name)
            defer { harness.control.rearm(number) }
            return try #require(harness.control.attach(port))
        }
    }

    @Test func unknownPeersAreReportedAndTheirFramesKept() throws {
        let scene = try ListenerScene()
        let client = try scene.client("a")
        try client.send(Array("VFKT".utf8))
        try client.send(frame(to: .broadcast, from: mac(1), [1]))
        let peers = scene.unknownPeers()
        #expect(peers.map(\.name) == [[UInt8]](repeating: Array(scene.folder.file("a").utf8), count: 2))
        #expect(peers.allSatisfy { $0.user == CurrentProcess.effectiveUser })
    }

    @Test func clientsAreDistinguishedAndReceiveReplies() throws {
        let scene = try ListenerScene()
        let other = try scene.harness.attach()
        let clients = try (0..<5).map { try scene.client("client-\($0)") }
        var numbers: [PortNumber] = []
        for (index, client) in clients.enumerated() {
            try client.send(frame(to: .broadcast, from: mac(UInt64(10 + index)), [1]))
            let peer = try #require(scene.unknownPeers().first)
            numbers.append(try scene.attach(peer))
            scene.harness.settle()
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
            scene.harness.settle()
            for (index, client) in clients.enumerated() { received[index] += client.received() }
        }
        for index in clients.indices {
            #expect(
                received[index]
                    == (0..<20).map {
                        frame(to: mac(UInt64(10 + index)), from: mac(UInt64(10 + (index + 4) % 5)), [UInt8($0)])
                    })
        }
        #expect(scene.unknownPeers().isEmpty && other.received().isEmpty)
        // One is detached: it is unknown again, the others are not affected.
        scene.harness.control.detach(numbers[2])
        scene.harness.settle()
        try clients[2].send(frame(to: .broadcast, from: mac(12), [9]))
        #expect(scene.unknownPeers().count == 1)
        try clients[1].send(frame(to: mac(13), from: mac(11), [8]))
        scene.harness.settle()
        #expect(clients[3].received() == [frame(to: mac(13), from: mac(11), [8])])
    }

    /// While the control thread deals with the first of them, others come, and go on coming when the port is there.
    @Test func framesOfNewClientKeepTheirOrder() throws {
        let scene = try ListenerScene()
        let other = try scene.harness.attach(), client = try scene.client("a"), late = try scene.client("b")
        let frames = (0..<6).map { frame(to: .broadcast, from: mac(1), [UInt8($0)]) }
        try client.send(Array("VFKT".utf8))
        for sent in frames[..<2] { try client.send(sent) }
        try late.send(frame(to: .broadcast, from: mac(2), [9]))
        for sent in frames[2..<4] { try client.send(sent) }
        let peers = scene.unknownPeers()
        #expect(peers.count == 6)
        // Already there, and not yet read when the port is attached.
        for sent in frames[4...] { try client.send(sent) }
        _ = try scene.attach(peers[0])
        scene.harness.settle()
        #expect(other.received() == frames)
        // The other reports are about the same client, except for one.
        for _ in 0..<2 { scene.harness.control.rearm(scene.number) }
        _ = try scene.attach(try #require(peers.first { $0.name != peers[0].name }))
        scene.harness.settle()
        #expect(other.received() == [frame(to: .broadcast, from: mac(2), [9])])
    }

    @Test func probeReportsAClientThatHasGone() throws {
        let scene = try ListenerScene()
        var client: PeerSocket? = try scene.client("a")
        try client!.send(frame(to: .broadcast, from: mac(1), [1]))
        let number = try scene.attach(try #require(scene.unknownPeers().first))
        client = nil
        scene.harness.settle()
        scene.harness.control.probe(number)
        scene.harness.settle()
        #expect(
            scene.harness.control.takeEvents().contains { if case .unreachable(number, _) = $0 { true } else { false } }
        )
    }

    @Test func floodOfUnknownPeersIsReportedInPart() throws {
        let scene = try ListenerScene()
        // As many as the socket takes at a time, and no control thread that answers.
        for number in 0..<100 {
            try scene.client("unknown-\(number)").send([UInt8](repeating: 0, count: 60))
            scene.harness.settle()
        }
        #expect(scene.unknownPeers().count == 32)
        scene.harness.control.rearm(scene.number)
        scene.harness.settle()
        let nameless = try Socket.unixDatagram()
        try nameless.connect(to: UnixPath(scene.path))
        _ = try nameless.send([UInt8](repeating: 0, count: 60))
        #expect(scene.unknownPeers().last?.name == [])
    }

    /// One answer makes room for one more: else those that wait for the control thread would grow without end while it
    /// is busy.
    @Test func pendingUnknownPeersAreBounded() throws {
        let scene = try ListenerScene()
        for number in 0..<40 {
            try scene.client("first-\(number)").send([UInt8](repeating: 0, count: 60))
            scene.harness.settle()
        }
        scene.harness.control.rearm(scene.number)
        scene.harness.settle()
        for number in 0..<40 {
            try scene.client("second-\(number)").send([UInt8](repeating: 0, count: 60))
            scene.harness.settle()
        }
        #expect(scene.unknownPeers().count == 33)
    }

    @Test func clientThatDoesNotReadLosesItsOwnFramesOnly() throws {
        let scene = try ListenerScene()
        let stuck = try scene.client("stuck"), sender = try scene.harness.attach(), other = try scene.harness.attach()
        try stuck.send(frame(to: .broadcast, from: mac(1), [1]))
        _ = try scene.attach(try #require(scene.unknownPeers().first))
        scene.harness.settle()
        _ = other.received()
        var count = 0
        for _ in 0..<3000 {
            try sender.send(frame(to: .broadcast, from: mac(2), [UInt8](repeating: 0, count: 1400)))
            scene.harness.settle()
            count += other.received().count
        }
        #expect(count == 3000)
    }
}
