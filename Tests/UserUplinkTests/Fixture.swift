// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import TestSupport
import Timing
import Wire
@testable import UserUplink

/// Short for `Frames.mac`.
func mac(_ number: Int) -> MACAddress { Frames.mac(number) }

/// An address of `Fixture.network`.
func ip(_ last: Int) -> IPv4Address { IPv4Address("192.168.105.\(last)")! }

/// The network of the tests, a guest on it, and frames as the guest sends them.
enum Fixture {
    static let network = GuestNetwork(gateway: IPv4Address("192.168.105.1")!, prefixLength: 24)
    static let router = MACAddress("02:00:00:00:00:01")!
    static let mac = MACAddress("52:54:00:00:00:02")!
    static let otherMAC = MACAddress("52:54:00:00:00:03")!
    static let guest = IPv4Address("192.168.105.2")!
    static let other = IPv4Address("192.168.105.3")!
    static let outside = IPv4Address("203.0.113.1")!
    static let prefix: UInt64 = 0xfd00_1234_5678_0000

    static func gateway(flowLimit: Int = 4096, _ change: (inout NATGateway.Options) -> Void = { _ in }) -> NATGateway {
        var options = NATGateway.Options(network: network, hardware: router)
        options.prefix = prefix
        options.answersDNS = true
        options.flowLimit = flowLimit
        change(&options)
        return NATGateway(options)
    }

    static func ipv4(
        _ protocolNumber: UInt8, from source: IPv4Address = guest, to destination: IPv4Address = outside,
        mac: MACAddress = mac, flags: UInt16 = 0x4000, id: UInt16 = 0, _ payload: [UInt8]
    ) -> [UInt8] {
        Frames.ipv4(
            protocolNumber, from: Endpoint(mac, source), to: Endpoint(router, destination), fragment: flags,
            identification: id, payload)
    }

    static func udp(
        from source: IPv4Address = guest, _ sourcePort: UInt16 = 4000, to destination: IPv4Address = outside,
        _ port: UInt16 = 5000, mac: MACAddress = mac, _ payload: [UInt8] = [1, 2, 3]
    ) -> [UInt8] {
        Frames.udp(
            from: Endpoint(mac, source, port: sourcePort), to: Endpoint(router, destination, port: port), payload)
    }

    static func tcp(
        from source: IPv4Address = guest, _ sourcePort: UInt16 = 4000, to destination: IPv4Address = outside,
        _ port: UInt16 = 80, mac: MACAddress = mac, flags: TCPFlags = .syn, sequence: UInt32 = 1000
    ) -> [UInt8] {
        Frames.tcp(
            flags, from: Endpoint(mac, source, port: sourcePort), to: Endpoint(router, destination, port: port),
            sequence: sequence)
    }

    /// A TCP segment of a guest with any field.
    static func segment(
        _ port: UInt16, to destination: IPv4Address = network.gateway, _ destinationPort: UInt16,
        _ flags: TCPFlags, sequence: UInt32, acknowledgment: UInt32 = 0, window: UInt16 = 0xffff,
        options: [UInt8] = [], payload: [UInt8] = [], from source: IPv4Address = guest, mac: MACAddress = mac
    ) -> [UInt8] {
        Frames.tcp(
            flags, from: Endpoint(mac, source, port: port), to: Endpoint(router, destination, port: destinationPort),
            sequence: sequence, acknowledgment: acknowledgment, window: window, options: options, payload)
    }

    /// `count` bytes of a stream from `start` on, in a pattern that shows what is missing or moved.
    static func pattern(_ count: Int, from start: Int = 0) -> [UInt8] {
        (start..<start + count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
    }

    static func ping(to destination: IPv4Address = outside, identifier: UInt16 = 7) -> [UInt8] {
        Frames.echo(from: Endpoint(mac, guest), to: Endpoint(router, destination), identifier: identifier)
    }

    static func ipv6(
        _ nextHeader: UInt8, from source: IPv6Address = guest6, to destination: IPv6Address, _ payload: [UInt8],
        checksumAt offset: Int?
    ) -> [UInt8] {
        var writer = ByteWriter()
        EthernetHeader(destination: router, source: mac, type: EtherType.ipv6).emit(into: &writer)
        let header = IPv6Header(source: source, destination: destination, nextHeader: nextHeader)
        header.emit(into: &writer, payloadLength: payload.count)
        let start = writer.count
        writer.put(payload)
        if let offset {
            writer.patch16(
                writer.checksum(from: start, adding: header.pseudoHeader(length: payload.count)).finishedForUDP,
                at: start + offset)
        }
        return writer.bytes
    }

    static let guest6 = IPv6Address(prefix, 0x5054)
    static let outside6 = IPv6Address(0x2001_0db8 << 32, 1)

    static func udp6(to destination: IPv6Address, port: UInt16 = 5000) -> [UInt8] {
        ipv6(
            IPProtocol.udp, to: destination,
            [0x0f, 0xa0, UInt8(port >> 8), UInt8(truncatingIfNeeded: port), 0, 11, 0, 0, 1, 2, 3], checksumAt: 6)
    }
}

extension NATGateway {
    mutating func judge(_ frame: [UInt8], now: Instant = .seconds(100)) -> Verdict {
        fromGuest(frame.rawSpan, now: now)
    }
}

extension Instant {
    /// So many seconds after the clock's start.
    static func seconds(_ count: Int64) -> Instant { .distantPast + TimeAmount.seconds(count) }
    /// So many nanoseconds after the clock's start.
    static func nanoseconds(_ count: Int64) -> Instant { Instant(nanoseconds: count) }
}

extension TCPSender {
    /// A sender from sequence number 1000 on, with segments of 1000 bytes, that has sent so many of them.
    static func afterSending(_ segments: Int, sackPermitted: Bool = true) -> TCPSender {
        var sender = TCPSender(sndUna: 1000, window: 1 << 20, smss: 1000, sackPermitted: sackPermitted)
        for _ in 0..<segments {
            let chunk = sender.nextChunk(available: segments * 1000, limit: 1000, now: .distantPast)
            precondition(chunk?.isRetransmission == false)
        }
        return sender
    }
}
