// SPDX-License-Identifier: Apache-2.0
import Wire

/// Fragments an IPv6 packet of this host's own for a link with a smaller MTU (RFC 8200 section 4.5). Only the sender of
/// a packet may do that, so the switch does not do it for guests.
package struct IPv6Fragmenter: BitwiseCopyable, Sendable {
    private let network: Int
    private let end: Int
    /// Bytes of the packet in each fragment but the last, a multiple of eight.
    private let pieceLength: Int
    private let protocolNumber: UInt8
    private let identification: UInt32
    private var position: Int

    /// - Parameters:
    ///   - limit: bytes of the longest frame.
    ///   - identification: of all fragments, and of no other packet between these addresses in the last minute.
    ///
    /// Returns nil if the frame fits, is not IPv6, or has extension headers, which need not go into each fragment.
    package init?(_ frame: RawSpan, limit: Int, identification: UInt32) {
        guard let (type, network) = EthernetHeader.network(of: frame), type == EtherType.ipv6,
            let packet = try? IPv6View(frame.from(network)),
            IPv6UpperLayer(packet.bytes) == .header(packet.nextHeader, at: IPv6Header.length)
        else { return nil }
        self.network = network
        self.identification = identification
        protocolNumber = packet.nextHeader
        position = network + IPv6Header.length
        end = network + packet.bytes.byteCount
        pieceLength = (limit - position - IPv6Extension.unit) & ~(IPv6Extension.unit - 1)
        guard pieceLength >= IPv6Extension.unit, end > limit else { return nil }
    }

    /// Writes the next fragment, whole, to the start of `target`. Returns its length; nil after the last one.
    @_lifetime(target: copy target)
    package mutating func next(_ frame: RawSpan, into target: inout MutableRawSpan) -> Int? {
        guard position < end else { return nil }
        let length = min(pieceLength, end - position)
        let fragmentable = network + IPv6Header.length
        target.put(frame.extracting(0..<fragmentable), at: 0)
        var header = MutableIPv6View(&target, at: network)
        header.set(nextHeader: IPv6Extension.fragment)
        header.set(payloadLength: IPv6Extension.unit + length)
        let offset = UInt16(position - fragmentable)
        let flag = position + length < end ? IPv6Extension.moreFragments : 0
        target.put8(protocolNumber, at: fragmentable + IPv6Extension.Field.nextHeader)
        target.put8(0, at: fragmentable + IPv6Extension.Field.length)
        target.put16(offset | flag, at: fragmentable + IPv6Extension.Field.fragment)
        target.put32(identification, at: fragmentable + IPv6Extension.Field.identification)
        target.put(frame.extracting(position..<position + length), at: fragmentable + IPv6Extension.unit)
        position += length
        return fragmentable + IPv6Extension.unit + length
    }
}
