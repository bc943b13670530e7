// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

// What a frame meets where it comes in: the VLANs of its port, and the address service.

extension Forwarder {
    /// Tells which VLAN a frame is in (IEEE 802.1Q clause 8.6.1). Returns false if its port is not in that VLAN.
    mutating func admit(_ passage: inout Passage) -> Bool {
        let own = unsafe ports[passage.ingress].untaggedVLAN
        if passage.vlan == 0 {
            guard own != PortConfiguration.noVLAN else { return false }
            passage.vlan = own
            if passage.isTagged && own != 0 { setTag(of: passage.index, own) }
        } else if passage.vlan == PortConfiguration.noVLAN {
            // Reserved (IEEE 802.1Q table 9-2).
            return false
        } else if passage.vlan != own && !state.membership.contains(passage.ingress, passage.vlan) {
            return false
        }
        batch[passage.index].vlan = passage.vlan
        return true
    }

    /// Writes the VLAN into a tag that so far carries a priority only.
    private mutating func setTag(of index: Int, _ vlan: UInt16) {
        let frame = batch[index]
        let control = batch.bytes(of: frame).big16(at: 14)
        var bytes = batch.mutableBytes(of: frame)
        bytes.put16(control & 0xf000 | vlan, at: 14)
    }

    /// Whether a frame is in the VLAN of the uplink and the address service. Where VLANs are not kept apart, guests may
    /// do so with tags.
    func isInServiceVLAN(_ passage: Passage) -> Bool {
        state.isVLANAware
            ? unsafe passage.vlan == ports[Int(SwitchControl.servicePort)].untaggedVLAN : passage.vlan == 0
    }

    /// Hands a guest's frame to the address service if it wants it. Returns true if no others are to have it.
    mutating func take(_ service: ServiceClass, _ passage: Passage) -> Bool {
        guard isInServiceVLAN(passage) else { return false }
        switch service {
        case .none:
            return false
        case .arp:
            if state.policy.watchesARP { note(passage.index, .keep, for: SwitchControl.servicePort) }
            return false
        case .dhcpRequest:
            guard state.policy.takesDHCP else { return false }
            note(passage.index, .keep, for: SwitchControl.servicePort)
            show(passage)
            return true
        case .dhcpReply:
            if state.policy.watchesDHCP { note(passage.index, .keep, for: SwitchControl.servicePort) }
            return false
        }
    }

    // MARK: DHCP servers among guests

    /// Seconds between two requests of one port that are shown to guests which may not answer them.
    private static let showingPause: UInt32 = 60

    /// Hands a DHCP request to the guests that may serve, too. Where there are none, all guests get one in a while: one
    /// that would serve answers it, and can be named.
    private mutating func show(_ passage: Passage) {
        guard state.rules.reach == .everywhere else { return }
        var shown = passage
        shown.isWithheld = true
        guard state.rules.hasServers else {
            guard state.rules.stopsDHCP, passage.isGroup, unsafe ports[passage.ingress].nextShownRequest <= now else {
                return
            }
            unsafe ports[passage.ingress].nextShownRequest = now &+ Forwarder.showingPause
            return flood(shown)
        }
        for place in 0..<state.activeCount where unsafe ports[Int(active[place])].mayServe {
            pass(shown, to: unsafe active[place])
        }
        for place in 0..<state.rules.servers.count {
            guard
                let egress = tables.addresses.lookup(
                    AddressTable.key(state.rules.servers[place], vlan: passage.vlan), now: now)
            else { continue }
            pass(shown, to: egress)
        }
    }

    /// Sends a frame out of one port, unless it goes there already.
    mutating func pass(_ passage: Passage, to egress: PortNumber) {
        if isPending(passage.index, at: egress) { return }
        guard !isSameSide(passage.ingress, Int(egress)), isAllowed(passage, to: egress) else { return }
        send(passage, to: egress)
    }

    /// Answers of the address service to all go, where guests are kept apart, to the port of the guest that they are
    /// for (RFC 2131 section 2: chaddr). Returns nil for other frames, and where that guest's port is not known.
    func recipient(of frame: RawSpan, _ header: FrameHeader, vlan: UInt16) -> PortNumber? {
        guard header.payload == .ipv4, header.payloadStart == 14, frame.byteCount >= 14 + 20 + 8 + 34,
            frame.byte(at: 14) == 0x45,
            frame.byte(at: 23) == IPProtocol.udp, frame.big16(at: 36) == DHCPPort.client
        else { return nil }
        return tables.addresses.lookup(AddressTable.key(MACAddress(frame.big64(at: 70) >> 16), vlan: vlan), now: now)
    }
}
