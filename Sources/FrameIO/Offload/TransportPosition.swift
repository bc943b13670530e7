// SPDX-License-Identifier: Apache-2.0
import Wire

/// Where the transport header of a frame's IP packet is. Every offset is within the frame, and the IP header with its
/// extension headers was checked.
@usableFromInline
package struct TransportPosition: BitwiseCopyable, Sendable {
    /// Offset of the IP header.
    @usableFromInline package let network: Int
    /// Offset of the transport header.
    @usableFromInline package let transport: Int
    /// End of the IP packet; padding may follow.
    @usableFromInline package let end: Int
    @usableFromInline package let isIPv6: Bool
    /// `IPProtocol`.
    @usableFromInline package let protocolNumber: UInt8

    /// Bytes of extension headers that are read in one packet.
    @inlinable static var maximumExtensions: Int { 96 }

    /// Returns nil if the frame has no IP packet, a malformed one, a fragment, or more extension headers than are read.
    @inlinable
    package init?(_ frame: RawSpan) {
        guard let (type, network) = EthernetHeader.network(of: frame) else { return nil }
        self.network = network
        if type == EtherType.ipv4 {
            guard let packet = try? IPv4View(frame.from(network)), !packet.isFragment else { return nil }
            transport = network + packet.headerLength
            end = network + packet.bytes.byteCount
            protocolNumber = packet.protocolNumber
            isIPv6 = false
        } else if type == EtherType.ipv6 {
            guard let packet = try? IPv6View(frame.from(network)) else { return nil }
            end = network + packet.bytes.byteCount
            var next = packet.nextHeader
            var position = network + IPv6Header.length
            // Hop-by-hop, routing and destination options share one shape (RFC 8200 section 4); a fragment cannot be
            // segmented.
            while next == IPv6Extension.hopByHop || next == IPv6Extension.routing || next == IPv6Extension.destination {
                guard position + IPv6Extension.unit <= end else { return nil }
                next = frame.byte(at: position + IPv6Extension.Field.nextHeader)
                position += IPv6Extension.length(field: frame.byte(at: position + IPv6Extension.Field.length))
                guard position - network <= IPv6Header.length + TransportPosition.maximumExtensions else { return nil }
            }
            guard next != IPv6Extension.fragment else { return nil }
            transport = position
            protocolNumber = next
            isIPv6 = true
        } else {
            return nil
        }
        guard transport <= end else { return nil }
    }
}
