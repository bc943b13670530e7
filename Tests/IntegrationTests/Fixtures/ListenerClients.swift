// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

/// A client of any listener.
protocol FrameClient {
    func send(_ frame: [UInt8]) throws
    /// The frames that have arrived.
    func received() -> [[UInt8]]
}

/// The guest's end of a pair of sockets.
final class StreamClient: FrameClient {
    private let isStream: Bool
    private var socket: Descriptor?
    private var rest: [UInt8] = []

    /// - Parameter give: passes the other end on, before it is closed here.
    init(isStream: Bool, _ give: (Int32) throws -> Void) throws {
        self.isStream = isStream
        let pair = try isStream ? DescriptorPair.streamSockets() : DescriptorPair.datagramSockets()
        try give(pair.second.raw)
        socket = try pair.first.duplicate()
    }

    /// Connected to a stream listener.
    init(streamAt path: String) throws {
        isStream = true
        let connection = try Socket.unixStream()
        // Waits for its turn where many come at once.
        connection.setBlocking()
        try connection.connect(to: UnixPath(path))
        socket = consume connection
    }

    func send(_ frame: [UInt8]) throws {
        try send(raw: (isStream ? (0..<4).map { UInt8(truncatingIfNeeded: frame.count >> (24 - 8 * $0)) } : []) + frame)
    }

    func send(raw bytes: [UInt8]) throws { try socket!.write(bytes) }

    /// The frames that have arrived.
    func received() -> [[UInt8]] {
        var frames: [[UInt8]] = []
        while let bytes = try? socket!.receive(limit: 70_000), !bytes.isEmpty {
            if isStream { rest += bytes } else { frames.append(bytes) }
        }
        while rest.count >= 4 {
            let length = rest[..<4].reduce(0) { $0 << 8 | Int($1) }
            guard rest.count >= 4 + length else { break }
            frames.append(Array(rest[4..<4 + length]))
            rest.removeFirst(4 + length)
        }
        return frames
    }

    /// Whether the other end has closed the stream.
    var isOver: Bool { (try? socket!.receive(limit: 70_000))?.isEmpty ?? false }

    func close() { socket = nil }
}

/// A client of a datagram listener that has connected its socket, as the programs on macOS do.
final class DatagramClient: FrameClient {
    private var socket: Descriptor?
    let address = MACAddress(0x0200_0000_00ff)

    init(_ path: String, to listener: String) throws {
        let socket = try Socket.unixDatagram()
        try socket.bind(to: UnixPath(path))
        socket.setBuffers(send: 1 << 20, receive: 4 << 20)
        try socket.connect(to: UnixPath(listener))
        self.socket = consume socket
    }

    func send(_ frame: [UInt8]) throws { _ = try socket!.send(frame) }

    func received() -> [[UInt8]] {
        var frames: [[UInt8]] = []
        while let frame = try? socket!.receive(limit: 70_000) { frames.append(frame) }
        return frames
    }

    func close() { socket = nil }
}

/// A client whose frames are sequenced packets.
final class PacketClient: FrameClient {
    private var socket: Descriptor?

    /// One end of a pair.
    /// - Parameter give: passes the other end on, before it is closed here.
    init(_ give: (Int32) throws -> Void) throws {
        let pair = try DescriptorPair.sequencedPacketSockets()
        try give(pair.second.raw)
        socket = try pair.first.duplicate()
    }

    /// Connected to a listener.
    init(at path: String) throws {
        let connection = try Socket.unixSequencedPacket()
        // Waits while the backlog is full.
        connection.setBlocking()
        try connection.connect(to: UnixPath(path))
        connection.setNonBlocking()
        socket = consume connection
    }

    func send(_ frame: [UInt8]) throws { _ = try socket!.send(frame) }

    /// The frames that have arrived.
    func received() -> [[UInt8]] {
        var frames: [[UInt8]] = []
        while let frame = try? socket!.receive(limit: 70_000), !frame.isEmpty { frames.append(frame) }
        return frames
    }

    /// Whether the other end has closed the connection, and nothing of it is left.
    var isOver: Bool { (try? socket!.receive(limit: 70_000))?.isEmpty ?? false }

    func close() { socket = nil }
}
