// SPDX-License-Identifier: Apache-2.0

/// Protocol numbers of IP (IANA "Assigned Internet Protocol Numbers").
@usableFromInline
package enum IPProtocol {
    @inlinable package static var icmp: UInt8 { 1 }
    @inlinable package static var tcp: UInt8 { 6 }
    @inlinable package static var udp: UInt8 { 17 }
    @inlinable package static var icmpv6: UInt8 { 58 }
}

/// An IPv4 packet (RFC 791 section 3.1).
@usableFromInline
package struct IPv4View: ~Escapable {
    /// The packet up to its total length: link-layer padding is cut off.
    @usableFromInline package let bytes: RawSpan
    /// 20 to 60.
    @usableFromInline package let headerLength: Int

    /// - Throws: `truncated` if header or total length reach beyond `bytes`; `badVersion`; `badLength` if the two
    ///   lengths contradict each other.
    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= 20 else { throw .truncated }
        guard bytes.byte(at: 0) >> 4 == 4 else { throw .badVersion }
        let header = Int(bytes.byte(at: 0) & 0xf) * 4
        let total = Int(bytes.big16(at: 2))
        guard header >= 20, total >= header else { throw .badLength }
        guard total <= bytes.byteCount else { throw .truncated }
        self.bytes = bytes.extracting(0..<total)
        headerLength = header
    }

    @inlinable
    package var identification: UInt16 { bytes.big16(at: 4) }
    @inlinable
    package var timeToLive: UInt8 { bytes.byte(at: 8) }
    @inlinable
    package var protocolNumber: UInt8 { bytes.byte(at: 9) }
    @inlinable
    package var source: IPv4Address { IPv4Address(bytes.big32(at: 12)) }
    @inlinable
    package var destination: IPv4Address { IPv4Address(bytes.big32(at: 16)) }
    /// True for every fragment: more fragments follow, or the offset is not zero.
    @inlinable
    package var isFragment: Bool { bytes.big16(at: 6) & 0x3fff != 0 }
    @inlinable
    package var payload: RawSpan { @_lifetime(copy self) get { bytes.from(headerLength) } }

    /// True if the header's checksum is right.
    @inlinable
    package var hasValidChecksum: Bool {
        var sum = InternetChecksum()
        sum.add(bytes.extracting(0..<headerLength))
        return sum.isValid
    }
}

/// An IPv4 header to send, without options.
package struct IPv4Header: Equatable, Sendable {
    package static let length = 20

    package var source: IPv4Address
    package var destination: IPv4Address
    package var protocolNumber: UInt8
    package var timeToLive: UInt8 = 64
    package var identification: UInt16 = 0

    package init(source: IPv4Address, destination: IPv4Address, protocolNumber: UInt8) {
        self.source = source
        self.destination = destination
        self.protocolNumber = protocolNumber
    }

    /// Writes header and checksum; "don't fragment" is set, for all that we send fits any link of this network.
    package func emit(into writer: inout ByteWriter, payloadLength: Int) {
        let start = writer.count
        writer.put16(0x4500)
        writer.put16(UInt16(IPv4Header.length + payloadLength))
        writer.put16(identification)
        writer.put16(0x4000)
        writer.put8(timeToLive)
        writer.put8(protocolNumber)
        writer.put16(0)
        writer.put(source)
        writer.put(destination)
        writer.patch16(writer.checksum(from: start).finished, at: start + 10)
    }
}
