// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

/// A minimal guest without a VM: one hardware address, one IPv4 address, and enough of each protocol to send a request
/// and receive the answer. It also answers ARP requests for its address, without which no answer could reach it.
package final class Guest {
    /// The lease that a DHCP server has acknowledged.
    package struct Lease: Equatable {
        /// The address that the server assigned.
        package let address: IPv4Address
        /// From the address and the subnet mask (option 1).
        package let network: IPv4Network
        /// The server identifier (option 54).
        package let server: IPv4Address
        /// The default router (option 3); nil if the server sends none.
        package let router: IPv4Address?
        /// In the order of the server's preference (option 6).
        package let nameServers: [IPv4Address]
        /// The lease time (option 51); 0 if the server sends none.
        package let seconds: UInt32
        /// The interface MTU in bytes (option 26); nil if the server sends none.
        package let mtu: UInt16?
    }

    let hardware: MACAddress
    let link: any GuestLink
    private(set) var lease: Lease?
    private var neighbours: [IPv4Address: MACAddress] = [:]

    package init(hardware: MACAddress, link: any GuestLink) {
        self.hardware = hardware
        self.link = link
    }

    var address: IPv4Address { lease?.address ?? .any }

    /// Receives frames until `accept` returns a value for one; nil if `deadline` passes first.
    func wait<Answer>(until deadline: Instant, _ accept: (RawSpan) throws -> Answer?) -> Answer? {
        while let frame = link.receive(until: deadline) {
            answerARP(frame.rawSpan)
            // Ignores frames that do not parse.
            if let answer = try? accept(frame.rawSpan) { return answer }
        }
        return nil
    }

    /// Sends `frame` up to `attempts` times, until `accept` returns a value for a received frame.
    func exchange<Answer>(
        _ frame: [UInt8], attempts: Int, timeout: TimeAmount, _ accept: (RawSpan) throws -> Answer?
    ) -> Answer? {
        for _ in 0..<attempts {
            link.send(frame)
            if let answer = wait(until: BootClock.now + timeout, accept) { return answer }
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

    /// The requested lease time in seconds: longer than a check, and short so that a killed check does not keep its
    /// address for long.
    private static let leaseTime: UInt32 = 120

    private func dhcp(_ kind: DHCPv4Message.Kind, _ transaction: UInt32) -> DHCPv4Message {
        var message = DHCPv4Message(isReply: false, transactionID: transaction, clientHardware: hardware)
        message[.messageType] = [kind.rawValue]
        message[.vendorClass] = DHCPVendorClass.check
        if kind == .discover || kind == .request {
            let requested: [DHCPOption] = [.subnetMask, .router, .domainNameServer, .domainName, .interfaceMTU]
            message[.parameterRequestList] = requested.map(\.rawValue)
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

    /// The message of the DHCP exchange (RFC 2131 section 3.1) at which it failed.
    package enum LeaseFailure: Error, Equatable {
        case noOffer
        case noAcknowledgement(server: IPv4Address)
        case refused(server: IPv4Address)
        case malformed(server: IPv4Address)
    }

    /// Obtains a lease by DHCP. The time limit allows for dnsmasq, which may take three seconds to offer one.
    package func obtainLease(timeout: TimeAmount = .seconds(5)) throws(LeaseFailure) -> Lease {
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
            throw .malformed(server: server)
        }
        let lease = Lease(
            address: answer.yourAddress, network: network, server: server, router: answer.address(.router),
            nameServers: answer.addresses(.domainNameServer),
            seconds: answer.seconds(.leaseTime) ?? 0, mtu: answer.short(.interfaceMTU))
        self.lease = lease
        return lease
    }

    /// Releases the lease. Servers do not answer.
    package func release() {
        guard let lease else { return }
        // If the server does not answer ARP, the release is broadcast.
        let server = neighbour(lease.server) ?? .broadcast
        var message = dhcp(.release, Random.value())
        message.clientAddress = lease.address
        message.set(.serverIdentifier, [lease.server])
        link.send(
            UDPFrame(from: (hardware, lease.address, DHCPPort.client), to: (server, lease.server, DHCPPort.server))
                .bytes(payload: message.bytes()))
        self.lease = nil
    }

    // MARK: ARP, ping, UDP, TCP

    /// The hardware address of `target` on this network, by ARP; nil without an answer.
    package func neighbour(_ target: IPv4Address) -> MACAddress? {
        if let known = neighbours[target] { return known }
        let question = ARPPacket(
            operation: .request, senderHardware: hardware, senderAddress: address, targetHardware: .zero,
            targetAddress: target)
        let found = exchange(question.frame(to: .broadcast), attempts: 3, timeout: .seconds(1)) {
            frame -> MACAddress? in
            let ethernet = try EthernetView(frame)
            guard ethernet.type == EtherType.arp else { return nil }
            let packet = try ARPPacket(parsing: ethernet.payload)
            return packet.operation == .reply && packet.senderAddress == target ? packet.senderHardware : nil
        }
        neighbours[target] = found
        return found
    }

    /// The hardware address of the next hop to `target`: its own, or the router's.
    private func nextHop(to target: IPv4Address) -> MACAddress? {
        guard let lease else { return nil }
        if lease.network.contains(target) { return neighbour(target) }
        return lease.router.flatMap { neighbour($0) }
    }

    func packet(to target: IPv4Address, protocolNumber: UInt8, _ payload: [UInt8]) -> [UInt8]? {
        guard let hop = nextHop(to: target) else { return nil }
        var writer = ByteWriter()
        EthernetHeader(destination: hop, source: hardware, type: EtherType.ipv4).emit(into: &writer)
        IPv4Header(source: address, destination: target, protocolNumber: protocolNumber).emit(
            into: &writer, payloadLength: payload.count)
        writer.put(payload)
        return writer.bytes
    }

    /// Pings `target`. False without an answer.
    package func ping(_ target: IPv4Address) -> Bool {
        let identifier: UInt16 = Random.value()
        var echo = ByteWriter()
        ICMPEcho(kind: .request, identifier: identifier, sequence: 1, payload: Array("vde_vmnet check".utf8)).emit(
            into: &echo)
        guard let frame = packet(to: target, protocolNumber: IPProtocol.icmp, echo.bytes) else { return false }
        return exchange(frame, attempts: 3, timeout: .seconds(1)) { frame -> Bool? in
            let ethernet = try EthernetView(frame)
            guard ethernet.type == EtherType.ipv4 else { return nil }
            let ip = try IPv4View(ethernet.payload)
            guard ip.protocolNumber == IPProtocol.icmp, ip.source == target else { return nil }
            let reply = try ICMPEcho(parsing: ip.payload)
            return reply.kind == .reply && reply.identifier == identifier ? true : nil
        } ?? false
    }

    /// The result of a DNS query.
    package enum NameAnswer: Equatable {
        case addresses([String])
        /// The server's response code (RFC 1035 section 4.1.1).
        case failure(UInt8)
        case unreachable(UnreachableReport)
        case timedOut
    }

    /// An ICMP message that a packet could not be delivered.
    package struct UnreachableReport: Equatable {
        /// The source of the ICMP message: the target itself, or a router before it.
        package let reporter: IPAddress
        /// The reason, as a code of IPv4's "destination unreachable".
        package let code: UInt8
    }

    /// Parses an ICMP report about the packet with these ports; nil for other packets.
    static func report(
        _ ip: borrowing IPv4View, to target: IPv4Address, _ number: UInt8, ports: (own: UInt16, other: UInt16)
    ) -> UnreachableReport? {
        guard ip.protocolNumber == IPProtocol.icmp, let report = try? ICMPUnreachable(parsing: ip.payload) else {
            return nil
        }
        guard report.destination == target, report.protocolNumber == number, report.sourcePort == ports.own,
            report.destinationPort == ports.other
        else { return nil }
        return UnreachableReport(reporter: .ipv4(ip.source), code: report.code)
    }

    /// Queries `server` for the IPv4 addresses of `name`.
    package func resolve(_ name: DNSName, at server: IPv4Address) -> NameAnswer {
        guard let hop = nextHop(to: server) else { return .timedOut }
        let id: UInt16 = Random.value()
        let port = UInt16.random(in: 49_152...65_535)
        let question = DNSQuestion(name: name, type: DNSType.a)
        let query = UDPFrame(from: (hardware, address, port), to: (hop, server, 53)).bytes(
            payload: DNSMessage.query(id: id, question))
        return exchange(query, attempts: 2, timeout: .seconds(4)) { frame -> NameAnswer? in
            let ethernet = try EthernetView(frame)
            guard ethernet.type == EtherType.ipv4 else { return nil }
            let ip = try IPv4View(ethernet.payload)
            if let report = Guest.report(ip, to: server, IPProtocol.udp, ports: (port, 53)) {
                return .unreachable(report)
            }
            guard ip.protocolNumber == IPProtocol.udp, ip.source == server else { return nil }
            let udp = try UDPView(ip.payload)
            guard udp.destinationPort == port, udp.sourcePort == 53 else { return nil }
            let answer = try DNSView(udp.payload)
            guard answer.isResponse, answer.id == id else { return nil }
            return answer.responseCode == 0 ? .addresses(try answer.addresses()) : .failure(answer.responseCode)
        } ?? .timedOut
    }

    /// How the target answers a SYN. `refused`: with a reset.
    package enum ConnectAnswer: Equatable {
        case accepted, refused, timedOut
        case unreachable(UnreachableReport)
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
        guard let opening = segment(.syn, sequence: start) else { return .timedOut }
        let answer = exchange(opening, attempts: 3, timeout: .seconds(1)) { frame -> Opening? in
            let ethernet = try EthernetView(frame)
            guard ethernet.type == EtherType.ipv4 else { return nil }
            let ip = try IPv4View(ethernet.payload)
            if let report = Guest.report(ip, to: target, IPProtocol.tcp, ports: (own, port)) {
                return .unreachable(report)
            }
            guard ip.protocolNumber == IPProtocol.tcp, ip.source == target else { return nil }
            let reply = try TCPView(ip.payload)
            guard reply.sourcePort == port, reply.destinationPort == own, reply.flags.contains(.ack),
                reply.acknowledgment == start &+ 1
            else { return nil }
            return .answered(reply.flags, sequence: reply.sequence)
        }
        switch answer {
        case nil: return .timedOut
        case .unreachable(let report)?: return .unreachable(report)
        case .answered(let flags, let sequence)?:
            guard flags.contains(.syn) else { return .refused }
            if let closing = segment([.rst, .ack], sequence: start &+ 1, acknowledgment: sequence &+ 1) {
                link.send(closing)
            }
            return .accepted
        }
    }

    /// The answer to a SYN.
    private enum Opening {
        case answered(TCPFlags, sequence: UInt32)
        case unreachable(UnreachableReport)
    }
}
