// SPDX-License-Identifier: Apache-2.0
import Wire

/// The address of the name service (DNS) for guests. Frames to its port 53 never reach the uplink: the service needs no
/// socket of the host, and other programs that use that port are not disturbed.
package struct NameService: Equatable, BitwiseCopyable, Sendable {
    /// The port of DNS, over UDP and TCP.
    package static let port: UInt16 = 53

    /// The gateway's address.
    package let address: IPv4Address
    /// The gateway's IPv6 address; the unspecified one for none.
    package let address6: IPv6Address
    /// The gateway's hardware address.
    package let hardware: MACAddress
    /// The port of the device that terminates guests' TCP; nil if the uplink does that itself.
    package let streams: PortNumber?

    /// See the properties.
    package init(
        address: IPv4Address, address6: IPv6Address = .unspecified, hardware: MACAddress, streams: PortNumber? = nil
    ) {
        self.address = address
        self.address6 = address6
        self.hardware = hardware
        self.streams = streams
    }
}

/// How a frame carries a DNS query.
enum NameTransport: BitwiseCopyable {
    case datagram, stream
    /// The first fragment of a datagram, or of a segment that the uplink does not reassemble.
    case fragment

    /// Returns nil for every frame that is no packet to the service's port 53, nor its first fragment.
    init?(of frame: RawSpan, to service: NameService) {
        guard
            let receiver = PacketReceiver(of: frame, to: service.address)
                ?? PacketReceiver(of: frame, to6: service.address6), receiver.port == NameService.port
        else { return nil }
        switch receiver.protocolNumber {
        case IPProtocol.udp: self = receiver.isFragment ? .fragment : .datagram
        case IPProtocol.tcp where receiver.isFragment:
            guard service.streams != nil else { return nil }
            self = .fragment
        case IPProtocol.tcp: self = .stream
        default: return nil
        }
    }
}
