// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Timing
import Wire

// What the gateway sends in its own name: ICMP errors, and requests for guests' hardware addresses.

extension NATGateway {
    /// Sends what the relay has requested.
    mutating func apply(_ effect: TCPRelay.Effect, now: Instant) {
        switch effect {
        case .unreachable(let endpoints, let sequence, let failure):
            sendUnreachable(endpoints, sequence: sequence, failure, now: now)
        case .failed(let endpoints, let sequence, let message):
            send(
                message.type, message.code, from: message.sender.flatMap(relayPolicy.visibleAddress), endpoints,
                sequence: sequence, hops: 1, now: now)
        case .resolve(let guest):
            request(guest)
        }
    }

    /// Requests the hardware address of a guest.
    private mutating func request(_ guest: IPAddress) {
        switch guest {
        case .ipv4(let address): sendARPRequest(for: address)
        case .ipv6(let address): sendSolicitation(for: address, to: MACAddress(ofGroup: address.solicitedNode))
        }
    }

    /// Whether an ICMP error may be sent. Their rate is limited, so that a flood is not answered by another one, and
    /// shared, so that one guest does not use up the errors of the others.
    private mutating func admitICMPError(_ owner: GuestOwner, _ now: Instant) -> Bool {
        let second = now.coarse
        if icmpErrorSecond != second {
            icmpErrorSecond = second
            icmpErrors.removeAll()
        }
        guard icmpErrors.hasRoom(for: owner) else { return false }
        icmpErrors.add(owner)
        return true
    }

    // MARK: Answers to a guest's packet

    /// Sends "communication administratively prohibited" (RFC 1812 section 5.2.7.1) for an IPv4 packet.
    mutating func refuse(_ frame: RawSpan, now: Instant) -> Verdict {
        answer(
            frame, ICMPType.destinationUnreachable, ICMPUnreachableCode.administrativelyProhibited, now: now,
            dropping: .refused)
    }

    /// Sends "communication with destination administratively prohibited" (RFC 4443 section 3.1) for an IPv6 packet.
    mutating func refuse6(_ frame: RawSpan, now: Instant) -> Verdict {
        answer6(
            frame, ICMPv6Type.destinationUnreachable, ICMPv6UnreachableCode.administrativelyProhibited, now: now,
            dropping: .refused)
    }

    /// Sends an ICMP error for an IPv4 packet.
    mutating func answer(
        _ frame: RawSpan, _ type: UInt8, _ code: UInt8, now: Instant, dropping reason: NATDropReason
    ) -> Verdict {
        guard let ethernet = try? EthernetView(frame), let packet = try? IPv4View(ethernet.payload),
            admitICMPError(owner(of: packet.source), now)
        else { return .drop(reason) }
        // The header and 8 bytes, as RFC 792 requires.
        let quoted = packet.bytes.extracting(
            0..<min(packet.bytes.byteCount, packet.headerLength + ICMPUnreachable.quotedPayload)
        ).copied()
        sendICMPError(type, code, quoting: quoted, to: packet.source, ethernet.source)
        return .drop(reason)
    }

    /// Sends an ICMPv6 error for an IPv6 packet.
    mutating func answer6(
        _ frame: RawSpan, _ type: UInt8, _ code: UInt8, now: Instant, dropping reason: NATDropReason
    ) -> Verdict {
        guard let ethernet = try? EthernetView(frame), let packet = try? IPv6View(ethernet.payload), let gateway6
        else { return .drop(reason) }
        let guest = packet.source
        guard admitICMPError(owner(of: guest), now) else { return .drop(reason) }
        let quoted = packet.bytes.extracting(0..<min(packet.bytes.byteCount, NATGateway.quoteLimit6)).copied()
        sendICMPv6Error(type, code, quoting: quoted, from: gateway6, to: guest, ethernet.source)
        return .drop(reason)
    }

    /// As much of a packet as an ICMPv6 error has room for in the minimum MTU (RFC 4443 section 2.4).
    private static var quoteLimit6: Int { IPv6Header.minimumMTU - IPv6Header.length - ICMPHeader.length }
    /// The same for ICMP (RFC 1812 section 4.3.2.3).
    private static var quoteLimit: Int { IPv4Header.minimumReassembly - IPv4Header.length - ICMPHeader.length }

    // MARK: Datagrams that did not arrive

    /// Sends what the relay of datagrams has requested.
    mutating func apply(_ effect: DatagramRelay.Effect, now: Instant) {
        switch effect {
        case .error(let error): send(error, now: now)
        case .resolve(let guest): request(guest)
        }
    }

    /// Sends an error about a datagram, which it quotes.
    private mutating func send(_ error: DatagramError, now: Instant) {
        let key = error.key
        guard let hardware = neighbors.hardware(of: key.guestAddress) ?? error.hardware,
            admitICMPError(owner(of: key), now)
        else { return }
        let quoted = error.quotedPacket
        if key.isIPv6 {
            guard let gateway6 else { return }
            var sender = gateway6
            if case .ipv6(let address)? = error.sender { sender = address }
            sendICMPv6Error(
                error.type, error.code, rest: error.mtu, quoting: Array(quoted.prefix(NATGateway.quoteLimit6)),
                from: sender, to: key.guest, hardware)
        } else {
            var sender = options.network.gateway
            if case .ipv4(let address)? = error.sender { sender = address }
            // "Fragmentation needed" has the MTU in the low 16 bits (RFC 1191 section 4).
            sendICMPError(
                error.type, error.code, rest: min(error.mtu, UInt32(UInt16.max)),
                quoting: Array(quoted.prefix(NATGateway.quoteLimit)), from: sender, to: key.guestIPv4, hardware)
        }
    }

    // MARK: Connections that cannot be made

    /// Sends the ICMP error of a router for a SYN (RFC 1122 section 3.2.2.1, RFC 1812 section 5.2.7.1; RFC 4443 section
    /// 3.1).
    /// - Parameter sequence: of the SYN.
    private mutating func sendUnreachable(
        _ endpoints: TCPEndpoints, sequence: UInt32, _ failure: ConnectFailure, now: Instant
    ) {
        let isIPv6 = endpoints.isIPv6
        send(
            isIPv6 ? ICMPv6Type.destinationUnreachable : ICMPType.destinationUnreachable,
            isIPv6 ? failure.icmpv6Code : failure.icmpCode, from: nil, endpoints, sequence: sequence,
            hops: IPv4Header.defaultTimeToLive, now: now)
    }

    /// Sends an ICMP error about a SYN.
    /// - Parameters:
    ///   - sender: nil for the gateway.
    ///   - hops: of the SYN, where the error was found.
    private mutating func send(
        _ type: UInt8, _ code: UInt8, from sender: IPAddress?, _ endpoints: TCPEndpoints, sequence: UInt32,
        hops: UInt8, now: Instant
    ) {
        guard let hardware = endpoints.guestHardware, admitICMPError(owner(of: endpoints.key), now) else { return }
        let key = endpoints.key
        // The start of the guest's packet, made again.
        var quoted = ByteWriter(capacity: 48)
        if key.isIPv6 {
            IPv6Header(source: key.guest, destination: key.remote, nextHeader: IPProtocol.tcp, hopLimit: hops).emit(
                into: &quoted, payloadLength: TCPHeader.length)
        } else {
            var header = IPv4Header(
                source: key.guestIPv4, destination: key.remoteIPv4, protocolNumber: IPProtocol.tcp)
            header.timeToLive = hops
            header.emit(into: &quoted, payloadLength: TCPHeader.length)
        }
        quoted.put16(key.guestPort)
        quoted.put16(key.remotePort)
        quoted.put32(sequence)
        if key.isIPv6 {
            guard let gateway6 else { return }
            var source = gateway6
            if case .ipv6(let address)? = sender { source = address }
            sendICMPv6Error(type, code, quoting: quoted.bytes, from: source, to: key.guest, hardware)
        } else {
            var source = options.network.gateway
            if case .ipv4(let address)? = sender { source = address }
            sendICMPError(type, code, quoting: quoted.bytes, from: source, to: key.guestIPv4, hardware)
        }
    }

    // MARK: Frames

    /// An error (RFC 792).
    /// - Parameters:
    ///   - rest: the four bytes whose meaning depends on the type.
    ///   - source: nil for the gateway.
    private mutating func sendICMPError(
        _ type: UInt8, _ code: UInt8, rest: UInt32 = 0, quoting quoted: [UInt8], from source: IPv4Address? = nil,
        to guest: IPv4Address, _ hardware: MACAddress
    ) {
        var writer = ByteWriter(capacity: IPv4Header.minimumReassembly)
        EthernetHeader(destination: hardware, source: options.hardware, type: EtherType.ipv4).emit(into: &writer)
        IPv4Header(source: source ?? options.network.gateway, destination: guest, protocolNumber: IPProtocol.icmp).emit(
            into: &writer, payloadLength: ICMPHeader.length + quoted.count)
        let start = writer.count
        writer.put8(type)
        writer.put8(code)
        writer.put16(0)
        writer.put32(rest)
        writer.put(quoted)
        writer.patch16(writer.checksum(from: start).finished, at: start + ICMPHeader.Field.checksum)
        toGuests.append(writer.bytes)
    }

    /// An error (RFC 4443).
    /// - Parameter rest: the four bytes whose meaning depends on the type.
    private mutating func sendICMPv6Error(
        _ type: UInt8, _ code: UInt8, rest: UInt32 = 0, quoting quoted: [UInt8], from source: IPv6Address,
        to guest: IPv6Address, _ hardware: MACAddress
    ) {
        let header = IPv6Header(source: source, destination: guest, nextHeader: IPProtocol.icmpv6)
        var body = ByteWriter(capacity: 4 + quoted.count)
        body.put32(rest)
        body.put(quoted)
        toGuests.append(
            NeighborDiscovery.frame(
                header, from: options.hardware, to: hardware, type: type, code: code, body: body.bytes))
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
