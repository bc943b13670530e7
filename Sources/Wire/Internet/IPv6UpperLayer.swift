// SPDX-License-Identifier: Apache-2.0

/// Protocol numbers of IPv6's extension headers (IANA "IPv6 Extension Header Types"), and their common layout (RFC 8200
/// section 4).
@usableFromInline
package enum IPv6Extension {
    /// RFC 8200 section 4.3.
    @inlinable package static var hopByHop: UInt8 { 0 }
    /// RFC 8200 section 4.4.
    @inlinable package static var routing: UInt8 { 43 }
    /// RFC 8200 section 4.5.
    @inlinable package static var fragment: UInt8 { 44 }
    /// RFC 4302, whose length counts words of four bytes.
    @inlinable package static var authentication: UInt8 { 51 }
    /// Destination options, RFC 8200 section 4.6.
    @inlinable package static var destination: UInt8 { 60 }
    /// RFC 6275.
    @inlinable package static var mobility: UInt8 { 135 }
    /// RFC 7401.
    @inlinable package static var hostIdentity: UInt8 { 139 }
    /// RFC 5533.
    @inlinable package static var shim: UInt8 { 140 }

    /// Bytes of the shortest extension header. Lengths count units of this many, the first excluded.
    @inlinable package static var unit: Int { 8 }

    /// Offsets in bytes from the start of an extension header.
    @usableFromInline
    package enum Field {
        /// The protocol of what follows the extension header.
        @inlinable package static var nextHeader: Int { 0 }
        /// Its length in units, the first excluded. Reserved in a fragment header.
        @inlinable package static var length: Int { 1 }
        /// Of a fragment header: the offset in its high 13 bits, the M flag in its lowest.
        @inlinable package static var fragment: Int { 2 }
        /// Of a fragment header: 32 bits that all fragments of a packet have.
        @inlinable package static var identification: Int { 4 }
    }

    /// The bit of `Field.fragment` that all fragments but the last have.
    @inlinable package static var moreFragments: UInt16 { 1 }
    /// The bits of `Field.fragment` that are the offset, in bytes.
    @inlinable package static var fragmentOffsetMask: UInt16 { 0xfff8 }

    /// Bytes of an extension header, from its length field; not for fragment and authentication headers.
    @inlinable
    package static func length(field: UInt8) -> Int { (Int(field) + 1) * unit }
}

/// The header after an IPv6 packet's extension headers (RFC 8200 section 4), for a switch that filters packets in
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

    /// Where a packet ends that begins with at least an IPv6 header. Bytes after it are padding of the link and are
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
            case IPv6Extension.hopByHop, IPv6Extension.routing, IPv6Extension.destination, IPv6Extension.mobility,
                IPv6Extension.hostIdentity, IPv6Extension.shim:
                guard packet.byteCount - offset >= IPv6Extension.unit else { return }
                length = IPv6Extension.length(field: packet.byte(at: offset + IPv6Extension.Field.length))
            case IPv6Extension.authentication:
                guard packet.byteCount - offset >= IPv6Extension.unit else { return }
                length = (Int(packet.byte(at: offset + IPv6Extension.Field.length)) + 2) * 4
            case IPv6Extension.fragment:
                guard packet.byteCount - offset >= IPv6Extension.unit else { return }
                if packet.big16(at: offset + IPv6Extension.Field.fragment) & IPv6Extension.fragmentOffsetMask != 0 {
                    self = .laterFragment
                    return
                }
                length = IPv6Extension.unit
            default:
                self = .header(next, at: offset)
                return
            }
            next = packet.byte(at: offset + IPv6Extension.Field.nextHeader)
            offset += length
            guard offset <= packet.byteCount else { return }
        }
    }
}
