// SPDX-License-Identifier: Apache-2.0

/// The header behind an IPv6 packet's extension headers (RFC 8200 section 4), for a switch that filters packets in
/// transit: the first fragment must have the whole chain (RFC 7112), because a filter cannot judge the packet otherwise
/// (RFC 7113).
@usableFromInline
package enum IPv6UpperLayer: Equatable, BitwiseCopyable, Sendable {
    /// The protocol, and where its header begins in the packet, which may be at the packet's end.
    case header(UInt8, at: Int)
    /// A fragment other than the first: the header is in another packet.
    case laterFragment
    /// The chain is cut off, or longer than `limit`.
    case undetermined

    /// Extension headers that are read in one packet.
    @usableFromInline static let limit = 16

    private enum Extension {
        static let hopByHop: UInt8 = 0, routing: UInt8 = 43, fragment: UInt8 = 44, authentication: UInt8 = 51,
            destination: UInt8 = 60
        static let mobility: UInt8 = 135, hostIdentity: UInt8 = 139, shim: UInt8 = 140
    }

    /// Where a packet ends that begins with at least an IPv6 header. Bytes behind it are padding of the link and are
    /// not part of the packet. A payload length of 0 may be a jumbogram's (RFC 2675), of which Linux reads all bytes.
    package static func end(of packet: RawSpan) -> Int {
        let length = Int(packet.big16(at: IPv6Header.Field.payloadLength))
        return length == 0 ? packet.byteCount : min(packet.byteCount, IPv6Header.length + length)
    }

    /// - Parameter packet: from the IPv6 header to its end.
    @usableFromInline
    package init(_ packet: RawSpan) {
        self = .undetermined
        guard packet.byteCount >= IPv6Header.length else { return }
        var next = packet.byte(at: IPv6Header.Field.nextHeader), offset = IPv6Header.length
        for _ in 0...IPv6UpperLayer.limit {
            let length: Int
            switch next {
            case Extension.hopByHop, Extension.routing, Extension.destination, Extension.mobility,
                Extension.hostIdentity, Extension.shim:
                guard packet.byteCount - offset >= 8 else { return }
                length = (Int(packet.byte(at: offset + 1)) + 1) * 8
            case Extension.authentication:
                guard packet.byteCount - offset >= 8 else { return }
                length = (Int(packet.byte(at: offset + 1)) + 2) * 4
            case Extension.fragment:
                guard packet.byteCount - offset >= 8 else { return }
                if packet.big16(at: offset + 2) & 0xfff8 != 0 {
                    self = .laterFragment
                    return
                }
                length = 8
            default:
                self = .header(next, at: offset)
                return
            }
            next = packet.byte(at: offset)
            offset += length
            guard offset <= packet.byteCount else { return }
        }
    }
}
