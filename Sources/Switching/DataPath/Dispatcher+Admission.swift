// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Timing
import Wire

// Where frames come in: the VLAN that a frame is in, and the services that take it. With `tablesLock`.

extension Dispatcher {
    /// Classifies a frame into a VLAN (802.1Q clause 6.9). Returns false if its port is not a member of that VLAN
    /// (ingress filtering, clause 8.6.2).
    mutating func classifyVLAN(_ context: inout FrameContext, _ batch: inout FrameBatch) -> Bool {
        let pvid = ports[context.ingress].pvid
        if context.vlan == 0 {
            guard pvid != PortConfiguration.noVLAN else { return false }
            context.vlan = pvid
            if context.isTagged && pvid != 0 { setTag(of: context.index, to: pvid, &batch) }
        } else if context.vlan == PortConfiguration.noVLAN {
            // Reserved (802.1Q table 9-2).
            return false
        } else if context.vlan != pvid && !settings.membership.contains(context.ingress, context.vlan) {
            return false
        }
        batch[context.index].vlan = context.vlan
        return true
    }

    /// Writes the VLAN into a tag that so far carries a priority only.
    private func setTag(of index: Int, to vlan: UInt16, _ batch: inout FrameBatch) {
        let frame = batch[index]
        let control = batch.bytes(of: frame).big16(at: EthernetHeader.Field.tagControl)
        var bytes = batch.mutableBytes(of: frame)
        bytes.put16(control & VLANTag.priorityMask | vlan, at: EthernetHeader.Field.tagControl)
    }

    /// Whether a frame is in the VLAN of the uplink and the services. On a switch that is not VLAN-aware,
    /// guests may separate themselves by tags; a tag with VLAN 0 is a priority and no more.
    mutating func isInServiceVLAN(_ context: FrameContext) -> Bool {
        settings.isVLANAware ? context.vlan == ports[SwitchControl.servicePort].pvid : context.vlan == 0
    }

    /// Offers a guest's frame to the services. Returns true if no other port gets it.
    mutating func offer(_ context: FrameContext, as service: ServiceClass, _ batch: borrowing FrameBatch) -> Bool {
        guard isInServiceVLAN(context) else { return false }
        switch service {
        case .none:
            return false
        case .arp:
            if settings.policy.watchesARP { enqueue(context.index, .keep, for: SwitchControl.servicePort, batch) }
            return false
        case .dhcpRequest:
            guard settings.policy.takesDHCP else { return false }
            enqueue(context.index, .keep, for: SwitchControl.servicePort, batch)
            showToServers(context, batch)
            return true
        case .dhcpReply:
            if settings.policy.watchesDHCP { enqueue(context.index, .keep, for: SwitchControl.servicePort, batch) }
            return false
        }
    }

    /// Passes a guest's query to the name service, and drops one in fragments: without its first one, nothing behind
    /// the switch reassembles it. Returns false for any other frame.
    mutating func divertToNameService(
        _ context: FrameContext, _ service: NameService, _ batch: borrowing FrameBatch
    ) -> Bool {
        guard isInServiceVLAN(context) else { return false }
        switch NameTransport(of: batch.bytes(of: batch[context.index]), to: service) {
        case .datagram?: enqueue(context.index, .keep, for: SwitchControl.servicePort, batch)
        case .stream?:
            let frame = batch.bytes(of: batch[context.index])
            let start = context.isTagged ? EthernetHeader.taggedLength : EthernetHeader.length
            let source =
                frame.big16(at: start - EtherType.length) == EtherType.ipv6
                ? IPv6Address(frame, at: start + IPv6Header.Field.source)
                : IPv6Address(0, UInt64(frame.big32(at: start + IPv4Header.Field.source)))
            control.callers.record(source, at: PortNumber(context.ingress))
            guard let port = service.streams, ports.isAttached(port) else { return false }
            enqueue(context.index, context.isTagged ? .strip : .keep, for: port, batch)
        case .fragment?: ports[context.ingress].counters.dropped(.fragment)
        case nil: return false
        }
        return true
    }

    /// Passes a guest's TFTP datagram to the boot service. Returns false for any other frame.
    mutating func divertToBootService(
        _ context: FrameContext, _ service: BootService, _ batch: borrowing FrameBatch
    ) -> Bool {
        guard isInServiceVLAN(context) else { return false }
        switch service.part(of: batch.bytes(of: batch[context.index])) {
        case .whole?: enqueue(context.index, .keep, for: SwitchControl.servicePort, batch)
        case .fragment?: ports[context.ingress].counters.dropped(.fragment)
        case nil: return false
        }
        return true
    }

    /// Copies a guest's request to the router service.
    mutating func copyToRouterService(
        _ context: FrameContext, _ header: FrameHeader, _ batch: borrowing FrameBatch
    ) {
        guard isInServiceVLAN(context),
            RouterRequest.isIn(batch.bytes(of: batch[context.index]).from(header.payloadStart))
        else { return }
        enqueue(context.index, .keep, for: SwitchControl.servicePort, batch)
    }

    // MARK: DHCP servers among guests

    /// The time between two requests of one port that are shown to guests which may not answer them.
    private static let showInterval = TimeAmount.seconds(60)

    /// Copies a DHCP request to the guests that may serve. If no guest may, all guests get one request a minute: a
    /// server among them answers it, and is reported.
    private mutating func showToServers(_ context: FrameContext, _ batch: borrowing FrameBatch) {
        guard settings.rules.reach == .everywhere else { return }
        var shown = context
        shown.reach.remove(.uplinks)
        guard settings.rules.hasServers else {
            guard settings.rules.stopsDHCP, context.isGroup, ports[context.ingress].nextShownRequest <= now else {
                return
            }
            ports[context.ingress].nextShownRequest = now + Dispatcher.showInterval
            return flood(shown, batch)
        }
        for index in 0..<ports.count where ports[ports.number(at: index)].endpoint.mayServe {
            copy(shown, to: ports.number(at: index), batch)
        }
        for index in 0..<settings.rules.servers.count {
            guard
                let egress = tables.addresses.lookup(
                    AddressTable.key(settings.rules.servers[index], vlan: context.vlan), now: now)
            else { continue }
            copy(shown, to: egress, batch)
        }
    }

    /// The port of the guest that a reply of the DHCP server is for (RFC 2131 section 2: chaddr); with guests
    /// isolated, a reply to the broadcast address goes to that guest only. Nil for other frames, and if that port is
    /// not known.
    mutating func dhcpRecipient(of frame: RawSpan, _ header: FrameHeader, vlan: UInt16) -> PortNumber? {
        let network = EthernetHeader.length
        guard header.payload == .ipv4, header.payloadStart == network,
            frame.byteCount
                >= UDPFrame.headerLength + DHCPv4Message.Field.clientHardware + MACAddress.length,
            frame.byte(at: network + IPv4Header.Field.versionAndLength) == IPv4Header.versionAndLength,
            frame.byte(at: network + IPv4Header.Field.protocolNumber) == IPProtocol.udp,
            frame.big16(at: network + IPv4Header.length + UDPHeader.Field.destinationPort) == DHCPPort.client
        else { return nil }
        let hardware = MACAddress(frame, at: UDPFrame.headerLength + DHCPv4Message.Field.clientHardware)
        return tables.addresses.lookup(AddressTable.key(hardware, vlan: vlan), now: now)
    }
}
