// SPDX-License-Identifier: Apache-2.0
import FrameIO
import NetworkModel
import Platform
import TestSupport
import Testing
import Timing
@testable import UserUplink
import Wire

/// A TCP segment as a guest receives it.
struct ReceivedSegment {
    let source: IPv4Address
    let sourcePort: UInt16
    let port: UInt16
    let sequence: UInt32
    let acknowledgment: UInt32
    let flags: TCPFlags
    let window: UInt16
    let options: TCPOptions
    /// Starts and ends of SACK blocks.
    let sackBlocks: [UInt32]
    let payload: [UInt8]

    /// Parses a frame that begins with a virtio header; nil if it is no TCP segment. Its checksum is completed as a
    /// port does it, and verified.
    init?(_ bytes: [UInt8]) {
        var bytes = bytes
        guard let offload = VirtioNetHeader(parsing: bytes.rawSpan),
            bytes.withMutableRawSpan({ $0.completeChecksum(offload, from: VirtioNetHeader.length) })
        else { return nil }
        guard let ethernet = try? EthernetView(bytes.rawSpan.from(VirtioNetHeader.length)),
            let packet = try? IPv4View(ethernet.payload), packet.hasValidChecksum,
            packet.protocolNumber == IPProtocol.tcp, let segment = try? TCPView(packet.payload),
            segment.hasValidChecksum(source: packet.source, destination: packet.destination)
        else { return nil }
        source = packet.source
        sourcePort = segment.sourcePort
        port = segment.destinationPort
        sequence = segment.sequence
        acknowledgment = segment.acknowledgment
        flags = segment.flags
        window = segment.window
        options = TCPOptions(segment)
        var blocks: [UInt32] = []
        TCPOptions.selective(segment) { blocks += [$0, $1] }
        sackBlocks = blocks
        payload = segment.payload.copied()
    }
}

/// A relay with its gateway, a clock that a test can move, and real sockets on the host's loopback at the other ends of
/// connections.
final class RelayHarness {
    let recorder = FrameRecorder()
    let output: GuestOutput
    var gateway: NATGateway
    let relay: TCPRelay
    /// Frames for guests that are not TCP.
    var otherFrames: [[UInt8]] = []
    /// Added to the clock.
    var clockOffset = TimeAmount.zero
    /// Replaces the clock.
    var fixedTime: Instant?

    init(memory: Int = TCPRelay.defaultMemory, _ change: (inout NATGateway.Options) -> Void = { _ in }) throws {
        gateway = Fixture.gateway {
            $0.policy.opensHostLoopback = true
            change(&$0)
        }
        gateway.lease(Fixture.guest, to: Fixture.mac, until: .distantFuture, now: .distantPast)
        output = GuestOutput(to: recorder, mtu: gateway.options.mtu)
        relay = try TCPRelay(gateway.options, to: output, memory: memory)
        relay.beginPoll(now: BootClock.now)
    }

    var now: Instant { fixedTime ?? BootClock.now + clockOffset }

    /// Hands over a frame of a guest.
    func send(_ frame: [UInt8]) {
        relay.beginPoll(now: now)
        let verdict = gateway.fromGuest(
            frame.rawSpan, now: now, hasConnection: { relay.hasConnection($0, isSYN: $1, from: $2) })
        if case .tcp(let segment) = verdict { relay.receive(frame.rawSpan, segment) }
        if case .unreachable(let key, let sequence) = verdict { relay.guestUnreachable(key, sequence: sequence) }
        applyEffects()
    }

    /// A guest shows that it is there.
    func sendARPReply(of guest: IPv4Address = Fixture.guest, at hardware: MACAddress = Fixture.mac) {
        send(
            ARPPacket(
                operation: .reply, senderHardware: hardware, senderAddress: guest, targetHardware: Fixture.router,
                targetAddress: Fixture.network.gateway
            ).frame(to: Fixture.router))
    }

    func poll() {
        relay.beginPoll(now: now)
        relay.serve(gateway.neighbors)
        relay.finishPoll(gateway.neighbors)
        applyEffects()
    }

    private func applyEffects() { relay.drainEffects { gateway.apply($0, now: now) } }

    /// Whether sockets are ready.
    var hasEvents: Bool { !relay.descriptor.wait(for: .readable, until: .distantPast).isEmpty }

    /// Segments for guests since the last call.
    func segments() -> [ReceivedSegment] {
        var segments: [ReceivedSegment] = []
        output.flush()
        while let frame = recorder.take() {
            if let segment = ReceivedSegment(frame) { segments.append(segment) } else { otherFrames.append(frame) }
        }
        return segments
    }

    /// Polls until a segment for a guest matches.
    func expectSegment(
        _ what: String = "a segment", _ matches: (ReceivedSegment) -> Bool = { _ in true }
    ) throws -> ReceivedSegment {
        let deadline = BootClock.now + .seconds(10)
        while BootClock.now < deadline {
            poll()
            if let found = segments().first(where: matches) { return found }
            _ = relay.descriptor.wait(for: .readable, until: BootClock.now + .milliseconds(5))
        }
        throw TimedOut(what: what)
    }

    /// Polls until nothing is left to do. Returns false if that does not happen.
    func settles() -> Bool {
        for _ in 0..<2000 {
            poll()
            if !hasEvents { return true }
        }
        return false
    }

    struct TimedOut: Error { let what: String }

    /// Publishes a port of the host for a guest's. Returns the host's.
    func publish(to guestPort: UInt16) throws -> UInt16 {
        for _ in 0..<100 {
            let port = UInt16.random(in: 20_000...60_000)
            if (try? relay.publish(.ipv4(.init("127.0.0.1")!), port, to: .ipv4(Fixture.guest), guestPort)) != nil {
                return port
            }
        }
        throw TimedOut(what: "a port")
    }

    /// A server on the host's loopback.
    static func server() throws -> (socket: SocketBox, port: UInt16) {
        for _ in 0..<100 {
            let port = UInt16.random(in: 20_000...60_000), server = SocketBox(try Socket.tcp())
            if (try? server.socket.bind(to: SocketAddress("127.0.0.1", port: port)!)) != nil {
                try server.socket.listen()
                return (server, port)
            }
        }
        throw TimedOut(what: "a port")
    }
}

/// A socket that several owners share, and that can be closed early.
final class SocketBox {
    private var descriptor: Descriptor?
    var socket: Descriptor {
        _read { yield descriptor! }
    }

    init(_ socket: consuming Descriptor) { descriptor = consume socket }

    func close() { descriptor = nil }

    /// Receives until nothing more is there, or `count` bytes in all are.
    func drain(into bytes: inout [UInt8], upTo count: Int = .max) {
        while bytes.count < count, let part = try? socket.receive(limit: 65_536), !part.isEmpty { bytes += part }
    }
}

/// The guest's side of an established connection, with the server's socket at the other end.
final class GuestPeer {
    let harness: RelayHarness
    let port: UInt16
    let remotePort: UInt16
    /// SND.NXT and RCV.NXT.
    var sndNxt: UInt32
    var rcvNxt: UInt32 = 0
    var received: [UInt8] = []
    var isFinReceived = false
    let synAck: ReceivedSegment
    /// The server's end of the connection.
    let peer: SocketBox

    /// MSS 1460, window scale 7, SACK permitted.
    static let allOptions: [UInt8] = [2, 4, 0x05, 0xb4, 1, 3, 3, 7, 1, 1, 4, 2]

    init(
        _ harness: RelayHarness, _ server: SocketBox, _ remotePort: UInt16, port: UInt16 = 4000,
        options: [UInt8] = allOptions
    ) throws {
        self.harness = harness
        self.port = port
        self.remotePort = remotePort
        harness.send(Fixture.segment(port, remotePort, .syn, sequence: 1000, options: options))
        synAck = try harness.expectSegment("SYN-ACK") { $0.flags == [.syn, .ack] && $0.port == port }
        sndNxt = 1001
        rcvNxt = synAck.sequence &+ 1
        harness.send(Fixture.segment(port, remotePort, .ack, sequence: sndNxt, acknowledgment: rcvNxt))
        harness.poll()
        guard !server.socket.wait(for: .readable, until: BootClock.now + .seconds(5)).isEmpty else {
            throw RelayHarness.TimedOut(what: "a connection")
        }
        peer = SocketBox(try server.socket.accept())
    }

    func send(
        _ flags: TCPFlags, _ payload: [UInt8] = [], at sequence: UInt32? = nil, acknowledgment: UInt32? = nil,
        window: UInt16 = 0xffff
    ) {
        harness.send(
            Fixture.segment(
                port, remotePort, flags, sequence: sequence ?? sndNxt, acknowledgment: acknowledgment ?? rcvNxt,
                window: window, payload: payload))
    }

    /// Takes what has arrived in order, and acknowledges it. Returns all segments.
    @discardableResult
    func receive(acknowledges: Bool = true, window: UInt16 = 0xffff) -> [ReceivedSegment] {
        var isNew = false
        let segments = harness.segments()
        for segment in segments where segment.port == port {
            guard segment.sequence == rcvNxt else { continue }
            received += segment.payload
            rcvNxt &+= UInt32(segment.payload.count)
            if segment.flags.contains(.fin) {
                rcvNxt &+= 1
                isFinReceived = true
            }
            isNew = isNew || !segment.payload.isEmpty || segment.flags.contains(.fin)
        }
        if isNew && acknowledges { send(.ack, window: window) }
        return segments
    }

    /// Both sides end the connection, the server first.
    func close() throws {
        peer.socket.finishSending()
        try run("the end") { isFinReceived }
        send([.fin, .ack])
        harness.poll()
    }

    /// Polls, receives and acknowledges until `isDone`.
    func run(_ what: String, until isDone: () throws -> Bool) throws {
        let deadline = BootClock.now + .seconds(20)
        while try !isDone() {
            guard BootClock.now < deadline else { throw RelayHarness.TimedOut(what: what) }
            harness.poll()
            receive()
        }
    }
}
