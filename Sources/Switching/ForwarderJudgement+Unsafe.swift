// SPDX-License-Identifier: Apache-2.0
import Frames
import Platform
import Wire

// Guests' frames on a network that we lead: which addresses they may claim, and what they may not do (`GuestRules`).

extension Forwarder {
    /// What becomes of a guest's frame.
    enum Judgement {
        case pass
        /// It is not for the uplink.
        case withhold
        case drop(DropReason)
    }

    /// Whether this is a TCP packet, without tags, of the guest whose last packet was admitted: nearly all are.
    @inline(__always)
    func isPlainlyHonest(_ frame: RawSpan, _ header: FrameHeader) -> Bool {
        header.payload == .ipv4 && header.payloadStart == 14 && frame.byteCount >= 34 && frame.byte(at: 23) == IPProtocol.tcp
            && tables.addressGuard.wasAdmitted(AddressGuard.Claim(address: IPv4Address(frame.big32(at: 26)), hardware: header.source))
    }

    /// Judges a guest's frame, at whatever tag depth its receiver may read it.
    func judge(_ passage: Passage, _ header: FrameHeader) -> Judgement {
        let start = header.payloadStart
        if state.isVLANAware && !state.isHub && !isInServiceVLAN(passage) { return judgeElsewhere(batch.bytes(of: batch[passage.index]), header) }
        let isOwn = state.rules.reach == .everywhere, guardsLeases = state.policy.takesDHCP
        let frame = batch.bytes(of: batch[passage.index])
        switch header.payload {
        case .ipv4:
            guard frame.byteCount &- start >= IPv4Header.length else { return .drop(.malformed) }
            if isOwn || guardsLeases {
                let claim = AddressGuard.Claim(address: IPv4Address(frame.big32(at: start &+ 12)), hardware: header.source)
                if claim.address != .any && !tables.addressGuard.admits(claim, from: header.source, now: now) { return spoofed(claim, passage, header) }
            }
            // Nearly all packets.
            if frame.byte(at: start &+ 9) == IPProtocol.tcp || state.rules.reach == .nothing { return .pass }
            guard let offence = GuestOffence(ipv4: frame, at: start) else { return .pass }
            return punish(offence, passage, header)
        case .arp:
            guard frame.byteCount &- start >= ARPPacket.length else { return .drop(.malformed) }
            guard isOwn || guardsLeases else { return .pass }
            let claim = AddressGuard.Claim(
                address: IPv4Address(frame.big32(at: start &+ 14)), hardware: MACAddress(frame.big64(at: start &+ 6) & 0xffff_ffff_ffff))
            // Without an address it claims none (RFC 5227 section 1.1).
            if claim.address == .any || tables.addressGuard.admits(claim, from: header.source, now: now) { return .pass }
            return spoofed(claim, passage, header)
        case .ipv6:
            return state.rules.reach == .nothing ? .pass : judge(ipv6: frame.from(start), passage, header)
        case .hidden:
            return state.rules.reach == .nothing && !guardsLeases ? .pass : punish(.tooManyTags, passage, header)
        case .other, .probe:
            return .pass
        }
    }

    private func judge(ipv6 packet: RawSpan, _ passage: Passage, _ header: FrameHeader) -> Judgement {
        guard packet.byteCount >= IPv6View.headerLength else { return .drop(.malformed) }
        if tables.addressGuard.isGateway(IPv6Address(packet, at: 8), now: now) { return punish(.gateway, passage, header) }
        if packet.byte(at: 6) == IPProtocol.tcp { return .pass }
        // Without `self`, of which a closure would make a copy.
        let found = unsafe GuestOffence(ipv6: packet) { [now, guarded] in unsafe guarded.pointee.addressGuard.isGateway($0, now: now) }
        guard let offence = found else { return .pass }
        return punish(offence, passage, header)
    }

    /// Other VLANs are other networks, of which guests may be the routers and servers, but not the host's, should it be there.
    private func judgeElsewhere(_ frame: RawSpan, _ header: FrameHeader) -> Judgement {
        guard state.rules.reach != .nothing else { return .pass }
        let start = header.payloadStart
        switch header.payload {
        case .ipv4: return frame.byteCount &- start >= IPv4Header.length && GuestOffence(ipv4: frame, at: start) == nil ? .pass : .withhold
        case .ipv6: return frame.byteCount &- start >= IPv6View.headerLength && GuestOffence(ipv6: frame.from(start), isGateway: { _ in false }) == nil ? .pass : .withhold
        case .hidden: return .withhold
        case .arp, .other, .probe: return .pass
        }
    }

    private func spoofed(_ claim: AddressGuard.Claim, _ passage: Passage, _ header: FrameHeader) -> Judgement {
        if claim.address == tables.addressGuard.gateway { report(.gateway, passage, header) }
        return .drop(.spoofed)
    }

    /// What an offence leads to, which is reported where it is news.
    private func punish(_ offence: GuestOffence, _ passage: Passage, _ header: FrameHeader) -> Judgement {
        let rules = state.rules.reach
        if offence.isServing {
            // The host is no guest's client in any case.
            if offence == .dhcp || offence == .dhcpIPv6, !state.rules.stopsDHCP { return .withhold }
            if unsafe ports[passage.ingress].mayServe || isServer(header.source) { return .withhold }
        }
        report(offence, passage, header)
        let reason: DropReason =
            switch offence {
            case .dhcp, .dhcpIPv6, .routerAdvertisement, .redirect: .serving
            case .gateway: .spoofed
            case .hiddenHeader: .hidden
            case .tooManyTags: .tags
            }
        // Behind too many tags a lease may be claimed, from which the guard keeps other guests, too.
        if rules == .everywhere || (offence == .tooManyTags && state.policy.takesDHCP) { return .drop(reason) }
        unsafe ports[passage.ingress].counters.dropped(reason)
        return .withhold
    }

    private func isServer(_ hardware: MACAddress) -> Bool {
        for place in 0..<state.rules.servers.count where state.rules.servers[place] == hardware { return true }
        return false
    }

    /// Seconds in which an offence of one kind is reported once for a port.
    private static let reportingPause: UInt32 = 10

    private func report(_ offence: GuestOffence, _ passage: Passage, _ header: FrameHeader) {
        let bit: UInt8 = 1 << offence.rawValue
        if unsafe now &- ports[passage.ingress].offencesSince >= Forwarder.reportingPause {
            unsafe ports[passage.ingress].offencesSince = now
            unsafe ports[passage.ingress].reportedOffences = 0
        }
        guard unsafe ports[passage.ingress].reportedOffences & bit == 0 else { return }
        unsafe ports[passage.ingress].reportedOffences |= bit
        control.report(.offence(PortNumber(passage.ingress), offence, header.source))
    }
}
