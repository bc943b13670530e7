// SPDX-License-Identifier: Apache-2.0
import FrameIO
import NetworkModel
import Platform
import TestSupport
import Testing
@testable import UserUplink
import Uplinks
import Wire

/// What a guest reads of a frame of TCP.
struct HeardSegment {
    let source: IPv4Address
    let sourcePort: UInt16
    let port: UInt16
    let sequence: UInt32
    let acknowledgment: UInt32
    let flags: TCPFlags
    let window: UInt16
    let options: TCPOptions
    let selective: [UInt32]
    let payload: [UInt8]

    /// Parses a frame behind its virtio header; its checksum is finished as a port would do it, and looked at.
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
        var parts: [UInt32] = []
        TCPOptions.selective(segment) { parts += [$0, $1] }
        selective = parts
        payload = segment.payload.copied()
    }
}

/// Connections of a guest, with real sockets on the host's loopback at their other ends.
final class RelayScene {
    let ears = Ears()
    let output: GuestOutput
    var gateway: UserGateway
    let relay: TCPRelay
    /// Frames that are not of TCP.
    var others: [[UInt8]] = []
    /// Added to the clock.
    var offset: UInt64 = 0
    /// What the clock shows instead of the time.
    var stoppedAt: UInt64?

    init(memory: Int = TCPRelay.memory, _ change: (inout UserGateway.Options) -> Void = { _ in }) throws {
        gateway = Scene.gateway {
            $0.policy.opensHostLoopback = true
            change(&$0)
        }
        gateway.lease(Scene.guest, to: Scene.mac, until: .max, now: 0)
        output = GuestOutput(to: ears, mtu: gateway.options.mtu)
        relay = try TCPRelay(gateway.options, to: output, memory: memory)
        relay.begin(now: MonotonicClock.now)
    }

    /// A guest's segment.
    static func segment(
        _ port: UInt16, to destination: IPv4Address = Scene.network.gateway, _ destinationPort: UInt16,
        _ flags: TCPFlags, sequence: UInt32, acknowledgment: UInt32 = 0, window: UInt16 = 0xffff,
        options: [UInt8] = [], payload: [UInt8] = [], from source: IPv4Address = Scene.guest,
        mac: MACAddress = Scene.mac
    ) -> [UInt8] {
        var writer = ByteWriter()
        for value in [port, destinationPort] { writer.put16(value) }
        writer.put32(sequence)
        writer.put32(acknowledgment)
        writer.put8(UInt8((20 + options.count) / 4) << 4)
        writer.put8(flags.rawValue)
        writer.put16(window)
        writer.put32(0)
        writer.put(options)
        writer.put(payload)
        writer.patch16(
            writer.checksum(
                from: 0,
                adding: .pseudoHeader(
                    source: source, destination: destination, protocolNumber: IPProtocol.tcp, length: writer.count)
            ).finished, at: 16)
        return Scene.ipv4(IPProtocol.tcp, from: source, to: destination, mac: mac, writer.bytes)
    }

    private var now: UInt64 { stoppedAt ?? MonotonicClock.now + offset }

    /// Hands over a frame as the thread does.
    func give(_ frame: [UInt8]) {
        relay.begin(now: now)
        guard case .tcp(let arrival) = gateway.fromGuest(frame.rawSpan, now: 100) else { return }
        if !relay.receive(frame.rawSpan, arrival, &gateway) { _ = gateway.refuse(frame.rawSpan, now: 100) }
    }

    func turn() {
        relay.begin(now: now)
        relay.serve(&gateway)
        relay.finishTurn(&gateway)
    }

    /// Whether sockets have something to say.
    var hasEvents: Bool { Descriptor.poll(relay.descriptor.raw, timeout: 0) }

    /// What the guest has heard since the last time.
    func heard() -> [HeardSegment] {
        var segments: [HeardSegment] = []
        output.send()
        while let frame = ears.take() {
            if let segment = HeardSegment(frame) { segments.append(segment) } else { others.append(frame) }
        }
        return segments
    }

    /// Turns until the guest hears what `accept` wants.
    func await(_ what: String = "an answer", _ accept: (HeardSegment) -> Bool = { _ in true }) throws -> HeardSegment {
        let deadline = MonotonicClock.now + 10 * MonotonicClock.second
        while MonotonicClock.now < deadline {
            turn()
            if let found = heard().first(where: accept) { return found }
            _ = Descriptor.poll(relay.descriptor.raw)
        }
        throw TimedOut(what: what)
    }

    struct TimedOut: Error { let what: String }

    /// Leads a port of the host to one of the guest's.
    static func publish(_ scene: RelayScene, to guestPort: UInt16) throws -> UInt16 {
        for _ in 0..<100 {
            let port = UInt16.random(in: 20_000...60_000)
            if (try? scene.relay.publish(IPv4Address("127.0.0.1")!, port, to: Scene.guest, guestPort)) != nil {
                return port
            }
        }
        throw TimedOut(what: "a port")
    }

    /// A server on the host's loopback.
    static func server() throws -> (socket: Listening, port: UInt16) {
        for _ in 0..<100 {
            let port = UInt16.random(in: 20_000...60_000), listening = Listening(try UnixSocket.internetStream())
            if (try? listening.socket.bind(to: SocketAddress("127.0.0.1", port: port)!)) != nil {
                try listening.socket.listen()
                return (listening, port)
            }
        }
        throw TimedOut(what: "a port")
    }
}

final class Listening {
    private var held: Descriptor?
    var socket: Descriptor {
        _read { yield held! }
    }

    init(_ socket: consuming Descriptor) { held = consume socket }

    func close() { held = nil }
}

extension Descriptor {
    /// Waits a little for another poller's events.
    fileprivate static func poll(_ raw: Int32, timeout: UInt64 = 5 * MonotonicClock.millisecond) -> Bool {
        let poller = try? Poller()
        guard poller != nil else { return false }
        try? poller!.add(raw, token: 0, for: .readable)
        return poller!.wait(timeout: timeout) > 0
    }
}

/// A guest's end of a connection.
final class GuestEnd {
    let scene: RelayScene
    let port: UInt16
    let remotePort: UInt16
    let remote: IPv4Address
    /// What it sends next, and what it has got.
    var next: UInt32
    var got: UInt32 = 0
    var received: [UInt8] = []
    var isOver = false
    let answer: HeardSegment
    /// The other end of the socket.
    let peer: Listening

    static let allOptions: [UInt8] = [2, 4, 0x05, 0xb4, 1, 3, 3, 7, 1, 1, 4, 2]

    init(
        _ scene: RelayScene, _ server: Listening, _ remotePort: UInt16, port: UInt16 = 4000,
        options: [UInt8] = allOptions
    ) throws {
        self.scene = scene
        self.port = port
        self.remotePort = remotePort
        remote = Scene.network.gateway
        scene.give(RelayScene.segment(port, remotePort, .syn, sequence: 1000, options: options))
        answer = try scene.await("SYN-ACK") { $0.flags == [.syn, .ack] && $0.port == port }
        next = 1001
        got = answer.sequence &+ 1
        scene.give(RelayScene.segment(port, remotePort, .ack, sequence: next, acknowledgment: got))
        scene.turn()
        guard !server.socket.wait(for: .readable, until: MonotonicClock.now + 5 * MonotonicClock.second).isEmpty else {
            throw RelayScene.TimedOut(what: "a connection")
        }
        peer = Listening(try server.socket.accept())
    }

    func send(
        _ flags: TCPFlags, _ payload: [UInt8] = [], at sequence: UInt32? = nil, acknowledgment: UInt32? = nil,
        window: UInt16 = 0xffff
    ) {
        scene.give(
            RelayScene.segment(
                port, remotePort, flags, sequence: sequence ?? next, acknowledgment: acknowledgment ?? got,
                window: window, payload: payload))
    }

    /// Takes what has come, in order, and confirms it. Returns all segments.
    @discardableResult
    func listen(confirms: Bool = true, window: UInt16 = 0xffff) -> [HeardSegment] {
        var isNew = false
        let segments = scene.heard()
        for segment in segments where segment.port == port {
            guard segment.sequence == got else { continue }
            received += segment.payload
            got &+= UInt32(segment.payload.count)
            if segment.flags.contains(.fin) {
                got &+= 1
                isOver = true
            }
            isNew = isNew || !segment.payload.isEmpty || segment.flags.contains(.fin)
        }
        if isNew && confirms { send(.ack, window: window) }
        return segments
    }

    /// Both sides say that they are done, the server first.
    func end() throws {
        peer.socket.finishSending()
        try run("the end") { isOver }
        send([.fin, .ack])
        scene.turn()
    }

    /// Turns, listens and confirms until `isDone`.
    func run(_ what: String, until isDone: () throws -> Bool) throws {
        let deadline = MonotonicClock.now + 20 * MonotonicClock.second
        while try !isDone() {
            guard MonotonicClock.now < deadline else { throw RelayScene.TimedOut(what: what) }
            scene.turn()
            listen()
        }
    }
}
