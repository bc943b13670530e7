// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Timing
import Wire

// What the gateway sends in its own name: ICMP errors, and requests for guests' hardware addresses.

extension NATGateway {
    /// Sends what the relay has asked for.
    mutating func apply(_ effect: TCPRelay.Effect, now: Instant) {
        switch effect {
        case .unreachable(let endpoints, let sequence, let failure):
            sendUnreachable(endpoints, sequence: sequence, failure, now: now)
        case .resolve(.ipv4(let address)):
            sendARPRequest(for: address)
        case .resolve(.ipv6(let address)):
            sendSolicitation(for: address, to: MACAddress(ofGroup: address.solicitedNode))
        }
    }

    /// Whether an ICMP error may be sent. Their rate is limited, so that a flood is not answered by another one, and
    /// shared, so that one guest does not use up the errors of the others.
    private mutating func admitICMPError(_ owner: GuestOwner, _ now: Instant) -> Bool {
        let second = now.seconds32
        if icmpErrorSecond != second {
            icmpErrorSecond = second
            icmpErrors.removeAll()
        }
        guard icmpErrors.hasRoom(for: owner) else { return false }
        icmpErrors.add(owner)
        return true
    }

    // MARK: Refused by the policy

    /// Sends "communication administratively prohibited" (RFC 1812 section 5.2.7.1) for an IPv4 packet.
    mutating func refuse(_ frame: RawSpan, now: Instant) -> Verdict {
        guard let ethernet = try? EthernetView(frame), let packet = try? IPv4View(ethernet.payload),
            admitICMPError(owner(of: packet.source), now)
        else { return .drop(.refused) }
        // The header and 8 bytes, as RFC 792 wants it.
        let quoted = packet.bytes.extracting(
            0..<min(packet.bytes.byteCount, packet.headerLength + ICMPUnreachable.quotedPayload)
        ).copied()
        sendICMPUnreachable(
            code: ICMPUnreachableCode.administrativelyProhibited, quoting: quoted, to: packet.source, ethernet.source)
        return .drop(.refused)
    }

    /// Sends "communication with destination administratively prohibited" (RFC 4443 section 3.1) for an IPv6 packet.
    mutating func refuse6(_ frame: RawSpan, now: Instant) -> Verdict {
        guard let ethernet = try? EthernetView(frame), let packet = try? IPv6View(ethernet.payload), let gateway6
        else { return .drop(.refused) }
        let guest = packet.source
        guard admitICMPError(owner(of: guest), now) else { return .drop(.refused) }
        // As much as fits the minimum MTU.
        let room = IPv6Header.minimumMTU - IPv6Header.length - ICMPHeader.length
        let quoted = packet.bytes.extracting(0..<min(packet.bytes.byteCount, room)).copied()
        sendICMPv6Unreachable(
            code: ICMPv6UnreachableCode.administrativelyProhibited, quoting: quoted, from: gateway6, to: guest,
            ethernet.source)
        return .drop(.refused)
    }

    // MARK: Connections that cannot be made

    /// Sends the ICMP error of a router for a SYN (RFC 1122 section 3.2.2.1, RFC 1812 section 5.2.7.1; RFC 4443 section
    /// 3.1).
    /// - Parameter sequence: of the SYN.
    private mutating func sendUnreachable(
        _ endpoints: TCPEndpoints, sequence: UInt32, _ failure: ConnectFailure, now: Instant
    ) {
        guard let hardware = endpoints.guestHardware, admitICMPError(owner(of: endpoints.key), now) else { return }
        let key = endpoints.key
        // The start of the guest's packet, made again.
        var quoted = ByteWriter(capacity: 48)
        if key.isIPv6 {
            IPv6Header(source: key.guest, destination: key.remote, nextHeader: IPProtocol.tcp).emit(
                into: &quoted, payloadLength: TCPHeader.length)
        } else {
            IPv4Header(source: key.guestIPv4, destination: key.remoteIPv4, protocolNumber: IPProtocol.tcp).emit(
                into: &quoted, payloadLength: TCPHeader.length)
        }
        quoted.put16(key.guestPort)
        quoted.put16(key.remotePort)
        quoted.put32(sequence)
        if key.isIPv6 {
            guard let gateway6 else { return }
            sendICMPv6Unreachable(
                code: failure.icmpv6Code, quoting: quoted.bytes, from: gateway6, to: key.guest, hardware)
        } else {
            sendICMPUnreachable(code: failure.icmpCode, quoting: quoted.bytes, to: key.guestIPv4, hardware)
        }
    }

    // MARK: Frames

    /// "Destination unreachable" (RFC 792).
    private mutating func sendICMPUnreachable(
        code: UInt8, quoting quoted: [UInt8], to guest: IPv4Address, _ hardware: MACAddress
    ) {
        var writer = ByteWriter(capacity: 80)
        EthernetHeader(destination: hardware, source: options.hardware, type: EtherType.ipv4).emit(into: &writer)
        IPv4Header(source: options.network.gateway, destination: guest, protocolNumber: IPProtocol.icmp).emit(
            into: &writer, payloadLength: ICMPHeader.length + quoted.count)
        let start = writer.count
        writer.put8(ICMPType.destinationUnreachable)
        writer.put8(code)
        writer.put16(0)
        writer.put32(0)
        writer.put(quoted)
        writer.patch16(writer.checksum(from: start).finished, at: start + ICMPHeader.Field.checksum)
        toGuests.append(writer.bytes)
    }

    /// "Destination unreachable" (RFC 4443 section 3.1).
    private mutating func sendICMPv6Unreachable(
        code: UInt8, quoting quoted: [UInt8], from source: IPv6Address, to guest: IPv6Address, _ hardware: MACAddress
    ) {
        let header = IPv6Header(source: source, destination: guest, nextHeader: IPProtocol.icmpv6)
        toGuests.append(
            NeighborDiscovery.frame(
                header, from: options.hardware, to: hardware, type: ICMPv6Type.destinationUnreachable, code: code,
                body: [0, 0, 0, 0] + quoted))
    }

    /// Requests the hardware address of a guest by ARP.
    /// - Parameter hardware: a guest to probe alone.
    mutating func sendARPRequest(for guest: IPv4Address, to hardware: MACAddress = .broadcast) {
        guard isGuest(guest) else { return }
        toGuests.append(
            ARPPacket(
                operation: .request, senderHardware: options.hardware, senderAddress: options.network.gateway,
                targetHardware: .zero, targetAddress: guest
            ).frame(to: hardware))
    }

    /// Requests the hardware address of a guest by neighbor solicitation (RFC 4861 section 7.2.2).
    /// - Parameter hardware: the multicast address of the target, or a guest to probe alone.
    mutating func sendSolicitation(for target: IPv6Address, to hardware: MACAddress) {
        toGuests.append(
            NeighborDiscovery.solicitation(for: target, from: (linkLocal, options.hardware), to: hardware))
    }
}
