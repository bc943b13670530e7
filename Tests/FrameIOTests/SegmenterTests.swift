// SPDX-License-Identifier: Apache-2.0
import FrameIO
import TestSupport
import Testing
import Wire

/// A GSO frame to segment.
struct GSOFrame {
    var bytes: [UInt8]
    var offload: VirtioNetHeader
    /// Where IP and transport headers begin.
    let network: Int
    let transport: Int
    let payloadOffset: Int
    let isIPv6: Bool

    var payload: [UInt8] { Array(bytes[payloadOffset...]) }

    /// TCP or UDP over IPv4 or IPv6, with any number of VLAN tags and TCP option bytes.
    init(
        ipv6: Bool = false, tcp: Bool = true, tags: Int = 0, options: Int = 12, payload: [UInt8], segmentSize: UInt16,
        flags: TCPFlags = [.ack, .psh]
    ) {
        isIPv6 = ipv6
        var writer = ByteWriter()
        writer.put(MACAddress("52:54:00:12:34:56")!)
        writer.put(MACAddress("02:00:00:00:00:01")!)
        for tag in 0..<tags {
            writer.put16(tag == 0 && tags > 1 ? EtherType.serviceVLAN : EtherType.vlan)
            writer.put16(UInt16(5 + tag))
        }
        writer.put16(ipv6 ? EtherType.ipv6 : EtherType.ipv4)
        network = writer.count
        let transportLength = (tcp ? 20 + options : 8) + payload.count
        if ipv6 {
            writer.put32(0x6000_0000)
            writer.put16(UInt16(transportLength))
            writer.put8(tcp ? 6 : 17)
            writer.put8(64)
            writer.put((0..<32).map { UInt8($0) })
        } else {
            var header = IPv4Header(
                source: IPv4Address("192.168.105.1")!, destination: IPv4Address("192.168.105.2")!,
                protocolNumber: tcp ? 6 : 17)
            header.identification = 0xfffe
            header.emit(into: &writer, payloadLength: transportLength)
        }
        transport = writer.count
        writer.put16(80)
        writer.put16(40_000)
        if tcp {
            writer.put32(0xffff_fff0)
            writer.put32(77)
            writer.put8(UInt8((20 + options) / 4) << 4)
            writer.put8(flags.rawValue)
            writer.put16(500)
            writer.put32(0)
            writer.put((0..<options).map { UInt8($0) })
        } else {
            writer.put16(UInt16(transportLength))
            writer.put16(0)
        }
        payloadOffset = writer.count
        writer.put(payload)
        bytes = writer.bytes
        offload = VirtioNetHeader()
        offload.flags = .needsChecksum
        offload.segmentation = tcp ? (ipv6 ? .tcp6 : .tcp4) : .udp
        offload.segmentSize = segmentSize
        offload.checksumStart = UInt16(transport)
        offload.checksumOffset = tcp ? 16 : 6
    }

    /// Segments it into whole frames; nil if the segmenter refuses.
    func segments() -> [[UInt8]]? {
        guard var segmenter = Segmenter(bytes.rawSpan, offload) else { return nil }
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

@Suite struct GSORecognitionTests {
    private func payload(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) } }

    @Test(arguments: [false, true], [0, 1])
    func oversizeFrameBecomesGSOFrameOfTheMTU(ipv6: Bool, tags: Int) throws {
        let frame = GSOFrame(
            ipv6: ipv6, tags: tags, payload: payload(20_000), segmentSize: 1, flags: [.ack, .psh, .cwr])
        let found = VirtioNetHeader(gsoFrame: frame.bytes.rawSpan, mtu: 1500)
        let offload = try #require(found)
        #expect(offload.segmentation == (ipv6 ? .tcp6 : .tcp4) && offload.hasECN && offload.flags == [])
        #expect(Int(offload.segmentSize) == 1500 - (frame.payloadOffset - frame.network))
        let segmenter = Segmenter(frame.bytes.rawSpan, offload)
        #expect(segmenter?.longestFrame == 1500 + frame.network)
    }

    @Test func shortFramesAreNotGSO() {
        let fits = GSOFrame(tags: 2, payload: payload(1500 - 52), segmentSize: 1)
        #expect(fits.bytes.count == 1522)
        #expect(VirtioNetHeader(gsoFrame: fits.bytes.rawSpan, mtu: 1500) == nil)
        let over = GSOFrame(tags: 2, payload: payload(1500 - 51), segmentSize: 1)
        #expect(VirtioNetHeader(gsoFrame: over.bytes.rawSpan, mtu: 1500).map { Int($0.segmentSize) } == 1448)
    }

    @Test func otherProtocolsAreNotGSO() {
        #expect(
            VirtioNetHeader(
                gsoFrame: GSOFrame(tcp: false, payload: payload(5000), segmentSize: 1).bytes.rawSpan, mtu: 1500)
                == nil)
        #expect(VirtioNetHeader(gsoFrame: payload(9000).rawSpan, mtu: 1500) == nil)
        // Headers that leave no room for data.
        #expect(
            VirtioNetHeader(gsoFrame: GSOFrame(payload: payload(5000), segmentSize: 1).bytes.rawSpan, mtu: 40)
                == nil)
    }
}

@Suite struct SegmenterTests {
    /// True if lengths and checksums of IP and what it carries are right.
    private func checkNetworkHeader(of segment: [UInt8], _ frame: GSOFrame, ipv6: Bool) -> Bool {
        let number: UInt8 = frame.offload.segmentation == .udp ? 17 : 6
        if ipv6 {
            guard let ip = try? IPv6View(segment.rawSpan.from(frame.network)),
                ip.bytes.byteCount == segment.count - frame.network
            else { return false }
            var sum = InternetChecksum.pseudoHeader(
                addresses: ip.addresses, protocolNumber: number, length: ip.payload.byteCount)
            sum.add(ip.payload)
            return sum.isValid
        }
        guard let ip = try? IPv4View(segment.rawSpan.from(frame.network)),
            ip.bytes.byteCount == segment.count - frame.network, ip.hasValidChecksum
        else { return false }
        var sum = InternetChecksum.pseudoHeader(
            source: ip.source, destination: ip.destination, protocolNumber: number, length: ip.payload.byteCount)
        sum.add(ip.payload)
        return sum.isValid
    }

    @Test(arguments: [false, true], [0, 1, 2])
    func tcpStreamsStayWhole(ipv6: Bool, tags: Int) throws {
        var random = SeededGenerator(seed: 3)
        for _ in 0..<60 {
            let payload = random.bytes(Int.random(in: 1...20_000, using: &random))
            let size = UInt16.random(in: 100...1460, using: &random)
            let frame = GSOFrame(
                ipv6: ipv6, tags: tags, options: Int.random(in: 0...10, using: &random) * 4, payload: payload,
                segmentSize: size)
            let segments = try #require(frame.segments())
            #expect(segments.count == (payload.count + Int(size) - 1) / Int(size))
            var stream: [UInt8] = []
            for segment in segments {
                #expect(checkNetworkHeader(of: segment, frame, ipv6: ipv6))
                let view = try TCPView(segment.rawSpan.from(frame.transport))
                #expect(view.sequence == 0xffff_fff0 &+ UInt32(stream.count))
                #expect(view.acknowledgment == 77)
                stream += view.payload.copied()
                // PSH belongs to the last one.
                #expect(view.flags == (stream.count == payload.count ? [.ack, .psh] : [.ack]))
                // Everything before IP, and TCP's options, go along unchanged.
                #expect(segment[..<frame.network] == frame.bytes[..<frame.network])
                #expect(
                    segment[frame.transport + 20..<frame.payloadOffset]
                        == frame.bytes[frame.transport + 20..<frame.payloadOffset])
            }
            #expect(stream == payload)
        }
    }

    @Test(arguments: [false, true])
    func udpDatagramsAreCutIntoDatagrams(ipv6: Bool) throws {
        let payload = SeededGenerator.sample(5000)
        let frame = GSOFrame(ipv6: ipv6, tcp: false, payload: payload, segmentSize: 1200)
        let segments = try #require(frame.segments())
        var joined: [UInt8] = []
        for segment in segments {
            #expect(checkNetworkHeader(of: segment, frame, ipv6: ipv6))
            let udp = try UDPView(segment.rawSpan.from(frame.transport))
            #expect(udp.bytes.byteCount == segment.count - frame.transport)
            joined += udp.payload.copied()
        }
        #expect(segments.count == 5)
        #expect(joined == payload)
    }

    @Test func identificationsCountUpAndWrap() throws {
        let frame = GSOFrame(payload: SeededGenerator.sample(4000), segmentSize: 1000)
        let identifications = try #require(frame.segments()).map { $0.rawSpan.big16(at: frame.network + 4) }
        #expect(identifications == [0xfffe, 0xffff, 0, 1])
    }

    @Test func lastSegmentHasFINAndFirstHasCWR() throws {
        var frame = GSOFrame(
            payload: SeededGenerator.sample(3000), segmentSize: 1000, flags: [.ack, .fin, .cwr, .ece])
        frame.offload.hasECN = true
        let flags = try #require(frame.segments()).map { TCPFlags(rawValue: $0[frame.transport + 13]) }
        #expect(flags == [[.ack, .cwr, .ece], [.ack, .ece], [.ack, .fin, .ece]])
    }

    @Test func paddingIsNotPayload() throws {
        var frame = GSOFrame(payload: SeededGenerator.sample(100), segmentSize: 60)
        frame.bytes += [0xaa, 0xaa, 0xaa]
        let segments = try #require(frame.segments())
        #expect(segments.map { $0.count - frame.payloadOffset } == [60, 40])
    }

    @Test func contradictoryHeadersAreRefused() {
        let good = GSOFrame(payload: SeededGenerator.sample(3000), segmentSize: 1000)
        #expect(good.segments() != nil)
        var wrong = good
        wrong.offload.segmentation = .tcp6
        #expect(wrong.segments() == nil, "IPv4 announced as IPv6")
        wrong = good
        wrong.offload.segmentation = .udp
        #expect(wrong.segments() == nil, "TCP announced as UDP")
        wrong = good
        wrong.offload.segmentSize = 0
        #expect(wrong.segments() == nil, "no segment size")
        wrong = good
        wrong.bytes[good.network + 6] = 0x20
        #expect(wrong.segments() == nil, "a fragment")
        wrong = good
        wrong.bytes = Array(good.bytes[..<good.payloadOffset])
        #expect(wrong.segments() == nil, "cut")
        #expect(GSOFrame(payload: [], segmentSize: 1000).segments() == nil, "no payload")
    }

    @Test func hostileFramesDoNotTrap() {
        for (ipv6, tcp) in [(false, true), (true, true), (false, false), (true, false)] {
            let frame = GSOFrame(
                ipv6: ipv6, tcp: tcp, tags: 1, payload: SeededGenerator.sample(400), segmentSize: 100)
            fuzz(frame.bytes, rounds: 5000) { bytes in
                var damaged = frame
                damaged.bytes = bytes
                for segment in damaged.segments() ?? [] {
                    #expect(segment.count <= bytes.count + Segmenter.maximumHeaderLength)
                }
            }
        }
    }
}

extension SeededGenerator {
    static func sample(_ count: Int) -> [UInt8] {
        var random = SeededGenerator(seed: UInt64(count))
        return random.bytes(count)
    }
}
