// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

// Guests' frames on a network that we lead: which addresses they may claim, and what they may not do (`GuestRules`).

extension Forwarder {
    /// What becomes of a guest's frame.
    private enum Judgement {
        case pass
        /// It is not for the uplink.
        case withhold
        /// It is for this port only.
        case divert(PortNumber)
        case drop(DropReason)
    }

    /// Whether this is a TCP packet, without tags, of the guest whose last packet was admitted: nearly all are.
    @inline(__always)
    func isPlainlyHonest(_ frame: RawSpan, _ header: FrameHeader) -> Bool {
        header.payload == .ipv4 && header.payloadStart == 14 && frame.byteCount >= 34
            && frame.byte(at: 23) == IPProtocol.tcp
            && tables.addressGuard.wasAdmitted(
                AddressGuard.Claim(address: IPv4Address(frame.big32(at: 26)), hardware: header.source))
    }

    /// Judges a guest's frame. Returns whether the uplink may have it, too; nil where it goes no further. On its own,
    /// so that frames which need no judgement are looked at in fewer registers.
    @inline(never)
    mutating func admitGuest(_ passage: Passage, _ header: FrameHeader) -> Bool? {
        switch judge(passage, header) {
        case .pass: return true
        case .withhold: return false
        case .divert(let egress): pass(passage, to: egress)
        case .drop(let reason): unsafe ports[passage.ingress].counters.dropped(reason)
        }
        return nil
    }

    /// Judges a guest's frame, at whatever tag depth its receiver may read it.
    private func judge(_ passage: Passage, _ header: FrameHeader) -> Judgement {
        let start = header.payloadStart
        if state.isVLANAware && !state.isHub && !isInServiceVLAN(passage) {
            return judgeElsewhere(batch.bytes(of: batch[passage.index]), header)
        }
        let isOwn = state.rules.reach == .everywhere, guardsLeases = state.policy.takesDHCP
        let frame = batch.bytes(of: batch[passage.index])
        switch header.payload {
        case .ipv4:
            guard frame.byteCount &- start >= IPv4Header.length else { return .drop(.malformed) }
            if isOwn || guardsLeases {
                let claim = AddressGuard.Claim(
                    address: IPv4Address(frame.big32(at: start &+ 12)), hardware: header.source)
                if claim.address != .any && !tables.addressGuard.admits(claim, from: header.source, now: now) {
                    return spoofed(claim, passage, header)
                }
            }
            // Nearly all packets.
            if frame.byte(at: start &+ 9) == IPProtocol.tcp || state.rules.reach == .nothing { return .pass }
            guard let offence = GuestOffence(ipv4: frame, at: start) else { return .pass }
            return punish(offence, passage, header)
        case .arp:
            guard frame.byteCount &- start >= ARPPacket.length else { return .drop(.malformed) }
            guard isOwn || guardsLeases else { return .pass }
            let claim = AddressGuard.Claim(
                address: IPv4Address(frame.big32(at: start &+ 14)),
                hardware: MACAddress(frame.big64(at: start &+ 6) & 0xffff_ffff_ffff))
            if isOwn && claim.hardware != header.source && !isBehind(passage, claim.hardware) {
                return punish(.neighbor, passage, header)
            }
            // Without an address it claims none (RFC 5227 section 1.1).
            if claim.address == .any || tables.addressGuard.admits(claim, from: header.source, now: now) {
                return .pass
            }
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
        let source = IPv6Address(packet, at: 8),
            station = Station(port: PortNumber(passage.ingress), hardware: header.source)
        if !tables.addressGuard.wasAdmitted(source, from: station, now: now) {
            if tables.addressGuard.isGateway(source, now: now) { return punish(.gateway, passage, header) }
            // A router sends what others have sent to it.
            let isRouter = unsafe ports[passage.ingress].mayServe
            if !isRouter && source != .unspecified && !source.isMulticast {
                if let refusal = tables.addressGuard.use(source, by: station, mayAsk: question == nil, now: now) {
                    return refuse(refusal, passage, header)
                }
            }
        }
        if packet.byte(at: 6) == IPProtocol.tcp { return .pass }
        var message: NeighborMessage?
        if let offence = GuestOffence(ipv6: packet, from: header.source, neighbor: &message) {
            return punish(offence, passage, header)
        }
        guard let message else { return .pass }
        if let hardware = message.hardware, !isBehind(passage, hardware) { return punish(.neighbor, passage, header) }
        guard let target = message.claimed, target != .unspecified, !target.isMulticast else { return .pass }
        if tables.addressGuard.isGateway(target, now: now) { return punish(.gateway, passage, header) }
        let isDetection = message.isDetection
        guard
            let refusal = tables.addressGuard.claim(
                target, by: station, isDetection: isDetection, mayAsk: question == nil, now: now)
        else { return .pass }
        return refuse(refusal, passage, header, isDetection: isDetection)
    }

    /// Whether a hardware address is behind the port by which a frame came, as a virtual router's is (RFC 5798 section
    /// 7.3): what is sent to it goes there.
    private func isBehind(_ passage: Passage, _ hardware: MACAddress) -> Bool {
        guard let port = tables.addresses.lookup(AddressTable.key(hardware, vlan: passage.vlan), now: now) else {
            return false
        }
        return isSameSide(passage.ingress, Int(port))
    }

    /// An IPv6 address is another guest's.
    private func refuse(
        _ refusal: SourceBindings.Refusal, _ passage: Passage, _ header: FrameHeader, isDetection: Bool = false
    ) -> Judgement {
        if question == nil { question = refusal.question }
        let judgement = punish(.address, passage, header)
        // The guest that has it answers, so that the other finds the duplicate. One that is still looking for
        // duplicates itself would give the address up.
        guard case .drop(let reason) = judgement, isDetection && !refusal.isNew else { return judgement }
        unsafe ports[passage.ingress].counters.dropped(reason)
        return .divert(refusal.holder)
    }

    /// Other VLANs are other networks, of which guests may be the routers and servers, but not the host's, should it be
    /// there.
    private func judgeElsewhere(_ frame: RawSpan, _ header: FrameHeader) -> Judgement {
        guard state.rules.reach != .nothing else { return .pass }
        let start = header.payloadStart
        switch header.payload {
        case .ipv4:
            return frame.byteCount &- start >= IPv4Header.length && GuestOffence(ipv4: frame, at: start) == nil
                ? .pass : .withhold
        case .ipv6:
            var message: NeighborMessage?
            return frame.byteCount &- start >= IPv6View.headerLength
                && GuestOffence(ipv6: frame.from(start), from: header.source, neighbor: &message) == nil
                ? .pass : .withhold
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
            case .gateway, .address, .neighbor: .spoofed
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
        let bit: UInt16 = 1 << offence.rawValue
        if unsafe now &- ports[passage.ingress].offencesSince >= Forwarder.reportingPause {
            unsafe ports[passage.ingress].offencesSince = now
            unsafe ports[passage.ingress].reportedOffences = 0
        }
        guard unsafe ports[passage.ingress].reportedOffences & bit == 0 else { return }
        unsafe ports[passage.ingress].reportedOffences |= bit
        control.report(.offence(PortNumber(passage.ingress), offence, header.source))
    }
}
