// SPDX-License-Identifier: Apache-2.0
import Atomics
import FrameIO
import Platform
import Switching
import TestSupport
import Testing
import Timing
import Wire

/// A worker that the test runs step by step, and the peers of its ports.
final class ForwarderHarness {
    let control: SwitchControl
    private var owned: ForwardingWorker?

    /// Absent once a thread has taken it.
    var worker: ForwardingWorker {
        _read { yield owned! }
        _modify { yield &owned! }
    }

    init(loopBlockTime: TimeAmount = .seconds(30), pauseLimit: TimeAmount = .milliseconds(20), workers: Int = 1) throws
    {
        control = try SwitchControl()
        owned = try ForwardingWorker(
            control: control, workers: workers, loopBlockTime: loopBlockTime, pauseLimit: pauseLimit)
    }

    func takeWorker() -> ForwardingWorker { owned.take()! }

    /// Attaches a port and returns it with the socket at its far end.
    func attach(
        _ role: PortRole = .guest, kind: PortKind = .datagram, maximumFrame: Int = 65_553, receivesUnknown: Bool = true,
        group: UInt16 = 0,
        mayServe: Bool = false, runsOnce: Bool = true
    ) throws -> PeerSocket {
        let pair = try DescriptorPair.datagramSockets()
        pair.first.setBuffers(send: 1 << 20, receive: 1 << 20)
        pair.second.setBuffers(send: 1 << 20, receive: 1 << 20)
        var configuration = PortConfiguration(
            name: "port", kind: kind, role: role, descriptor: try pair.first.duplicate().release(),
            maximumFrame: maximumFrame, receivesUnknown: receivesUnknown)
        configuration.group = group
        configuration.mayServe = mayServe
        let number = try #require(control.attach(configuration))
        if runsOnce { worker.runOnce(timeout: .zero) }
        return PeerSocket(number: number, socket: try pair.second.duplicate())
    }

    /// The same for a stream.
    func attachStream(sendBuffer: Int32 = 1 << 20, offloadMTU: Int = 0) throws -> StreamPeer {
        let pair = try DescriptorPair.streamSockets()
        pair.first.setBuffers(send: sendBuffer, receive: 1 << 20)
        pair.second.setBuffers(send: 1 << 20, receive: 1 << 20)
        var configuration = PortConfiguration(
            name: "stream", kind: .stream, role: .guest, descriptor: try pair.first.duplicate().release(),
            maximumFrame: StreamDeframer.maximumFrameLength)
        configuration.offloadMTU = offloadMTU
        let number = try #require(control.attach(configuration))
        worker.runOnce(timeout: .zero)
        return StreamPeer(number: number, socket: try pair.second.duplicate())
    }

    /// Runs the worker until nothing is left to do.
    func settle() {
        for _ in 0..<20 { worker.runOnce(timeout: .zero) }
    }

    func counters(_ end: PeerSocket) -> PortCounters { control.ports.first { $0.number == end.number }!.counters }
}

/// Counts threads that have ended, and wakes the test.
final class ThreadExitCounter: Sendable {
    let wakeup: Wakeup
    let count = ManagedAtomic<Int>(0)

    init() throws { wakeup = try Wakeup() }

    func arrive() {
        count.wrappingIncrement(ordering: .relaxed)
        wakeup.signal()
    }
}

final class PeerSocket {
    let number: PortNumber
    let socket: Descriptor

    init(number: PortNumber, socket: consuming Descriptor) {
        self.number = number
        self.socket = socket
    }

    func send(_ frame: [UInt8]) throws { _ = try socket.send(frame) }

    /// All frames that have arrived.
    func received() -> [[UInt8]] {
        var frames: [[UInt8]] = []
        while let frame = try? socket.receive(limit: 70_000) { frames.append(frame) }
        return frames
    }
}

/// The far end of a stream.
final class StreamPeer {
    let number: PortNumber
    private(set) var socket: Descriptor?
    /// Received bytes that are not a whole frame yet.
    private(set) var rest: [UInt8] = []
    /// A length came that no frame has, or the stream has ended in the middle of a frame.
    private(set) var isTorn = false

    init(number: PortNumber, socket: consuming Descriptor) {
        self.number = number
        self.socket = consume socket
    }

    static func wrap(_ frame: [UInt8]) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: frame.count >> (24 - 8 * $0)) } + frame
    }

    /// Sends bytes as they are. Returns how many were taken.
    @discardableResult
    func send(raw bytes: [UInt8]) throws -> Int { try socket!.send(bytes) }

    func send(_ frame: [UInt8]) throws { #expect(try send(raw: StreamPeer.wrap(frame)) == frame.count + 4) }

    /// Takes up to `limit` bytes and returns the frames that are whole by then.
    func receive(limit: Int = 1 << 20) -> [[UInt8]] {
        if let bytes = try? socket!.receive(limit: limit) { rest += bytes }
        var frames: [[UInt8]] = [], position = 0
        while rest.count - position >= 4 {
            let length = rest[position..<position + 4].reduce(0) { $0 << 8 | Int($1) }
            guard (14...65_550).contains(length) else {
                isTorn = true
                break
            }
            guard rest.count - position - 4 >= length else { break }
            frames.append(Array(rest[position + 4..<position + 4 + length]))
            position += 4 + length
        }
        rest.removeFirst(position)
        return frames
    }

    func close() { socket = nil }
}

/// Short for `Frames.mac`.
func mac(_ number: some BinaryInteger) -> MACAddress { Frames.mac(Int(number)) }

/// Short for `Frames.ethernet`.
func frame(
    to destination: MACAddress, from source: MACAddress, _ payload: [UInt8] = [], type: UInt16 = 0x88b5
) -> [UInt8] {
    Frames.ethernet(to: destination, from: source, type: type, payload)
}
