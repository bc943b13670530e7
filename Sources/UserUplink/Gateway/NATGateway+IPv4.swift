// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Timing
import Wire

// ARP and IPv4.

extension NATGateway {
    mutating func arp(_ bytes: RawSpan, _ info: FrameInfo) -> Verdict {
        guard let packet = try? ARPPacket(parsing: bytes) else { return .drop(.malformed) }
        let sender = packet.senderAddress
        guard packet.senderHardware == info.hardware else { return .drop(.spoofed) }
        if sender != .any {
            guard isGuest(sender), admit(info.hardware, as: sender, now: info.now) else { return .drop(.spoofed) }
        }
        guard packet.targetAddress == options.network.gateway else { return .consumed }
        if packet.operation != .reply {
            toGuests.append(
                ARPPacket(
                    operation: .reply, senderHardware: options.hardware, senderAddress: options.network.gateway,
                    targetHardware: info.hardware, targetAddress: sender
                ).frame(to: info.hardware))
        }
        return .consumed
    }

    mutating func ipv4(_ frame: RawSpan, _ info: FrameInfo, _ hasConnection: ConnectionLookup) -> Verdict {
        guard let packet = try? IPv4View(frame.from(EthernetHeader.length)) else { return .drop(.malformed) }
        guard packet.hasValidChecksum else { return .drop(.badChecksum) }
        let source = packet.source, destination = packet.destination, network = options.network
        // A guest without an address sends DHCP only.
        if source == .any { return .consumed }
        guard isGuest(source), admit(info.hardware, as: source, now: info.now) else { return .drop(.spoofed) }
        guard !info.isGroup, !destination.isMulticastOrBroadcast, destination != network.network.broadcast else {
            return .consumed
        }
        guard !packet.hasOptions else { return .drop(.unsupported) }
        guard packet.timeToLive > 0 else { return .drop(.malformed) }
        if packet.isFragment { return ipv4Fragment(frame, packet, info, hasConnection) }
        let isGateway = destination == network.gateway
        // The guests' own network is not routed.
        if network.network.contains(destination) && !isGateway { return .drop(.refused) }
        if packet.timeToLive == 1 && !isGateway {
            return answer(frame, ICMPType.timeExceeded, 0, now: info.now, dropping: .expired)
        }
        switch packet.protocolNumber {
        case IPProtocol.icmp: return icmp(frame, packet, isGateway: isGateway, info)
        case IPProtocol.udp: return udp(frame, packet, isGateway: isGateway, info, hasConnection)
        case IPProtocol.tcp: return tcp(frame, packet, isGateway: isGateway, info, hasConnection)
        default: return .drop(.unsupported)
        }
    }

    private mutating func ipv4Fragment(
        _ frame: RawSpan, _ packet: borrowing IPv4View, _ info: FrameInfo, _ hasConnection: ConnectionLookup
    ) -> Verdict {
        switch reassembler.take(packet, by: owner(of: packet.source), now: info.now) {
        case .incomplete: return .consumed
        case .refused: return .drop(.fragment)
        case .complete(let packet):
            let (whole, info) = NATGateway.join(packet, in: frame, info)
            return reassembled(ipv4(whole.rawSpan, info, hasConnection), whole)
        }
    }

    /// The frame of a packet that was reassembled, with the link header of its last fragment.
    static func join(_ packet: [UInt8], in frame: RawSpan, _ info: FrameInfo) -> (whole: [UInt8], FrameInfo) {
        var info = info
        info.isComplete = true
        info.isReassembled = true
        return (frame.extracting(0..<EthernetHeader.length).copied() + packet, info)
    }

    /// The verdict about a frame that was reassembled.
    func reassembled(_ verdict: Verdict, _ whole: [UInt8]) -> Verdict {
        switch verdict {
        case .datagram(let datagram): .datagramReassembled(datagram, whole)
        case .tcp(let segment): .tcpReassembled(segment, whole)
        // TCP does not send fragments; the sender's next segment is answered.
        case .refusedTCP: .drop(.refused)
        default: verdict
        }
    }

    private func hasValidTransportChecksum(_ packet: borrowing IPv4View, _ info: FrameInfo) -> Bool {
        if !info.isComplete { return true }
        var sum = packet.pseudoHeader
        sum.add(packet.payload)
        return sum.isValid
    }

    private func key(_ packet: borrowing IPv4View, _ sourcePort: UInt16, _ destinationPort: UInt16) -> FlowKey {
        FlowKey(
            packet.protocolNumber, guest: IPv6Address(0, UInt64(packet.source.value)), sourcePort,
            remote: IPv6Address(0, UInt64(packet.destination.value)), destinationPort)
    }

    private mutating func icmp(
        _ frame: RawSpan, _ packet: borrowing IPv4View, isGateway: Bool, _ info: FrameInfo
    ) -> Verdict {
        let message = packet.payload
        guard message.byteCount >= ICMPHeader.length else { return .drop(.malformed) }
        var sum = InternetChecksum()
        sum.add(message)
        guard sum.isValid else { return .drop(.badChecksum) }
        if let (key, sequence) = quotedSegment(message, from: packet.source) {
            return .unreachable(key, sequence: sequence)
        }
        // Echo request, the only message that is relayed.
        guard message.byte(at: ICMPHeader.Field.type) == ICMPType.echoRequest,
            message.byte(at: ICMPHeader.Field.code) == 0
        else { return .drop(.unsupported) }
        let isAllowed =
            isGateway
            || options.proxy == nil
                && (options.policy.allows(packet.destination, port: nil)
                    || pinsAllowPing(.ipv4(packet.destination), info))
        guard isAllowed else { return refuse(frame, now: info.now) }
        let start = EthernetHeader.length + IPv4Header.length
        return .datagram(
            InboundDatagram(
                key: key(packet, message.big16(at: ICMPHeader.Field.identifier), 0), hardware: info.hardware,
                owner: owner(of: packet.source), range: start..<start + message.byteCount, hops: packet.timeToLive,
                trafficClass: packet.typeOfService, mayFragment: info.isReassembled || !packet.dontFragment))
    }

    /// The TCP segment to `guest` that "destination unreachable" quotes (RFC 792); nil if the message is another one.
    private func quotedSegment(_ message: RawSpan, from guest: IPv4Address) -> (FlowKey, sequence: UInt32)? {
        guard message.byte(at: ICMPHeader.Field.type) == ICMPType.destinationUnreachable,
            message.byte(at: ICMPHeader.Field.code) != ICMPUnreachableCode.fragmentationNeeded
        else { return nil }
        let quoted = message.from(ICMPHeader.length)
        guard quoted.byteCount >= IPv4Header.length else { return nil }
        let start = IPv4Header.length(versionAndLength: quoted.byte(at: IPv4Header.Field.versionAndLength))
        guard start >= IPv4Header.length, quoted.byteCount >= start + ICMPUnreachable.quotedPayload,
            quoted.byte(at: IPv4Header.Field.protocolNumber) == IPProtocol.tcp,
            quoted.big32(at: IPv4Header.Field.destination) == guest.value
        else { return nil }
        let key = FlowKey(
            IPProtocol.tcp, guest: IPv6Address(0, UInt64(guest.value)),
            quoted.big16(at: start + TCPHeader.Field.destinationPort),
            remote: IPv6Address(0, UInt64(quoted.big32(at: IPv4Header.Field.source))),
            quoted.big16(at: start + TCPHeader.Field.sourcePort))
        return (key, quoted.big32(at: start + TCPHeader.Field.sequence))
    }

    private mutating func udp(
        _ frame: RawSpan, _ packet: borrowing IPv4View, isGateway: Bool, _ info: FrameInfo,
        _ hasConnection: ConnectionLookup
    ) -> Verdict {
        let payload = packet.payload
        guard let datagram = try? UDPView(payload), datagram.bytes.byteCount == payload.byteCount,
            datagram.sourcePort > 0, datagram.destinationPort > 0
        else { return .drop(.malformed) }
        // Zero means that the sender computed no checksum (RFC 768).
        guard datagram.checksum == 0 || hasValidTransportChecksum(packet, info) else { return .drop(.badChecksum) }
        let port = datagram.destinationPort
        if isGateway && port == DHCPPort.server { return .consumed }
        let key = key(packet, datagram.sourcePort, port)
        let isAllowed =
            isGateway
            ? options.policy.opensHostLoopback
            : options.proxy == nil
                && (options.policy.allows(packet.destination, port: port)
                    || pinsAllow(.ipv4(packet.destination), key, by: owner(of: packet.source), info))
        // A published port leads to the guest from there.
        guard isAllowed || hasConnection(key, false, info.hardware) else { return refuse(frame, now: info.now) }
        let start = EthernetHeader.length + IPv4Header.length + UDPHeader.length
        return .datagram(
            InboundDatagram(
                key: key, hardware: info.hardware, owner: owner(of: packet.source),
                range: start..<start + datagram.payload.byteCount, hops: packet.timeToLive,
                trafficClass: packet.typeOfService, mayFragment: info.isReassembled || !packet.dontFragment))
    }

    private mutating func tcp(
        _ frame: RawSpan, _ packet: borrowing IPv4View, isGateway: Bool, _ info: FrameInfo,
        _ hasConnection: ConnectionLookup
    ) -> Verdict {
        let payload = packet.payload
        guard let segment = try? TCPView(payload), segment.sourcePort > 0, segment.destinationPort > 0 else {
            return .drop(.malformed)
        }
        guard hasValidTransportChecksum(packet, info) else { return .drop(.badChecksum) }
        let port = segment.destinationPort
        let key = key(packet, segment.sourcePort, port), isSYN = segment.flags.isInitialSYN
        let isAllowed =
            isGateway
            ? options.policy.opensHostLoopback || relayPolicy.isDNS(key)
            : options.policy.allows(packet.destination, port: port)
        let start = EthernetHeader.length + IPv4Header.length
        let inbound = InboundSegment(
            key: key, hardware: info.hardware, range: start..<start + payload.byteCount,
            owner: isSYN ? owner(of: packet.source) : nil,
            check: isAllowed ? .none : check(.ipv4(packet.destination), port: port, isSYN: isSYN, info),
            hops: packet.timeToLive)
        let isPassing =
            isAllowed || hasConnection(key, isSYN, info.hardware)
            || !isGateway && pinsAllow(.ipv4(packet.destination), port: port, isSYN: isSYN, info)
        return isPassing ? .tcp(inbound) : .refusedTCP(inbound)
    }
}
