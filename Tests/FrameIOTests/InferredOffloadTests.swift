// SPDX-License-Identifier: Apache-2.0
import FrameIO
import TestSupport
import Testing
import Wire

/// What is inferred for frames that came without a virtio header.
@Suite struct InferredOffloadTests {
    private func payload(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) } }

    /// A frame as a guest's driver leaves it: the checksum's field holds the sum of the pseudo-header.
    private func unfinished(_ frame: GSOFrame, length: Int? = nil) -> [UInt8] {
        var bytes = frame.bytes
        let sum = pseudoHeaderSum(frame, length: length ?? bytes.count - frame.transport)
        let field = frame.transport + Int(frame.offload.checksumOffset)
        (bytes[field], bytes[field + 1]) = (UInt8(sum >> 8), UInt8(sum & 255))
        return bytes
    }

    private func pseudoHeaderSum(_ frame: GSOFrame, length: Int) -> UInt16 {
        InternetChecksum.pseudoHeader(
            of: frame.bytes.rawSpan, at: frame.network, isIPv6: frame.isIPv6,
            protocolNumber: frame.offload.checksumOffset == 16 ? IPProtocol.tcp : IPProtocol.udp, length: length
        ).folded
    }

    @Test(arguments: [false, true], [0, 1, 2])
    func longTCPPacketIsGSOFrameOfTheMTU(ipv6: Bool, tags: Int) throws {
        let frame = GSOFrame(
            ipv6: ipv6, tags: tags, payload: payload(20_000), segmentSize: UInt16(1500 - (ipv6 ? 72 : 52)),
            flags: [.ack, .psh])
        var expected = frame.offload
        expected.headerLength = UInt16(frame.payloadOffset)
        // With the length in the sum, as Linux writes it, and without.
        for length in [nil, 0] {
            #expect(
                InferredOffload(unfinished(frame, length: length).rawSpan, mtu: 1500)
                    == .partial(
                        header: expected, length: frame.bytes.count,
                        pseudoHeaderSum: pseudoHeaderSum(frame, length: frame.bytes.count - frame.transport)))
        }
        expected.flags = []
        (expected.checksumStart, expected.checksumOffset) = (0, 0)
        guard case .partial(expected, _, _) = InferredOffload(frame.bytes.rawSpan, mtu: 1500) else {
            Issue.record("a complete checksum stays one")
            return
        }
    }

    @Test(arguments: [false, true], [false, true])
    func unfinishedChecksumIsNoticed(ipv6: Bool, tcp: Bool) throws {
        let frame = GSOFrame(ipv6: ipv6, tcp: tcp, tags: 1, payload: payload(101), segmentSize: 1)
        var expected = VirtioNetHeader()
        expected.flags = .needsChecksum
        (expected.checksumStart, expected.checksumOffset) = (UInt16(frame.transport), tcp ? 16 : 6)
        // Padding is no part of the packet.
        var batch = FrameBatch(capacity: 2)
        batch.append(copying: (unfinished(frame) + [1, 2, 3]).rawSpan)
        #expect(batch.inferOffload(mtu: 1500) == 0)
        #expect(batch[0].offload == expected && Int(batch[0].length) == frame.bytes.count)
        let isFinished = batch.completeChecksum(of: 0)
        #expect(isFinished)
        let finished = batch.bytes(of: batch[0]).copied()
        #expect(InferredOffload(finished.rawSpan, mtu: 1500) == .plain)
        #expect(hasValidChecksum(finished))
    }

    @Test func completeFramesStayPlain() {
        let one = Endpoint.guest(1, port: 80), two = Endpoint.guest(2, port: 81)
        for frame in [
            Frames.tcp([.ack], from: one, to: two, payload(1000)), Frames.udp(from: one, to: two, payload(10)),
            Frames.udp(from: one, to: two, payload(5000)), Frames.arpRequest(from: one, for: two.address),
            Frames.ethernet(to: two.hardware, from: one.hardware, payload(9000)), payload(14), payload(60),
        ] {
            #expect(InferredOffload(frame.rawSpan, mtu: 1500) == .plain)
        }
    }

    @Test func longPacketsThatAreNoGSOFramesAreMalformed() {
        let one = Endpoint.guest(1, port: 80), two = Endpoint.guest(2, port: 81)
        for flags in [[.syn], [.ack, .urg], [.rst]] as [TCPFlags] {
            let frame = Frames.tcp(flags, from: one, to: two, payload(3000))
            #expect(InferredOffload(frame.rawSpan, mtu: 1500) == .malformed)
        }
        var headers = Frames.tcp([.ack], from: one, to: two, payload(3000))
        headers[14 + 20 + 12] = 0x40
        #expect(InferredOffload(headers.rawSpan, mtu: 1500) == .malformed, "a data offset of four words")
    }

    @Test func truncatedAndRandomFramesAreHandled() {
        let frame = unfinished(GSOFrame(ipv6: true, tags: 2, payload: payload(5000), segmentSize: 1428))
        for length in stride(from: 0, to: frame.count, by: 7) {
            _ = InferredOffload(Array(frame[..<length]).rawSpan, mtu: 1500)
        }
        var random = SeededGenerator(seed: 25)
        var batch = FrameBatch(capacity: 1)
        for _ in 0..<20_000 {
            var bytes = frame
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                bytes[Int.random(in: 0..<140, using: &random)] = .random(in: 0...255, using: &random)
            }
            batch.removeAll()
            let length = Int.random(in: 0...bytes.count, using: &random)
            let part = Array(bytes[..<length])
            batch.append(copying: part.rawSpan)
            _ = batch.inferOffload(mtu: Int.random(in: 68...9000, using: &random))
            if batch[0].offload.segmentation != .none {
                #expect(Segmenter(batch.bytes(of: batch[0]), batch[0].offload) != nil)
            }
            #expect(batch[0].offload.flags == [] || batch.completeChecksum(of: 0))
        }
    }
}

/// Whether the checksum of TCP or UDP of a frame's packet is complete and correct.
func hasValidChecksum(_ frame: [UInt8]) -> Bool {
    guard let position = TransportPosition(frame.rawSpan) else { return false }
    var sum = InternetChecksum.pseudoHeader(
        of: frame.rawSpan, at: position.network, isIPv6: position.isIPv6, protocolNumber: position.protocolNumber,
        length: position.end - position.transport)
    sum.add(frame.rawSpan.extracting(position.transport..<position.end))
    return sum.isValid
}
