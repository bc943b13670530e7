// SPDX-License-Identifier: Apache-2.0
import Wire

/// The address of the name service (DNS) for guests. Frames to its port 53 never reach the uplink: the service needs no
/// socket of the host, and other programs that use that port are not disturbed.
package struct NameService: Equatable, BitwiseCopyable, Sendable {
    /// The port of DNS, by UDP and TCP.
    package static let port: UInt16 = 53

    /// The gateway's address.
    package let address: IPv4Address
    /// The gateway's hardware address.
    package let hardware: MACAddress
    /// The port of the device that terminates guests' TCP; nil if the uplink does that itself.
    package let streams: PortNumber?

    /// See the properties.
    package init(address: IPv4Address, hardware: MACAddress, streams: PortNumber? = nil) {
        self.address = address
        self.hardware = hardware
        self.streams = streams
    }
}

/// How a frame carries a DNS query.
enum NameTransport: BitwiseCopyable {
    case datagram, stream

    /// Returns nil for every frame that is not a whole packet to the service's port 53.
    init?(of frame: RawSpan, to service: NameService) {
        // Every whole query has room for a tag, too.
        let shortest = IPv4Header.length &+ UDPHeader.length
        guard frame.byteCount >= EthernetHeader.taggedLength &+ shortest else { return nil }
        let start =
            frame.big16(at: EthernetHeader.Field.type) == EtherType.vlan
            ? EthernetHeader.taggedLength : EthernetHeader.length
        // Protocol, address, no fragment; then the destination port, which TCP has at the same offset.
        guard frame.byteCount >= start &+ shortest, frame.big16(at: start &- EtherType.length) == EtherType.ipv4,
            frame.big32(at: start &+ IPv4Header.Field.destination) == service.address.value,
            frame.big16(at: start &+ IPv4Header.Field.fragment) & IPv4Header.Fragment.isFragmentMask == 0
        else { return nil }
        let transport =
            start
            &+ IPv4Header.length(versionAndLength: frame.byte(at: start &+ IPv4Header.Field.versionAndLength))
        guard frame.byteCount >= transport &+ UDPHeader.length,
            frame.big16(at: transport &+ UDPHeader.Field.destinationPort) == NameService.port
        else { return nil }
        switch frame.byte(at: start &+ IPv4Header.Field.protocolNumber) {
        case IPProtocol.udp: self = .datagram
        case IPProtocol.tcp: self = .stream
        default: return nil
        }
    }
}
