// SPDX-License-Identifier: Apache-2.0
import Frames
import Platform
import Switching
import Testing
import Wire

/// A forwarder that is turned by hand, and the far ends of its ports.
final class Bench {
    let control: ForwarderControl
    var forwarder: Forwarder

    init(closingPause: UInt32 = 30) throws {
        control = try ForwarderControl()
        forwarder = try Forwarder(control: control, closingPause: closingPause)
    }

    /// Attaches a port and returns it with the socket at its far end.
    func attach(_ role: PortRole = .guest, maximumFrame: Int = 65_553, receivesUnknown: Bool = true, bundle: UInt16 = 0) throws -> FarEnd {
        let pair = try DescriptorPair.datagramSockets()
        pair.first.setBuffers(send: 1 << 20, receive: 1 << 20)
        pair.second.setBuffers(send: 1 << 20, receive: 1 << 20)
        var configuration = PortConfiguration(
            name: "port", kind: .datagram, role: role, descriptor: try pair.first.duplicate().release(), maximumFrame: maximumFrame, receivesUnknown: receivesUnknown)
        configuration.bundle = bundle
        let number = try #require(control.attach(configuration))
        forwarder.turn(timeout: 0)
        return FarEnd(number: number, socket: try pair.second.duplicate())
    }

    /// Lets the forwarder work until nothing is left to do.
    func settle() {
        for _ in 0..<20 { forwarder.turn(timeout: 0) }
    }

    func counters(_ end: FarEnd) -> PortCounters { control.ports.first { $0.number == end.number }!.counters }
}

final class FarEnd {
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

func mac(_ number: UInt64) -> MACAddress { MACAddress(0x0200_0000_0000 | number) }

func frame(to destination: MACAddress, from source: MACAddress, _ payload: [UInt8] = [], type: UInt16 = 0x88b5) -> [UInt8] {
    var writer = ByteWriter()
    EthernetHeader(destination: destination, source: source, type: type).emit(into: &writer)
    writer.put(payload)
    return writer.bytes
}
