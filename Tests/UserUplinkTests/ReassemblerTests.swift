// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import Timing
@testable import UserUplink
import Wire

@Suite struct ReassemblerTests {
    private let payload = (0..<3000).map { UInt8(truncatingIfNeeded: $0 &* 7) }

    private func fragment(_ range: Range<Int>, isLast: Bool, id: UInt16 = 1, of bytes: [UInt8]? = nil) -> [UInt8] {
        Fixture.ipv4(
            IPProtocol.udp, flags: UInt16(range.lowerBound / 8) | (isLast ? 0 : 0x2000), id: id,
            Array((bytes ?? payload)[range]))
    }

    private func take(
        _ frame: [UInt8], _ reassembler: inout Reassembler, now: Instant = .distantPast
    ) -> Reassembler.Outcome {
        guard let packet = try? IPv4View(frame.rawSpan.from(14)) else { return .refused }
        return reassembler.take(packet, now: now)
    }

    @Test func fragmentsInAnyOrderMakeThePacket() throws {
        let pieces = [0..<800, 800..<1600, 1600..<2400, 2400..<3000]
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]] {
            var reassembler = Reassembler()
            var outcome = Reassembler.Outcome.incomplete
            for index in order {
                #expect(outcome == .incomplete)
                outcome = take(fragment(pieces[index], isLast: index == 3), &reassembler)
            }
            guard case .complete(let whole) = outcome else {
                Issue.record("\(order): \(outcome)")
                continue
            }
            let packet = try IPv4View(whole.rawSpan)
            #expect(packet.hasValidChecksum && !packet.isFragment && packet.payload.copied() == payload)
        }
    }

    @Test func overlapDropsTheWholePacket() {
        var reassembler = Reassembler()
        #expect(take(fragment(0..<800, isLast: false), &reassembler) == .incomplete)
        #expect(take(fragment(792..<1600, isLast: false), &reassembler) == .refused)
        #expect(
            take(fragment(800..<3000, isLast: true), &reassembler) == .incomplete, "the first piece is gone with it")
    }

    @Test func contradictoryFragmentsAreRefused() {
        var reassembler = Reassembler()
        #expect(take(fragment(0..<13, isLast: false), &reassembler) == .refused, "not a multiple of eight")
        #expect(take(fragment(800..<1600, isLast: true), &reassembler) == .incomplete)
        #expect(take(fragment(1600..<2400, isLast: false), &reassembler) == .refused, "behind the end")
        #expect(take(fragment(800..<1600, isLast: true, id: 2), &reassembler) == .incomplete)
        #expect(take(fragment(1600..<2400, isLast: true, id: 2), &reassembler) == .refused, "a second end")
        // Longer than 65,535 bytes ("ping of death").
        #expect(
            take(Fixture.ipv4(IPProtocol.udp, flags: 8190, id: 3, [UInt8](repeating: 0, count: 800)), &reassembler)
                == .refused)
    }

    @Test func incompletePacketExpires() {
        var reassembler = Reassembler()
        for id in UInt16(0)..<8 { #expect(take(fragment(0..<800, isLast: false, id: id), &reassembler) == .incomplete) }
        #expect(take(fragment(0..<800, isLast: false, id: 9), &reassembler) == .refused, "so many from one source")
        #expect(take(fragment(0..<800, isLast: false, id: 9), &reassembler, now: .seconds(20)) == .incomplete)
        #expect(take(fragment(800..<3000, isLast: true, id: 9), &reassembler, now: .seconds(40)) == .refused)
    }

    @Test func gatewayPassesReassembledPacket() {
        var gateway = Fixture.gateway()
        let whole = Fixture.udp(4000, to: Fixture.outside, 5000, [UInt8](repeating: 5, count: 1600))
        let body = Array(whole[34...])
        #expect(gateway.judge(fragment(0..<800, isLast: false, of: body)) == .consumed)
        guard case .passReassembled(let frame) = gateway.judge(fragment(800..<1608, isLast: true, of: body)) else {
            Issue.record("not put together")
            return
        }
        #expect(Array(frame[34...]) == body)
        #expect(gateway.judge(fragment(0..<800, isLast: false, of: body)) == .consumed)
        #expect(gateway.judge(fragment(0..<808, isLast: false, of: body)) == .drop(.fragment))
    }

    @Test func fuzzedFragmentsDoNotTrap() {
        var reassembler = Reassembler()
        var random = SeededGenerator(seed: 5)
        for round in 0..<20_000 {
            let flags = UInt16.random(in: 0...0x3fff, using: &random) & (round % 2 == 0 ? 0x2007 : 0x3fff)
            let frame = Fixture.ipv4(
                IPProtocol.udp, flags: flags, id: UInt16.random(in: 0...3, using: &random),
                random.bytes(Int.random(in: 0...64, using: &random)))
            if case .complete(let whole) = take(frame, &reassembler, now: .seconds(Int64(round / 100))) {
                #expect((try? IPv4View(whole.rawSpan)) != nil)
            }
        }
    }
}
