// SPDX-License-Identifier: Apache-2.0
import DHCPService
import NetworkCheck
import Platform
import Timing
import Wire

let gateway = IPv4Address("192.168.105.1")!
let gatewayHardware = MACAddress("02:00:00:00:00:01")!

/// A network in memory: a DHCP server, and a gateway that answers what the test selects.
final class FakeNetwork: GuestLink {
    var server: DHCPServer?
    var answersARP = true
    var answersPing = true
    var resolves: ((DNSQuestion, UInt16) -> [UInt8]?)?
    /// Ports of the gateway: true accepts, false refuses; others are silent.
    var ports: [UInt16: Bool] = [:]
    /// Bytes of the longest ping that is answered; longer ones vanish, or are reported with this MTU.
    var longestPing = Int.max
    var reportsLength = false
    /// The prefix of a router that advertises itself.
    var prefix: UInt64?
    var isDefaultRouter = true
    /// As `unreachable`, over IPv6, with a code of ICMPv6.
    var unreachable6: UInt8?
    /// Bytes that were sent over TCP.
    private(set) var received = 0
    /// The code of "destination unreachable" with which the gateway answers TCP, and queries for names.
    var unreachable: UInt8?
    private var pending: [[UInt8]] = []

    init(_ change: (inout DHCPConfiguration) -> Void = { _ in }) {
        var configuration = DHCPConfiguration(
            network: IPv4Network(containing: gateway, prefixLength: 24), server: gateway,
            serverHardware: gatewayHardware, first: gateway.advanced(by: 1),
            last: gateway.advanced(by: 20))
        configuration.router = gateway
        configuration.nameServers = [gateway]
        change(&configuration)
        server = DHCPServer(configuration)
        resolves = { question, id in
            DNSMessage.answer(
                id: id, isRecursionDesired: true, question: question, records: [[127, 0, 0, 1]], timeToLive: 1)
        }
    }

    private var now = Instant.distantPast + .seconds(1)

    func receive(until deadline: Instant) -> [UInt8]? { pending.isEmpty ? nil : pending.removeFirst() }

    func send(_ frame: [UInt8]) {
        var outbox = Outbox()
        server?.receive(frame.rawSpan, now: now, into: &outbox)
        while let due = server?.nextDeadline {
            now = due
            server?.tick(now: now, into: &outbox)
        }
        pending += outbox.frames
        try? answer(frame)
    }

    private func answer(_ frame: [UInt8]) throws {
        let ethernet = try EthernetView(frame.rawSpan)
        if ethernet.type == EtherType.arp {
            let question = try ARPPacket(parsing: ethernet.payload)
            guard answersARP, question.operation == .request, question.targetAddress == gateway else { return }
            let reply = ARPPacket(
                operation: .reply, senderHardware: gatewayHardware, senderAddress: gateway,
                targetHardware: question.senderHardware, targetAddress: question.senderAddress)
            pending.append(reply.frame(to: question.senderHardware))
            return
        }
        if ethernet.type == EtherType.ipv6 { return try answer6(ethernet.source, IPv6View(ethernet.payload)) }
        let ip = try IPv4View(ethernet.payload)
        guard ethernet.destination == gatewayHardware else { return }
        if ip.protocolNumber == IPProtocol.icmp, ethernet.payload.byteCount > longestPing {
            guard reportsLength else { return }
            var writer = ByteWriter()
            writer.put([3, 4, 0, 0, 0, 0, UInt8(longestPing >> 8), UInt8(longestPing & 0xff)])
            writer.put(Array(frame[14..<42]))
            writer.patch16(writer.checksum(from: 0).finished, at: 2)
            return reply(ethernet.source, gateway, ip.source, IPProtocol.icmp, writer.bytes)
        }
        if let unreachable, ip.protocolNumber != IPProtocol.icmp,
            UInt16(frame[36]) << 8 | UInt16(frame[37]) != DHCPPort.server
        {
            var writer = ByteWriter()
            writer.put([3, unreachable, 0, 0, 0, 0, 0, 0])
            writer.put(Array(frame[14..<42]))
            writer.patch16(writer.checksum(from: 0).finished, at: 2)
            return reply(ethernet.source, gateway, ip.source, IPProtocol.icmp, writer.bytes)
        }
        switch ip.protocolNumber {
        case IPProtocol.icmp where answersPing:
            let echo = try ICMPEcho(parsing: ip.payload)
            var writer = ByteWriter()
            ICMPEcho(kind: .reply, identifier: echo.identifier, sequence: echo.sequence, payload: echo.payload).emit(
                into: &writer)
            reply(ethernet.source, ip.destination, ip.source, IPProtocol.icmp, writer.bytes)
        case IPProtocol.udp:
            let udp = try UDPView(ip.payload)
            guard udp.destinationPort == 53, udp.hasValidChecksum(source: ip.source, destination: ip.destination) else {
                return
            }
            let message = try DNSView(udp.payload)
            guard let answer = resolves?(try message.question(), message.id) else { return }
            pending.append(
                UDPFrame(from: (gatewayHardware, ip.destination, 53), to: (ethernet.source, ip.source, udp.sourcePort))
                    .bytes(payload: answer))
        case IPProtocol.tcp:
            let segment = try TCPView(ip.payload)
            guard let accepts = ports[segment.destinationPort] else { return }
            if accepts, segment.payload.byteCount > 0 { return data(segment, ethernet.source, ip) }
            guard segment.flags == .syn else { return }
            var answer = TCPSegment(
                sourcePort: segment.destinationPort, destinationPort: segment.sourcePort, sequence: 99,
                flags: accepts ? [.syn, .ack] : [.rst, .ack])
            answer.acknowledgment = segment.sequence &+ 1
            var writer = ByteWriter()
            answer.emit(into: &writer, source: ip.destination, destination: ip.source)
            reply(ethernet.source, ip.destination, ip.source, IPProtocol.tcp, writer.bytes)
        default:
            return
        }
    }

    /// Acknowledges data; at port 53, with an answer to the query in it.
    private func data(_ segment: borrowing TCPView, _ hardware: MACAddress, _ ip: borrowing IPv4View) {
        received += segment.payload.byteCount
        var payload: [UInt8] = []
        if segment.destinationPort == 53,
            let query = try? DNSView(segment.payload.from(DNSMessage.lengthPrefix)),
            let question = try? query.question(),
            let answer = resolves?(question, query.id)
        {
            payload = DNSMessage.withLengthPrefix(answer)
        }
        var answer = TCPSegment(
            sourcePort: segment.destinationPort, destinationPort: segment.sourcePort, sequence: 100, flags: .ack)
        answer.acknowledgment = segment.sequence &+ UInt32(segment.payload.byteCount)
        let sum = InternetChecksum.pseudoHeader(
            source: ip.destination, destination: ip.source, protocolNumber: IPProtocol.tcp,
            length: TCPHeader.length + payload.count)
        var writer = ByteWriter()
        answer.emit(into: &writer, sum)
        writer.put(payload)
        reply(hardware, ip.destination, ip.source, IPProtocol.tcp, writer.bytes)
    }

    private func answer6(_ hardware: MACAddress, _ ip: borrowing IPv6View) throws {
        guard let prefix else { return }
        let router = IPv6Address.customaryGateway, source = ip.source
        if ip.nextHeader == IPProtocol.tcp { return try answerTCP6(hardware, ip) }
        switch ip.payload.byte(at: 0) {
        case ICMPv6Type.routerSolicitation:
            pending.append(
                NeighborDiscovery.routerAdvertisement(
                    from: (router, gatewayHardware), to: (source, hardware), prefix: prefix, lifetime: 1800,
                    isDefaultRouter: isDefaultRouter, mtu: 1500))
        case ICMPv6Type.echoRequest where answersPing:
            let body = (4..<ip.payload.byteCount).map { ip.payload.byte(at: $0) }
            pending.append(
                NeighborDiscovery.frame(
                    IPv6Header(source: router, destination: source, nextHeader: IPProtocol.icmpv6),
                    from: gatewayHardware, to: hardware, type: ICMPv6Type.echoReply, body: body))
        default: return
        }
    }

    private func answerTCP6(_ hardware: MACAddress, _ ip: borrowing IPv6View) throws {
        let segment = try TCPView(ip.payload)
        if let unreachable6 {
            var quoted = ByteWriter()
            quoted.put32(0)
            IPv6Header(source: ip.source, destination: ip.destination, nextHeader: ip.nextHeader).emit(
                into: &quoted, payloadLength: ip.payload.byteCount)
            quoted.put((0..<ip.payload.byteCount).map { ip.payload.byte(at: $0) })
            pending.append(
                NeighborDiscovery.frame(
                    IPv6Header(source: .customaryGateway, destination: ip.source, nextHeader: IPProtocol.icmpv6),
                    from: gatewayHardware, to: hardware, type: ICMPv6Type.destinationUnreachable, code: unreachable6,
                    body: quoted.bytes))
            return
        }
        guard let accepts = ports[segment.destinationPort], segment.flags == .syn else { return }
        var answer = TCPSegment(
            sourcePort: segment.destinationPort, destinationPort: segment.sourcePort, sequence: 99,
            flags: accepts ? [.syn, .ack] : [.rst, .ack])
        answer.acknowledgment = segment.sequence &+ 1
        let header = IPv6Header(source: ip.destination, destination: ip.source, nextHeader: IPProtocol.tcp)
        var writer = ByteWriter()
        EthernetHeader(destination: hardware, source: gatewayHardware, type: EtherType.ipv6).emit(into: &writer)
        header.emit(into: &writer, payloadLength: TCPHeader.length)
        answer.emit(into: &writer, header.pseudoHeader(length: TCPHeader.length))
        pending.append(writer.bytes)
    }

    private func reply(
        _ hardware: MACAddress, _ source: IPv4Address, _ destination: IPv4Address, _ number: UInt8, _ payload: [UInt8]
    ) {
        var writer = ByteWriter()
        EthernetHeader(destination: hardware, source: gatewayHardware, type: EtherType.ipv4).emit(into: &writer)
        IPv4Header(source: source, destination: destination, protocolNumber: number).emit(
            into: &writer, payloadLength: payload.count)
        writer.put(payload)
        pending.append(writer.bytes)
    }
}
