// SPDX-License-Identifier: Apache-2.0
import Wire

/// What the forwarder looks at in a frame, read once.
@usableFromInline
struct FrameHeader: BitwiseCopyable {
    @usableFromInline let destination: MACAddress
    @usableFromInline let source: MACAddress
    /// The 802.1Q VLAN id; 0 for untagged and priority-tagged frames.
    @usableFromInline let vlan: UInt16
    /// Filled in for guests' frames only.
    @usableFromInline let service: ServiceClass

    /// `frame` has at least an Ethernet header.
    @inlinable
    init(_ frame: RawSpan, role: PortRole) {
        destination = MACAddress(frame.big64(at: 0) >> 16)
        source = MACAddress(frame.big64(at: 6) >> 16)
        vlan = frame.big16(at: 12) == EtherType.vlan && frame.byteCount >= 18 ? frame.big16(at: 14) & 0x0fff : 0
        service = role == .guest ? ServiceClass(frame) : .none
    }
}

/// What the address service would call a frame, told from a few fields at fixed places. The service parses and checks it for good.
@usableFromInline
enum ServiceClass: BitwiseCopyable {
    case none, arp, dhcpRequest, dhcpReply

    /// `frame` has at least an Ethernet header.
    @inlinable
    init(_ frame: RawSpan) {
        self = .none
        switch frame.big16(at: 12) {
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
