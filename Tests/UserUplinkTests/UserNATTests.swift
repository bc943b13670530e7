// SPDX-License-Identifier: Apache-2.0
import FrameIO
import NetworkModel
import Platform
import TestSupport
import Testing
import Timing
@testable import UserUplink
import Wire

/// A NAT that reaches at most the host's loopback.
private func makeNetwork(opensHostLoopback: Bool, to recorder: FrameRecorder) throws(UserNATError) -> UserNAT {
    var options = Fixture.gateway().options
    options.prefix = nil
    options.policy.isDenying = true
    options.policy.opensHostLoopback = opensHostLoopback
    return try UserNAT(options, publishing: [], to: recorder)
}

/// The NAT, sent to and polled as the forwarding workers do it, with a virtio header that a
/// guest's kernel may have written.
@Suite struct UserNATTests {
    private func run(opensHostLoopback: Bool = true, _ body: (UserNAT, NATPort) throws -> Void) throws {
        let recorder = FrameRecorder(), network = try makeNetwork(opensHostLoopback: opensHostLoopback, to: recorder)
        try body(network, NATPort(recorder: recorder, device: FrameDevice(network)))
    }

    private func header(_ change: (inout VirtioNetHeader) -> Void = { _ in }) -> [UInt8] {
        var header = VirtioNetHeader(), bytes = [UInt8](repeating: 0, count: VirtioNetHeader.length)
        change(&header)
        bytes.withMutableRawSpan { header.emit(into: &$0) }
        return bytes
    }

    /// A frame with a partial checksum, as a kernel leaves it to the network card.
    private func opened(
        _ frame: [UInt8], at offset: Int, _ protocolNumber: UInt8, _ change: (inout VirtioNetHeader) -> Void = { _ in }
    ) -> [UInt8] {
        let source = IPv4Address(frame.rawSpan.big32(at: 26)), destination = IPv4Address(frame.rawSpan.big32(at: 30))
        let sum = InternetChecksum.pseudoHeader(
            source: source, destination: destination, protocolNumber: protocolNumber, length: frame.count - 34
        ).folded
        let start = header {
            $0.flags = .needsChecksum
            $0.checksumStart = 34
            $0.checksumOffset = UInt16(offset)
            change(&$0)
        }
        var frame = frame
        frame.replaceSubrange(34 + offset..<36 + offset, with: [UInt8(sum >> 8), UInt8(truncatingIfNeeded: sum)])
        return start + frame
    }

    /// A socket on the host's loopback, and its port.
    private func makeServer() throws -> (socket: SocketBox, port: UInt16) {
        while true {
            let socket = try Socket.udp(), port: UInt16 = 49_152 | Random.value()
            do throws(SystemError) {
                try socket.bind(to: SocketAddress(IPv4Address("127.0.0.1")!, port: port))
                return (SocketBox(socket), port)
            } catch {
                guard error.code == Errno.addressInUse else { throw error }
            }
        }
    }

    private func datagram(to port: UInt16, _ payload: [UInt8]) -> [UInt8] {
        Fixture.udp(to: Fixture.network.gateway, port, payload)
    }

    /// Polls until `accept` returns a value for a frame.
    private func awaitFrame<Result>(_ port: NATPort, _ what: String, _ accept: ([UInt8]) -> Result?) throws -> Result {
        var found: Result?
        try eventually(what) {
            while found == nil, let frame = port.take() { found = accept(frame) }
            return found != nil
        }
        return found!
    }

    private func awaitSegment(_ port: NATPort, _ accept: (ReceivedSegment) -> Bool) throws -> ReceivedSegment {
        try awaitFrame(port, "a segment") { frame in ReceivedSegment(frame).flatMap { accept($0) ? $0 : nil } }
    }

    /// Expects that the NAT still works: it answers an ARP request for the gateway.
    private func expectAnswer(_ port: NATPort) throws {
        let question = ARPPacket(
            operation: .request, senderHardware: Fixture.mac, senderAddress: Fixture.guest, targetHardware: .zero,
            targetAddress: Fixture.network.gateway)
        #expect(port.send(header() + question.frame(to: .broadcast)))
        let answer = try awaitFrame(port, "an answer") {
            try? ARPPacket(parsing: $0.rawSpan.from(VirtioNetHeader.length + 14))
        }
        #expect(answer.operation == .reply && answer.senderHardware == Fixture.router)
    }

    @Test func shortFramesAreDroppedAndCounted() throws {
        try run { network, port in
            for length in 1...VirtioNetHeader.length + 14 { #expect(port.send([UInt8](repeating: 0, count: length))) }
            try expectAnswer(port)
            #expect(network.dropped(.malformed) == VirtioNetHeader.length + 14)
        }
    }

    @Test func partialChecksumsAreCompleted() throws {
        try run { network, port in
            let (server, number) = try makeServer(), whole = datagram(to: number, [1, 2, 3])
            #expect(port.send(opened(whole, at: 6, IPProtocol.udp)))
            #expect(
                !server.socket.wait(
                    for: .readable, until: BootClock.now + .seconds(Int64(ampleTime))
                ).isEmpty)
            #expect(try server.socket.receive(limit: 100) == [1, 2, 3])
            // A checksum field outside the frame, or a start without addresses.
            #expect(port.send(opened(whole, at: 6, IPProtocol.udp) { $0.checksumStart = UInt16(whole.count) }))
            #expect(port.send(opened(whole, at: 6, IPProtocol.udp) { $0.checksumOffset = 0xffff }))
            #expect(port.send(opened(whole, at: 6, IPProtocol.udp) { $0.checksumStart = 13 }))
            try expectAnswer(port)
            #expect(network.dropped(.malformed) == 3)
        }
    }

    @Test func udpGSOFrameIsSegmented() throws {
        try run { network, port in
            let (server, number) = try makeServer()
            func awaitDatagrams(_ count: Int) throws -> [[UInt8]] {
                var received: [[UInt8]] = []
                try eventually("\(count) datagrams") {
                    while let next = try? server.socket.receive(limit: 4000) { received.append(next) }
                    return received.count >= count
                }
                return received
            }
            let payload = (0..<2500).map { UInt8(truncatingIfNeeded: $0 &* 7) }
            func gsoFrame(_ size: UInt16) -> [UInt8] {
                opened(datagram(to: number, payload), at: 6, IPProtocol.udp) {
                    $0.segmentation = .udp
                    $0.segmentSize = size
                }
            }
            #expect(port.send(gsoFrame(1000)))
            #expect(
                try awaitDatagrams(3) == [payload[0..<1000], payload[1000..<2000], payload[2000...]].map { Array($0) })
            // More segments than a kernel makes are refused.
            for size in [1, 2, 19] as [UInt16] { #expect(port.send(gsoFrame(size))) }
            try expectAnswer(port)
            #expect(network.dropped(.malformed) == 3)
            #expect(port.send(gsoFrame(20)))
            #expect(try awaitDatagrams(125).flatMap(\.self) == payload)
        }
    }

    @Test func tcpGSOFrameArrivesWhole() throws {
        try run { network, port in
            let (server, number) = try RelayHarness.server()
            func give(
                _ flags: TCPFlags, sequence: UInt32, acknowledgment: UInt32 = 0, options: [UInt8] = [],
                payload: [UInt8] = [], isOpen: Bool
            ) {
                let frame = Fixture.segment(
                    4000, number, flags, sequence: sequence, acknowledgment: acknowledgment, options: options,
                    payload: payload)
                let whole =
                    isOpen
                    ? opened(frame, at: 16, IPProtocol.tcp) {
                        guard payload.count > 1460 else { return }
                        $0.segmentation = .tcp4
                        $0.segmentSize = 1460
                    } : header() + frame
                #expect(port.send(whole))
            }
            give(.syn, sequence: 1000, options: GuestPeer.allOptions, isOpen: true)
            let answer = try awaitSegment(port) { $0.flags == [.syn, .ack] }
            let got = answer.sequence &+ 1
            give(.ack, sequence: 1001, acknowledgment: got, isOpen: false)
            let payload = (0..<60_000).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
            give([.ack, .psh], sequence: 1001, acknowledgment: got, payload: payload, isOpen: true)
            #expect(try awaitSegment(port) { $0.acknowledgment == 61_001 }.flags == .ack)
            #expect(!server.socket.wait(for: .readable, until: BootClock.now + .seconds(5)).isEmpty)
            let peer = SocketBox(try server.socket.accept())
            var received: [UInt8] = []
            try eventually("the bytes") {
                while let piece = try? peer.socket.receive(limit: 65_536), !piece.isEmpty { received += piece }
                return received.count == payload.count
            }
            #expect(received == payload)
            // The other direction.
            _ = try peer.socket.send(Array(payload[..<3000]))
            #expect(try awaitSegment(port) { !$0.payload.isEmpty }.payload == Array(payload[..<3000]))
            // A complete checksum is verified.
            var bad = Fixture.segment(
                4000, number, [.ack, .psh], sequence: 61_001, acknowledgment: got, payload: [1])
            bad[50] ^= 1
            #expect(port.send(header() + bad))
            try expectAnswer(port)
            #expect(network.dropped(.badChecksum) == 1)
        }
    }

    /// The next holder's first segment, valid or not, would lead the stream of the holder before to it.
    @Test func leaseOfAnotherGuestEndsWhatTheAddressHas() throws {
        try run { network, port in
            let (server, number) = try RelayHarness.server(), (echo, echoPort) = try makeServer()
            let end = BootClock.now + .seconds(100)
            network.note([(Fixture.guest, Fixture.mac, nil, end: end)])
            #expect(port.send(header() + Fixture.segment(4000, number, .syn, sequence: 1000)))
            let answer = try awaitSegment(port) { $0.flags == [.syn, .ack] }
            let acknowledged = Fixture.segment(
                4000, number, .ack, sequence: 1001, acknowledgment: answer.sequence &+ 1)
            #expect(port.send(header() + acknowledged))
            #expect(port.send(header() + datagram(to: echoPort, [1])))
            #expect(!server.socket.wait(for: .readable, until: BootClock.now + .seconds(5)).isEmpty)
            let peer = SocketBox(try server.socket.accept())
            #expect(!echo.socket.wait(for: .readable, until: BootClock.now + .seconds(5)).isEmpty)
            #expect(network.datagramFlowCount == 1)
            let flows = network.flows(limit: 8)
            #expect(flows.map(\.protocolNumber) == [IPProtocol.tcp, IPProtocol.udp])
            #expect(flows.map(\.remotePort) == [number, echoPort])
            #expect(network.flows(limit: 1).map(\.protocolNumber) == [IPProtocol.tcp])
            network.note([(Fixture.guest, Fixture.mac, nil, end: end + .seconds(100))])
            #expect(network.datagramFlowCount == 1, "the same guest renews its lease")
            network.note([(Fixture.guest, Fixture.otherMAC, nil, end: end)])
            _ = try awaitSegment(port) { $0.flags.contains(.rst) }
            #expect(network.datagramFlowCount == 0)
            #expect(!peer.socket.wait(for: .readable, until: BootClock.now + .seconds(5)).isEmpty)
            #expect((try? peer.socket.receive(limit: 1))?.isEmpty ?? true, "reset")
        }
    }

    @Test func changeHasAWorkerPoll() throws {
        try run { network, _ in
            let ready = try network.readyDescriptor()
            #expect(ready.wait(for: .readable, until: .distantPast).isEmpty)
            network.setPolicy(EgressPolicy())
            #expect(!ready.wait(for: .readable, until: .distantPast).isEmpty)
            _ = network.poll(isReadable: true)
            #expect(ready.wait(for: .readable, until: .distantPast).isEmpty, "it was polled")
        }
    }

    @Test func pingOfTheGatewayIsAnswered() throws {
        try run { _, port in
            #expect(port.send(header() + Fixture.ping(to: Fixture.network.gateway)))
            let answer = try awaitFrame(port, "an answer") { $0.count > 46 && $0[35] == IPProtocol.icmp ? $0 : nil }
            let packet = try IPv4View(answer.rawSpan.from(VirtioNetHeader.length + EthernetHeader.length))
            let echo = try ICMPEcho(parsing: packet.payload)
            #expect(echo.kind == .reply && echo.identifier == 7)
        }
    }

    /// A thread that finds the lock taken does not wait; the holder polls again.
    @Test func missedPollIsMadeUpFor() throws {
        try run { _, port in
            let question = ARPPacket(
                operation: .request, senderHardware: Fixture.mac, senderAddress: Fixture.guest, targetHardware: .zero,
                targetAddress: Fixture.network.gateway)
            port.recorder.lockShared()
            defer { port.recorder.unlock() }
            let inner = Mutex<Instant?>(nil), device = port.device
            #expect(device.send(header() + question.frame(to: .broadcast)))
            port.recorder.hook.withLock { $0 = { inner.withLock { $0 = device.poll(isReadable: false) } } }
            let outer = device.poll(isReadable: false)
            port.recorder.hook.withLock { $0 = nil }
            #expect(inner.withLock { $0 } == .distantFuture)
            #expect(outer <= BootClock.now)
            // Nothing is requested any more.
            #expect(device.poll(isReadable: false) > BootClock.now)
        }
    }

    /// A poll handles a bounded number of frames, so that other ports are served.
    @Test func pollIsBounded() throws {
        try run { _, port in
            port.recorder.lockShared()
            defer { port.recorder.unlock() }
            let (server, number) = try RelayHarness.server()
            for source in 0..<150 as Range<UInt16> {
                #expect(
                    port.device.send(
                        header()
                            + Fixture.segment(5000 + source, number, .syn, sequence: 1, options: GuestPeer.allOptions)
                    ))
            }
            var answers: [Int] = [], isOver = false
            while !isOver && answers.count < 100 {
                isOver = port.device.poll(isReadable: false) > BootClock.now
                var count = 0
                while port.recorder.take() != nil { count += 1 }
                answers.append(count)
            }
            #expect(answers[0] <= 64 && answers.count >= 3, "\(answers)")
            _ = server
        }
    }

    /// Any virtio header, any frame: the next guest is served.
    @Test func fuzzedFramesDoNotStopTheNAT() throws {
        try run(opensHostLoopback: false) { network, port in
            let good = [
                opened(datagram(to: 9, [1, 2, 3]), at: 6, IPProtocol.udp),
                opened(datagram(to: 9, [UInt8](repeating: 3, count: 900)), at: 6, IPProtocol.udp) {
                    $0.segmentation = .udp
                    $0.segmentSize = 100
                },
                opened(Fixture.segment(4000, 9, [.ack, .psh], sequence: 1, payload: [1]), at: 16, IPProtocol.tcp) {
                    $0.segmentation = .tcp4
                    $0.segmentSize = 1
                },
            ]
            for (seed, frame) in good.enumerated() {
                fuzz(frame, rounds: 6000, seed: UInt64(seed) + 1) { bytes in
                    // Sent to the gateway by a guest of the network.
                    var bytes = bytes
                    if bytes.count > 26 { bytes.replaceSubrange(12..<24, with: frame[12..<24]) }
                    while !bytes.isEmpty, !port.send(bytes) { _ = port.take() }
                }
                while port.take() != nil {}
            }
            try expectAnswer(port)
        }
    }
}
