// SPDX-License-Identifier: Apache-2.0
import Wire

/// The address of the name service (DNS) for guests. Frames to its port 53 never reach the uplink: the service needs no
/// socket of the host, and other programs that use that port are not disturbed.
package struct NameService: Equatable, BitwiseCopyable, Sendable {
    /// The port of DNS, by UDP and TCP.
    package static let port: UInt16 = 53

    /// The gateway's addresses.
    package let address: IPv4Address
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
        guard frame.byteCount >= 46 else { return nil }
        let start = frame.big16(at: EthernetHeader.Field.type) == EtherType.vlan ? 18 : 14
        // Protocol, address, no fragment; then the destination port.
        guard frame.byteCount >= start &+ 28, frame.big16(at: start &- 2) == EtherType.ipv4,
            frame.big32(at: start &+ 16) == service.address.value,
            frame.big16(at: start &+ 6) & 0x3fff == 0
        else { return nil }
        let transport = start &+ Int(frame.byte(at: start) & 0xf) &* 4
        guard frame.byteCount >= transport &+ 8, frame.big16(at: transport &+ 2) == NameService.port else { return nil }
        switch frame.byte(at: start &+ 9) {
        case IPProtocol.udp: self = .datagram
        case IPProtocol.tcp: self = .stream
        default: return nil
        }
    }
}
