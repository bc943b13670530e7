// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import Wire

@Suite struct FlowHashTests {
    private static func hash(_ frame: [UInt8]) -> Int { FlowHash.symmetric(frame.rawSpan) }

    private static func frames(_ port: UInt16) -> [(there: [UInt8], back: [UInt8])] {
        let guest = Endpoint.guest(1, port: port), other = Endpoint.guest(2, port: 80)
        return [
            (Frames.tcp(.ack, from: guest, to: other), Frames.tcp(.ack, from: other, to: guest)),
            (Frames.udp(from: guest, to: other, [1, 2]), Frames.udp(from: other, to: guest, [3])),
        ]
    }

    @Test func bothDirectionsAreOneFlow() {
        for port in UInt16(1000)..<1100 {
            for (there, back) in Self.frames(port) { #expect(Self.hash(there) == Self.hash(back)) }
        }
    }

    @Test func bothDirectionsOfIPv6AreOneFlow() {
        let guest = IPv6Address("fd00::2")!, other = IPv6Address("2001:db8::99")!
        func frame(_ source: IPv6Address, _ destination: IPv6Address, _ ports: [UInt8]) -> [UInt8] {
            var writer = ByteWriter()
            EthernetHeader(destination: Frames.mac(1), source: Frames.mac(2), type: EtherType.ipv6).emit(into: &writer)
            IPv6Header(source: source, destination: destination, nextHeader: IPProtocol.udp)
                .emit(into: &writer, payloadLength: 8)
            writer.put(ports + [0, 8, 0, 0])
            return writer.bytes
        }
        let there = Self.hash(frame(guest, other, [1, 2, 3, 4]))
        #expect(there == Self.hash(frame(other, guest, [3, 4, 1, 2])))
        #expect(there != Self.hash(frame(guest, other, [1, 2, 3, 5])))
    }

    @Test func flowsAreSpread() {
        var seen: Set<Int> = []
        for port in UInt16(1000)..<1256 { seen.insert(Self.hash(Self.frames(port)[0].there)) }
        #expect(seen.count > 100)
        #expect(seen.allSatisfy { (0..<FlowHash.count).contains($0) })
    }

    /// Fragments of a datagram stay together, although only the first one has ports.
    @Test func fragmentsAreOneFlow() {
        let guest = Endpoint.guest(1), other = Endpoint.guest(2)
        let first = Frames.ipv4(IPProtocol.udp, from: guest, to: other, fragment: 0x2000, [1, 2, 3, 4, 0, 16, 0, 0])
        let second = Frames.ipv4(IPProtocol.udp, from: guest, to: other, fragment: 1, [9, 9, 9, 9, 9, 9, 9, 9])
        #expect(Self.hash(first) == Self.hash(second))
    }

    /// No length and no contents are read beyond.
    @Test func everyFrameHasANumber() {
        var random = SeededGenerator(seed: 5)
        for _ in 0..<Rounds.of(2000) {
            var frame = random.bytes(Int.random(in: 0..<80, using: &random))
            if frame.count > 14, Bool.random(using: &random) {
                frame[12] = [0x08, 0x86, 0x81].randomElement(using: &random)!
                frame[13] = [0x00, 0xdd].randomElement(using: &random)!
            }
            #expect((0..<FlowHash.count).contains(Self.hash(frame)))
        }
    }
}
