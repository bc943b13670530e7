// SPDX-License-Identifier: Apache-2.0
import Wire

/// Fragments an IPv4 packet that may be fragmented, for a link with a smaller MTU (RFC 791 section 3.2).
package struct Fragmenter: BitwiseCopyable, Sendable {
    /// Ethernet with two VLAN tags, and an IPv4 header.
    package static var maximumHeaderLength: Int { EthernetHeader.doubleTaggedLength + IPv4Header.length }

    private let network: Int
    private let headerLength: Int
    private let end: Int
    /// Bytes of payload in each, a multiple of eight.
    private let pieceLength: Int
    private var position: Int

    /// - Parameter limit: bytes of the longest frame.
    ///
    /// Returns nil if the frame fits, is not IPv4, must not be fragmented, or has options, because
    /// fragments must not copy all of them.
    package init?(_ frame: RawSpan, limit: Int) {
        guard let (type, network) = EthernetHeader.network(of: frame), type == EtherType.ipv4,
            let packet = try? IPv4View(frame.from(network))
        else { return nil }
        guard !packet.hasOptions, packet.hasValidChecksum, !packet.dontFragment else { return nil }
        self.network = network
        headerLength = network + IPv4Header.length
        end = network + packet.bytes.byteCount
        pieceLength = (limit - headerLength) & ~(IPv4Header.Fragment.unit - 1)
        position = headerLength
        guard pieceLength >= IPv4Header.Fragment.unit, end > limit else { return nil }
    }

    /// Writes the next fragment, whole, to the start of `target`. Returns its length; nil after the last one.
    @_lifetime(target: copy target)
    package mutating func next(_ frame: RawSpan, into target: inout MutableRawSpan) -> Int? {
        guard position < end else { return nil }
        let length = min(pieceLength, end - position)
        target.put(frame.extracting(0..<headerLength), at: 0)
        target.put(frame.extracting(position..<position + length), at: headerLength)
        let field = frame.big16(at: network + IPv4Header.Field.fragment)
        let offset = Int(field & IPv4Header.Fragment.offsetMask) * IPv4Header.Fragment.unit + position - headerLength
        let isLast = position + length == end && field & IPv4Header.Fragment.moreFragments == 0
        var packet = MutableIPv4View(&target, at: network)
        packet.set(totalLength: headerLength - network + length)
        packet.set(fragmentOffset: offset, moreFragments: !isLast)
        packet.updateChecksum(headerLength: headerLength - network)
        position += length
        return headerLength + length
    }
}
