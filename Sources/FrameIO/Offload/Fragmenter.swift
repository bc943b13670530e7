// SPDX-License-Identifier: Apache-2.0
import Wire

/// Fragments an IPv4 packet that may be fragmented, for a link with a smaller MTU (RFC 791 section 3.2).
package struct Fragmenter: BitwiseCopyable, Sendable {
    /// Ethernet with two VLAN tags, and an IPv4 header.
    package static let maximumHeaderLength = 22 + 20

    private static let dontFragment: UInt16 = 0x4000, moreFragments: UInt16 = 0x2000, offsetMask: UInt16 = 0x1fff

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
        guard let (type, network) = LinkHeader.network(of: frame), type == EtherType.ipv4,
            let packet = try? IPv4View(frame.from(network))
        else { return nil }
        guard !packet.hasOptions, packet.hasValidChecksum,
            frame.big16(at: network + 6) & Fragmenter.dontFragment == 0
        else { return nil }
        self.network = network
        headerLength = network + 20
        end = network + packet.bytes.byteCount
        pieceLength = (limit - headerLength) & ~7
        position = headerLength
        guard pieceLength >= 8, end > limit else { return nil }
    }

    /// Writes the next fragment, whole, to the start of `target`. Returns its length; nil after the last one.
    @_lifetime(target: copy target)
    package mutating func next(_ frame: RawSpan, into target: inout MutableRawSpan) -> Int? {
        guard position < end else { return nil }
        let length = min(pieceLength, end - position)
        target.put(frame.extracting(0..<headerLength), at: 0)
        target.put(frame.extracting(position..<position + length), at: headerLength)
        let field = frame.big16(at: network + 6)
        let offset = (field & Fragmenter.offsetMask) &+ UInt16(truncatingIfNeeded: (position - headerLength) / 8)
        let isLast = position + length == end && field & Fragmenter.moreFragments == 0
        target.put16(UInt16(truncatingIfNeeded: headerLength - network + length), at: network + 2)
        target.put16((isLast ? 0 : Fragmenter.moreFragments) | (offset & Fragmenter.offsetMask), at: network + 6)
        target.put16(0, at: network + 10)
        var sum = InternetChecksum()
        sum.add(target.bytes.extracting(network..<headerLength))
        target.put16(sum.finished, at: network + 10)
        position += length
        return headerLength + length
    }
}

/// The headers in front of the network's.
@usableFromInline
enum LinkHeader {
    /// The EtherType and the offset of the payload, behind up to two VLAN tags; nil if the frame is too short.
    @inlinable
    static func network(of frame: RawSpan) -> (type: UInt16, offset: Int)? {
        guard frame.byteCount >= EthernetHeader.length else { return nil }
        var offset = 12
        var type = frame.big16(at: offset)
        while type == EtherType.vlan || type == EtherType.serviceVLAN {
            offset += 4
            guard offset <= 20, offset + 2 <= frame.byteCount else { return nil }
            type = frame.big16(at: offset)
        }
        return (type, offset + 2)
    }
}
