// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Switching
import TestSupport
import Testing
import Timing
import Wire

/// Ports whose frames are packets of a connected socket (SOCK_SEQPACKET).
@Suite(.enabled(if: Socket.hasSequencedPackets)) struct SequencedPacketTests {
    private func ended(_ harness: ForwarderHarness, _ number: PortNumber) -> Bool {
        harness.control.takeEvents().contains { if case .ended(number, nil) = $0 { true } else { false } }
    }

    @Test func framesPassBetweenPacketAndStreamPorts() throws {
        let harness = try ForwarderHarness()
        let packets = try harness.attachPackets(), stream = try harness.attachStream()
        for number in 0..<300 {
            try packets.send(frame(to: mac(2), from: mac(1), [1, UInt8(number & 255)]))
            try stream.send(frame(to: mac(1), from: mac(2), [2, UInt8(number & 255)]))
            harness.settle()
            #expect(stream.receive() == [frame(to: mac(2), from: mac(1), [1, UInt8(number & 255)])])
            #expect(packets.received() == [frame(to: mac(1), from: mac(2), [2, UInt8(number & 255)])])
        }
    }

    @Test func endBehindLastFrameIsReported() throws {
        let harness = try ForwarderHarness()
        let packets = try harness.attachPackets(), other = try harness.attach()
        let frames = (0..<100).map { frame(to: mac(2), from: mac(1), [UInt8($0)]) }
        for frame in frames { try packets.send(frame) }
        packets.close()
        harness.settle()
        #expect(other.received() == frames)
        #expect(ended(harness, packets.number))
        // The port is not detached yet: it neither spins nor takes frames.
        try other.send(frame(to: mac(1), from: mac(2)))
        harness.settle()
        harness.control.detach(packets.number)
        harness.settle()
        #expect(!harness.control.ports.contains { $0.number == packets.number })
    }

    @Test func endOfPeerWithUnreadFramesIsReported() throws {
        let harness = try ForwarderHarness()
        let packets = try harness.attachPackets(), other = try harness.attach()
        try packets.send(frame(to: mac(2), from: mac(1), [7]))
        for _ in 0..<5 { try other.send(frame(to: .broadcast, from: mac(2))) }
        harness.settle()
        try packets.send(frame(to: mac(2), from: mac(1), [8]))
        packets.close()
        harness.settle()
        #expect(other.received() == [frame(to: mac(2), from: mac(1), [7]), frame(to: mac(2), from: mac(1), [8])])
        #expect(ended(harness, packets.number))
    }

    @Test func emptyShortAndLongPacketsAreNoFrames() throws {
        let harness = try ForwarderHarness()
        let packets = try harness.attachPackets(), other = try harness.attach()
        try packets.send([])
        try packets.send([1, 2, 3])
        try packets.send([UInt8](repeating: 1, count: FrameBatch.maximumFrameLength + 1))
        try packets.send([])
        try packets.send(frame(to: mac(2), from: mac(1), [9]))
        harness.settle()
        #expect(other.received() == [frame(to: mac(2), from: mac(1), [9])])
        #expect(!ended(harness, packets.number), "an empty packet is not the end")
        let counters = try #require(harness.control.counters(of: packets.number))
        #expect(counters.drops(.runt) == 1 && counters.drops(.oversize) == 1)
    }

    /// More empty packets than a batch holds look like the end of a connection, which they then are.
    @Test func floodOfEmptyPacketsEndsThatClientAtMost() throws {
        let harness = try ForwarderHarness()
        let packets = try harness.attachPackets(), one = try harness.attach(), two = try harness.attach()
        for _ in 0..<200 { try packets.send([]) }
        harness.settle()
        try one.send(frame(to: mac(2), from: mac(1), [1]))
        harness.settle()
        #expect(two.received() == [frame(to: mac(2), from: mac(1), [1])])
    }

    @Test func stalledClientLosesItsOwnFramesOnly() throws {
        let harness = try ForwarderHarness()
        let stalled = try harness.attachPackets(), reader = try harness.attachPackets(), sender = try harness.attach()
        let sent = (0..<4000).map {
            frame(to: .broadcast, from: mac(1), [UInt8($0 >> 8), UInt8($0 & 255)] + [UInt8](repeating: 1, count: 1400))
        }
        var arrived: [[UInt8]] = []
        for frame in sent {
            try sender.send(frame)
            harness.settle()
            arrived += reader.received()
        }
        #expect(arrived == sent)
        let drops = Int(try #require(harness.control.counters(of: stalled.number)).drops(.queueFull))
        #expect(drops > 0)
        var late: [[UInt8]] = []
        while true {
            let frames = stalled.received()
            if frames.isEmpty { break }
            late += frames
            harness.settle()
        }
        #expect(late == Array(sent.prefix(late.count)), "in order, up to the first that had no room")
        #expect(late.count + drops == sent.count)
    }

    @Test func fullReceiverPausesSender() throws {
        let harness = try ForwarderHarness(pauseLimit: .seconds(60))
        let sender = try harness.attachPackets(), receiver = try harness.attachPackets()
        try receiver.send(frame(to: .broadcast, from: mac(2)))
        harness.settle()
        _ = sender.received()
        var sent = 0, arrived: [[UInt8]] = []
        func word(_ number: Int) -> [UInt8] {
            frame(
                to: mac(2), from: mac(1),
                [UInt8(number >> 8), UInt8(number & 255)] + [UInt8](repeating: 1, count: 1400))
        }
        while sent < 6000 {
            do throws(SystemError) {
                try sender.send(word(sent))
                sent += 1
            } catch {
                #expect(error.code == Errno.again)
                arrived += receiver.received()
            }
            harness.worker.runOnce(timeout: .zero)
        }
        while arrived.count < sent {
            let count = arrived.count
            harness.settle()
            arrived += receiver.received()
            if arrived.count == count { break }
        }
        #expect(arrived == (0..<sent).map(word))
    }
}

extension ForwarderHarness {
    /// Attaches a port of sequenced packets.
    func attachPackets(offloadMTU: Int = 0) throws -> PacketPeer {
        let pair = try DescriptorPair.sequencedPacketSockets()
        pair.first.setBuffers(send: 1 << 20, receive: 1 << 20)
        pair.second.setBuffers(send: 1 << 20, receive: 1 << 20)
        var configuration = PortConfiguration(
            name: "packets", kind: .sequencedPacket, role: .guest, descriptor: try pair.first.duplicate().release(),
            maximumFrame: FrameLimits.device)
        configuration.offloadMTU = offloadMTU
        let number = try #require(control.attach(configuration))
        worker.runOnce(timeout: .zero)
        return PacketPeer(number: number, socket: try pair.second.duplicate())
    }
}

/// The far end of a port of sequenced packets.
final class PacketPeer {
    let number: PortNumber
    private var socket: Descriptor?

    init(number: PortNumber, socket: consuming Descriptor) {
        self.number = number
        self.socket = consume socket
    }

    func send(_ frame: [UInt8]) throws(SystemError) { _ = try socket!.send(frame) }

    /// All frames that have arrived.
    func received() -> [[UInt8]] {
        var frames: [[UInt8]] = []
        while let frame = try? socket!.receive(limit: 70_000), !frame.isEmpty { frames.append(frame) }
        return frames
    }

    func close() { socket = nil }
}
