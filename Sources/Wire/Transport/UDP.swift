// SPDX-License-Identifier: Apache-2.0

/// The layout of a UDP header (RFC 768).
@usableFromInline
package enum UDPHeader {
    /// Bytes of a header.
    @inlinable package static var length: Int { 8 }

    /// Offsets in bytes from the start of the datagram.
    @usableFromInline
    package enum Field {
        /// The sender's port.
        @inlinable package static var sourcePort: Int { 0 }
        /// The receiver's port.
        @inlinable package static var destinationPort: Int { 2 }
        /// Bytes of header and payload.
        @inlinable package static var length: Int { 4 }
        /// With the pseudo-header; 0 in IPv4 if the sender computed none. TCP's is elsewhere.
        @inlinable package static var checksum: Int { 6 }
    }
}

/// Reads a UDP datagram (RFC 768).
@usableFromInline
package struct UDPView: ~Escapable {
    /// The datagram up to its length field.
    @usableFromInline package let bytes: RawSpan

    /// - Throws: `truncated` if header or length reach beyond `bytes`; `badLength` below 8.
    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= UDPHeader.length else { throw .truncated }
        let length = Int(bytes.big16(at: UDPHeader.Field.length))
        guard length >= UDPHeader.length else { throw .badLength }
        guard length <= bytes.byteCount else { throw .truncated }
        self.bytes = bytes.extracting(0..<length)
    }

    /// The sender's port.
    @inlinable
    package var sourcePort: UInt16 { bytes.big16(at: UDPHeader.Field.sourcePort) }
    /// The receiver's port.
    @inlinable
    package var destinationPort: UInt16 { bytes.big16(at: UDPHeader.Field.destinationPort) }
    /// The bytes after the header.
    @inlinable
    package var payload: RawSpan { @_lifetime(copy self) get { bytes.from(UDPHeader.length) } }

    /// 0 if the sender computed none.
    @inlinable
    package var checksum: UInt16 { bytes.big16(at: UDPHeader.Field.checksum) }

    /// True if the checksum is right; IPv6 requires one (RFC 8200 section 8.1).
    /// - Parameter pseudoHeader: of an IPv6 packet.
    package func hasValidChecksum(_ pseudoHeader: InternetChecksum) -> Bool {
        guard checksum != 0 else { return false }
        var sum = pseudoHeader
        sum.add(bytes)
        return sum.isValid
    }

    /// True if the checksum is right for these addresses, or absent (0, which IPv4 allows).
    package func hasValidChecksum(source: IPv4Address, destination: IPv4Address) -> Bool {
        guard checksum != 0 else { return true }
        var sum = InternetChecksum.pseudoHeader(
            source: source, destination: destination, protocolNumber: IPProtocol.udp, length: bytes.byteCount)
        sum.add(bytes)
        return sum.isValid
    }
}

/// A UDP datagram over IPv4 in an Ethernet frame, to send.
@usableFromInline
package struct UDPFrame: Sendable {
    /// Bytes of all headers.
    @inlinable package static var headerLength: Int {
        EthernetHeader.length + IPv4Header.length + UDPHeader.length
    }

    /// The link-layer header.
    package var ethernet: EthernetHeader
    /// The network header.
    package var ip: IPv4Header
    /// The sender's port.
    package var sourcePort: UInt16
    /// The receiver's port.
    package var destinationPort: UInt16

    /// - Parameters:
    ///   - source: the sender's hardware address, IPv4 address and port.
    ///   - destination: the receiver's.
    package init(from source: (MACAddress, IPv4Address, UInt16), to destination: (MACAddress, IPv4Address, UInt16)) {
        ethernet = EthernetHeader(destination: destination.0, source: source.0, type: EtherType.ipv4)
        ip = IPv4Header(source: source.1, destination: destination.1, protocolNumber: IPProtocol.udp)
        sourcePort = source.2
        destinationPort = destination.2
    }

    /// A whole frame over IPv6.
    /// - Parameters:
    ///   - source: the sender's hardware address and port.
    ///   - destination: the receiver's.
    package static func bytes(
        _ header: IPv6Header, from source: (MACAddress, UInt16), to destination: (MACAddress, UInt16),
        payload: [UInt8]
    ) -> [UInt8] {
        let length = UDPHeader.length + payload.count
        var writer = ByteWriter(capacity: EthernetHeader.length + IPv6Header.length + length)
        EthernetHeader(destination: destination.0, source: source.0, type: EtherType.ipv6).emit(into: &writer)
        header.emit(into: &writer, payloadLength: length)
        let start = writer.count
        writer.put16(source.1)
        writer.put16(destination.1)
        writer.put16(UInt16(length))
        writer.put16(0)
        writer.put(payload)
        writer.patch16(
            writer.checksum(from: start, adding: header.pseudoHeader(length: length)).finishedForUDP,
            at: start + UDPHeader.Field.checksum)
        return writer.bytes
    }

    /// The whole frame around `payload`, checksums included.
    package func bytes(payload: [UInt8]) -> [UInt8] {
        var writer = ByteWriter(capacity: UDPFrame.headerLength + payload.count)
        ethernet.emit(into: &writer)
        let length = UDPHeader.length + payload.count
        ip.emit(into: &writer, payloadLength: length)
        let start = writer.count
        writer.put16(sourcePort)
        writer.put16(destinationPort)
        writer.put16(UInt16(length))
        writer.put16(0)
        writer.put(payload)
        let pseudo = InternetChecksum.pseudoHeader(
            source: ip.source, destination: ip.destination, protocolNumber: IPProtocol.udp, length: length)
        writer.patch16(
            writer.checksum(from: start, adding: pseudo).finishedForUDP, at: start + UDPHeader.Field.checksum)
        return writer.bytes
    }
}
