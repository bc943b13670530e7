// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

// The minimal guest on IPv6: an address by stateless autoconfiguration (RFC 4862), and what it reaches with it.

extension Guest {
    /// What a router advertisement offers (RFC 4861 section 4.2).
    package struct Advertisement: Equatable {
        /// The router's link-local address.
        package let router: IPv6Address
        /// The router's hardware address.
        package let hardware: MACAddress
        /// Whether the router leads to the outside.
        package let isDefaultRouter: Bool
        /// The guest's address, of a prefix that allows autoconfiguration; nil if there is none.
        package let address: IPv6Address?
        /// The MTU of the link; nil if the router names none.
        package let mtu: Int?
        /// The recursive DNS servers (RFC 8106); most routers name none.
        package let nameServers: [IPv6Address]
    }

    var linkLocal: IPv6Address { IPv6Address(linkLocalFrom: hardware) }

    /// RFC 4291 section 2.7.1.
    private static let allRouters = IPv6Address(0xff02 << 48, 2)

    /// Solicits an advertisement of a router; nil without one.
    package func solicitRouter() -> Advertisement? {
        var body = ByteWriter(capacity: 12)
        body.put32(0)
        body.put8(NDPOptions.Kind.sourceLinkLayerAddress)
        body.put8(1)
        body.put(hardware)
        let header = IPv6Header(
            source: linkLocal, destination: Guest.allRouters, nextHeader: IPProtocol.icmpv6,
            hopLimit: NeighborDiscovery.hopLimit)
        let frame = NeighborDiscovery.frame(
            header, from: hardware, to: MACAddress(ofGroup: Guest.allRouters), type: ICMPv6Type.routerSolicitation,
            body: body.bytes)
        return exchange6(frame, attempts: 2) { ethernet, ip, message -> Advertisement? in
            guard message.byte(at: ICMPHeader.Field.type) == ICMPv6Type.routerAdvertisement,
                ip.hopLimit == NeighborDiscovery.hopLimit,
                message.byteCount >= NeighborDiscovery.routerAdvertisementLength
            else { return nil }
            return try self.advertisement(message, from: ip.source, at: ethernet.source)
        }
    }

    /// Offsets in bytes from the start of an option.
    private enum OptionField {
        static let prefixLength = 2, prefixFlags = 3, prefix = 16, servers = 8
        /// Bytes of a prefix option.
        static let prefixOption = 32
        /// The flag for autoconfiguration.
        static let autonomous: UInt8 = 0x40
        /// RFC 8106 section 5.1.
        static let nameServers: UInt8 = 25
        /// RFC 4861 section 4.6.4: the option, its bytes, and where the MTU is.
        static let mtu: UInt8 = 5, mtuOption = 8, mtuValue = 4
        /// Of the advertisement: the router's lifetime.
        static let lifetime = 6
    }

    private func advertisement(
        _ message: RawSpan, from router: IPv6Address, at hardware: MACAddress
    ) throws(WireError) -> Advertisement {
        var found: IPv6Address?, servers: [IPv6Address] = [], mtu: Int?
        var options = NDPOptions(message.from(NeighborDiscovery.routerAdvertisementLength))
        while !options.isAtEnd {
            let option = try options.next()
            let kind = option.byte(at: NDPOptions.Field.kind)
            if kind == NDPOptions.Kind.prefixInformation, option.byteCount >= OptionField.prefixOption,
                option.byte(at: OptionField.prefixLength) == 64,
                option.byte(at: OptionField.prefixFlags) & OptionField.autonomous != 0, found == nil
            {
                let prefix = IPv6Address(option, at: OptionField.prefix)
                // The interface identifier of the link-local address (RFC 4291 appendix A).
                found = IPv6Address(prefix.high, linkLocal.low)
            }
            if kind == OptionField.mtu, option.byteCount >= OptionField.mtuOption {
                let value = Int(option.big32(at: OptionField.mtuValue))
                if (IPv6Header.minimumMTU...65_535).contains(value) { mtu = value }
            }
            if kind == OptionField.nameServers {
                var offset = OptionField.servers
                while offset + IPv6Address.length <= option.byteCount, servers.count < 8 {
                    servers.append(IPv6Address(option, at: offset))
                    offset += IPv6Address.length
                }
            }
        }
        return Advertisement(
            router: router, hardware: hardware, isDefaultRouter: message.big16(at: OptionField.lifetime) > 0,
            address: found, mtu: mtu, nameServers: servers)
    }

    /// Pings `target` from `source` by way of the router, or on the link. False without an answer.
    package func ping(_ target: IPv6Address, from source: IPv6Address?, by hop: MACAddress) -> Bool {
        let identifier: UInt16 = Random.value(), source = source ?? linkLocal
        let frame = echo(
            to: target, from: source, by: hop, identifier: identifier, Array("vde_vmnet check".utf8))
        return exchange6(frame, attempts: 3, own: source) { _, ip, message -> Bool? in
            guard message.byte(at: ICMPHeader.Field.type) == ICMPv6Type.echoReply, ip.source == target,
                message.big16(at: ICMPHeader.Field.identifier) == identifier
            else { return nil }
            return true
        } ?? false
    }

    /// An echo request.
    func echo(
        to target: IPv6Address, from source: IPv6Address, by hop: MACAddress, identifier: UInt16, _ payload: [UInt8]
    ) -> [UInt8] {
        var body = ByteWriter(capacity: 4 + payload.count)
        body.put16(identifier)
        body.put16(1)
        body.put(payload)
        let header = IPv6Header(source: source, destination: target, nextHeader: IPProtocol.icmpv6)
        return NeighborDiscovery.frame(
            header, from: hardware, to: hop, type: ICMPv6Type.echoRequest, body: body.bytes)
    }

    /// The reason of "destination unreachable" as a code of IPv4; nil for other messages.
    static func report(_ message: borrowing ICMPv6View, by reporter: IPv6Address) -> UnreachableReport? {
        guard message.type == ICMPv6Type.destinationUnreachable else { return nil }
        let code =
            switch message.code {
            case ICMPv6UnreachableCode.noRoute: ICMPUnreachableCode.network
            case ICMPv6UnreachableCode.address: ICMPUnreachableCode.host
            case ICMPv6UnreachableCode.port: ICMPUnreachableCode.port
            // A filter, a policy for sources, or a route that rejects.
            default: ICMPUnreachableCode.administrativelyProhibited
            }
        return UnreachableReport(reporter: .ipv6(reporter), code: code)
    }

    /// The hardware address of a station on the link; nil if it does not answer.
    package func resolve(_ target: IPv6Address, from source: IPv6Address) -> MACAddress? {
        let group = MACAddress(ofGroup: target.solicitedNode)
        let frame = NeighborDiscovery.solicitation(for: target, from: (source, hardware), to: group)
        return exchange6(frame, attempts: 3, own: source) { ethernet, _, message -> MACAddress? in
            guard message.byte(at: ICMPHeader.Field.type) == ICMPv6Type.neighborAdvertisement,
                message.byteCount >= NDPView.headerLength, try NDPView(message).target == target
            else { return nil }
            return ethernet.source
        }
    }

    /// Queries `server` for the IPv4 addresses of `localhost`; false without an answer.
    package func queries(_ name: DNSName, at server: IPv6Address, from source: IPv6Address, by hop: MACAddress) -> Bool
    {
        let id: UInt16 = Random.value(), port = UInt16.random(in: 49_152...65_535)
        let query = DNSMessage.query(id: id, DNSQuestion(name: name, type: DNSType.a))
        var udp = ByteWriter(capacity: UDPHeader.length + query.count)
        udp.put16(port)
        udp.put16(DNSMessage.port)
        udp.put16(UInt16(UDPHeader.length + query.count))
        udp.put16(0)
        udp.put(query)
        let header = IPv6Header(source: source, destination: server, nextHeader: IPProtocol.udp)
        let sum = udp.checksum(from: 0, adding: header.pseudoHeader(length: udp.count)).finished
        // A sum of 0 is sent as its other form (RFC 8200 section 8.1).
        udp.patch16(sum == 0 ? 0xffff : sum, at: UDPHeader.Field.checksum)
        return exchange6(packet6(header, udp.bytes, to: hop), attempts: 2, own: source) { _, ip, message -> Bool? in
            guard ip.nextHeader == IPProtocol.udp, ip.source == server else { return nil }
            let answer = try UDPView(message)
            guard answer.destinationPort == port else { return nil }
            let view = try DNSView(answer.payload)
            return view.isResponse && view.id == id ? true : nil
        } ?? false
    }

    /// Opens a TCP connection to `target` and, once it is accepted, resets it.
    package func connect(
        to target: IPv6Address, port: UInt16, from source: IPv6Address, by hop: MACAddress
    ) -> ConnectAnswer {
        let own = UInt16.random(in: 49_152...65_535), start: UInt32 = Random.value()
        let header = IPv6Header(source: source, destination: target, nextHeader: IPProtocol.tcp)
        func segment(_ flags: TCPFlags, _ sequence: UInt32, _ acknowledgment: UInt32) -> [UInt8] {
            var segment = TCPSegment(sourcePort: own, destinationPort: port, sequence: sequence, flags: flags)
            segment.acknowledgment = acknowledgment
            var writer = ByteWriter()
            segment.emit(into: &writer, header.pseudoHeader(length: TCPHeader.length))
            return packet6(header, writer.bytes, to: hop)
        }
        return exchange6(segment(.syn, start, 0), attempts: 3, own: source) { _, ip, message -> ConnectAnswer? in
            if let report = try Guest.report(ip, message, to: target, IPProtocol.tcp, ports: (own, port)) {
                return .unreachable(report)
            }
            guard ip.nextHeader == IPProtocol.tcp, ip.source == target else { return nil }
            let reply = try TCPView(message)
            guard reply.sourcePort == port, reply.destinationPort == own, reply.acknowledgment == start &+ 1 else {
                return nil
            }
            guard reply.flags.contains(.syn) else { return .refused }
            self.link.send(segment([.rst, .ack], start &+ 1, reply.sequence &+ 1))
            return .accepted
        } ?? .timedOut
    }

    /// Parses an ICMPv6 report about the packet with these ports; nil for other packets.
    static func report(
        _ ip: borrowing IPv6View, _ message: RawSpan, to target: IPv6Address, _ number: UInt8,
        ports: (own: UInt16, other: UInt16)
    ) throws(WireError) -> UnreachableReport? {
        guard ip.nextHeader == IPProtocol.icmpv6 else { return nil }
        let view = try ICMPv6View(message)
        guard let quoted = QuotedPacket6(view), quoted.destination == target, quoted.nextHeader == number,
            quoted.sourcePort == ports.own, quoted.destinationPort == ports.other
        else { return nil }
        return report(view, by: ip.source)
    }

    func packet6(_ header: IPv6Header, _ payload: [UInt8], to hop: MACAddress) -> [UInt8] {
        var writer = ByteWriter(capacity: EthernetHeader.length + IPv6Header.length + payload.count)
        EthernetHeader(destination: hop, source: hardware, type: EtherType.ipv6).emit(into: &writer)
        header.emit(into: &writer, payloadLength: payload.count)
        writer.put(payload)
        return writer.bytes
    }

    /// Sends `frame` until `accept` returns a value for an IPv6 packet, and answers solicitations for `own` meanwhile.
    func exchange6<Answer>(
        _ frame: [UInt8], attempts: Int, own: IPv6Address? = nil,
        _ accept: (borrowing EthernetView, borrowing IPv6View, RawSpan) throws -> Answer?
    ) -> Answer? {
        exchange(frame, attempts: attempts, timeout: .seconds(1)) { frame -> Answer? in
            let ethernet = try EthernetView(frame)
            guard ethernet.type == EtherType.ipv6 else { return nil }
            let ip = try IPv6View(ethernet.payload)
            let payload = ip.payload
            if try self.handleSolicitation(ethernet, ip, payload, own: own) { return nil }
            guard ip.nextHeader != IPProtocol.icmpv6 || payload.byteCount >= ICMPHeader.length else { return nil }
            return try accept(ethernet, ip, payload)
        }
    }

    /// Answers a solicitation for the guest's link-local address or `own`.
    /// - Returns: whether the packet is a solicitation.
    func handleSolicitation(
        _ ethernet: borrowing EthernetView, _ ip: borrowing IPv6View, _ message: RawSpan, own: IPv6Address?
    ) throws(WireError) -> Bool {
        guard ip.nextHeader == IPProtocol.icmpv6, message.byteCount >= NDPView.headerLength,
            message.byte(at: ICMPHeader.Field.type) == ICMPv6Type.neighborSolicitation
        else { return false }
        let target = try NDPView(message).target
        if target == linkLocal || target == own {
            link.send(
                NeighborDiscovery.advertisement(
                    of: target, at: hardware, to: (ip.source, ethernet.source), isRouter: false))
        }
        return true
    }
}
