// SPDX-License-Identifier: Apache-2.0
import FrameIO
import TestSupport
import Testing
import Wire

/// A frame with an IP packet and nothing in particular in it.
func packet(
    ipv6: Bool = false, tags: Int = 0, dontFragment: Bool = true, protocolNumber: UInt8 = 17, payload: [UInt8],
    field: UInt16? = nil
) -> [UInt8] {
    var writer = ByteWriter()
    writer.put(MACAddress("52:54:00:12:34:56")!)
    writer.put(MACAddress("52:54:00:00:00:01")!)
    for tag in 0..<tags {
        writer.put16(EtherType.vlan)
        writer.put16(UInt16(5 + tag))
    }
    writer.put16(ipv6 ? EtherType.ipv6 : EtherType.ipv4)
    let start = writer.count
    if ipv6 {
        writer.put32(0x6000_0000)
        writer.put16(UInt16(payload.count))
        writer.put8(protocolNumber)
        writer.put8(64)
        writer.put([0xfd] + (1..<16).map { UInt8($0) })
        writer.put([0xfd] + (1..<16).map { UInt8($0 + 100) })
    } else {
        IPv4Header(
            source: IPv4Address("192.168.105.2")!, destination: IPv4Address("192.168.105.3")!,
            protocolNumber: protocolNumber
        ).emit(into: &writer, payloadLength: payload.count)
        writer.patch16(field ?? (dontFragment ? 0x4000 : 0), at: start + 6)
        writer.patch16(0, at: start + 10)
        writer.patch16(writer.checksum(from: start).finished, at: start + 10)
    }
    writer.put(payload)
    return writer.bytes
}

/// What `next` writes until it returns nil.
private func all(_ next: (inout MutableRawSpan) -> Int?) -> [[UInt8]] {
    var result: [[UInt8]] = []
    var memory = [UInt8](repeating: 0xee, count: 70_000)
    while let length = memory.withMutableRawSpan(next) { result.append(Array(memory.prefix(length))) }
    return result
}

func pieces(_ frame: [UInt8], limit: Int) -> [[UInt8]]? {
    guard var fragmenter = Fragmenter(frame.rawSpan, limit: limit) else { return nil }
    return all { fragmenter.next(frame.rawSpan, into: &$0) }
}

func pieces6(_ frame: [UInt8], limit: Int) -> [[UInt8]]? {
    guard var fragmenter = IPv6Fragmenter(frame.rawSpan, limit: limit, identification: 0x1234_5678) else { return nil }
    return all { fragmenter.next(frame.rawSpan, into: &$0) }
}

func notice(_ frame: [UInt8], mtu: Int) -> [UInt8]? {
    guard let notice = OversizeNotice(for: frame.rawSpan, mtu: mtu) else { return nil }
    var memory = [UInt8](repeating: 0xee, count: notice.length)
    memory.withMutableRawSpan { notice.emit(for: frame.rawSpan, into: &$0) }
    return memory
}

@Suite struct OversizeTests {
    @Test(arguments: [0, 1, 2])
    func fragmentsFitAndMakeThePacketAgain(tags: Int) throws {
        var random = SeededGenerator(seed: 3)
        for _ in 0..<300 {
            let payload = random.bytes(Int.random(in: 1...9000, using: &random))
            let limit = Int.random(in: 80...1518, using: &random)
            // The packet may be a fragment itself: the middle one of three.
            let field: UInt16 = Bool.random(using: &random) ? 0 : 0x2000 | 100
            let frame = packet(tags: tags, payload: payload, field: field)
            guard let fragments = pieces(frame, limit: limit) else {
                #expect(frame.count <= limit)
                continue
            }
            let network = 14 + 4 * tags
            var made: [UInt8] = []
            for (number, fragment) in fragments.enumerated() {
                #expect(fragment.count <= limit && fragment.prefix(network).elementsEqual(frame.prefix(network)))
                let view = try IPv4View(fragment.rawSpan.from(network))
                #expect(view.hasValidChecksum && view.bytes.byteCount == fragment.count - network)
                let flags = view.bytes.big16(at: 6)
                #expect(Int(flags & 0x1fff) == Int(field & 0x1fff) + made.count / 8)
                let isLast = number == fragments.count - 1
                #expect((flags & 0x2000 != 0) == (!isLast || field & 0x2000 != 0))
                made += view.payload.copied()
            }
            #expect(fragments.count > 1 && made == payload)
        }
    }

    @Test(arguments: [0, 1, 2])
    func ipv6FragmentsFitAndMakeThePacketAgain(tags: Int) throws {
        var random = SeededGenerator(seed: 4)
        for round in 0..<300 {
            let payload = random.bytes(
                round == 0 ? IPv6Header.maximumPayload : Int.random(in: 1...9000, using: &random))
            let limit = Int.random(in: 80...1518, using: &random)
            let frame = packet(ipv6: true, tags: tags, payload: payload)
            guard let fragments = pieces6(frame, limit: limit) else {
                #expect(frame.count <= limit)
                continue
            }
            let network = 14 + 4 * tags
            var made: [UInt8] = []
            for (number, fragment) in fragments.enumerated() {
                #expect(fragment.count <= limit && fragment.prefix(network).elementsEqual(frame.prefix(network)))
                let view = try IPv6View(fragment.rawSpan.from(network))
                #expect(view.bytes.byteCount == fragment.count - network && view.nextHeader == 44)
                let same = frame[(network + 7)..<(network + 40)]
                #expect(fragment[(network + 7)..<(network + 40)].elementsEqual(same))
                let header = view.payload
                #expect(header.byte(at: 0) == IPProtocol.udp && header.byte(at: 1) == 0)
                #expect(Int(header.big16(at: 2) & 0xfff8) == made.count && header.big16(at: 2) & 6 == 0)
                #expect((header.big16(at: 2) & 1 == 1) == (number < fragments.count - 1))
                #expect(header.big32(at: 4) == 0x1234_5678)
                made += header.from(8).copied()
            }
            #expect(fragments.count > 1 && made == payload)
        }
    }

    @Test func onlyIPv6WithoutExtensionsIsFragmentedByItsSender() {
        let long = [UInt8](repeating: 0, count: 3000)
        #expect(pieces6(packet(dontFragment: false, payload: long), limit: 1518) == nil)
        #expect(pieces6(packet(ipv6: true, payload: [1]), limit: 1518) == nil, "it fits")
        for header in [IPv6Extension.hopByHop, IPv6Extension.fragment] {
            #expect(pieces6(packet(ipv6: true, protocolNumber: header, payload: long), limit: 1518) == nil)
        }
    }

    @Test func dontFragmentIsHonoured() {
        let payload = [UInt8](repeating: 1, count: 3000)
        #expect(pieces(packet(dontFragment: true, payload: payload), limit: 1518) == nil)
        #expect(pieces(packet(ipv6: true, payload: payload), limit: 1518) == nil, "IPv6 is cut up by its sender alone")
        #expect(pieces(packet(dontFragment: false, payload: [1]), limit: 1518) == nil, "it fits")
        var damaged = packet(dontFragment: false, payload: payload)
        damaged[24] ^= 1
        #expect(pieces(damaged, limit: 1518) == nil)
    }

    @Test func oversizePacketIsAnsweredByIPv4() throws {
        let frame = packet(tags: 1, payload: [UInt8](repeating: 1, count: 3000))
        let answer = try #require(notice(frame, mtu: 1500))
        #expect(
            answer.prefix(18).elementsEqual(frame[6..<12] + frame[0..<6] + frame[12..<18]),
            "back to where it came from, with its tag")
        let view = try IPv4View(answer.rawSpan.from(18))
        #expect(
            view.hasValidChecksum && view.source == IPv4Address("192.168.105.3")
                && view.destination == IPv4Address("192.168.105.2") && view.protocolNumber == IPProtocol.icmp)
        #expect(
            view.bytes.byteCount == 576 && view.payload.byte(at: 0) == 3 && view.payload.byte(at: 1) == 4
                && view.payload.big32(at: 4) == 1500)
        var sum = InternetChecksum()
        sum.add(view.payload)
        #expect(sum.isValid)
        #expect(view.payload.from(8).copied().elementsEqual(frame[18..<18 + 548]))
    }

    @Test func oversizePacketIsAnsweredByIPv6() throws {
        let frame = packet(ipv6: true, payload: [UInt8](repeating: 1, count: 3000))
        let answer = try #require(notice(frame, mtu: 1500))
        let view = try IPv6View(answer.rawSpan.from(14))
        #expect(view.bytes.byteCount == 1280 && view.nextHeader == IPProtocol.icmpv6)
        #expect(
            view.bytes.extracting(8..<24).copied().elementsEqual(frame[38..<54])
                && view.bytes.extracting(24..<40).copied().elementsEqual(frame[22..<38]))
        #expect(view.payload.byte(at: 0) == 2 && view.payload.byte(at: 1) == 0 && view.payload.big32(at: 4) == 1500)
        var sum = InternetChecksum.pseudoHeader(
            addresses: view.addresses, protocolNumber: IPProtocol.icmpv6, length: view.payload.byteCount)
        sum.add(view.payload)
        #expect(sum.isValid)
    }

    @Test func errorsAndGroupsAreNotAnswered() {
        let long = [UInt8](repeating: 0, count: 3000)
        #expect(notice(packet(protocolNumber: IPProtocol.icmp, payload: [8] + long), mtu: 1500) != nil, "a ping")
        #expect(notice(packet(protocolNumber: IPProtocol.icmp, payload: [3] + long), mtu: 1500) == nil, "an error")
        #expect(notice(packet(ipv6: true, protocolNumber: IPProtocol.icmpv6, payload: [128] + long), mtu: 1500) != nil)
        #expect(notice(packet(ipv6: true, protocolNumber: IPProtocol.icmpv6, payload: [2] + long), mtu: 1500) == nil)
        #expect(notice(packet(payload: long, field: 0x4001), mtu: 1500) == nil, "a fragment that is not the first")
        var group = packet(payload: long)
        group[0] |= 1
        #expect(notice(group, mtu: 1500) == nil)
        #expect(notice(packet(payload: [1, 2, 3]), mtu: 1500) == nil, "it fits")
        var other = packet(payload: long)
        other[12] = 0x88
        #expect(notice(other, mtu: 1500) == nil)
    }

    @Test func randomBytesDoNotTrap() {
        for ipv6 in [false, true] {
            fuzz(
                packet(ipv6: ipv6, tags: 1, dontFragment: false, payload: [UInt8](repeating: 1, count: 200)),
                rounds: 20_000
            ) { bytes in
                for limit in [0, 40, 60, 100] {
                    _ = pieces(bytes, limit: limit)
                    _ = pieces6(bytes, limit: limit)
                }
                for mtu in [0, 68, 100, 1280] { _ = notice(bytes, mtu: mtu) }
            }
        }
    }
}
