// SPDX-License-Identifier: Apache-2.0
import Platform
import Switching
import TestSupport
import Testing
import Wire

/// Ports with different frame limits on one network.
@Suite struct OversizePortTests {
    private func packet(dontFragment: Bool, length: Int, from source: MACAddress, to destination: MACAddress) -> [UInt8]
    {
        Frames.ipv4(
            IPProtocol.udp, from: Endpoint(source, IPv4Address("192.168.105.2")!),
            to: Endpoint(destination, IPv4Address("192.168.105.3")!), fragment: dontFragment ? 0x4000 : 0,
            (0..<length - 20).map { UInt8(truncatingIfNeeded: $0) })
    }

    private func introduce(_ harness: ForwarderHarness, _ end: PeerSocket, _ address: MACAddress) throws {
        try end.send(frame(to: .broadcast, from: address))
        harness.settle()
    }

    @Test func oversizePacketIsFragmentedOrAnswered() throws {
        let harness = try ForwarderHarness()
        let jumbo = try harness.attach(), short = try harness.attach(maximumFrame: 1518)
        try introduce(harness, jumbo, mac(1))
        try introduce(harness, short, mac(2))
        _ = (jumbo.received(), short.received())
        try jumbo.send(packet(dontFragment: true, length: 9000, from: mac(1), to: mac(2)))
        harness.settle()
        let answers = jumbo.received()
        #expect(short.received().isEmpty && answers.count == 1 && harness.counters(short).drops(.oversize) == 1)
        let answer = answers[0]
        let view = try IPv4View(answer.rawSpan.from(14))
        #expect(view.protocolNumber == IPProtocol.icmp && view.payload.big32(at: 4) == 1500)

        try jumbo.send(packet(dontFragment: false, length: 9000, from: mac(1), to: mac(2)))
        harness.settle()
        let fragments = short.received()
        #expect(jumbo.received().isEmpty && fragments.count == 7 && fragments.allSatisfy { $0.count <= 1518 })
        #expect(fragments.map { $0.count - 34 }.reduce(0, +) == 8980)
        #expect(harness.counters(short).drops(.oversize) == 1, "nothing was lost")
        // What fits goes its way.
        try jumbo.send(packet(dontFragment: true, length: 1500, from: mac(1), to: mac(2)))
        harness.settle()
        #expect(short.received().count == 1)
    }

    @Test func piecesKeepTheirOrderAmongOtherFrames() throws {
        let harness = try ForwarderHarness()
        let jumbo = try harness.attach(), short = try harness.attach(maximumFrame: 1518)
        try introduce(harness, jumbo, mac(1))
        try introduce(harness, short, mac(2))
        _ = (jumbo.received(), short.received())
        let lengths = [100, 3000, 200, 2000, 2900, 300]
        for length in lengths { try jumbo.send(packet(dontFragment: false, length: length, from: mac(1), to: mac(2))) }
        harness.settle()
        // Each packet's pieces, by the offset of the fragment, which restarts at 0 with each packet.
        var payloads: [Int] = []
        for frame in short.received() {
            let isFirst = (Int(frame[20]) << 8 | Int(frame[21])) & 0x1fff == 0
            if isFirst { payloads.append(0) }
            payloads[payloads.count - 1] += frame.count - 34
        }
        #expect(payloads.map { $0 + 20 } == lengths)
    }

    /// A frame with a TCP segment of 5000 bytes that must not be fragmented.
    private func segment(flags: TCPFlags = .ack, isDamaged: Bool = false) -> [UInt8] {
        var frame = Frames.tcp(
            flags, from: Endpoint(mac(1), IPv4Address("192.168.105.2")!, port: 80),
            to: Endpoint(mac(2), IPv4Address("192.168.105.3")!, port: 40_000), sequence: 1000, acknowledgment: 2000,
            window: 500, [UInt8](repeating: 9, count: 5000))
        if isDamaged { frame[frame.count - 1] ^= 1 }
        return frame
    }

    @Test func oversizeTCPIsSegmented() throws {
        let harness = try ForwarderHarness()
        let jumbo = try harness.attach(), short = try harness.attach(maximumFrame: 1518)
        try introduce(harness, jumbo, mac(1))
        try introduce(harness, short, mac(2))
        _ = (jumbo.received(), short.received())
        try jumbo.send(segment())
        harness.settle()
        let segments = short.received()
        #expect(jumbo.received().isEmpty && segments.count == 4 && segments.allSatisfy { $0.count <= 1518 })
        #expect(segments.map { $0.count - 54 }.reduce(0, +) == 5000)
        #expect(segments.map { $0.rawSpan.big32(at: 38) } == [1000, 2460, 3920, 5380])
    }

    @Test(arguments: [(.ack, true), ([.ack, .urg], false), (.syn, false)] as [(TCPFlags, Bool)])
    func damagedOrSpecialSegmentsAreNotSplit(flags: TCPFlags, isDamaged: Bool) throws {
        let harness = try ForwarderHarness()
        let jumbo = try harness.attach(), short = try harness.attach(maximumFrame: 1518)
        try introduce(harness, jumbo, mac(1))
        try introduce(harness, short, mac(2))
        _ = (jumbo.received(), short.received())
        try jumbo.send(segment(flags: flags, isDamaged: isDamaged))
        harness.settle()
        #expect(
            short.received().isEmpty && harness.counters(short).drops(.oversize) == 1,
            "new checksums would hide the damage")
        #expect(jumbo.received().count == 1, "the MTU is reported to the sender")
    }

    @Test func noticesAreRateLimited() throws {
        let harness = try ForwarderHarness()
        let jumbo = try harness.attach(), short = try harness.attach(maximumFrame: 1518)
        try introduce(harness, jumbo, mac(1))
        try introduce(harness, short, mac(2))
        _ = jumbo.received()
        var answers = 0
        for _ in 0..<500 {
            try jumbo.send(packet(dontFragment: true, length: 3000, from: mac(1), to: mac(2)))
            harness.settle()
            answers += jumbo.received().count
        }
        // A slow host may need two seconds or more for so many; never a notice for each.
        #expect(answers >= 32 && answers < 300)
    }

    @Test func floodedPacketsAreNotAnswered() throws {
        let harness = try ForwarderHarness()
        let jumbo = try harness.attach(), short = try harness.attach(maximumFrame: 1518), other = try harness.attach()
        try jumbo.send(packet(dontFragment: true, length: 3000, from: mac(1), to: mac(7)))
        harness.settle()
        #expect(other.received().count == 1 && short.received().isEmpty && jumbo.received().isEmpty)
    }
}
