// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// Frames to and from a network: what a guest's network card is to it.
package protocol GuestLink {
    func send(_ frame: [UInt8])
    /// The next frame, or nil when `deadline` (nanoseconds on the monotonic clock) passes first.
    func receive(until deadline: UInt64) -> [UInt8]?
}

/// A link through a connected datagram socket, one frame a datagram.
package final class DatagramLink: GuestLink {
    private let socket: Descriptor

    package init(_ socket: consuming Descriptor) { self.socket = socket }

    package func send(_ frame: [UInt8]) {
        // A full or absent receiver loses frames like any cable.
        _ = try? socket.send(frame)
    }

    package func receive(until deadline: UInt64) -> [UInt8]? {
        while socket.wait(for: .readable, until: deadline).contains(.readable) {
            guard let frame = try? socket.receive(limit: 65_553) else { return nil }
            if frame.count >= EthernetView.headerLength { return frame }
        }
        return nil
    }
}

/// A guest small enough to need no machine: one hardware address, one IPv4 address, and just enough of each protocol to
/// ask a question and hear the answer. It answers ARP for its own address meanwhile, without which nobody could answer
/// it.
package final class Guest {
    /// Where a hop's packet goes first.
    struct NextHop {
        let hardware: MACAddress
    }

    /// What a DHCP server granted.
    package struct Grant: Equatable {
        package let address: IPv4Address
        package let network: IPv4Network
        package let server: IPv4Address
        package let router: IPv4Address?
        package let nameServers: [IPv4Address]
        package let seconds: UInt32
        package let mtu: UInt16?
    }

    let hardware: MACAddress
    private let link: any GuestLink
    private(set) var grant: Grant?
    private var neighbours: [IPv4Address: MACAddress] = [:]

    package init(hardware: MACAddress, link: any GuestLink) {
        self.hardware = hardware
        self.link = link
    }

    private var address: IPv4Address { grant?.address ?? .any }

    /// Waits for a frame of which `accept` makes something.
    private func wait<Answer>(until deadline: UInt64, _ accept: (RawSpan) throws -> Answer?) -> Answer? {
        while let frame = link.receive(until: deadline) {
            answerARP(frame.rawSpan)
            // What does not parse is somebody else's business.
            if let answer = try? accept(frame.rawSpan) { return answer }
        }
        return nil
    }

    /// Sends `frame` up to `attempts` times, until `accept` makes something of what comes back.
    private func exchange<Answer>(
        _ frame: [UInt8], attempts: Int, timeout: UInt64, _ accept: (RawSpan) throws -> Answer?
    ) -> Answer? {
        for _ in 0..<attempts {
            link.send(frame)
            if let answer = wait(until: MonotonicClock.now + timeout, accept) { return answer }
        }
        return nil
    }

    private func answerARP(_ frame: RawSpan) {
        guard address != .any, let ethernet = try? EthernetView(frame), ethernet.type == EtherType.arp,
            let question = try? ARPPacket(parsing: ethernet.payload),
            question.operation == .request, question.targetAddress == address
        else { return }
        let answer = ARPPacket(
            operation: .reply, senderHardware: hardware, senderAddress: address,
            targetHardware: question.senderHardware, targetAddress: question.senderAddress)
        link.send(answer.frame(to: question.senderHardware))
    }

    // MARK: DHCP (RFC 2131 section 3.1)

    /// Seconds of the lease that is asked for: the check is shorter, and one that is killed keeps its address no
    /// longer.
    private static let leaseTime: UInt32 = 120

    private func dhcp(_ kind: DHCPv4Message.Kind, _ transaction: UInt32) -> DHCPv4Message {
        var message = DHCPv4Message(isReply: false, transactionID: transaction, clientHardware: hardware)
        message[.messageType] = [kind.rawValue]
        message[.vendorClass] = DHCPVendorClass.check
        if kind == .discover || kind == .request {
            let wanted: [DHCPOption] = [.subnetMask, .router, .domainNameServer, .domainName, .interfaceMTU]
            message[.parameterRequestList] = wanted.map(\.rawValue)
            message.set(.leaseTime, seconds: Guest.leaseTime)
        }
        return message
    }

    private func broadcast(_ message: DHCPv4Message) -> [UInt8] {
        UDPFrame(from: (hardware, .any, DHCPPort.client), to: (.broadcast, .broadcast, DHCPPort.server)).bytes(
            payload: message.bytes())
    }

    private func reply(_ transaction: UInt32, in frame: RawSpan) throws(WireError) -> DHCPv4Message? {
        let ip = try IPv4View(EthernetView(frame).payload)
        guard try EthernetView(frame).type == EtherType.ipv4, ip.protocolNumber == IPProtocol.udp else { return nil }
        let udp = try UDPView(ip.payload)
        guard udp.destinationPort == DHCPPort.client else { return nil }
        let message = try DHCPv4Message(parsing: udp.payload)
        return message.isReply && message.transactionID == transaction && message.clientHardware == hardware
            ? message : nil
    }

    package enum LeaseFailure: Error, Equatable {
        case noOffer
        case noAcknowledgement(server: IPv4Address)
        case refused(server: IPv4Address)
        case nonsense(server: IPv4Address)
    }

    /// Gets a lease. dnsmasq, the slowest usual server, takes three seconds before it offers one.
    package func lease(timeout: UInt64 = 5 * MonotonicClock.second) throws(LeaseFailure) -> Grant {
        let transaction: UInt32 = Random.value()
        guard
            let offer = exchange(
                broadcast(dhcp(.discover, transaction)), attempts: 2, timeout: timeout,
                { frame in try reply(transaction, in: frame).flatMap { $0.kind == .offer ? $0 : nil } }),
            let server = offer.address(.serverIdentifier)
        else { throw .noOffer }
        var request = dhcp(.request, transaction)
        request.set(.requestedAddress, [offer.yourAddress])
        request.set(.serverIdentifier, [server])
        let answer = exchange(broadcast(request), attempts: 2, timeout: timeout) { frame in
            try reply(transaction, in: frame).flatMap { $0.kind == .ack || $0.kind == .nak ? $0 : nil }
        }
        guard let answer else { throw .noAcknowledgement(server: server) }
        guard answer.kind == .ack else { throw .refused(server: server) }
        guard answer.yourAddress != .any, let mask = answer.address(.subnetMask),
            let network = IPv4Network(containing: answer.yourAddress, mask: mask)
        else {
            throw .nonsense(server: server)
        }
        let grant = Grant(
            address: answer.yourAddress, network: network, server: server, router: answer.address(.router),
            nameServers: answer.addresses(.domainNameServer),
            seconds: answer.seconds(.leaseTime) ?? 0, mtu: answer.short(.interfaceMTU))
        self.grant = grant
        return grant
    }

    /// Gives the lease back. Servers do not answer.
    package func release() {
        guard let grant else { return }
        // A server that does not answer ARP hears a broadcast.
        let server = neighbour(grant.server) ?? .broadcast
        var message = dhcp(.release, Random.value())
        message.clientAddress = grant.address
        message.set(.serverIdentifier, [grant.server])
        link.send(
            UDPFrame(from: (hardware, grant.address, DHCPPort.client), to: (server, grant.server, DHCPPort.server))
                .bytes(payload: message.bytes()))
        self.grant = nil
    }

    // MARK: ARP, ping, UDP, TCP

    /// Who has `target`, on this network.
    package func neighbour(_ target: IPv4Address) -> MACAddress? {
        if let known = neighbours[target] { return known }
        let question = ARPPacket(
            operation: .request, senderHardware: hardware, senderAddress: address, targetHardware: .zero,
            targetAddress: target)
        let found = exchange(question.frame(to: .broadcast), attempts: 3, timeout: MonotonicClock.second) {
            frame -> MACAddress? in
            let ethernet = try EthernetView(frame)
            guard ethernet.type == EtherType.arp else { return nil }
            let packet = try ARPPacket(parsing: ethernet.payload)
            return packet.operation == .reply && packet.senderAddress == target ? packet.senderHardware : nil
        }
        neighbours[target] = found
        return found
    }

    /// The hardware address through which `target` is reached: its own, or the router's.
    private func nextHop(to target: IPv4Address) -> MACAddress? {
        guard let grant else { return nil }
        if grant.network.contains(target) { return neighbour(target) }
        return grant.router.flatMap { neighbour($0) }
    }

    private func packet(to target: IPv4Address, protocolNumber: UInt8, _ payload: [UInt8]) -> [UInt8]? {
        guard let hop = nextHop(to: target) else { return nil }
        var writer = ByteWriter()
        EthernetHeader(destination: hop, source: hardware, type: EtherType.ipv4).emit(into: &writer)
        IPv4Header(source: address, destination: target, protocolNumber: protocolNumber).emit(
            into: &writer, payloadLength: payload.count)
        writer.put(payload)
        return writer.bytes
    }

    /// Pings `target`. False if nobody answers.
    package func ping(_ target: IPv4Address) -> Bool {
        let identifier: UInt16 = Random.value()
        var echo = ByteWriter()
        ICMPEcho(kind: .request, identifier: identifier, sequence: 1, payload: Array("vde_vmnet check".utf8)).emit(
            into: &echo)
        guard let frame = packet(to: target, protocolNumber: IPProtocol.icmp, echo.bytes) else { return false }
        return exchange(frame, attempts: 3, timeout: MonotonicClock.second) { frame -> Bool? in
            let ethernet = try EthernetView(frame)
            guard ethernet.type == EtherType.ipv4 else { return nil }
            let ip = try IPv4View(ethernet.payload)
            guard ip.protocolNumber == IPProtocol.icmp, ip.source == target else { return nil }
            let reply = try ICMPEcho(parsing: ip.payload)
            return reply.kind == .reply && reply.identifier == identifier ? true : nil
        } ?? false
    }

    package enum NameAnswer: Equatable {
        case addresses([String])
        /// The server's response code (RFC 1035 section 4.1.1).
        case failure(UInt8)
        case unreachable(Obstacle)
        case silence
    }

    /// A host on the way that reported by ICMP why a packet went no further.
    package struct Obstacle: Equatable {
        package let reporter: IPv4Address
        /// Of "destination unreachable".
        package let code: UInt8
    }

    /// The report that a packet of ours did not get through; nil for everything else.
    private static func obstacle(
        _ ip: borrowing IPv4View, to target: IPv4Address, _ number: UInt8, ports: (own: UInt16, other: UInt16)
    ) -> Obstacle? {
        guard ip.protocolNumber == IPProtocol.icmp, let report = try? ICMPUnreachable(parsing: ip.payload) else {
            return nil
        }
        guard report.destination == target, report.protocolNumber == number, report.sourcePort == ports.own,
            report.destinationPort == ports.other
        else { return nil }
        return Obstacle(reporter: ip.source, code: report.code)
    }

    /// Asks `server` for the IPv4 addresses of `name`.
    package func resolve(_ name: DNSName, at server: IPv4Address) -> NameAnswer {
        guard let hop = nextHop(to: server) else { return .silence }
        let id: UInt16 = Random.value()
        let port = UInt16.random(in: 49_152...65_535)
        let question = DNSQuestion(name: name, type: DNSType.a)
        let query = UDPFrame(from: (hardware, address, port), to: (hop, server, 53)).bytes(
            payload: DNSMessage.query(id: id, question))
        return exchange(query, attempts: 2, timeout: 4 * MonotonicClock.second) { frame -> NameAnswer? in
            let ethernet = try EthernetView(frame)
            guard ethernet.type == EtherType.ipv4 else { return nil }
            let ip = try IPv4View(ethernet.payload)
            if let obstacle = Guest.obstacle(ip, to: server, IPProtocol.udp, ports: (port, 53)) {
                return .unreachable(obstacle)
            }
            guard ip.protocolNumber == IPProtocol.udp, ip.source == server else { return nil }
            let udp = try UDPView(ip.payload)
            guard udp.destinationPort == port, udp.sourcePort == 53 else { return nil }
            let answer = try DNSView(udp.payload)
            guard answer.isResponse, answer.id == id else { return nil }
            return answer.responseCode == 0 ? .addresses(try answer.addresses()) : .failure(answer.responseCode)
        } ?? .silence
    }

    package enum ConnectAnswer: Equatable {
        case accepted, refused, silence
        case unreachable(Obstacle)
    }

    /// Opens a TCP connection to `target` and, once it is accepted, resets it.
    package func connect(to target: IPv4Address, port: UInt16) -> ConnectAnswer {
        let own = UInt16.random(in: 49_152...65_535)
        let start: UInt32 = Random.value()
        func segment(_ flags: TCPFlags, sequence: UInt32, acknowledgment: UInt32 = 0) -> [UInt8]? {
            var segment = TCPSegment(sourcePort: own, destinationPort: port, sequence: sequence, flags: flags)
            segment.acknowledgment = acknowledgment
            var writer = ByteWriter()
            segment.emit(into: &writer, source: address, destination: target)
            return packet(to: target, protocolNumber: IPProtocol.tcp, writer.bytes)
        }
        guard let opening = segment(.syn, sequence: start) else { return .silence }
        let answer = exchange(opening, attempts: 3, timeout: MonotonicClock.second) { frame -> Opening? in
            let ethernet = try EthernetView(frame)
            guard ethernet.type == EtherType.ipv4 else { return nil }
            let ip = try IPv4View(ethernet.payload)
            if let obstacle = Guest.obstacle(ip, to: target, IPProtocol.tcp, ports: (own, port)) {
                return .unreachable(obstacle)
            }
            guard ip.protocolNumber == IPProtocol.tcp, ip.source == target else { return nil }
            let reply = try TCPView(ip.payload)
            guard reply.sourcePort == port, reply.destinationPort == own, reply.flags.contains(.ack),
                reply.acknowledgment == start &+ 1
            else { return nil }
            return .answered(reply.flags, sequence: reply.sequence)
        }
        switch answer {
        case nil: return .silence
        case .unreachable(let obstacle)?: return .unreachable(obstacle)
        case .answered(let flags, let sequence)?:
            guard flags.contains(.syn) else { return .refused }
            if let closing = segment([.rst, .ack], sequence: start &+ 1, acknowledgment: sequence &+ 1) {
                link.send(closing)
            }
            return .accepted
        }
    }

    /// What came back for the first segment of a connection.
    private enum Opening {
        case answered(TCPFlags, sequence: UInt32)
        case unreachable(Obstacle)
    }
}
