// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Uplinks
import Wire
@testable import UserUplink

/// The network of these tests, a guest on it, and frames as the guest would send them.
enum Scene {
    static let network = GuestNetwork(gateway: IPv4Address("192.168.105.1")!, prefixLength: 24)
    static let router = MACAddress("02:00:00:00:00:01")!
    static let mac = MACAddress("52:54:00:00:00:02")!
    static let otherMAC = MACAddress("52:54:00:00:00:03")!
    static let guest = IPv4Address("192.168.105.2")!
    static let other = IPv4Address("192.168.105.3")!
    static let outside = IPv4Address("203.0.113.1")!
    static let prefix: UInt64 = 0xfd00_1234_5678_0000

    static func gateway(flowLimit: Int = 4096, _ change: (inout UserGateway.Options) -> Void = { _ in }) -> UserGateway
    {
        var options = UserGateway.Options(network: network, hardware: router)
        options.prefix = prefix
        options.answersNames = true
        options.flowLimit = flowLimit
        change(&options)
        return UserGateway(options)
    }

    static func ipv4(
        _ protocolNumber: UInt8, from source: IPv4Address = guest, to destination: IPv4Address = outside,
        mac: MACAddress = mac, flags: UInt16 = 0x4000, id: UInt16 = 0, _ payload: [UInt8]
    ) -> [UInt8] {
        var writer = ByteWriter()
        EthernetHeader(destination: router, source: mac, type: EtherType.ipv4).emit(into: &writer)
        let start = writer.count
        var header = IPv4Header(source: source, destination: destination, protocolNumber: protocolNumber)
        header.identification = id
        header.emit(into: &writer, payloadLength: payload.count)
        writer.patch16(flags, at: start + 6)
        writer.patch16(0, at: start + 10)
        writer.patch16(writer.checksum(from: start).finished, at: start + 10)
        writer.put(payload)
        return writer.bytes
    }

    static func udp(
        from source: IPv4Address = guest, _ sourcePort: UInt16 = 4000, to destination: IPv4Address = outside,
        _ port: UInt16 = 5000, mac: MACAddress = mac, _ payload: [UInt8] = [1, 2, 3]
    ) -> [UInt8] {
        UDPFrame(from: (mac, source, sourcePort), to: (router, destination, port)).bytes(payload: payload)
    }

    static func tcp(
        from source: IPv4Address = guest, _ sourcePort: UInt16 = 4000, to destination: IPv4Address = outside,
        _ port: UInt16 = 80, mac: MACAddress = mac, flags: TCPFlags = .syn, sequence: UInt32 = 1000
    ) -> [UInt8] {
        var writer = ByteWriter()
        TCPSegment(sourcePort: sourcePort, destinationPort: port, sequence: sequence, flags: flags).emit(
            into: &writer, source: source, destination: destination)
        return ipv4(IPProtocol.tcp, from: source, to: destination, mac: mac, writer.bytes)
    }

    static func ping(to destination: IPv4Address = outside, identifier: UInt16 = 7) -> [UInt8] {
        var writer = ByteWriter()
        ICMPEcho(kind: .request, identifier: identifier, sequence: 1, payload: [1, 2, 3, 4]).emit(into: &writer)
        return ipv4(IPProtocol.icmp, to: destination, writer.bytes)
    }

    static func ipv6(
        _ nextHeader: UInt8, from source: IPv6Address = guest6, to destination: IPv6Address, _ payload: [UInt8],
        checksumAt place: Int?
    ) -> [UInt8] {
        var writer = ByteWriter()
        EthernetHeader(destination: router, source: mac, type: EtherType.ipv6).emit(into: &writer)
        let header = IPv6Header(source: source, destination: destination, nextHeader: nextHeader)
        header.emit(into: &writer, payloadLength: payload.count)
        let start = writer.count
        writer.put(payload)
        if let place {
            writer.patch16(
                writer.checksum(from: start, adding: header.pseudoHeader(length: payload.count)).finishedForUDP,
                at: start + place)
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

extension UserGateway {
    mutating func judge(_ frame: [UInt8], now: UInt64 = 100) -> Verdict { fromGuest(frame.rawSpan, now: now) }

    mutating func judgeStack(_ frame: inout [UInt8], now: UInt64 = 100) -> Verdict {
        frame.withMutableRawSpan { fromStack(&$0, now: now) }
    }

    mutating func judgeStack(_ frame: [UInt8], now: UInt64 = 100) -> Verdict {
        var frame = frame
        return judgeStack(&frame, now: now)
    }
}
