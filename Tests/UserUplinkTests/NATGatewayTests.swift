// SPDX-License-Identifier: Apache-2.0
import FrameIO
import NetworkModel
import Platform
import TestSupport
import Testing
import Timing
import UserUplink
import Wire

private let gatewayHardware = MACAddress("02:00:00:00:00:01")!
private let gatewayAddress = IPv4Address("192.168.105.1")!
private let outside = IPv4Address("203.0.113.1")!

/// A gateway, a clock, and builders for guests' frames.
private struct GatewayHarness {
    var gateway: NATGateway
    var now = Instant.seconds(1000)

    init(_ change: (inout NATGateway.Options) -> Void = { _ in }) {
        var options = NATGateway.Options(
            network: GuestNetwork(gateway: gatewayAddress, prefixLength: 24), hardware: gatewayHardware)
        options.answersDNS = true
        change(&options)
        gateway = NATGateway(options)
        gateway.locate = { FrameOrigin(port: UInt16(truncatingIfNeeded: $0.value), isShared: false) }
    }

    mutating func send(_ frame: [UInt8]) -> NATGateway.Verdict {
        gateway.fromGuest(frame.rawSpan, now: now)
    }

    func udp(
        _ number: Int = 2, from source: IPv4Address? = nil, port: UInt16 = 5000, to destination: IPv4Address = outside,
        _ destinationPort: UInt16 = 7, payload: [UInt8] = Array("hello".utf8)
    ) -> [UInt8] {
        Frames.udp(
            from: Endpoint(mac(number), source ?? ip(number), port: port),
            to: Endpoint(gatewayHardware, destination, port: destinationPort), payload)
    }

    func tcp(
        _ number: Int = 2, port: UInt16, to destination: IPv4Address = outside, _ destinationPort: UInt16 = 80,
        _ flags: TCPFlags = .syn, sequence: UInt32 = 1
    ) -> [UInt8] {
        Frames.tcp(
            flags, from: Endpoint(mac(number), ip(number), port: port),
            to: Endpoint(gatewayHardware, destination, port: destinationPort), sequence: sequence)
    }

    /// A changed frame with the checksum of its IP header updated.
    func changed(_ frame: [UInt8], _ change: (inout [UInt8]) -> Void) -> [UInt8] {
        var bytes = frame
        change(&bytes)
        bytes[24] = 0
        bytes[25] = 0
        let length = Int(bytes[14] & 15) * 4
        var sum = InternetChecksum()
        sum.add(Array(bytes[14..<min(bytes.count, 14 + length)]).rawSpan)
        bytes[24] = UInt8(sum.finished >> 8)
        bytes[25] = UInt8(sum.finished & 0xff)
        return bytes
    }

    /// A fragment of a UDP datagram to the outside.
    func fragment(_ offset: Int, _ payload: [UInt8], more: Bool, identification: UInt16 = 9) -> [UInt8] {
        Frames.ipv4(
            IPProtocol.udp, from: Endpoint(mac(2), ip(2)), to: Endpoint(gatewayHardware, outside),
            fragment: (more ? 0x2000 : 0) | UInt16(offset / 8), identification: identification, payload)
    }
}

extension NATGateway.Verdict {
    /// Whether a datagram goes to the relay.
    var isDatagram: Bool {
        switch self {
        case .datagram, .datagramReassembled: true
        default: false
        }
    }

    /// Whether a segment may open a connection; nil for other verdicts.
    var isAllowedTCP: Bool? {
        switch self {
        case .tcp: true
        case .refusedTCP: false
        default: nil
        }
    }
}

@Suite struct NATGatewayTests {
    // MARK: Valid frames

    @Test func validPacketsPass() {
        var bench = GatewayHarness()
        #expect(bench.send(bench.udp()).isDatagram)
        guard case .tcp(let arrival) = bench.send(bench.tcp(port: 40_000)) else {
            Issue.record("no segment")
            return
        }
        #expect(
            arrival.key
                == FlowKey(
                    IPProtocol.tcp, guest: IPv6Address(0, UInt64(ip(2).value)), 40_000,
                    remote: IPv6Address(0, UInt64(outside.value)), 80))
        #expect(arrival.hardware == mac(2) && arrival.owner == .port(2))
    }

    @Test func gatewayAnswersARPForItself() throws {
        var bench = GatewayHarness()
        #expect(
            bench.send(
                ARPPacket(
                    operation: .request, senderHardware: mac(2), senderAddress: ip(2), targetHardware: .zero,
                    targetAddress: gatewayAddress
                ).frame(to: .broadcast)) == .consumed)
        let frame = try #require(bench.gateway.toGuests.first)
        let answer = try ARPPacket(parsing: EthernetView(frame.rawSpan).payload)
        #expect(
            answer.operation == .reply && answer.senderHardware == gatewayHardware
                && answer.senderAddress == gatewayAddress && answer.targetHardware == mac(2))
    }

    // MARK: Source addresses

    @Test func spoofedSourceIsDropped() {
        var bench = GatewayHarness()
        #expect(bench.send(bench.udp(2)).isDatagram)
        #expect(bench.send(bench.udp(3, from: ip(2))) == .drop(.spoofed))
        #expect(
            bench.send(
                ARPPacket(
                    operation: .reply, senderHardware: mac(3), senderAddress: ip(2), targetHardware: gatewayHardware,
                    targetAddress: gatewayAddress
                ).frame(to: gatewayHardware)) == .drop(.spoofed))
        var forged = ARPPacket(
            operation: .request, senderHardware: mac(2), senderAddress: ip(2), targetHardware: .zero,
            targetAddress: gatewayAddress
        ).frame(to: .broadcast)
        forged.replaceSubrange(6..<12, with: mac(4).bytes)
        #expect(bench.send(forged) == .drop(.spoofed))
        // A lease outranks the first user.
        bench.gateway.lease(ip(2), to: mac(3), until: bench.now + .seconds(1800), now: bench.now)
        #expect(bench.send(bench.udp(3, from: ip(2))).isDatagram)
        #expect(bench.send(bench.udp(2)) == .drop(.spoofed))
    }

    @Test(arguments: [
        "192.168.105.1", "192.168.105.0", "192.168.105.255", "255.255.255.255", "224.0.0.1", "127.0.0.1", "10.0.0.5",
        "203.0.113.1",
    ])
    func sourceOutsideTheNetworkIsSpoofed(source: String) {
        var bench = GatewayHarness()
        #expect(bench.send(bench.udp(2, from: IPv4Address(source)!)) == .drop(.spoofed))
    }

    // MARK: Destinations

    @Test func refusedDestinationIsAnsweredWithICMP() throws {
        var bench = GatewayHarness()
        for address in ["127.0.0.1", "169.254.169.254", "0.0.0.7", "240.0.0.1"] {
            #expect(bench.send(bench.udp(to: IPv4Address(address)!)) == .drop(.refused), "\(address)")
            #expect(bench.send(bench.tcp(port: 1000, to: IPv4Address(address)!)).isAllowedTCP == false, "\(address)")
        }
        #expect(bench.send(bench.tcp(port: 1000, to: gatewayAddress, 22)).isAllowedTCP == false)
        let frame = try #require(bench.gateway.toGuests.first)
        let answer = try IPv4View(EthernetView(frame.rawSpan).payload)
        #expect(
            answer.source == gatewayAddress && answer.destination == ip(2) && answer.protocolNumber == IPProtocol.icmp)
        #expect(answer.payload.big16(at: 0) == 0x030d && answer.hasValidChecksum)
        // Not more than 100 a second.
        for _ in 0..<1000 { _ = bench.send(bench.udp(to: gatewayAddress, 22)) }
        #expect(bench.gateway.toGuests.count == 100)
        var open = GatewayHarness { $0.policy.opensHostLoopback = true }
        #expect(open.send(open.tcp(port: 1000, to: gatewayAddress, 22)).isAllowedTCP == true)
    }

    // MARK: Bad packets

    @Test func contradictoryLengthsAreMalformed() {
        var bench = GatewayHarness()
        let good = bench.udp(), segment = bench.tcp(port: 1)
        #expect(bench.send(good).isDatagram)
        for length in 0..<good.count - 5 {
            #expect(!bench.send(Array(good.prefix(length))).isDatagram, "cut at \(length)")
        }
        #expect(!bench.send(bench.changed(good) { $0[17] -= 10 }).isDatagram, "the lengths differ")
        #expect(bench.send(bench.changed(good) { $0[22] = 0 }) == .drop(.malformed), "time to live")
        #expect(bench.send(bench.udp(port: 0)) == .drop(.malformed))
        #expect(bench.send(bench.udp(to: outside, 0)) == .drop(.malformed))
        #expect(bench.send(bench.tcp(port: 0)) == .drop(.malformed))
        #expect(bench.send(bench.tcp(port: 5, to: outside, 0)) == .drop(.malformed))
        var options = bench.changed(segment) { $0[14] = 0x46 }
        #expect(bench.send(options).isAllowedTCP == nil, "IP options")
        options = bench.changed(segment) { $0[23] = 47 }
        #expect(bench.send(options) == .drop(.unsupported))
    }

    @Test func badChecksumsAreDropped() {
        var bench = GatewayHarness()
        for frame in [bench.udp(), bench.tcp(port: 9)] {
            for place in [24, frame.count - 1] {
                var bad = frame
                bad[place] ^= 0x55
                #expect(bench.send(bad) == .drop(.badChecksum), "\(place)")
            }
        }
    }

    @Test func fragmentsAreReassembled() throws {
        var bench = GatewayHarness()
        let payload = (0..<1000).map { UInt8(truncatingIfNeeded: $0) }
        let whole = Array(bench.udp(payload: payload).dropFirst(34))
        #expect(bench.send(bench.fragment(504, Array(whole[504...]), more: false)) == .consumed)
        guard case .datagramReassembled(_, let bytes) = bench.send(bench.fragment(0, Array(whole[..<504]), more: true))
        else {
            Issue.record("not put together")
            return
        }
        let packet = try IPv4View(EthernetView(bytes.rawSpan).payload)
        #expect(!packet.isFragment && packet.hasValidChecksum && packet.payload.copied() == whole)
    }

    @Test func overlappingFragmentsAreDropped() {
        var bench = GatewayHarness()
        let whole = Array(bench.udp(payload: [UInt8](repeating: 1, count: 1000)).dropFirst(34))
        #expect(bench.send(bench.fragment(0, Array(whole[..<504]), more: true)) == .consumed)
        #expect(bench.send(bench.fragment(496, Array(whole[496...]), more: false)) == .drop(.fragment))
        // The rest of the dropped packet begins a new one, which stays incomplete.
        #expect(bench.send(bench.fragment(504, Array(whole[504...]), more: false)) == .consumed)
        // Beyond 64 KiB, of odd length, or with an end before received data.
        #expect(
            bench.send(bench.fragment(65_528, [UInt8](repeating: 0, count: 100), more: false, identification: 1))
                == .drop(.fragment))
        #expect(
            bench.send(bench.fragment(0, [UInt8](repeating: 0, count: 13), more: true, identification: 2))
                == .drop(.fragment))
        #expect(
            bench.send(bench.fragment(800, [UInt8](repeating: 0, count: 80), more: true, identification: 3))
                == .consumed)
        #expect(
            bench.send(bench.fragment(400, [UInt8](repeating: 0, count: 80), more: false, identification: 3))
                == .drop(.fragment))
    }

    @Test func lostFragmentsCostNoLaterPacket() throws {
        var bench = GatewayHarness()
        for number in 0..<100 {
            _ = bench.send(
                bench.fragment(0, [UInt8](repeating: 0, count: 80), more: true, identification: UInt16(number)))
        }
        let whole = Array(bench.udp(payload: [UInt8](repeating: 7, count: 1000))[34...])
        #expect(bench.send(bench.fragment(0, Array(whole[..<504]), more: true, identification: 999)) == .consumed)
        #expect(bench.send(bench.fragment(504, Array(whole[504...]), more: false, identification: 999)).isDatagram)
    }

    // MARK: Hops

    @Test func lastHopIsAnsweredWithTimeExceeded() throws {
        var bench = GatewayHarness()
        for frame in [
            bench.udp(), bench.tcp(port: 9),
            Frames.echo(
                from: Endpoint(mac(2), ip(2)), to: Endpoint(gatewayHardware, outside), identifier: 3),
        ] {
            #expect(bench.send(bench.changed(frame) { $0[22] = 1 }) == .drop(.expired))
            let last = bench.gateway.toGuests.popLast()
            let sent = try #require(last)
            let answer = try IPv4View(EthernetView(sent.rawSpan).payload)
            #expect(answer.source == gatewayAddress && answer.destination == ip(2))
            #expect(
                answer.payload.big16(at: 0) == 0x0b00
                    && answer.payload.from(8).copied()
                        == Array(
                            bench.changed(frame) { $0[22] = 1 }[14..<42])
            )
        }
        var open = GatewayHarness { $0.policy.opensHostLoopback = true }
        #expect(open.send(open.changed(open.udp(to: gatewayAddress)) { $0[22] = 1 }).isDatagram, "no hop is left out")
    }

    @Test func lastHopOfIPv6IsAnsweredWithTimeExceeded() throws {
        var gateway = Fixture.gateway()
        var frame = Fixture.udp6(to: Fixture.outside6)
        frame[21] = 1
        #expect(gateway.judge(frame) == .drop(.expired))
        let sent = try #require(gateway.toGuests.last)
        let answer = try IPv6View(EthernetView(sent.rawSpan).payload)
        #expect(answer.source == IPv6Address(Fixture.prefix, 1) && answer.destination == Fixture.guest6)
        #expect(answer.payload.big16(at: 0) == 0x0300 && answer.payload.from(8).copied() == Array(frame[14...]))
    }

    // MARK: Fuzzing

    @Test func fuzzedFramesThatPassAreValid() {
        var bench = GatewayHarness {
            $0.prefix = 0xfd00_0001_0002_0003; $0.policy.opensHostLoopback = true
        }
        let frames = [
            bench.udp(), bench.tcp(port: 77), bench.fragment(0, [UInt8](repeating: 3, count: 64), more: true),
            ARPPacket(
                operation: .request, senderHardware: mac(2), senderAddress: ip(2), targetHardware: .zero,
                targetAddress: gatewayAddress
            ).frame(to: gatewayHardware),
            NeighborDiscovery.advertisement(
                of: IPv6Address(0xfd00_0001_0002_0003, 9), at: mac(2),
                to: (IPv6Address(0xfd00_0001_0002_0003, 1), gatewayHardware), isRouter: false),
        ]
        for (number, frame) in frames.enumerated() {
            fuzz(frame, seed: UInt64(number)) { bytes in
                guard bench.send(bytes).isDatagram, bytes.count >= 34, bytes[12] == 8, bytes[13] == 0 else { return }
                let isSound = (try? IPv4View(EthernetView(bytes.rawSpan).payload).hasValidChecksum) ?? false
                #expect(isSound)
            }
            bench.gateway.toGuests = []
        }
    }
}
