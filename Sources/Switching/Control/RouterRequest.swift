// SPDX-License-Identifier: Apache-2.0
import Wire

/// What guests send to routers and servers of their link: router solicitations (RFC 4861 section 4.1), and DHCPv6 (RFC
/// 8415). The router service parses and checks them fully.
enum RouterRequest {
    /// Whether an IPv6 packet, to the frame's end, is one. Those with extension headers are not.
    static func isIn(_ packet: RawSpan) -> Bool {
        let start = IPv6Header.length
        guard packet.byteCount >= start &+ ICMPHeader.length else { return false }
        switch packet.byte(at: IPv6Header.Field.nextHeader) {
        case IPProtocol.icmpv6:
            return packet.byte(at: start &+ ICMPHeader.Field.type) == ICMPv6Type.routerSolicitation
        case IPProtocol.udp:
            return packet.big16(at: start &+ UDPHeader.Field.destinationPort) == DHCPPort.serverIPv6
        default:
            return false
        }
    }
}
