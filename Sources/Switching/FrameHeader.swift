// SPDX-License-Identifier: Apache-2.0
import Wire

/// What the forwarder looks at in a frame, read once.
@usableFromInline
package struct FrameHeader: BitwiseCopyable {
    @usableFromInline package let destination: MACAddress
    @usableFromInline let source: MACAddress
    /// The 802.1Q VLAN id; 0 for untagged and priority-tagged frames.
    @usableFromInline let vlan: UInt16
    /// There is an 802.1Q tag.
    @usableFromInline let isTagged: Bool
    @usableFromInline let service: ServiceClass

    /// `frame` has at least an Ethernet header.
    @inlinable
    package init(_ frame: RawSpan, role: PortRole) {
        destination = MACAddress(frame.big64(at: 0) >> 16)
        source = MACAddress(frame.big64(at: 6) >> 16)
        isTagged = frame.big16(at: 12) == EtherType.vlan && frame.byteCount >= 18
        vlan = isTagged ? frame.big16(at: 14) & 0x0fff : 0
        service = ServiceClass(frame, role: role)
    }
}

/// Frames that are not only forwarded, told from a few fields at fixed places. Whoever they are for parses and checks them for good.
@usableFromInline
enum ServiceClass: BitwiseCopyable {
    case none, arp, dhcpRequest, dhcpReply
    /// May be one of our own, sent to find loops.
    case probe

    /// `frame` has at least an Ethernet header. From others than guests only probes are of interest.
    @inlinable
    init(_ frame: RawSpan, role: PortRole) {
        self = .none
        let type = frame.big16(at: 12)
        if type == LoopGuard.etherType { self = .probe }
        guard role == .guest else { return }
        switch type {
        case EtherType.arp:
            self = .arp
        case EtherType.ipv4:
            // Version and header length, protocol, first fragment; then the destination port.
            guard frame.byteCount >= 42, frame.byte(at: 23) == IPProtocol.udp, frame.big16(at: 20) & 0x1fff == 0 else { return }
            let transport = 14 &+ Int(frame.byte(at: 14) & 0xf) &* 4
            guard frame.byteCount >= transport &+ 8 else { return }
            switch frame.big16(at: transport &+ 2) {
            case DHCPPort.server: self = .dhcpRequest
            case DHCPPort.client: self = .dhcpReply
            default: return
            }
        default:
            return
        }
    }
}
