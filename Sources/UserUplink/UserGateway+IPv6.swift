// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Uplinks
import Wire

extension UserGateway {
    /// Seconds for which guests may rely on a router advertisement. They ask when they come up; the others come
    /// unasked. On a network without a way out they announce the prefix, and no default router (RFC 4861 section 4.2).
    private static let routerLifetime: UInt16 = 1800
    /// How often routers advertise themselves unasked, in seconds.
    package static let advertisementInterval: UInt64 = 300

    /// Tells all guests of the router.
    package mutating func advertise() {
        guard let prefix = options.prefix else { return }
        toGuests.append(
            NeighborDiscovery.routerAdvertisement(
                from: (linkLocal, options.hardware), to: (.allNodes, MACAddress(0x3333_0000_0001)), prefix: prefix,
                lifetime: Self.routerLifetime, isDefaultRouter: !options.policy.isClosed, mtu: options.mtu))
    }

    private func owner6(of address: IPv6Address) -> GuestOwner { neighbors6.owner(of: address) ?? .address(address) }

    private func isOwn(_ address: IPv6Address) -> Bool { address == linkLocal || address == gateway6 }

    // MARK: From guests

    mutating func ipv6(
        _ frame: RawSpan, from hardware: MACAddress, isGroup: Bool, _ isComplete: Bool, now: UInt64
    ) -> Verdict {
        guard let prefix = options.prefix else { return .done }
        guard let packet = try? IPv6View(frame.from(14)) else { return .drop(.malformed) }
        let source = IPv6Address(packet.bytes, at: 8), destination = IPv6Address(packet.bytes, at: 24)
        // Asking whether somebody else has the address already (RFC 4862 section 5.4.2), of which we are not.
        if source == .unspecified { return .done }
        guard source.isLinkLocal || source.high == prefix, !isOwn(source), admits(hardware, as: source, now: now) else {
            return .drop(.spoofed)
        }
        guard packet.hopLimit > 0 else { return .drop(.malformed) }
        let payload = packet.payload
        func sum(_ bytes: RawSpan, _ addresses: RawSpan) -> Bool {
            if !isComplete { return true }
            var sum = InternetChecksum.pseudoHeader(
                addresses: addresses, protocolNumber: packet.nextHeader, length: bytes.byteCount)
            sum.add(bytes)
            return sum.isValid
        }
        if packet.nextHeader == IPProtocol.icmpv6 {
            guard payload.byteCount >= 8 else { return .drop(.malformed) }
            guard sum(payload, packet.addresses) else { return .drop(.badChecksum) }
            let type = payload.byte(at: 0)
            if (NeighborDiscovery.routerSolicitation...NeighborDiscovery.redirect).contains(type) {
                guard packet.hopLimit == 255, payload.byte(at: 1) == 0 else { return .drop(.malformed) }
                return discover(type, payload, from: source, hardware, now: now)
            }
            guard !isGroup else { return .done }
            guard type == 128, payload.byte(at: 1) == 0 else { return .drop(.unsupported) }
            if isOwn(destination) { return .pass }
            guard !isLocal(destination), options.policy.allows(destination, port: nil) else {
                return refuse6(frame, now: now)
            }
            return lingering.admit(
                source, port: payload.big16(at: 4), IPProtocol.icmpv6, by: owner6(of: source), now: now)
                ? .pass : .drop(.flows)
        }
        guard !isGroup, !destination.isMulticast else { return .done }
        // From an address of the link to the world, nobody could answer.
        guard source.high == prefix else { return .drop(.unsupported) }
        let isGateway = destination == gateway6
        if isLocal(destination) && !isGateway { return .drop(.refused) }
        switch packet.nextHeader {
        case IPProtocol.udp:
            guard let datagram = try? UDPView(payload), datagram.bytes.byteCount == payload.byteCount,
                datagram.sourcePort > 0, datagram.destinationPort > 0
            else { return .drop(.malformed) }
            // Without a checksum there is no UDP here (RFC 8200 section 8.1).
            guard payload.big16(at: 6) != 0, sum(payload, packet.addresses) else { return .drop(.badChecksum) }
            let port = datagram.destinationPort
            if callers.find(
                FlowKey(IPProtocol.udp, guest: source, datagram.sourcePort, remote: destination, port), now: now) != nil
            {
                return .pass
            }
            guard isGateway ? options.policy.opensHostLoopback : options.policy.allows(destination, port: port) else {
                return refuse6(frame, now: now)
            }
            return lingering.admit(source, port: datagram.sourcePort, IPProtocol.udp, by: owner6(of: source), now: now)
                ? .pass : .drop(.flows)
        case IPProtocol.tcp:
            guard let segment = try? TCPView(payload), segment.sourcePort > 0, segment.destinationPort > 0 else {
                return .drop(.malformed)
            }
            guard sum(payload, packet.addresses) else { return .drop(.badChecksum) }
            let port = segment.destinationPort
            let key = FlowKey(IPProtocol.tcp, guest: source, segment.sourcePort, remote: destination, port)
            let isAllowed =
                isGateway ? options.policy.opensHostLoopback : options.policy.allows(destination, port: port)
            let start = 14 + IPv6View.headerLength
            return .tcp(
                TCPArrival(
                    key: key, hardware: hardware, segment: start..<start + payload.byteCount, isAllowed: isAllowed))
        default:
            return .drop(.unsupported)
        }
    }

    /// On the guests' own network: what the library would take for the host.
    private func isLocal(_ address: IPv6Address) -> Bool { address.high == options.prefix || address.isLinkLocal }

    private mutating func discover(
        _ type: UInt8, _ message: RawSpan, from source: IPv6Address, _ hardware: MACAddress, now: UInt64
    ) -> Verdict {
        switch type {
        case NeighborDiscovery.routerSolicitation:
            toGuests.append(
                NeighborDiscovery.routerAdvertisement(
                    from: (linkLocal, options.hardware), to: (source, hardware), prefix: options.prefix ?? 0,
                    lifetime: Self.routerLifetime, isDefaultRouter: !options.policy.isClosed, mtu: options.mtu))
        case NeighborDiscovery.neighborSolicitation:
            guard message.byteCount >= 24 else { return .drop(.malformed) }
            let target = IPv6Address(message, at: 8)
            if isOwn(target) {
                toGuests.append(
                    NeighborDiscovery.advertisement(
                        of: target, at: options.hardware, to: (source, hardware), isRouter: true))
            }
        case NeighborDiscovery.neighborAdvertisement:
            guard message.byteCount >= 24 else { return .drop(.malformed) }
            // The library may have asked for it.
            let target = IPv6Address(message, at: 8)
            guard target == source, let own = gateway6 else { return .done }
            toStack.append(
                NeighborDiscovery.advertisement(of: target, at: hardware, to: (own, options.hardware), isRouter: false))
        default:
            break
        }
        return .done
    }

    // MARK: From the library

    /// Returns whose it is; nil for nobody's.
    mutating func ipv6FromStack(_ bytes: RawSpan, now: UInt64) -> MACAddress? {
        guard let packet = try? IPv6View(bytes) else { return nil }
        let source = IPv6Address(packet.bytes, at: 8), destination = IPv6Address(packet.bytes, at: 24)
        if packet.nextHeader == IPProtocol.icmpv6, packet.payload.byteCount >= 8,
            (NeighborDiscovery.routerSolicitation...NeighborDiscovery.redirect).contains(packet.payload.byte(at: 0))
        {
            // Neighbour discovery is ours; what the library asks for is answered for the guest, or passed on to it in
            // our name.
            guard packet.payload.byte(at: 0) == NeighborDiscovery.neighborSolicitation, packet.payload.byteCount >= 24,
                let own = gateway6
            else { return nil }
            let target = IPv6Address(packet.payload, at: 8)
            if let hardware = neighbors6.hardware(of: target) {
                toStack.append(
                    NeighborDiscovery.advertisement(
                        of: target, at: hardware, to: (own, options.hardware), isRouter: false))
            } else if target.high == options.prefix || target.isLinkLocal {
                ask(for: target, at: MACAddress(0x3333_0000_0000 | target.solicitedNode.low & 0xffff_ffff))
            }
            return nil
        }
        guard let hardware = neighbors6.hardware(of: destination) else { return nil }
        observe(packet.nextHeader, packet.payload, guest: destination, remote: source, now: now)
        return hardware
    }

    // MARK: Answers

    /// "Communication with destination administratively prohibited" (RFC 4443 section 3.1).
    mutating func refuse6(_ frame: RawSpan, now: UInt64) -> Verdict {
        guard mayTellRefusal(owner6(of: IPv6Address(frame.from(14), at: 8)), now), let own = gateway6,
            let packet = try? IPv6View(frame.from(14))
        else { return .drop(.refused) }
        let quoted = packet.bytes.extracting(0..<min(packet.bytes.byteCount, 1232)).copied()
        let header = IPv6Header(
            source: own, destination: IPv6Address(packet.bytes, at: 8), nextHeader: IPProtocol.icmpv6)
        toGuests.append(
            NeighborDiscovery.frame(
                header, from: options.hardware, to: MACAddress(frame.big64(at: 6) >> 16), type: 1, code: 1,
                body: [0, 0, 0, 0] + quoted))
        return .drop(.refused)
    }

    /// Asks the guests, or one of them, who has an address.
    func solicitation(for target: IPv6Address, at hardware: MACAddress) -> [UInt8] {
        let header = IPv6Header(
            source: linkLocal, destination: target.solicitedNode, nextHeader: IPProtocol.icmpv6, hopLimit: 255)
        return NeighborDiscovery.frame(
            header, from: options.hardware, to: hardware, type: NeighborDiscovery.neighborSolicitation,
            body: [0, 0, 0, 0] + target.bytes + [1, 1] + options.hardware.bytes)
    }

    mutating func ask(for target: IPv6Address, at hardware: MACAddress) {
        toGuests.append(solicitation(for: target, at: hardware))
    }
}
