// SPDX-License-Identifier: Apache-2.0

/// The header behind an IPv6 packet's extension headers (RFC 8200 section 4), as a switch needs it that judges packets
/// on their way: the first fragment must have the whole chain (RFC 7112), for otherwise nothing can be said of the
/// packet (RFC 7113).
@usableFromInline
package enum IPv6UpperLayer: Equatable, BitwiseCopyable, Sendable {
    /// The protocol, and where its header begins in the packet, which may be at the packet's end.
    case header(UInt8, at: Int)
    /// A fragment other than the first: the header is in another packet.
    case laterFragment
    /// The chain is cut off, or longer than any that has a use.
    case undetermined

    /// Extension headers that are read in one packet.
    @usableFromInline static let limit = 16

    private enum Extension {
        static let hopByHop: UInt8 = 0, routing: UInt8 = 43, fragment: UInt8 = 44, authentication: UInt8 = 51,
            destination: UInt8 = 60
        static let mobility: UInt8 = 135, hostIdentity: UInt8 = 139, shim: UInt8 = 140
    }

    /// Where a packet ends that begins with at least an IPv6 header: behind it the link may have padded, and nothing is
    /// to be believed. A payload length of 0 may be a jumbogram's (RFC 2675), of which Linux takes all that there is.
    package static func end(of packet: RawSpan) -> Int {
        let length = Int(packet.big16(at: 4))
        return length == 0 ? packet.byteCount : min(packet.byteCount, IPv6View.headerLength + length)
    }

    /// - Parameter packet: from the IPv6 header to its end.
    @usableFromInline
    package init(_ packet: RawSpan) {
        self = .undetermined
        guard packet.byteCount >= IPv6View.headerLength else { return }
        var next = packet.byte(at: 6), place = IPv6View.headerLength
        for _ in 0...IPv6UpperLayer.limit {
            let length: Int
            switch next {
            case Extension.hopByHop, Extension.routing, Extension.destination, Extension.mobility,
                Extension.hostIdentity, Extension.shim:
                guard packet.byteCount - place >= 8 else { return }
                length = (Int(packet.byte(at: place + 1)) + 1) * 8
            case Extension.authentication:
                guard packet.byteCount - place >= 8 else { return }
                length = (Int(packet.byte(at: place + 1)) + 2) * 4
            case Extension.fragment:
                guard packet.byteCount - place >= 8 else { return }
                if packet.big16(at: place + 2) & 0xfff8 != 0 {
                    self = .laterFragment
                    return
                }
                length = 8
            default:
                self = .header(next, at: place)
                return
            }
            next = packet.byte(at: place)
            place += length
            guard place <= packet.byteCount else { return }
        }
    }
}
