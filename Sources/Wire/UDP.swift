// SPDX-License-Identifier: Apache-2.0

/// A UDP datagram (RFC 768).
@usableFromInline
package struct UDPView: ~Escapable {
    @usableFromInline package static let headerLength = 8

    /// The datagram up to its length field.
    @usableFromInline package let bytes: RawSpan

    /// - Throws: `truncated` if header or length reach beyond `bytes`; `badLength` below 8.
    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= 8 else { throw .truncated }
        let length = Int(bytes.big16(at: 4))
        guard length >= 8 else { throw .badLength }
        guard length <= bytes.byteCount else { throw .truncated }
        self.bytes = bytes.extracting(0..<length)
    }

    @inlinable
    package var sourcePort: UInt16 { bytes.big16(at: 0) }
    @inlinable
    package var destinationPort: UInt16 { bytes.big16(at: 2) }
    @inlinable
    package var payload: RawSpan { @_lifetime(copy self) get { bytes.from(8) } }

    /// True if the checksum is right for these addresses, or absent (0, which IPv4 allows).
    package func hasValidChecksum(source: IPv4Address, destination: IPv4Address) -> Bool {
        guard bytes.big16(at: 6) != 0 else { return true }
        var sum = InternetChecksum.pseudoHeader(
            source: source, destination: destination, protocolNumber: IPProtocol.udp, length: bytes.byteCount)
        sum.add(bytes)
        return sum.isValid
    }
}

/// A UDP datagram over IPv4 in an Ethernet frame, to send.
package struct UDPFrame: Sendable {
    package var ethernet: EthernetHeader
    package var ip: IPv4Header
    package var sourcePort: UInt16
    package var destinationPort: UInt16

    package init(from source: (MACAddress, IPv4Address, UInt16), to destination: (MACAddress, IPv4Address, UInt16)) {
        ethernet = EthernetHeader(destination: destination.0, source: source.0, type: EtherType.ipv4)
        ip = IPv4Header(source: source.1, destination: destination.1, protocolNumber: IPProtocol.udp)
        sourcePort = source.2
        destinationPort = destination.2
    }

    /// The whole frame around `payload`, checksums included.
    package func bytes(payload: [UInt8]) -> [UInt8] {
        var writer = ByteWriter(capacity: 42 + payload.count)
        ethernet.emit(into: &writer)
        let length = UDPView.headerLength + payload.count
        ip.emit(into: &writer, payloadLength: length)
        let start = writer.count
        writer.put16(sourcePort)
        writer.put16(destinationPort)
        writer.put16(UInt16(length))
        writer.put16(0)
        writer.put(payload)
        let pseudo = InternetChecksum.pseudoHeader(
            source: ip.source, destination: ip.destination, protocolNumber: IPProtocol.udp, length: length)
        writer.patch16(writer.checksum(from: start, adding: pseudo).finishedForUDP, at: start + 6)
        return writer.bytes
    }
}
