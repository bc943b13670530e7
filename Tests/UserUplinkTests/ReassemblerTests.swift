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
        _ frame: [UInt8], _ reassembler: inout Reassembler, by owner: GuestOwner? = nil, now: Instant = .distantPast
    ) -> Reassembler.Outcome {
        guard let packet = try? IPv4View(frame.rawSpan.from(14)) else { return .refused }
        return reassembler.take(packet, by: owner, now: now)
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

    /// A guest that sends the same fragment again and again, each time after the last one has expired, takes nothing
    /// from others.
    @Test func expiredPacketsAreNotCounted() {
        var reassembler = Reassembler(), now = Instant.distantPast + .seconds(100)
        let guest = GuestOwner.address(Fixture.guest6), other = GuestOwner.address(Fixture.outside6)
        for _ in 0..<100 {
            now += .seconds(20)
            #expect(take(fragment(0..<800, isLast: false, id: 7), &reassembler, by: guest, now: now) == .incomplete)
        }
        #expect(take(fragment(0..<800, isLast: false, id: 8), &reassembler, by: other, now: now) == .incomplete)
        for id in 9...14 as ClosedRange<UInt16> {
            #expect(take(fragment(0..<800, isLast: false, id: id), &reassembler, by: guest, now: now) == .incomplete)
        }
        for id in [7, 8] as [UInt16] {
            let last = take(
                fragment(800..<3000, isLast: true, id: id), &reassembler, by: id == 8 ? other : guest, now: now)
            guard case .complete = last else {
                Issue.record("packet \(id) is gone")
                continue
            }
        }
    }

    @Test func contradictoryFragmentsAreRefused() {
        var reassembler = Reassembler()
        #expect(take(fragment(0..<13, isLast: false), &reassembler) == .refused, "not a multiple of eight")
        #expect(take(fragment(800..<1600, isLast: true), &reassembler) == .incomplete)
        #expect(take(fragment(1600..<2400, isLast: false), &reassembler) == .refused, "after the end")
        #expect(take(fragment(800..<1600, isLast: true, id: 2), &reassembler) == .incomplete)
        #expect(take(fragment(1600..<2400, isLast: true, id: 2), &reassembler) == .refused, "a second end")
        // Longer than 65,535 bytes ("ping of death").
        #expect(
            take(Fixture.ipv4(IPProtocol.udp, flags: 8190, id: 3, [UInt8](repeating: 0, count: 800)), &reassembler)
                == .refused)
    }

    @Test func repeatedFragmentIsIgnored() {
        var reassembler = Reassembler()
        #expect(take(fragment(0..<800, isLast: false), &reassembler) == .incomplete)
        #expect(take(fragment(0..<800, isLast: false), &reassembler) == .incomplete)
        #expect(take(fragment(1600..<3000, isLast: true), &reassembler) == .incomplete)
        #expect(take(fragment(1600..<3000, isLast: true), &reassembler) == .incomplete)
        #expect(take(fragment(80..<160, isLast: false), &reassembler) == .incomplete, "a part of what is there")
        guard case .complete(let whole) = take(fragment(800..<1600, isLast: false), &reassembler) else {
            Issue.record("not put together")
            return
        }
        #expect(Array(whole[20...]) == payload)
    }

    @Test func repeatedFragmentWithOtherBytesDropsThePacket() {
        var reassembler = Reassembler()
        #expect(take(fragment(0..<800, isLast: false), &reassembler) == .incomplete)
        let other = payload.map { $0 ^ 1 }
        #expect(take(fragment(0..<800, isLast: false, of: other), &reassembler) == .refused)
        #expect(take(fragment(800..<3000, isLast: true), &reassembler) == .incomplete, "the first piece is gone")
    }

    @Test func oldestIncompletePacketMakesRoom() {
        var reassembler = Reassembler()
        for id in UInt16(0)..<100 {
            let now = Instant.distantPast + .milliseconds(Int64(id))
            #expect(take(fragment(0..<800, isLast: false, id: id), &reassembler, now: now) == .incomplete)
        }
        for id in UInt16(92)..<100 {
            guard case .complete = take(fragment(800..<3000, isLast: true, id: id), &reassembler) else {
                Issue.record("the youngest packets are kept")
                return
            }
        }
    }

    @Test func incompletePacketExpires() {
        var reassembler = Reassembler()
        #expect(take(fragment(0..<800, isLast: false), &reassembler) == .incomplete)
        #expect(take(fragment(800..<3000, isLast: true), &reassembler, now: .seconds(16)) == .incomplete)
    }

    /// A packet of another guest, in all its fragments.
    @Test func guestWithLostFragmentsCostsNoOtherGuest() throws {
        var reassembler = Reassembler()
        for id in UInt16(0)..<1000 {
            let frame = fragment(0..<800, isLast: false, id: id), now = Instant.distantPast + .milliseconds(Int64(id))
            for port in UInt16(1)...8 {
                _ = reassembler.take(try IPv4View(frame.rawSpan.from(14)), by: .port(port), now: now)
            }
        }
        let first = fragment(0..<800, isLast: false, id: 5000), last = fragment(800..<3000, isLast: true, id: 5000)
        let now = Instant.seconds(2)
        #expect(reassembler.take(try IPv4View(first.rawSpan.from(14)), by: .port(9), now: now) == .incomplete)
        guard case .complete = reassembler.take(try IPv4View(last.rawSpan.from(14)), by: .port(9), now: now) else {
            Issue.record("not put together")
            return
        }
    }

    // MARK: IPv6

    private func fragment6(_ range: Range<Int>, isLast: Bool, id: UInt32 = 1, of bytes: [UInt8]? = nil) -> [UInt8] {
        var writer = ByteWriter()
        writer.put8(IPProtocol.udp)
        writer.put8(0)
        writer.put16(UInt16(range.lowerBound) | (isLast ? 0 : 1))
        writer.put32(id)
        writer.put((bytes ?? payload)[range])
        return Fixture.ipv6(IPv6Extension.fragment, to: Fixture.outside6, writer.bytes, checksumAt: nil)
    }

    private func take6(_ frame: [UInt8], _ reassembler: inout Reassembler) -> Reassembler.Outcome {
        guard let packet = try? IPv6View(frame.rawSpan.from(14)) else { return .refused }
        return reassembler.take(packet, now: .distantPast)
    }

    @Test func fragmentsOfIPv6MakeThePacket() throws {
        for order in [[0, 1, 2], [2, 1, 0], [1, 1, 0, 0, 2]] {
            var reassembler = Reassembler(), outcome = Reassembler.Outcome.incomplete
            for index in order {
                #expect(outcome == .incomplete)
                let range = [0..<1232, 1232..<2464, 2464..<3000][index]
                outcome = take6(fragment6(range, isLast: index == 2), &reassembler)
            }
            guard case .complete(let whole) = outcome else {
                Issue.record("\(order): \(outcome)")
                continue
            }
            let packet = try IPv6View(whole.rawSpan)
            #expect(packet.nextHeader == IPProtocol.udp && packet.payload.copied() == payload)
            #expect(packet.source == Fixture.guest6 && packet.destination == Fixture.outside6)
        }
    }

    @Test func atomicFragmentOfIPv6IsWhole() throws {
        var reassembler = Reassembler()
        #expect(take6(fragment6(0..<1232, isLast: false), &reassembler) == .incomplete)
        guard case .complete(let whole) = take6(fragment6(0..<800, isLast: true), &reassembler) else {
            Issue.record("not whole")
            return
        }
        #expect(try IPv6View(whole.rawSpan).payload.copied() == Array(payload[..<800]))
    }

    @Test func overlapOfIPv6DropsTheWholePacket() {
        var reassembler = Reassembler()
        #expect(take6(fragment6(0..<1232, isLast: false), &reassembler) == .incomplete)
        #expect(take6(fragment6(1224..<2464, isLast: false), &reassembler) == .refused)
        #expect(take6(fragment6(2464..<3000, isLast: true), &reassembler) == .incomplete)
        #expect(take6(fragment6(1232..<2464, isLast: false), &reassembler) == .incomplete, "the first is gone")
    }

    @Test func gatewayDropsFragmentedNeighborDiscovery() {
        var gateway = Fixture.gateway()
        let solicitation: [UInt8] = [135, 0, 0, 0, 0, 0, 0, 0] + Fixture.outside6.bytes
        let header: [UInt8] = [IPProtocol.icmpv6, 0, 0, 0, 0, 0, 0, 1]
        let frame = Fixture.ipv6(IPv6Extension.fragment, to: Fixture.outside6, header + solicitation, checksumAt: nil)
        #expect(gateway.judge(frame) == .drop(.fragment))
    }

    // MARK: The gateway

    @Test func gatewayPassesReassembledPacket() {
        var gateway = Fixture.gateway()
        let whole = Fixture.udp(4000, to: Fixture.outside, 5000, [UInt8](repeating: 5, count: 1600))
        let body = Array(whole[34...])
        #expect(gateway.judge(fragment(0..<800, isLast: false, of: body)) == .consumed)
        guard case .datagramReassembled(_, let frame) = gateway.judge(fragment(800..<1608, isLast: true, of: body))
        else {
            Issue.record("not put together")
            return
        }
        #expect(Array(frame[34...]) == body)
        #expect(gateway.judge(fragment(0..<800, isLast: false, of: body)) == .consumed)
        #expect(gateway.judge(fragment(0..<808, isLast: false, of: body)) == .drop(.fragment))
    }

    /// Whatever order, repetitions and lost pieces: a packet is as it was sent, or does not come.
    @Test func shuffledFragmentsMakeTheSamePackets() {
        var random = SeededGenerator(seed: 11)
        for _ in 0..<Rounds.of(300) {
            var reassembler = Reassembler(), pieces: [(id: Int, frame: [UInt8])] = []
            let packets = (0..<5).map { _ in random.bytes(Int.random(in: 1...6000, using: &random)) }
            for (id, bytes) in packets.enumerated() {
                let length = 8 * Int.random(in: 8...200, using: &random)
                for start in stride(from: 0, to: bytes.count, by: length) {
                    let end = min(bytes.count, start + length)
                    let frame =
                        id % 2 == 0
                        ? fragment(start..<end, isLast: end == bytes.count, id: UInt16(id), of: bytes)
                        : fragment6(start..<end, isLast: end == bytes.count, id: UInt32(id), of: bytes)
                    pieces += Array(repeating: (id, frame), count: Int.random(in: 1...2, using: &random))
                }
            }
            var seen: Set<Int> = []
            for (id, frame) in pieces.shuffled(using: &random) {
                let outcome = id % 2 == 0 ? take(frame, &reassembler) : take6(frame, &reassembler)
                guard case .complete(let whole) = outcome else {
                    #expect(outcome == .incomplete)
                    continue
                }
                #expect(Array(whole[(id % 2 == 0 ? 20 : 40)...]) == packets[id])
                seen.insert(id)
            }
            #expect(seen.count == packets.count)
        }
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
