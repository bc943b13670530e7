// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import Wire

private let source = IPv4Address("192.168.105.2")!
private let destination = IPv4Address("203.0.113.9")!
private let source6 = IPv6Address("fd00::2")!
private let destination6 = IPv6Address("2001:db8::9")!

@Suite struct MutableViewTests {
    @Test func ethernetHeaderIsWrittenInPlace() throws {
        let header = EthernetHeader(
            destination: MACAddress(0x0200_0000_0001), source: MACAddress(0x5254_0012_3456), type: EtherType.arp)
        var bytes = [UInt8](repeating: 0xaa, count: 16)
        bytes.withMutableRawSpan { header.emit(into: &$0) }
        var writer = ByteWriter()
        header.emit(into: &writer)
        #expect(bytes == writer.bytes + [0xaa, 0xaa])
        let view = try EthernetView(bytes.rawSpan)
        #expect(view.destination == header.destination && view.source == header.source && view.type == header.type)
    }

    @Test func ipv4HeaderIsWrittenInPlace() throws {
        var header = IPv4Header(source: source, destination: destination, protocolNumber: IPProtocol.tcp)
        header.timeToLive = 3
        header.identification = 0xbeef
        header.dontFragment = false
        var bytes = [UInt8](repeating: 0xaa, count: 30)
        bytes.withMutableRawSpan { header.emit(into: &$0, at: 5, payloadLength: 4) }
        #expect(bytes[..<5] == [0xaa, 0xaa, 0xaa, 0xaa, 0xaa] && bytes[25...] == [0xaa, 0xaa, 0xaa, 0xaa, 0xaa])
        let view = try IPv4View(bytes.rawSpan.from(5))
        #expect(view.totalLength == 24 && !view.hasOptions && view.hasValidChecksum)
        #expect(view.timeToLive == 3 && view.identification == 0xbeef && view.protocolNumber == IPProtocol.tcp)
        #expect(view.source == source && view.destination == destination)
        #expect(!view.dontFragment && !view.moreFragments && view.fragmentOffset == 0)
        var writer = ByteWriter()
        header.emit(into: &writer, payloadLength: 4)
        #expect(writer.bytes == Array(bytes[5..<25]))
    }

    @Test func ipv4FieldsAreChangedInPlace() throws {
        var bytes = [UInt8](repeating: 0, count: 62)
        let header = IPv4Header(source: source, destination: destination, protocolNumber: IPProtocol.udp)
        bytes.withMutableRawSpan { span in
            header.emit(into: &span, at: 2, payloadLength: 40)
            var view = MutableIPv4View(&span, at: 2)
            view.set(totalLength: 44)
            view.set(identification: 7)
            view.set(fragmentOffset: 65_528, moreFragments: true)
            view.set(source: destination)
            view.set(destination: source)
        }
        #expect(try !IPv4View(bytes.rawSpan.from(2)).hasValidChecksum, "a change leaves the checksum alone")
        bytes.withMutableRawSpan { span in
            var view = MutableIPv4View(&span, at: 2)
            view.updateChecksum(headerLength: IPv4Header.length)
        }
        let view = try IPv4View(bytes.rawSpan.from(2))
        #expect(view.hasValidChecksum && view.totalLength == 44 && view.identification == 7)
        #expect(view.isFragment && view.moreFragments && view.fragmentOffset == 65_528 && !view.dontFragment)
        #expect(view.source == destination && view.destination == source)
        var fragment = bytes
        fragment.withMutableRawSpan { span in
            var view = MutableIPv4View(&span, at: 2)
            view.set(fragmentOffset: 8, moreFragments: false)
        }
        let last = try IPv4View(fragment.rawSpan.from(2))
        #expect(last.isFragment && !last.moreFragments && last.fragmentOffset == 8)
    }

    @Test func checksumCoversIPv4Options() throws {
        var bytes: [UInt8] =
            [0x46, 0, 0, 24, 0, 0, 0, 0, 64, 17, 0, 0] + source.bytes + destination.bytes + [1, 1, 1, 0]
        bytes.withMutableRawSpan { span in
            var view = MutableIPv4View(&span)
            view.updateChecksum(headerLength: 24)
        }
        let view = try IPv4View(bytes.rawSpan)
        #expect(view.hasOptions && view.hasValidChecksum && view.payload.byteCount == 0)
    }

    @Test func ipv6HeaderIsWrittenAndChangedInPlace() throws {
        let header = IPv6Header(
            source: source6, destination: destination6, nextHeader: IPProtocol.icmpv6, hopLimit: 255)
        var bytes = [UInt8](repeating: 0xaa, count: 60)
        bytes.withMutableRawSpan { header.emit(into: &$0, at: 4, payloadLength: 16) }
        var writer = ByteWriter()
        header.emit(into: &writer, payloadLength: 16)
        #expect(writer.bytes == Array(bytes[4..<44]))
        let view = try IPv6View(bytes.rawSpan.from(4))
        #expect(view.source == source6 && view.destination == destination6 && view.hopLimit == 255)
        #expect(view.nextHeader == IPProtocol.icmpv6 && view.payload.byteCount == 16)
        #expect(view.pseudoHeader.folded == header.pseudoHeader(length: 16).folded)
        var other = bytes
        other.withMutableRawSpan { span in
            var view = MutableIPv6View(&span, at: 4)
            view.set(payloadLength: 8)
            view.set(source: destination6)
            view.set(destination: source6)
        }
        let changed = try IPv6View(other.rawSpan.from(4))
        #expect(changed.source == destination6 && changed.destination == source6 && changed.payload.byteCount == 8)
    }

    @Test func pseudoHeaderSumsAgree() {
        var random = SeededGenerator(seed: 8200)
        for _ in 0..<1000 {
            func address() -> IPv6Address { IPv6Address(random.next(), random.next()) }
            let one = address(), other = address(), length = Int.random(in: 0...70_000, using: &random)
            let sum = InternetChecksum.pseudoHeader(
                source: one, destination: other, protocolNumber: 6, length: length)
            let bytes = one.bytes + other.bytes
            #expect(
                sum.folded
                    == InternetChecksum.pseudoHeader(addresses: bytes.rawSpan, protocolNumber: 6, length: length).folded
            )
        }
    }
}

@Suite struct ICMPViewTests {
    private func message(_ type: UInt8, _ code: UInt8 = 0, body: [UInt8]) -> [UInt8] {
        var writer = ByteWriter()
        writer.put8(type)
        writer.put8(code)
        writer.put16(0)
        writer.put(body)
        writer.patch16(writer.checksum(from: 0).finished, at: ICMPHeader.Field.checksum)
        return writer.bytes
    }

    @Test func icmpFieldsAreRead() throws {
        let bytes = message(ICMPType.echoRequest, 3, body: [0xbe, 0xef, 0, 7, 1, 2, 3])
        let view = try ICMPv4View(bytes.rawSpan)
        #expect(view.type == 8 && view.code == 3 && view.identifier == 0xbeef && view.sequence == 7)
        #expect(view.payload.copied() == [1, 2, 3] && view.hasValidChecksum)
        #expect(view.checksum == bytes.rawSpan.big16(at: 2))
        for length in 0..<ICMPHeader.length {
            #expect(throws: WireError.truncated) { _ = try ICMPv4View(bytes.rawSpan.extracting(0..<length)).type }
            #expect(throws: WireError.truncated) { _ = try ICMPv6View(bytes.rawSpan.extracting(0..<length)).type }
        }
        for index in bytes.indices {
            var damaged = bytes
            damaged[index] ^= 4
            #expect(try !ICMPv4View(damaged.rawSpan).hasValidChecksum)
        }
        fuzz(bytes) { bytes in
            guard let view = try? ICMPv4View(bytes.rawSpan) else { return }
            _ = (view.type, view.sequence, view.payload.byteCount, view.hasValidChecksum)
        }
    }

    @Test func unreachableQuotesThePacket() throws {
        var quoted = ByteWriter()
        IPv4Header(source: source, destination: destination, protocolNumber: IPProtocol.udp).emit(
            into: &quoted, payloadLength: 100)
        quoted.put([0x12, 0x34, 0, 53, 0, 100, 0, 0])
        let bytes = message(
            ICMPType.destinationUnreachable, ICMPUnreachableCode.host, body: [0, 0, 0, 0] + quoted.bytes)
        let error = try ICMPUnreachable(parsing: bytes.rawSpan)
        #expect(error.code == 1 && error.destination == destination && error.protocolNumber == IPProtocol.udp)
        #expect(error.sourcePort == 0x1234 && error.destinationPort == 53)
        for length in 0..<36 {
            #expect(throws: WireError.truncated) {
                try ICMPUnreachable(parsing: bytes.rawSpan.extracting(0..<length))
            }
        }
        // The quoted header claims options that reach beyond the message.
        let options = message(
            ICMPType.destinationUnreachable, body: [0, 0, 0, 0, 0x4f] + quoted.bytes.dropFirst())
        #expect(throws: WireError.truncated) { try ICMPUnreachable(parsing: options.rawSpan) }
        #expect(throws: WireError.badField) {
            try ICMPUnreachable(parsing: message(ICMPType.echoReply, body: [0, 0, 0, 0] + quoted.bytes).rawSpan)
        }
        fuzz(bytes) { _ = try? ICMPUnreachable(parsing: $0.rawSpan) }
    }

    @Test func icmpv6FieldsAreRead() throws {
        let frame = NeighborDiscovery.frame(
            IPv6Header(source: source6, destination: destination6, nextHeader: IPProtocol.icmpv6),
            from: .zero, to: .broadcast, type: ICMPv6Type.echoRequest, code: 1, body: [0, 9, 0, 5, 42])
        let packet = try IPv6View(EthernetView(frame.rawSpan).payload)
        let view = try ICMPv6View(packet.payload)
        #expect(view.type == 128 && view.code == 1 && view.identifier == 9 && view.sequence == 5)
        #expect(view.payload.copied() == [42] && view.hasValidChecksum(packet.pseudoHeader))
        #expect(!view.hasValidChecksum(InternetChecksum()) && !view.isNeighborDiscovery)
        for type in 0...255 as ClosedRange<UInt8> {
            let bytes = [type] + [UInt8](repeating: 0, count: 7)
            #expect(try ICMPv6View(bytes.rawSpan).isNeighborDiscovery == (133...137).contains(type))
        }
    }
}

@Suite struct NeighborDiscoveryTests {
    private let router = (IPv6Address.customaryGateway, MACAddress(0x0200_0000_0001))
    private let guest = (IPv6Address("fd00::2")!, MACAddress(0x5254_0012_3456))

    /// Checks headers and checksum of a frame and returns the ICMPv6 message.
    private func message(in frame: [UInt8]) throws -> [UInt8] {
        let packet = try IPv6View(EthernetView(frame.rawSpan).payload)
        #expect(packet.hopLimit == NeighborDiscovery.hopLimit && packet.nextHeader == IPProtocol.icmpv6)
        let message = try ICMPv6View(packet.payload)
        #expect(message.hasValidChecksum(packet.pseudoHeader) && message.isNeighborDiscovery && message.code == 0)
        return packet.payload.copied()
    }

    @Test func advertisementRoundTrips() throws {
        let bytes = try message(
            in: NeighborDiscovery.advertisement(of: router.0, at: router.1, to: guest, isRouter: true))
        let view = try NDPView(bytes.rawSpan)
        #expect(view.type == ICMPv6Type.neighborAdvertisement && view.target == router.0)
        #expect(view.flags == NDPView.Flags.router | NDPView.Flags.solicited | NDPView.Flags.override)
        var options = view.options
        let option = try options.next()
        #expect(option.byte(at: 0) == NDPOptions.Kind.targetLinkLayerAddress)
        #expect(MACAddress(option, at: NDPOptions.addressOffset) == router.1)
        let isAtEnd = options.isAtEnd
        #expect(isAtEnd)
        for length in 0..<NDPView.headerLength {
            #expect(throws: WireError.truncated) { _ = try NDPView(bytes.rawSpan.extracting(0..<length)).target }
        }
        for length in NDPView.headerLength + 1..<bytes.count {
            var cut = try NDPView(bytes.rawSpan.extracting(0..<length)).options
            #expect((try? cut.next().byteCount) == nil, "\(length)")
        }
    }

    @Test func unsolicitedAdvertisementGoesToAllNodes() throws {
        let bytes = try message(
            in: NeighborDiscovery.advertisement(
                of: guest.0, at: guest.1, to: (.allNodes, MACAddress(ofGroup: .allNodes)), isRouter: false))
        #expect(try NDPView(bytes.rawSpan).flags == NDPView.Flags.override)
    }

    @Test func solicitationRoundTrips() throws {
        let frame = NeighborDiscovery.solicitation(
            for: guest.0, from: router, to: MACAddress(ofGroup: guest.0.solicitedNode))
        #expect(try IPv6View(EthernetView(frame.rawSpan).payload).destination == guest.0.solicitedNode)
        let bytes = try message(in: frame)
        let view = try NDPView(bytes.rawSpan)
        #expect(view.type == ICMPv6Type.neighborSolicitation && view.target == guest.0 && view.flags == 0)
        var options = view.options
        let option = try options.next()
        #expect(option.byte(at: 0) == NDPOptions.Kind.sourceLinkLayerAddress)
        let isAtEnd = options.isAtEnd
        #expect(MACAddress(option, at: NDPOptions.addressOffset) == router.1 && isAtEnd)
    }

    @Test func routerAdvertisementHasItsOptions() throws {
        let bytes = try message(
            in: NeighborDiscovery.routerAdvertisement(
                from: router, to: guest, prefix: 0xfd00 << 48, lifetime: 1800, mtu: 1400))
        #expect(throws: WireError.badField) { _ = try NDPView(bytes.rawSpan).target }
        // A router advertisement has sixteen bytes before its options.
        var options = NDPOptions(bytes.rawSpan.from(16))
        var kinds: [UInt8] = []
        while !options.isAtEnd {
            let option = try options.next()
            kinds.append(option.byte(at: 0))
            if option.byte(at: 0) == NDPOptions.Kind.mtu { #expect(option.big32(at: 4) == 1400) }
        }
        #expect(
            kinds == [
                NDPOptions.Kind.sourceLinkLayerAddress, NDPOptions.Kind.mtu, NDPOptions.Kind.prefixInformation,
            ])
    }

    @Test func optionsOfLengthZeroAreRejected() {
        var options = NDPOptions([1, 0, 0, 0, 0, 0, 0, 0].rawSpan)
        #expect(throws: WireError.badLength) { _ = try options.next().byteCount }
    }

    @Test func readerSurvivesAnyBytes() throws {
        let bytes = try message(
            in: NeighborDiscovery.advertisement(of: router.0, at: router.1, to: guest, isRouter: true))
        fuzz(bytes) { bytes in
            guard let view = try? NDPView(bytes.rawSpan) else { return }
            _ = (view.type, view.flags, view.target)
            var options = view.options
            while !options.isAtEnd { if (try? options.next().byteCount) == nil { break } }
        }
    }

    // MARK: The packet that an ICMPv6 error quotes

    private func quoted(_ bytes: [UInt8]) -> QuotedPacket6? {
        guard let message = try? ICMPv6View(bytes.rawSpan) else { return nil }
        return QuotedPacket6(message)
    }

    /// "Packet too big" for a datagram from port 0x1234 to port 0x0035.
    private let packetTooBig: [UInt8] = {
        let target = IPv6Address(0x2001_0db8 << 32, 0x35)
        return [2, 0, 0, 0, 0, 0, 0x05, 0x00, 0x60, 0, 0, 0, 0, 8, 17, 64] + IPv6Address(0xfd00 << 48, 2).bytes
            + target.bytes + [0x12, 0x34, 0x00, 0x35]
    }()

    @Test func quotedPacketsAreRead() throws {
        let packet = try #require(quoted(packetTooBig))
        #expect(packet.destination == IPv6Address(0x2001_0db8 << 32, 0x35) && packet.nextHeader == 17)
        #expect(packet.sourcePort == 0x1234 && packet.destinationPort == 53)
        #expect(try ICMPv6View(packetTooBig.rawSpan).nextLinkMTU == 1280)
        for length in 0..<packetTooBig.count { #expect(quoted(Array(packetTooBig[..<length])) == nil, "\(length)") }
        // Echo requests quote nothing, and a packet of IPv4 is none of IPv6.
        #expect(quoted([ICMPv6Type.echoRequest] + packetTooBig.dropFirst()) == nil)
        var old = packetTooBig
        old[8] = 0x45
        #expect(quoted(old) == nil)
    }

    @Test(arguments: 0..<50 as Range<UInt64>) func randomQuotesHarmNothing(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<200 {
            var bytes = packetTooBig
            bytes.removeLast(Int.random(in: 0..<bytes.count, using: &random))
            for _ in 0..<4 {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            #expect(quoted(bytes) == nil || bytes.count == packetTooBig.count)
        }
    }
}
