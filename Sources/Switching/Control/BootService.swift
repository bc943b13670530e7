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

    /// Whether a frame, with one tag at most, is a whole datagram to the service.
    func takes(_ frame: RawSpan) -> Bool {
        guard let receiver = PacketReceiver(of: frame, to: address) else { return false }
        return receiver.port == BootService.port && receiver.protocolNumber == IPProtocol.udp
    }
}

/// The transport protocol and the destination port of a packet.
struct PacketReceiver: BitwiseCopyable {
    let protocolNumber: UInt8
    /// Of TCP, UDP, or another protocol that has it at the same offset.
    let port: UInt16

    /// Returns nil for every frame, with one tag at most, that is not a whole IPv4 packet to `address`.
    init?(of frame: RawSpan, to address: IPv4Address) {
        // Every whole packet has room for a tag, too.
        let shortest = IPv4Header.length &+ UDPHeader.length
        guard frame.byteCount >= EthernetHeader.taggedLength &+ shortest else { return nil }
        let start =
            frame.big16(at: EthernetHeader.Field.type) == EtherType.vlan
            ? EthernetHeader.taggedLength : EthernetHeader.length
        // Protocol, address, no fragment; then the destination port, which TCP has at the same offset.
        guard frame.byteCount >= start &+ shortest, frame.big16(at: start &- EtherType.length) == EtherType.ipv4,
            frame.big32(at: start &+ IPv4Header.Field.destination) == address.value,
            frame.big16(at: start &+ IPv4Header.Field.fragment) & IPv4Header.Fragment.isFragmentMask == 0
        else { return nil }
        let transport =
            start
            &+ IPv4Header.length(versionAndLength: frame.byte(at: start &+ IPv4Header.Field.versionAndLength))
        guard frame.byteCount >= transport &+ UDPHeader.length else { return nil }
        protocolNumber = frame.byte(at: start &+ IPv4Header.Field.protocolNumber)
        port = frame.big16(at: transport &+ UDPHeader.Field.destinationPort)
    }

    /// Returns nil for every frame, with one tag at most, that is not an IPv6 packet to `address` without extension
    /// headers.
    init?(of frame: RawSpan, to6 address: IPv6Address) {
        let start =
            frame.byteCount >= EthernetHeader.taggedLength
                && frame.big16(at: EthernetHeader.Field.type) == EtherType.vlan
            ? EthernetHeader.taggedLength : EthernetHeader.length
        let transport = start &+ IPv6Header.length
        guard frame.byteCount >= transport &+ UDPHeader.length,
            frame.big16(at: start &- EtherType.length) == EtherType.ipv6,
            IPv6Address(frame, at: start &+ IPv6Header.Field.destination) == address
        else { return nil }
        protocolNumber = frame.byte(at: start &+ IPv6Header.Field.nextHeader)
        port = frame.big16(at: transport &+ UDPHeader.Field.destinationPort)
    }
}
