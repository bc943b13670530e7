// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import Wire

private let hostMAC = MACAddress("02:00:00:00:00:01")!
private let guestMAC = MACAddress("52:54:00:12:34:56")!
private let host = IPv4Address("192.168.105.1")!
private let guest = IPv4Address("192.168.105.2")!

@Suite struct PacketTests {
    // MARK: Ethernet and VLAN

    @Test func ethernetHeaderRoundTrips() throws {
        var writer = ByteWriter()
        let header = EthernetHeader(destination: hostMAC, source: guestMAC, type: EtherType.ipv6)
        header.emit(into: &writer)
        writer.put([1, 2, 3])
        let view = try EthernetView(writer.bytes.rawSpan)
        #expect(view.destination == hostMAC)
        #expect(view.source == guestMAC)
        #expect(view.type == EtherType.ipv6)
        #expect(view.payload.copied() == [1, 2, 3])
        for length in 0..<14 {
            #expect(throws: WireError.truncated) {
                _ = try EthernetView(writer.bytes.rawSpan.extracting(0..<length)).type
            }
        }
    }

    @Test func vlanTagsAreReadAndWritten() {
        let frame = guestMAC.bytes + hostMAC.bytes + [0x81, 0x00, 0xa0, 0x05, 0x08, 0x00]
        let tag = VLANTag(ofFrame: frame.rawSpan)
        #expect(tag == VLANTag(protocolIdentifier: 0x8100, control: 0xa005))
        #expect(tag?.identifier == 5)
        #expect(tag?.priority == 5)
        #expect(VLANTag(ofFrame: frame.rawSpan.extracting(0..<17)) == nil)
        #expect(VLANTag(ofFrame: (guestMAC.bytes + hostMAC.bytes + [8, 0, 0x45, 0, 0, 0]).rawSpan) == nil)
    }

    // MARK: ARP

    @Test func arpRoundTrips() throws {
        let packet = ARPPacket(
            operation: .reply, senderHardware: hostMAC, senderAddress: host, targetHardware: guestMAC,
            targetAddress: guest)
        let frame = packet.frame(to: guestMAC)
        #expect(frame.count == 42)
        let view = try EthernetView(frame.rawSpan)
        #expect(view.type == EtherType.arp)
        #expect(try ARPPacket(parsing: view.payload) == packet)
        for length in 0..<28 {
            #expect(throws: WireError.truncated) { try ARPPacket(parsing: view.payload.extracting(0..<length)) }
        }
    }

    @Test func probesClaimNoAddress() throws {
        let probe = ARPPacket.probe(for: guest, from: hostMAC)
        #expect(probe.senderAddress == .any)
        #expect(probe.targetHardware == .zero)
    }

    @Test func arpOfOtherTypesIsRefused() {
        let good = Array(ARPPacket.probe(for: guest, from: hostMAC).frame(to: .broadcast)[14...])
        for (offset, value) in [(1, 6), (2, 9), (4, 8), (5, 16), (7, 3), (7, 0)] as [(Int, UInt8)] {
            var bytes = good
            bytes[offset] = value
            #expect(throws: WireError.badField) { try ARPPacket(parsing: bytes.rawSpan) }
        }
        fuzz(good) { _ = try? ARPPacket(parsing: $0.rawSpan) }
    }

    // MARK: IP

    @Test func ipv4HeaderRoundTripsWithChecksum() throws {
        var writer = ByteWriter()
        var header = IPv4Header(source: guest, destination: host, protocolNumber: IPProtocol.udp)
        header.timeToLive = 7
        header.identification = 0x1234
        header.emit(into: &writer, payloadLength: 3)
        writer.put([1, 2, 3])
        let bytes = writer.bytes + [0, 0, 0]  // padding of a short frame
        let view = try IPv4View(bytes.rawSpan)
        #expect(view.source == guest && view.destination == host)
        #expect(view.protocolNumber == IPProtocol.udp && view.timeToLive == 7 && view.identification == 0x1234)
        #expect(view.hasValidChecksum && !view.isFragment)
        #expect(view.payload.copied() == [1, 2, 3])
        for length in 0..<23 {
            #expect(throws: WireError.truncated) { _ = try IPv4View(bytes.rawSpan.extracting(0..<length)).source }
        }
        for byte in 0..<20 {
            var damaged = bytes
            damaged[byte] ^= 1
            #expect((try? IPv4View(damaged.rawSpan).hasValidChecksum) != true, "byte \(byte)")
        }
    }

    @Test func contradictoryIPv4LengthsAreRefused() {
        var writer = ByteWriter()
        IPv4Header(source: guest, destination: host, protocolNumber: 17).emit(into: &writer, payloadLength: 0)
        for (first, total, error) in [
            (0x65, 20, WireError.badVersion), (0x44, 20, .badLength), (0x46, 20, .badLength), (0x45, 19, .badLength),
            (0x45, 21, .truncated),
        ] as [(UInt8, UInt8, WireError)] {
            var bytes = writer.bytes
            bytes[0] = first
            bytes[3] = total
            #expect(throws: error) { _ = try IPv4View(bytes.rawSpan).source }
        }
        fuzz(writer.bytes) { bytes in
            guard let view = try? IPv4View(bytes.rawSpan) else { return }
            _ = (view.source, view.destination, view.isFragment, view.hasValidChecksum, view.payload.byteCount)
        }
    }

    @Test func fragmentsAreRecognised() throws {
        var writer = ByteWriter()
        IPv4Header(source: guest, destination: host, protocolNumber: 17).emit(into: &writer, payloadLength: 0)
        for (high, low, isFragment) in [
            (0x40, 0, false), (0x20, 0, true), (0x00, 1, true), (0x1f, 0xff, true), (0, 0, false),
        ] as [(UInt8, UInt8, Bool)] {
            var bytes = writer.bytes
            (bytes[6], bytes[7]) = (high, low)
            #expect(try IPv4View(bytes.rawSpan).isFragment == isFragment)
        }
    }

    @Test func ipv6PacketsAreCutToTheirLength() throws {
        let bytes: [UInt8] = [0x60, 0, 0, 0, 0, 4, 17, 64] + [UInt8](repeating: 0, count: 42)
        let view = try IPv6View(bytes.rawSpan)
        #expect(view.nextHeader == 17 && view.hopLimit == 64)
        #expect(view.payload.byteCount == 4)
        #expect(view.addresses.byteCount == 32)
        for length in 0..<44 {
            #expect(throws: WireError.truncated) { _ = try IPv6View(bytes.rawSpan.extracting(0..<length)).nextHeader }
        }
        let other = [0x45] + bytes.dropFirst()
        #expect(throws: WireError.badVersion) { _ = try IPv6View(other.rawSpan).nextHeader }
        fuzz(bytes) { bytes in
            guard let view = try? IPv6View(bytes.rawSpan) else { return }
            _ = (view.nextHeader, view.payload.byteCount, view.addresses.byteCount)
        }
    }

    // MARK: ICMP, UDP, TCP

    @Test func echoRoundTrips() throws {
        let echo = ICMPEcho(kind: .request, identifier: 0xbeef, sequence: 3, payload: [1, 2, 3, 4, 5])
        var writer = ByteWriter()
        echo.emit(into: &writer)
        #expect(try ICMPEcho(parsing: writer.bytes.rawSpan) == echo)
        for length in 0..<8 {
            #expect(throws: WireError.truncated) { try ICMPEcho(parsing: writer.bytes.rawSpan.extracting(0..<length)) }
        }
        for byte in writer.bytes.indices {
            var damaged = writer.bytes
            damaged[byte] ^= 0x10
            #expect(throws: WireError.self) { try ICMPEcho(parsing: damaged.rawSpan) }
        }
        fuzz(writer.bytes) { _ = try? ICMPEcho(parsing: $0.rawSpan) }
    }

    @Test(arguments: [[], [1], [1, 2], Array(0..<255)] as [[UInt8]])
    func udpFramesRoundTrip(payload: [UInt8]) throws {
        let frame = UDPFrame(from: (guestMAC, guest, 68), to: (hostMAC, host, 67)).bytes(payload: payload)
        let ip = try IPv4View(EthernetView(frame.rawSpan).payload)
        let udp = try UDPView(ip.payload)
        #expect(udp.sourcePort == 68 && udp.destinationPort == 67)
        #expect(udp.payload.copied() == payload)
        #expect(ip.hasValidChecksum == true)
        #expect(udp.hasValidChecksum(source: guest, destination: host) == true)
        #expect(udp.hasValidChecksum(source: guest, destination: guest) == false)
    }

    @Test func udpWithoutChecksumIsValid() throws {
        let bytes: [UInt8] = [0, 1, 0, 2, 0, 9, 0, 0, 42]
        let view = try UDPView(bytes.rawSpan)
        #expect(view.hasValidChecksum(source: guest, destination: host) == true)
        #expect(view.payload.copied() == [42])
    }

    @Test func udpLengthsAreChecked() {
        let good: [UInt8] = [0, 1, 0, 2, 0, 12, 0, 0, 1, 2, 3, 4]
        for length in 0..<12 {
            #expect(throws: WireError.truncated) { _ = try UDPView(good.rawSpan.extracting(0..<length)).sourcePort }
        }
        var short = good
        short[5] = 7
        #expect(throws: WireError.badLength) { _ = try UDPView(short.rawSpan).sourcePort }
        fuzz(good) { bytes in
            guard let view = try? UDPView(bytes.rawSpan) else { return }
            _ = (view.payload.byteCount, view.hasValidChecksum(source: guest, destination: host))
        }
    }

    @Test func tcpSegmentsRoundTrip() throws {
        var segment = TCPSegment(sourcePort: 1000, destinationPort: 80, sequence: 0xdead_beef, flags: [.syn, .ack])
        segment.acknowledgment = 0x0102_0304
        segment.window = 4096
        var writer = ByteWriter()
        segment.emit(into: &writer, source: guest, destination: host)
        let view = try TCPView(writer.bytes.rawSpan)
        #expect(view.sourcePort == 1000 && view.destinationPort == 80)
        #expect(view.sequence == 0xdead_beef && view.acknowledgment == 0x0102_0304)
        #expect(view.flags == [.syn, .ack] && view.window == 4096 && view.headerLength == 20)
        #expect(view.hasValidChecksum(source: guest, destination: host) == true)
        for length in 0..<20 {
            #expect(throws: WireError.truncated) { _ = try TCPView(writer.bytes.rawSpan.extracting(0..<length)).flags }
        }
        for (offset, error) in [(0x40, WireError.badLength), (0x60, .truncated), (0xf0, .truncated)]
            as [(UInt8, WireError)]
        {
            var bytes = writer.bytes
            bytes[12] = offset
            #expect(throws: error) { _ = try TCPView(bytes.rawSpan).flags }
        }
        fuzz(writer.bytes) { bytes in
            guard let view = try? TCPView(bytes.rawSpan) else { return }
            _ = (view.flags, view.payload.byteCount, view.hasValidChecksum(source: guest, destination: host))
        }
    }

    // MARK: virtio

    @Test(arguments: [VirtioNetHeader.length, VirtioNetHeader.shortLength])
    func virtioHeadersRoundTrip(length: Int) throws {
        var header = VirtioNetHeader()
        header.flags = [.needsChecksum]
        header.segmentation = .tcp6
        header.hasECN = true
        header.headerLength = 0x0102
        header.segmentSize = 1448
        header.checksumStart = 54
        header.checksumOffset = 16
        var bytes = [UInt8](repeating: 0xaa, count: length)
        bytes.withMutableRawSpan { header.emit(into: &$0) }
        #expect(VirtioNetHeader(parsing: bytes.rawSpan) == header)
        // Little-endian: segment size 1448 is a8 05.
        #expect(bytes[4] == 0xa8 && bytes[5] == 0x05)
        #expect(!header.isPlain && VirtioNetHeader().isPlain)
        for short in 0..<10 { #expect(VirtioNetHeader(parsing: bytes.rawSpan.extracting(0..<short)) == nil) }
        fuzz(bytes) { _ = VirtioNetHeader(parsing: $0.rawSpan) }
    }

    @Test func contradictoryVirtioHeadersAreRejected() {
        var bytes = [UInt8](repeating: 0, count: 12)
        bytes[1] = 1
        #expect(VirtioNetHeader(parsing: bytes.rawSpan) == nil, "segmentation without a size")
        bytes[1] = 3
        bytes[4] = 1
        #expect(VirtioNetHeader(parsing: bytes.rawSpan) == nil, "UFO, which nobody offered")
    }
}
