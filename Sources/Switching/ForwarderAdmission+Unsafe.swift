// SPDX-License-Identifier: Apache-2.0
import Frames
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

    /// Hands a guest's frame to the address service if it wants it. Returns true if nobody else is to have it.
    mutating func take(_ service: ServiceClass, _ passage: Passage) -> Bool {
        let isSeen = unsafe !state.isVLANAware || passage.vlan == ports[Int(ForwarderControl.servicePort)].untaggedVLAN
        guard isSeen else { return false }
        switch service {
        case .none, .probe:
            return false
        case .arp:
            if state.policy.watchesARP { note(passage.index, .keep, for: ForwarderControl.servicePort) }
            return false
        case .dhcpRequest:
            if state.policy.takesDHCP { note(passage.index, .keep, for: ForwarderControl.servicePort) }
            return state.policy.takesDHCP
        case .dhcpReply:
            if state.policy.watchesDHCP { note(passage.index, .keep, for: ForwarderControl.servicePort) }
            return false
        }
    }
}
