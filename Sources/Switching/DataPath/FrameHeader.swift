// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Wire

/// The fields of a frame that classification needs, read once.
@usableFromInline
package struct FrameHeader: BitwiseCopyable {
    /// The payload after the tags.
    @usableFromInline
    package enum Payload: BitwiseCopyable, Sendable {
        case other, ipv4, arp, ipv6
        /// May be a probe of the `LoopDetector`.
        case loopProbe
        /// After more tags than are read.
        case hidden
    }

    /// The two hardware addresses.
    @usableFromInline package let destination: MACAddress
    @usableFromInline let source: MACAddress
    /// The 802.1Q VLAN id; 0 for untagged and priority-tagged frames.
    @usableFromInline let vlan: UInt16
    /// There is an 802.1Q tag.
    @usableFromInline let isTagged: Bool
    @usableFromInline package let payload: Payload
    /// Where the payload begins.
    @usableFromInline package let payloadStart: Int
    @usableFromInline package let service: ServiceClass

    /// `frame` has at least an Ethernet header.
    @inlinable @inline(__always)
    package init(_ frame: RawSpan, role: PortRole) {
        destination = MACAddress(frame.big64(at: EthernetHeader.Field.destination) >> 16)
        source = MACAddress(frame.big64(at: EthernetHeader.Field.source) >> 16)
        let type = frame.big16(at: EthernetHeader.Field.type)
        if type == EtherType.ipv4 {
            // Nearly all frames.
            (isTagged, vlan, payload, payloadStart) = (false, 0, .ipv4, EthernetHeader.length)
            service = role == .guest ? ServiceClass(packet: frame, at: EthernetHeader.length) : .none
            return
        }
        isTagged = type == EtherType.vlan && frame.byteCount >= EthernetHeader.taggedLength
        vlan = isTagged ? frame.big16(at: EthernetHeader.Field.tagControl) & VLANTag.identifierMask : 0
        let general = General(frame, role: role)
        (payload, payloadStart, service) = (general.payload, general.payloadStart, general.service)
    }

    /// The fields of frames that are not untagged IPv4.
    @usableFromInline
    struct General: BitwiseCopyable {
        @usableFromInline let payload: Payload
        @usableFromInline let payloadStart: Int
        @usableFromInline let service: ServiceClass

        @usableFromInline
        init(_ frame: RawSpan, role: PortRole) {
            let link = LinkHeader(frame)
            payloadStart = link.length
            payload = link.isTooDeep ? .hidden : Payload(link.type)
            // The services are in the VLAN that the outermost tag names, and read no SNAP.
            guard role == .guest, !link.hasInnerVLAN, !link.hasSNAP else {
                service = .none
                return
            }
            switch payload {
            case .arp: service = .arp
            case .ipv4: service = ServiceClass(packet: frame, at: link.length)
            default: service = .none
            }
        }
    }
}

extension FrameHeader.Payload {
    @inlinable
    init(_ type: UInt16) {
        switch type {
        case EtherType.ipv4: self = .ipv4
        case EtherType.arp: self = .arp
        case EtherType.ipv6: self = .ipv6
        case LoopDetector.etherType: self = .loopProbe
        default: self = .other
        }
    }
}

/// Frames of guests that concern the services, found by a few fields at fixed offsets. The services parse and
/// check them fully.
@usableFromInline
package enum ServiceClass: BitwiseCopyable, Sendable {
    case none, arp, dhcpRequest, dhcpReply

    /// The class of the IPv4 packet that begins at `start`.
    @inlinable @inline(__always)
    init(packet frame: RawSpan, at start: Int) {
        self = .none
        // Version and header length, protocol, first fragment; then the destination port.
        guard frame.byteCount >= start &+ IPv4Header.length &+ UDPHeader.length,
            frame.byte(at: start &+ IPv4Header.Field.protocolNumber) == IPProtocol.udp,
            frame.big16(at: start &+ IPv4Header.Field.fragment) & IPv4Header.Fragment.offsetMask == 0
        else { return }
        let transport =
            start
            &+ IPv4Header.length(versionAndLength: frame.byte(at: start &+ IPv4Header.Field.versionAndLength))
        guard frame.byteCount >= transport &+ UDPHeader.length else { return }
        switch frame.big16(at: transport &+ UDPHeader.Field.destinationPort) {
        case DHCPPort.server: self = .dhcpRequest
        case DHCPPort.client: self = .dhcpReply
        default: return
        }
    }
}
