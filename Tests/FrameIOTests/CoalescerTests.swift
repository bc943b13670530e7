// SPDX-License-Identifier: Apache-2.0
import FrameIO
import TestSupport
import Testing
import Wire

/// RFC 1071 as plainly as it can be written, independent of `InternetChecksum`: adds big-endian words, with carries at
/// the end.
private func plainSum(_ bytes: [UInt8]) -> UInt16 {
    var sum = 0
    for index in stride(from: 0, to: bytes.count, by: 2) {
        sum += Int(bytes[index]) << 8 + (index + 1 < bytes.count ? Int(bytes[index + 1]) : 0)
    }
    while sum > 0xffff { sum = sum & 0xffff + sum >> 16 }
    return UInt16(sum)
}

/// A frame with one TCP segment, and where its parts are.
private struct Shape {
    let ipv6: Bool
    var network: Int { 14 }
    var transport: Int { ipv6 ? 54 : 34 }

    func pseudoHeader(_ frame: [UInt8], length: Int) -> [UInt8] {
        let addresses = ipv6 ? frame[22..<54] : frame[26..<34]
        return addresses + [0, 6, UInt8(length >> 8), UInt8(length & 0xff)]
    }

    /// Makes the checksums right after a change.
    func repair(_ frame: inout [UInt8]) {
        func store(_ value: UInt16, at offset: Int) {
            (frame[offset], frame[offset + 1]) = (UInt8(value >> 8), UInt8(value & 0xff))
        }
        if !ipv6 {
            store(0, at: 24)
            store(~plainSum(Array(frame[14..<34])), at: 24)
        }
        store(0, at: transport + 16)
        store(~plainSum(pseudoHeader(frame, length: frame.count - transport) + frame[transport...]), at: transport + 16)
    }

    /// True if the GSO frame's unfinished checksum, finished as a kernel does it, is right, and that of its IP header
    /// too.
    func isSound(_ frame: [UInt8]) -> Bool {
        guard ipv6 || plainSum(Array(frame[14..<34])) == 0xffff else { return false }
        let pseudo = plainSum(pseudoHeader(frame, length: frame.count - transport))
        return UInt16(frame[transport + 16]) << 8 | UInt16(frame[transport + 17]) == pseudo
    }
}

/// Frames as they go to a TAP.
private enum Written: Equatable {
    case frame([UInt8])
    case superFrame([UInt8], VirtioNetHeader, count: Int)
}

private func coalesce(_ frames: [[UInt8]]) -> [Written] {
    var written: [Written] = []
    var index = 0
    while index < frames.count {
        let head = frames[index]
        guard var run = Coalescer(head.rawSpan) else {
            written.append(.frame(head))
            index += 1
            continue
        }
        var payload = Array(head[run.headerLength...])
        for frame in frames[(index + 1)...] {
            guard run.append(frame.rawSpan, to: head.rawSpan) else { break }
            payload += frame[run.headerLength...]
        }
        if run.count > 1 {
            var header = [UInt8](repeating: 0xee, count: Coalescer.maximumHeaderLength)
            let offload = header.withMutableRawSpan { run.emit(head.rawSpan, into: &$0) }
            written.append(.superFrame(header[..<run.headerLength] + payload, offload, count: run.count))
        } else {
            written.append(.frame(head))
        }
        index += run.count
    }
    return written
}

/// What a kernel makes of it again.
private func segment(_ written: [Written]) -> [[UInt8]] {
    written.flatMap { item -> [[UInt8]] in
        switch item {
        case .frame(let frame): return [frame]
        case .superFrame(let bytes, let offload, _):
            guard var segmenter = Segmenter(bytes.rawSpan, offload) else { return [] }
            var frames: [[UInt8]] = []
            var header = [UInt8](repeating: 0xee, count: Segmenter.maximumHeaderLength)
            while let segment = header.withMutableRawSpan({ segmenter.next(bytes.rawSpan, header: &$0) }) {
                frames.append(
                    Array(header[..<segment.headerLength])
                        + bytes[segment.payloadOffset..<segment.payloadOffset + segment.payloadLength])
            }
            return frames
        }
    }
}

@Suite struct CoalescerTests {
    private func stream(
        ipv6: Bool, options: Int = 12, payload: Int = 10_000, size: UInt16 = 1000, flags: TCPFlags = [.ack, .psh],
        seed: UInt64 = 1
    ) -> [[UInt8]] {
        var random = SeededGenerator(seed: seed)
        return GSOFrame(ipv6: ipv6, options: options, payload: random.bytes(payload), segmentSize: size, flags: flags)
            .segments()!
    }

    @Test(arguments: [false, true]) func segmentsCoalesceToTheOriginalFrame(ipv6: Bool) throws {
        var random = SeededGenerator(seed: 11)
        for _ in 0..<200 {
            let size = UInt16.random(in: 1...1460, using: &random), options = Int.random(in: 0...10, using: &random) * 4
            let payload = random.bytes(
                min(
                    60_000,
                    Int(size) * Int.random(in: 2...64, using: &random) - Int.random(in: 0..<Int(size), using: &random)))
            let original = GSOFrame(ipv6: ipv6, options: options, payload: payload, segmentSize: size)
            let segments = try #require(original.segments())
            guard segments.count > 1 else { continue }
            let written = coalesce(segments)
            guard case .superFrame(let bytes, let offload, let count) = written[0], written.count == 1 else {
                Issue.record("not one GSO frame but \(written.count)")
                return
            }
            let shape = Shape(ipv6: ipv6)
            #expect(count == segments.count && shape.isSound(bytes))
            #expect(
                offload.segmentation == original.offload.segmentation && offload.segmentSize == size
                    && Int(offload.headerLength) == original.payloadOffset)
            #expect(
                offload.flags == .needsChecksum && Int(offload.checksumStart) == shape.transport
                    && offload.checksumOffset == 16 && !offload.hasECN)
            let isSame = segment(written) == segments && Array(bytes[original.payloadOffset...]) == payload
            #expect(isSame)
        }
    }

    /// Whatever comes in, cut up again it is the same frames in the same order, each byte of them.
    @Test(arguments: [false, true]) func randomMixturesSurviveCoalescing(ipv6: Bool) {
        var random = SeededGenerator(seed: 12)
        let shape = Shape(ipv6: ipv6)
        var merged = 0
        for round in 0..<Rounds.of(1500) {
            var frames: [[UInt8]] = []
            for part in 0..<Int.random(in: 1...4, using: &random) {
                frames += stream(
                    ipv6: Bool.random(using: &random) ? ipv6 : !ipv6,
                    options: Int.random(in: 0...3, using: &random) * 4,
                    payload: Int.random(in: 1...8000, using: &random),
                    size: UInt16.random(in: 200...1460, using: &random), seed: UInt64(round * 4 + part))
            }
            for _ in 0..<Int.random(in: 0...4, using: &random) {
                let index = Int.random(in: 0..<frames.count, using: &random)
                switch Int.random(in: 0..<5, using: &random) {
                case 0: frames.swapAt(index, Int.random(in: 0..<frames.count, using: &random))
                case 1: frames.insert(frames[index], at: index)
                case 2: frames.remove(at: index)
                case 3:
                    frames[index][Int.random(in: 0..<frames[index].count, using: &random)] ^=
                        1 << UInt8.random(in: 0...7, using: &random)
                default:
                    // A change with its checksum adjusted.
                    let isOfThisKind = frames[index].count > 74 && frames[index][12] == (ipv6 ? 0x86 : 0x08)
                    guard isOfThisKind, frames[index][20] == (ipv6 ? 6 : frames[index][20]) else { continue }
                    frames[index][Int.random(in: 14..<74, using: &random)] ^=
                        1 << UInt8.random(in: 0...7, using: &random)
                    shape.repair(&frames[index])
                }
                if frames.isEmpty { break }
            }
            let written = coalesce(frames)
            merged += frames.count - written.count
            let back = segment(written)
            if back != frames {
                Issue.record("round \(round): \(frames.count) frames became \(back.count)")
                return
            }
        }
        #expect(merged > 1000)
    }

    /// Each change to the second frame of three, its checksums made right, keeps it from the first.
    @Test(arguments: [false, true]) func differingSegmentsAreNotCoalesced(ipv6: Bool) {
        let shape = Shape(ipv6: ipv6)
        let t = shape.transport
        var changes: [(String, (inout [UInt8]) -> Void)] = [
            ("destination address", { $0[5] ^= 1 }), ("source address", { $0[11] ^= 1 }),
            ("source port", { $0[t + 1] ^= 1 }), ("destination port", { $0[t + 3] ^= 1 }), ("gap", { $0[t + 7] &+= 1 }),
            ("acknowledgment", { $0[t + 11] ^= 1 }),
            ("reserved bits", { $0[t + 12] |= 1 }), ("FIN", { $0[t + 13] |= 1 }), ("SYN", { $0[t + 13] |= 2 }),
            ("RST", { $0[t + 13] |= 4 }), ("no ACK", { $0[t + 13] = 0 }),
            ("URG", { $0[t + 13] |= 0x20 }), ("ECE", { $0[t + 13] |= 0x40 }), ("CWR", { $0[t + 13] |= 0x80 }),
            ("window", { $0[t + 15] ^= 1 }), ("urgent pointer", { $0[t + 19] ^= 1 }),
            ("option", { $0[t + 21] ^= 1 }), ("data offset", { $0[t + 12] -= 0x10 }), ("padding", { $0.append(0) }),
        ]
        if ipv6 {
            changes += [
                ("class", { $0[15] ^= 0x40 }), ("CE", { $0[15] |= 0x30 }), ("flow", { $0[17] ^= 1 }),
                ("hop limit", { $0[21] ^= 1 }), ("extension header", { $0[20] = 0 }),
                ("source", { $0[22] ^= 1 }), ("destination", { $0[53] ^= 1 }),
            ]
        } else {
            changes += [
                ("class", { $0[15] ^= 4 }), ("CE", { $0[15] |= 3 }), ("identification", { $0[19] ^= 4 }),
                ("more fragments", { $0[20] |= 0x20 }), ("fragment", { $0[21] |= 1 }),
                ("may be fragmented", { $0[20] ^= 0x40 }), ("time to live", { $0[22] ^= 1 }),
                ("protocol", { $0[23] = 17 }), ("source", { $0[26] ^= 1 }), ("destination", { $0[33] ^= 1 }),
            ]
        }
        let frames = stream(ipv6: ipv6, payload: 3000)
        #expect(coalesce(frames).count == 1)
        for (name, change) in changes {
            var changed = frames
            change(&changed[1])
            shape.repair(&changed[1])
            #expect(coalesce(changed).first == .frame(frames[0]), "\(name)")
        }
    }

    @Test(arguments: [false, true]) func segmentsWithWrongChecksumsAreNotCoalesced(ipv6: Bool) {
        let frames = stream(ipv6: ipv6, payload: 4000)
        for index in 0..<4 {
            var damaged = frames
            damaged[index][damaged[index].count - 1] ^= 1
            let written = coalesce(damaged)
            #expect(written.contains(.frame(damaged[index])))
            #expect(segment(written) == damaged)
        }
        if !ipv6 {
            var damaged = frames
            damaged[1][25] ^= 1
            #expect(coalesce(damaged).contains(.frame(damaged[1])))
        }
    }

    @Test func pushedAndShortSegmentsEndARun() {
        let shape = Shape(ipv6: false)
        var frames = stream(ipv6: false, payload: 6000)
        frames[2][shape.transport + 13] |= TCPFlags.psh.rawValue
        shape.repair(&frames[2])
        #expect(coalesce(frames).map(count) == [3, 3])
        #expect(segment(coalesce(frames)) == frames)
        // One that begins with a short one cannot go on with a longer.
        let short = stream(ipv6: false, payload: 2500), next = stream(ipv6: false, payload: 2500, seed: 2)
        #expect(coalesce([short[2], next[0], next[1]]).map(count) == [1, 2])
    }

    @Test func constantIdentificationIsFineWithDontFragment() {
        let shape = Shape(ipv6: false)
        var frames = stream(ipv6: false, payload: 5000)
        for index in frames.indices {
            (frames[index][18], frames[index][19]) = (0, 0)
            shape.repair(&frames[index])
        }
        #expect(coalesce(frames).map(count) == [5])
        for index in frames.indices {
            frames[index][20] = 0
            shape.repair(&frames[index])
        }
        #expect(coalesce(frames).map(count) == [1, 1, 1, 1, 1])
    }

    @Test(arguments: [false, true]) func noPacketOutgrowsItsLengthField(ipv6: Bool) {
        var frames = stream(ipv6: ipv6, payload: 60_000, size: 1000, flags: .ack)
        // More of the same stream after it.
        let shape = Shape(ipv6: ipv6)
        for index in 0..<10 {
            var frame = frames[index]
            let sequence = 0xffff_fff0 &+ UInt32(60_000 + index * 1000)
            for byte in 0..<4 {
                frame[shape.transport + 4 + byte] = UInt8(truncatingIfNeeded: sequence >> UInt32(24 - 8 * byte))
            }
            if !ipv6 {
                let identification = 0xfffe &+ UInt16(60 + index)
                (frame[18], frame[19]) = (UInt8(identification >> 8), UInt8(identification & 0xff))
            }
            shape.repair(&frame)
            frames.append(frame)
        }
        #expect(coalesce(frames).map(count) == [65, 5])
        #expect(segment(coalesce(frames)) == frames)
    }

    @Test func damagedFramesNeverTrap() {
        let frames = stream(ipv6: false, payload: 2000)
        fuzz(frames[0], seed: 21) { _ = coalesce([$0, frames[1]]) }
        fuzz(frames[1], seed: 22) { _ = coalesce([frames[0], $0]) }
        let frames6 = stream(ipv6: true, payload: 2000)
        fuzz(frames6[1], seed: 23) { _ = coalesce([frames6[0], $0]) }
    }

    private func count(_ written: Written) -> Int {
        switch written {
        case .frame: 1
        case .superFrame(_, _, let count): count
        }
    }
}
