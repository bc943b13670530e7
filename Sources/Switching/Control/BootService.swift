// SPDX-License-Identifier: Apache-2.0
import Wire

/// The address of the boot service (TFTP) for guests. Datagrams to its port 69 never reach the uplink.
package struct BootService: Equatable, BitwiseCopyable, Sendable {
    /// The port of TFTP. All transfers use it (`TFTPServer`).
    package static let port: UInt16 = 69

    /// The gateway's address. The hardware address is not compared, because that of vmnet's gateway is not known.
    package let address: IPv4Address

    /// See the property.
    package init(address: IPv4Address) { self.address = address }

    /// The part of a frame, with one tag at most, that concerns the service; nil for a frame that does not.
    func part(of frame: RawSpan) -> ServicePart? {
        guard let receiver = PacketReceiver(of: frame, to: address), receiver.port == BootService.port,
            receiver.protocolNumber == IPProtocol.udp
        else { return nil }
        return receiver.isFragment ? .fragment : .whole
    }
}

/// What a frame has of a datagram to a service of the gateway.
enum ServicePart: BitwiseCopyable {
    case whole
    /// The first fragment, which has the ports. Services take whole datagrams: a request fits into one packet.
    case fragment
}

/// The transport protocol and the destination port of a packet.
struct PacketReceiver: BitwiseCopyable {
    let protocolNumber: UInt8
    /// Of TCP, UDP, or another protocol that has it at the same offset.
    let port: UInt16
    /// It is the first fragment of the packet.
    let isFragment: Bool

    /// Returns nil for every frame, with one tag at most, that is no IPv4 packet to `address`, nor its first fragment.
    init?(of frame: RawSpan, to address: IPv4Address) {
        // Every whole packet has room for a tag, too.
        let shortest = IPv4Header.length &+ UDPHeader.length
        guard frame.byteCount >= EthernetHeader.taggedLength &+ shortest else { return nil }
        let start =
            frame.big16(at: EthernetHeader.Field.type) == EtherType.vlan
            ? EthernetHeader.taggedLength : EthernetHeader.length
        // Protocol, address, no later fragment; then the destination port, which TCP has at the same offset.
        guard frame.byteCount >= start &+ shortest, frame.big16(at: start &- EtherType.length) == EtherType.ipv4,
            frame.big32(at: start &+ IPv4Header.Field.destination) == address.value,
            frame.big16(at: start &+ IPv4Header.Field.fragment) & IPv4Header.Fragment.offsetMask == 0
        else { return nil }
        isFragment = frame.big16(at: start &+ IPv4Header.Field.fragment) & IPv4Header.Fragment.isFragmentMask != 0
        let transport =
            start
            &+ IPv4Header.length(versionAndLength: frame.byte(at: start &+ IPv4Header.Field.versionAndLength))
        guard frame.byteCount >= transport &+ UDPHeader.length else { return nil }
        protocolNumber = frame.byte(at: start &+ IPv4Header.Field.protocolNumber)
        port = frame.big16(at: transport &+ UDPHeader.Field.destinationPort)
    }

    /// Returns nil for every frame, with one tag at most, that is no IPv6 packet to `address` without extension
    /// headers, nor the first fragment of one.
    init?(of frame: RawSpan, to6 address: IPv6Address) {
        let start =
            frame.byteCount >= EthernetHeader.taggedLength
                && frame.big16(at: EthernetHeader.Field.type) == EtherType.vlan
            ? EthernetHeader.taggedLength : EthernetHeader.length
        var transport = start &+ IPv6Header.length
        guard frame.byteCount >= transport &+ UDPHeader.length,
            frame.big16(at: start &- EtherType.length) == EtherType.ipv6,
            IPv6Address(frame, at: start &+ IPv6Header.Field.destination) == address
        else { return nil }
        let next = frame.byte(at: start &+ IPv6Header.Field.nextHeader)
        isFragment = next == IPv6Extension.fragment
        if isFragment {
            let field = frame.big16(at: transport &+ IPv6Extension.Field.fragment)
            guard field & IPv6Extension.fragmentOffsetMask == 0,
                frame.byteCount >= transport &+ IPv6Extension.unit &+ UDPHeader.length
            else { return nil }
            protocolNumber = frame.byte(at: transport &+ IPv6Extension.Field.nextHeader)
            transport &+= IPv6Extension.unit
        } else {
            protocolNumber = next
        }
        port = frame.big16(at: transport &+ UDPHeader.Field.destinationPort)
    }
}
