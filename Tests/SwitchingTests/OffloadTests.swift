// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Switching
import TestSupport
import Testing
import Wire

/// Sockets whose guests leave checksums and segmentation to others, and receive frames longer than the MTU.
@Suite struct OffloadTests {
    private let one = Endpoint.guest(1, port: 80), two = Endpoint.guest(2, port: 81)

    private func payload(_ count: Int, _ seed: Int = 0) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: ($0 &+ seed) &* 31 &+ ($0 >> 8)) }
    }

    /// A frame whose checksum's field holds the sum of the pseudo-header.
    private func unfinished(_ frame: [UInt8]) throws -> [UInt8] {
        let found = TransportPosition(frame.rawSpan)
        let position = try #require(found)
        let sum = InternetChecksum.pseudoHeader(
            of: frame.rawSpan, at: position.network, isIPv6: position.isIPv6, protocolNumber: position.protocolNumber,
            length: position.end - position.transport)
        var bytes = frame
        let field = position.transport + (position.protocolNumber == IPProtocol.tcp ? 16 : 6)
        (bytes[field], bytes[field + 1]) = (UInt8(sum.folded >> 8), UInt8(sum.folded & 255))
        return bytes
    }

    private func isValid(_ frame: [UInt8]) -> Bool {
        guard let position = TransportPosition(frame.rawSpan) else { return false }
        var sum = InternetChecksum.pseudoHeader(
            of: frame.rawSpan, at: position.network, isIPv6: position.isIPv6, protocolNumber: position.protocolNumber,
            length: position.end - position.transport)
        sum.add(frame.rawSpan.extracting(position.transport..<position.end))
        var header = InternetChecksum()
        header.add(frame.rawSpan.extracting(position.network..<position.transport))
        return sum.isValid && (position.isIPv6 || header.isValid)
    }

    /// The payloads of TCP segments over IPv4 without options, one after the other.
    private func payloads(_ frames: [[UInt8]]) -> [UInt8] { frames.flatMap { $0.dropFirst(54) } }

    @Test func longFrameIsSegmentedForPlainPorts() throws {
        let harness = try ForwarderHarness()
        let guest = try harness.attachStream(offloadMTU: 1500)
        let stream = try harness.attachStream(), datagram = try harness.attach(maximumFrame: 1518)
        let data = payload(60_000)
        try guest.send(try unfinished(Frames.tcp([.ack, .psh], from: one, to: two, data)))
        harness.settle()
        for frames in [stream.receive(), datagram.received()] {
            #expect(frames.count == 42 && frames.allSatisfy { $0.count <= 1514 && isValid($0) })
            #expect(payloads(frames) == data)
        }
        #expect(harness.control.counters(of: guest.number)?.totalDrops == 0)
    }

    @Test func longFrameIsWholeAndCompleteForOffloadedPorts() throws {
        let harness = try ForwarderHarness()
        let guest = try harness.attachStream(offloadMTU: 1500), other = try harness.attachStream(offloadMTU: 1500)
        let plain = try harness.attachStream()
        let long = Frames.tcp([.ack, .psh], from: one, to: two, payload(60_000))
        try guest.send(try unfinished(long))
        harness.settle()
        #expect(other.receive() == [long])
        #expect(payloads(plain.receive()) == payload(60_000))
    }

    @Test func unfinishedChecksumsAreCompletedForEveryPort() throws {
        let harness = try ForwarderHarness()
        let guest = try harness.attachStream(offloadMTU: 1500), other = try harness.attachStream(offloadMTU: 1500)
        let plain = try harness.attach()
        let frames = [
            Frames.tcp([.syn], from: one, to: two), Frames.udp(from: one, to: two, payload(33)),
            Frames.tcp([.ack], from: one, to: two, payload(1460)),
        ]
        for frame in frames { try guest.send(try unfinished(frame)) }
        harness.settle()
        #expect(other.receive() == frames && plain.received() == frames)
    }

    /// Segments of an even and of an odd length.
    @Test(arguments: [1460, 1447])
    func segmentsAreCoalescedForOffloadedPorts(size: Int) throws {
        let harness = try ForwarderHarness()
        let guest = try harness.attachStream(offloadMTU: 1500), plain = try harness.attach()
        let data = payload(size * 30 + 100)
        for start in stride(from: 0, to: data.count, by: size) {
            let part = Array(data[start..<min(start + size, data.count)])
            try plain.send(Frames.tcp([.ack], from: two, to: one, sequence: UInt32(1000 + start), part))
        }
        harness.settle()
        let frames = guest.receive()
        #expect(frames.count < 10 && frames.allSatisfy(isValid))
        #expect(payloads(frames) == data)
    }

    @Test func fullReceiverGetsWholeCoalescedFramesInOrder() throws {
        let harness = try ForwarderHarness()
        let guest = try harness.attachStream(sendBuffer: 4096, offloadMTU: 1500), plain = try harness.attach()
        let data = payload(1460 * 200)
        var received: [[UInt8]] = []
        for start in stride(from: 0, to: data.count, by: 1460) {
            try plain.send(
                Frames.tcp([.ack], from: two, to: one, sequence: UInt32(start), Array(data[start..<start + 1460])))
            if start / 1460 % 20 == 19 { harness.settle() }
        }
        for _ in 0..<2000 where payloads(received).count < data.count {
            received += guest.receive(limit: 10_000)
            harness.settle()
        }
        #expect(!guest.isTorn && received.allSatisfy(isValid))
        #expect(payloads(received) == data)
    }

    @Test(.enabled(if: Socket.hasSequencedPackets))
    func offloadOfSequencedPackets() throws {
        let harness = try ForwarderHarness()
        let guest = try harness.attachPackets(offloadMTU: 1500), other = try harness.attachPackets(offloadMTU: 1500)
        let long = Frames.tcp([.ack], from: one, to: two, payload(64_000))
        try guest.send(try unfinished(long))
        harness.settle()
        #expect(other.received() == [long])
    }

    /// vmnet without offload.
    @Test func longFrameIsSegmentedForDeviceWithoutOffload() throws {
        let harness = try ForwarderHarness()
        let device = try PlainTestDevice()
        let guest = try harness.attachStream(offloadMTU: 1500)
        let number = try #require(harness.control.attach(try device.configuration(maximumFrame: 1514)))
        harness.settle()
        let data = payload(60_000), short = Frames.udp(from: one, to: two, payload(33))
        try guest.send(try unfinished(Frames.tcp([.ack, .psh], from: one, to: two, data)))
        try guest.send(try unfinished(short))
        harness.settle()
        let frames = device.takeFrames()
        #expect(frames.last == short && frames.allSatisfy { $0.count <= 1514 && isValid($0) })
        #expect(payloads(Array(frames.dropLast())) == data)
        #expect(harness.control.counters(of: number)?.totalDrops == 0)
        harness.control.detach(number)
        harness.settle()
        withExtendedLifetime(device) {}
    }

    @Test func nonsenseHarmsNoNeighbour() throws {
        let harness = try ForwarderHarness()
        let guest = try harness.attachStream(offloadMTU: 1500), other = try harness.attachStream(offloadMTU: 1500)
        let plain = try harness.attach()
        // A long SYN, and a header that reaches beyond the segment.
        try guest.send(Frames.tcp([.syn], from: one, to: two, payload(9000)))
        var bad = Frames.tcp([.ack], from: one, to: two, payload(9000))
        bad[46] = 0x10
        try guest.send(bad)
        harness.settle()
        #expect(harness.control.counters(of: guest.number)?.drops(.malformed) == 2)
        #expect(other.receive().isEmpty && plain.received().isEmpty)
        var random = SeededGenerator(seed: 26)
        let long = try unfinished(Frames.tcp([.ack], from: one, to: two, payload(65_000)))
        for _ in 0..<300 {
            var bytes = long
            for _ in 0..<Int.random(in: 1...8, using: &random) {
                bytes[Int.random(in: 12..<60, using: &random)] = .random(in: 0...255, using: &random)
            }
            try guest.send(bytes)
            harness.settle()
            _ = other.receive()
            _ = plain.received()
        }
        let good = Frames.ethernet(to: .broadcast, from: mac(2), [1])
        try plain.send(good)
        harness.settle()
        #expect(other.receive().contains(good))
    }
}
