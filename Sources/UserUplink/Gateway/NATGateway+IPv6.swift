// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Timing
import Wire

// Neighbor discovery and IPv6. Router advertisements are the router service's.

extension NATGateway {
    private func isGatewayAddress(_ address: IPv6Address) -> Bool { address == linkLocal || address == gateway6 }

    /// Whether an address is on the guests' own network, which is not routed.
    private func isLocal(_ address: IPv6Address) -> Bool { address.high == options.prefix || address.isLinkLocal }

    mutating func ipv6(_ frame: RawSpan, _ info: FrameInfo, _ hasConnection: ConnectionLookup) -> Verdict {
        guard let prefix = options.prefix else { return .consumed }
        guard let packet = try? IPv6View(frame.from(EthernetHeader.length)) else { return .drop(.malformed) }
        let source = packet.source, destination = packet.destination
        // Duplicate address detection (RFC 4862 section 5.4.2), which concerns the other guests.
        if source == .unspecified { return .consumed }
        guard source.isLinkLocal || source.high == prefix, !isGatewayAddress(source),
            admit(info.hardware, as: source, now: info.now)
        else { return .drop(.spoofed) }
        guard packet.hopLimit > 0 else { return .drop(.malformed) }
        if packet.nextHeader == IPProtocol.icmpv6 { return icmpv6(frame, packet, (source, destination), info) }
        guard !info.isGroup, !destination.isMulticast else { return .consumed }
        // A link-local source is not routed (RFC 4291 section 2.5.6).
        guard source.high == prefix else { return .drop(.unsupported) }
        if isLocal(destination) && destination != gateway6 { return .drop(.refused) }
        if packet.hopLimit == 1 && destination != gateway6 {
            return answer6(frame, ICMPv6Type.timeExceeded, 0, now: info.now, dropping: .expired)
        }
        switch packet.nextHeader {
        case IPv6Extension.fragment: return ipv6Fragment(frame, packet, info, hasConnection)
        case IPProtocol.udp: return udp(frame, packet, (source, destination), info, hasConnection)
        case IPProtocol.tcp: return tcp(frame, packet, (source, destination), info, hasConnection)
        default: return .drop(.unsupported)
        }
    }

    private mutating func ipv6Fragment(
        _ frame: RawSpan, _ packet: borrowing IPv6View, _ info: FrameInfo, _ hasConnection: ConnectionLookup
    ) -> Verdict {
        switch reassembler.take(packet, by: owner(of: packet.source), now: info.now) {
        case .incomplete: return .consumed
        case .refused: return .drop(.fragment)
        case .complete(let packet):
            // Neighbor discovery is not fragmented (RFC 6980), and neither are fragments.
            let next = packet.rawSpan.byte(at: IPv6Header.Field.nextHeader)
            let isDiscovery =
                next == IPProtocol.icmpv6
                && ICMPv6Type.isNeighborDiscovery(packet.rawSpan.byte(at: IPv6Header.length + ICMPHeader.Field.type))
            if next == IPv6Extension.fragment || isDiscovery { return .drop(.fragment) }
            let (whole, info) = NATGateway.join(packet, in: frame, info)
            return reassembled(ipv6(whole.rawSpan, info, hasConnection), whole)
        }
    }

    private func hasValidTransportChecksum(_ packet: borrowing IPv6View, _ info: FrameInfo) -> Bool {
        if !info.isComplete { return true }
        var sum = packet.pseudoHeader
        sum.add(packet.payload)
        return sum.isValid
    }

    /// Whether the policy or a pin may allow a destination at all.
    func isOpen(_ destination: IPv6Address) -> Bool {
        closedNetworks.isEmpty || !closedNetworks.contains { $0.contains(destination) }
    }

    private func allows(_ destination: IPv6Address, port: UInt16) -> Bool {
        destination == gateway6
            ? options.policy.opensHostLoopback
            : options.policy.allows(destination, port: port) && isOpen(destination)
    }

    private mutating func icmpv6(
        _ frame: RawSpan, _ packet: borrowing IPv6View, _ addresses: (source: IPv6Address, destination: IPv6Address),
        _ info: FrameInfo
    ) -> Verdict {
        let message = packet.payload
        guard message.byteCount >= ICMPHeader.length else { return .drop(.malformed) }
        guard hasValidTransportChecksum(packet, info) else { return .drop(.badChecksum) }
        let type = message.byte(at: ICMPHeader.Field.type), code = message.byte(at: ICMPHeader.Field.code)
        if ICMPv6Type.isNeighborDiscovery(type) {
            // RFC 4861 section 6.1.1 and others: anything else was forwarded.
            guard packet.hopLimit == NeighborDiscovery.hopLimit, code == 0 else { return .drop(.malformed) }
            return neighborDiscovery(type, message, from: addresses.source, info)
        }
        guard !info.isGroup else { return .consumed }
        // Echo request, the only message that is relayed.
        guard type == ICMPv6Type.echoRequest, code == 0 else { return .drop(.unsupported) }
        let start = EthernetHeader.length + IPv6Header.length
        let ping = InboundDatagram(
            key: FlowKey(
                IPProtocol.icmpv6, guest: addresses.source, message.big16(at: ICMPHeader.Field.identifier),
                remote: addresses.destination, 0),
            hardware: info.hardware, owner: owner(of: addresses.source), range: start..<start + message.byteCount,
            hops: packet.hopLimit, trafficClass: packet.trafficClass, mayFragment: info.isReassembled)
        if isGatewayAddress(addresses.destination) { return .datagram(ping) }
        // A link-local source is not routed (RFC 4291 section 2.5.6).
        guard !addresses.source.isLinkLocal else { return .drop(.unsupported) }
        if packet.hopLimit == 1, !isLocal(addresses.destination) {
            return answer6(frame, ICMPv6Type.timeExceeded, 0, now: info.now, dropping: .expired)
        }
        if options.proxy != nil { return refuse6(frame, now: info.now) }
        guard !isLocal(addresses.destination), isOpen(addresses.destination),
            options.policy.allows(addresses.destination, port: nil)
                || pinsAllowPing(.ipv6(addresses.destination), info)
        else { return refuse6(frame, now: info.now) }
        return .datagram(ping)
    }

    private mutating func udp(
        _ frame: RawSpan, _ packet: borrowing IPv6View, _ addresses: (source: IPv6Address, destination: IPv6Address),
        _ info: FrameInfo, _ hasConnection: ConnectionLookup
    ) -> Verdict {
        let payload = packet.payload
        guard let datagram = try? UDPView(payload), datagram.bytes.byteCount == payload.byteCount,
            datagram.sourcePort > 0, datagram.destinationPort > 0
        else { return .drop(.malformed) }
        // The checksum is not optional (RFC 8200 section 8.1).
        guard datagram.checksum != 0, hasValidTransportChecksum(packet, info) else { return .drop(.badChecksum) }
        let port = datagram.destinationPort
        let key = FlowKey(
            IPProtocol.udp, guest: addresses.source, datagram.sourcePort, remote: addresses.destination, port)
        let isAllowed =
            addresses.destination == gateway6
            ? options.policy.opensHostLoopback
            : options.proxy == nil && isOpen(addresses.destination)
                && (options.policy.allows(addresses.destination, port: port)
                    || pinsAllow(.ipv6(addresses.destination), key, by: owner(of: addresses.source), info))
        // A published port leads to the guest from there.
        guard isAllowed || hasConnection(key, false, info.hardware) else { return refuse6(frame, now: info.now) }
        let start = EthernetHeader.length + IPv6Header.length + UDPHeader.length
        return .datagram(
            InboundDatagram(
                key: key, hardware: info.hardware, owner: owner(of: addresses.source),
                range: start..<start + datagram.payload.byteCount, hops: packet.hopLimit,
                trafficClass: packet.trafficClass, mayFragment: info.isReassembled))
    }

    private mutating func tcp(
        _ frame: RawSpan, _ packet: borrowing IPv6View, _ addresses: (source: IPv6Address, destination: IPv6Address),
        _ info: FrameInfo, _ hasConnection: ConnectionLookup
    ) -> Verdict {
        let payload = packet.payload
        guard let segment = try? TCPView(payload), segment.sourcePort > 0, segment.destinationPort > 0 else {
            return .drop(.malformed)
        }
        guard hasValidTransportChecksum(packet, info) else { return .drop(.badChecksum) }
        let port = segment.destinationPort, isSYN = segment.flags.isInitialSYN
        let key = FlowKey(
            IPProtocol.tcp, guest: addresses.source, segment.sourcePort, remote: addresses.destination, port)
        let isAllowed = allows(addresses.destination, port: port)
        let start = EthernetHeader.length + IPv6Header.length
        let inbound = InboundSegment(
            key: key, hardware: info.hardware, range: start..<start + payload.byteCount,
            owner: isSYN ? owner(of: addresses.source) : nil,
            check: isAllowed ? .none : check(.ipv6(addresses.destination), port: port, isSYN: isSYN, info),
            hops: packet.hopLimit)
        let isPassing =
            isAllowed || relayPolicy.isDNS(key) || hasConnection(key, isSYN, info.hardware)
            || isOpen(addresses.destination)
                && pinsAllow(.ipv6(addresses.destination), port: port, isSYN: isSYN, info)
        return isPassing ? .tcp(inbound) : .refusedTCP(inbound)
    }

    private mutating func neighborDiscovery(
        _ type: UInt8, _ message: RawSpan, from source: IPv6Address, _ info: FrameInfo
    ) -> Verdict {
        switch type {
        case ICMPv6Type.neighborSolicitation:
            guard message.byteCount >= NDPView.headerLength else { return .drop(.malformed) }
            let target = IPv6Address(message, at: NDPView.Field.target)
            guard isGatewayAddress(target) else { return .consumed }
            toGuests.append(
                NeighborDiscovery.advertisement(
                    of: target, at: options.hardware, to: (source, info.hardware), isRouter: true))
        case ICMPv6Type.neighborAdvertisement:
            guard message.byteCount >= NDPView.headerLength else { return .drop(.malformed) }
        default:
            break
        }
        return .consumed
    }
}
