// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Timing
import Wire

// Checks of guests' frames on a network that this program serves: the addresses that a guest may use (`SourceGuard`),
// and what a guest may not do (`GuestRules`). With `tablesLock`.

extension Dispatcher {
    private enum Verdict {
        case pass
        /// Not to the uplink.
        case withhold
        /// To this port only.
        case divert(PortNumber)
        case drop(DropReason)
    }

    /// Whether this is a TCP packet, without tags, from the source that was permitted last: nearly all are.
    @inline(__always)
    func isFromLastSource(_ frame: RawSpan, _ header: FrameHeader) -> Bool {
        let start = EthernetHeader.length
        return header.payload == .ipv4 && header.payloadStart == start
            && frame.byteCount >= start &+ IPv4Header.length
            && frame.byte(at: start &+ IPv4Header.Field.protocolNumber) == IPProtocol.tcp
            && tables.sourceGuard.wasPermitted(
                SourceGuard.Claim(
                    address: IPv4Address(frame, at: start &+ IPv4Header.Field.source), hardware: header.source))
    }

    /// Checks a guest's frame. Returns whether the uplink gets it, too; nil if it goes no further.
    @inline(__always)
    mutating func checkGuest(_ context: FrameContext, _ header: FrameHeader, _ batch: borrowing FrameBatch) -> Bool? {
        switch verdict(context, header, batch) {
        case .pass: return true
        case .withhold: return false
        case .divert(let egress): copy(context, to: egress, batch)
        case .drop(let reason): ports[context.ingress].counters.dropped(reason)
        }
        return nil
    }

    /// The verdict on a guest's frame, at whatever tag depth its receiver may read it.
    @inline(__always)
    private mutating func verdict(
        _ context: FrameContext, _ header: FrameHeader, _ batch: borrowing FrameBatch
    ) -> Verdict {
        let start = header.payloadStart
        let frame = batch.bytes(of: batch[context.index])
        if separatesVLANs && !isInServiceVLAN(context) { return verdictInOtherVLAN(frame, header) }
        let isEverywhere = settings.rules.reach == .everywhere, guardsLeases = settings.policy.takesDHCP
        switch header.payload {
        case .ipv4:
            guard frame.byteCount &- start >= IPv4Header.length else { return .drop(.malformed) }
            if isEverywhere || guardsLeases {
                let claim = SourceGuard.Claim(
                    address: IPv4Address(frame, at: start &+ IPv4Header.Field.source), hardware: header.source)
                if claim.address != .any, let refusal = refusal(of: claim, nil, context, header) { return refusal }
            }
            // Nearly all packets.
            if frame.byte(at: start &+ IPv4Header.Field.protocolNumber) == IPProtocol.tcp
                || settings.rules.reach == .nothing
            {
                return .pass
            }
            guard let offence = GuestOffence(ipv4: frame, at: start) else { return .pass }
            return verdict(on: offence, context, header)
        case .arp:
            guard frame.byteCount &- start >= ARPPacket.length else { return .drop(.malformed) }
            guard isEverywhere || guardsLeases else { return .pass }
            let claim = SourceGuard.Claim(
                address: IPv4Address(frame, at: start &+ ARPPacket.Field.senderAddress),
                hardware: MACAddress(frame, at: start &+ ARPPacket.Field.senderHardware))
            if isEverywhere && claim.hardware != header.source && !isBehindIngress(claim.hardware, context) {
                return verdict(on: .neighbor, context, header)
            }
            // Without an address it claims none (RFC 5227 section 1.1).
            if claim.address == .any { return .pass }
            let target = IPv4Address(frame, at: start &+ ARPPacket.Field.targetAddress)
            return refusal(of: claim, target, context, header) ?? .pass
        case .ipv6:
            return settings.rules.reach == .nothing ? .pass : verdict(onIPv6: frame.from(start), context, header)
        case .hidden:
            return settings.rules.reach == .nothing && !guardsLeases
                ? .pass : verdict(on: .tooManyTags, context, header)
        case .other, .loopProbe:
            return .pass
        }
    }

    private mutating func verdict(
        onIPv6 packet: RawSpan, _ context: FrameContext, _ header: FrameHeader
    ) -> Verdict {
        guard packet.byteCount >= IPv6Header.length else { return .drop(.malformed) }
        let source = IPv6Address(packet, at: IPv6Header.Field.source),
            station = Station(port: PortNumber(context.ingress), hardware: header.source)
        if !tables.sourceGuard.wasPermitted(source, from: station, now: now) {
            if tables.sourceGuard.isGateway(source, now: now) { return verdict(on: .gateway, context, header) }
            // A router sends packets of others.
            let isRouter = ports[context.ingress].endpoint.mayServe
            if !isRouter && source != .unspecified && !source.isMulticast {
                if let refusal = tables.sourceGuard.bindSource(
                    source, by: station, maySolicit: solicitation == nil, now: now)
                {
                    return verdict(on: refusal, context, header)
                }
            }
        }
        if packet.byte(at: IPv6Header.Field.nextHeader) == IPProtocol.tcp { return .pass }
        var message: NeighborMessage?
        if let offence = GuestOffence(ipv6: packet, from: header.source, neighbor: &message) {
            return verdict(on: offence, context, header)
        }
        guard let message else { return .pass }
        if let hardware = message.hardware, !isBehindIngress(hardware, context) {
            return verdict(on: .neighbor, context, header)
        }
        guard let target = message.claimed, target != .unspecified, !target.isMulticast else { return .pass }
        if tables.sourceGuard.isGateway(target, now: now) { return verdict(on: .gateway, context, header) }
        let isDetection = message.isDetection
        guard
            let refusal = tables.sourceGuard.bindTarget(
                target, by: station, isDetection: isDetection, maySolicit: solicitation == nil, now: now)
        else { return .pass }
        return verdict(on: refusal, context, header, isDetection: isDetection)
    }

    /// Whether a hardware address is behind the ingress port, as a virtual router's is (RFC 5798 section 7.3): frames
    /// to it go there.
    private mutating func isBehindIngress(_ hardware: MACAddress, _ context: FrameContext) -> Bool {
        guard let port = tables.addresses.lookup(AddressTable.key(hardware, vlan: context.vlan), now: now) else {
            return false
        }
        return isSameGroup(context.ingress, Int(port))
    }

    /// The verdict on a guest that uses another guest's IPv6 address, or too many addresses.
    private mutating func verdict(
        on refusal: SourceBindings.Refusal, _ context: FrameContext, _ header: FrameHeader, isDetection: Bool = false
    ) -> Verdict {
        guard let holder = refusal.holder else {
            return verdict(on: refusal.isReserved ? .address : .tooManyAddresses, context, header)
        }
        if solicitation == nil { solicitation = refusal.solicitation }
        let verdict = verdict(on: .address, context, header)
        // The holder answers, so that the other guest finds the duplicate. A holder that is still looking for
        // duplicates itself would give its address up.
        guard case .drop(let reason) = verdict, isDetection && !refusal.isNew else { return verdict }
        ports[context.ingress].counters.dropped(reason)
        return .divert(holder)
    }

    /// Other VLANs are other networks, of which guests may be the routers and servers; but not the host's, should it
    /// be there.
    private func verdictInOtherVLAN(_ frame: RawSpan, _ header: FrameHeader) -> Verdict {
        guard settings.rules.reach != .nothing else { return .pass }
        let start = header.payloadStart
        switch header.payload {
        case .ipv4:
            return frame.byteCount &- start >= IPv4Header.length && GuestOffence(ipv4: frame, at: start) == nil
                ? .pass : .withhold
        case .ipv6:
            var message: NeighborMessage?
            return frame.byteCount &- start >= IPv6Header.length
                && GuestOffence(ipv6: frame.from(start), from: header.source, neighbor: &message) == nil
                ? .pass : .withhold
        case .hidden: return .withhold
        case .arp, .other, .loopProbe: return .pass
        }
    }

    /// The verdict on a claim that the source guard refuses; nil if it does not.
    @inline(__always)
    private mutating func refusal(
        of claim: SourceGuard.Claim, _ target: IPv4Address?, _ context: FrameContext, _ header: FrameHeader
    ) -> Verdict? {
        let station = Station(port: PortNumber(context.ingress), hardware: header.source)
        let isRouter = ports[context.ingress].endpoint.mayServe
        switch tables.sourceGuard.judge(claim, by: station, target: target, isRouter: isRouter, now: now) {
        case .permitted: return nil
        case .tooMany: return verdict(on: .tooManyAddresses, context, header)
        case .refused:
            if claim.address == tables.sourceGuard.gateway { reportOffence(.gateway, context, header) }
            return .drop(.spoofed)
        }
    }

    /// The verdict on an offence, which is reported if it is news.
    private func verdict(on offence: GuestOffence, _ context: FrameContext, _ header: FrameHeader) -> Verdict {
        if offence.isServing {
            // The host is no guest's client in any case.
            if offence == .dhcp || offence == .dhcpIPv6, !settings.rules.stopsDHCP { return .withhold }
            if ports[context.ingress].endpoint.mayServe || mayServe(header.source) { return .withhold }
        }
        reportOffence(offence, context, header)
        let reason: DropReason =
            switch offence {
            case .dhcp, .dhcpIPv6, .routerAdvertisement, .redirect: .serving
            case .gateway, .address, .neighbor, .tooManyAddresses: .spoofed
            case .hiddenHeader: .hidden
            case .tooManyTags: .tags
            }
        // After too many tags a lease may be claimed, and the source guard protects other guests from that, too.
        if settings.rules.reach == .everywhere || (offence == .tooManyTags && settings.policy.takesDHCP) {
            return .drop(reason)
        }
        ports[context.ingress].counters.dropped(reason)
        return .withhold
    }

    private func mayServe(_ hardware: MACAddress) -> Bool {
        for index in 0..<settings.rules.servers.count where settings.rules.servers[index] == hardware { return true }
        return false
    }

    /// The time in which an offence of one kind is reported once for a port.
    private static let reportInterval = TimeAmount.seconds(10)

    private func reportOffence(_ offence: GuestOffence, _ context: FrameContext, _ header: FrameHeader) {
        let bit: UInt16 = 1 << offence.rawValue
        if now - ports[context.ingress].offencesSince >= Dispatcher.reportInterval {
            ports[context.ingress].offencesSince = now
            ports[context.ingress].reportedOffences = 0
        }
        guard ports[context.ingress].reportedOffences & bit == 0 else { return }
        ports[context.ingress].reportedOffences |= bit
        control.report(.offence(PortNumber(context.ingress), offence, header.source))
    }

    /// Sends the solicitation that a refusal has led to. Without `tablesLock`.
    mutating func sendSolicitation() {
        guard let pending = solicitation else { return }
        solicitation = nil
        let egress = pending.holder.port
        guard ports.isAttached(egress) else { return }
        let service = Int(SwitchControl.servicePort)
        let vlan = settings.isVLANAware ? ports[service].pvid : 0
        let context = FrameContext(
            index: 0, ingress: service, role: .service, isGroup: false, reach: .guests, isTagged: false, vlan: vlan)
        fabric.tablesLock.lock()
        let edit = egressEdit(context, at: egress)
        fabric.tablesLock.unlock()
        guard let edit else { return }
        transmitOwn(SourceBindings.frame(of: pending), by: egress, edit, vlan: vlan)
    }
}
