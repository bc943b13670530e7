// SPDX-License-Identifier: Apache-2.0

/// An IPv6 packet (RFC 8200 section 3).
@usableFromInline
package struct IPv6View: ~Escapable {
    @usableFromInline package static let headerLength = 40

    /// The packet up to its payload length: link-layer padding is cut off.
    @usableFromInline package let bytes: RawSpan

    /// - Throws: `truncated` if header or payload length reach beyond `bytes`; `badVersion`.
    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= 40 else { throw .truncated }
        guard bytes.byte(at: 0) >> 4 == 6 else { throw .badVersion }
        let total = 40 + Int(bytes.big16(at: 4))
        guard total <= bytes.byteCount else { throw .truncated }
        self.bytes = bytes.extracting(0..<total)
    }

    /// The protocol of what follows the fixed header, which may be an extension header.
    @inlinable
    package var nextHeader: UInt8 { bytes.byte(at: 6) }
    @inlinable
    package var hopLimit: UInt8 { bytes.byte(at: 7) }
    /// Source and destination, 32 bytes, as the pseudo-header wants them.
    @inlinable
    package var addresses: RawSpan { @_lifetime(copy self) get { bytes.extracting(8..<40) } }
    @inlinable
    package var payload: RawSpan { @_lifetime(copy self) get { bytes.from(40) } }
}

/// An IPv6 header to send, without extensions.
package struct IPv6Header: Equatable, Sendable {
    package var source: IPv6Address
    package var destination: IPv6Address
    package var nextHeader: UInt8
    package var hopLimit: UInt8 = 64

    package init(source: IPv6Address, destination: IPv6Address, nextHeader: UInt8, hopLimit: UInt8 = 64) {
        self.source = source
        self.destination = destination
        self.nextHeader = nextHeader
        self.hopLimit = hopLimit
    }

    package func emit(into writer: inout ByteWriter, payloadLength: Int) {
        writer.put32(6 << 28)
        writer.put16(UInt16(payloadLength))
        writer.put8(nextHeader)
        writer.put8(hopLimit)
        writer.put(source.bytes)
        writer.put(destination.bytes)
    }

    /// The sum over the pseudo-header for a payload of `length` bytes (RFC 8200 section 8.1).
    package func pseudoHeader(length: Int) -> InternetChecksum {
        InternetChecksum.pseudoHeader(
            addresses: (source.bytes + destination.bytes).rawSpan, protocolNumber: nextHeader, length: length)
    }
}

/// ICMPv6 messages of neighbour discovery (RFC 4861 section 4).
package enum NeighborDiscovery {
    package static let routerSolicitation: UInt8 = 133
    package static let routerAdvertisement: UInt8 = 134
    package static let neighborSolicitation: UInt8 = 135
    package static let neighborAdvertisement: UInt8 = 136
    package static let redirect: UInt8 = 137

    /// An ICMPv6 message in an Ethernet frame.
    /// - Parameter body: what follows type, code and checksum.
    package static func frame(
        _ header: IPv6Header, from source: MACAddress, to destination: MACAddress, type: UInt8, code: UInt8 = 0,
        body: [UInt8]
    ) -> [UInt8] {
        var writer = ByteWriter(capacity: 14 + 40 + 4 + body.count)
        EthernetHeader(destination: destination, source: source, type: EtherType.ipv6).emit(into: &writer)
        header.emit(into: &writer, payloadLength: 4 + body.count)
        let start = writer.count
        writer.put8(type)
        writer.put8(code)
        writer.put16(0)
        writer.put(body)
        writer.patch16(
            writer.checksum(from: start, adding: header.pseudoHeader(length: 4 + body.count)).finished, at: start + 2)
        return writer.bytes
    }

    /// A neighbour advertisement: `target` is at `hardware` (section 4.4).
    /// - Parameter isRouter: whether it is a router's.
    package static func advertisement(
        of target: IPv6Address, at hardware: MACAddress, to destination: (IPv6Address, MACAddress), isRouter: Bool
    ) -> [UInt8] {
        // Router, solicited, override.
        let flags: UInt8 = (isRouter ? 0x80 : 0) | (destination.0.isMulticast ? 0 : 0x40) | 0x20
        let header = IPv6Header(
            source: target, destination: destination.0, nextHeader: IPProtocol.icmpv6, hopLimit: 255)
        return frame(
            header, from: hardware, to: destination.1, type: neighborAdvertisement,
            body: [flags, 0, 0, 0] + target.bytes + [2, 1] + hardware.bytes)
    }

    /// A router advertisement with a prefix of 64 bits from which hosts make their addresses (section 4.2, 4.6.2).
    /// - Parameters:
    ///   - lifetime: seconds for which the prefix is good, and the sender a default router.
    ///   - isDefaultRouter: false on a network without a way out.
    ///   - mtu: told to hosts.
    package static func routerAdvertisement(
        from source: (IPv6Address, MACAddress), to destination: (IPv6Address, MACAddress), prefix: UInt64,
        lifetime: UInt16, isDefaultRouter: Bool = true, mtu: Int
    ) -> [UInt8] {
        var body = ByteWriter(capacity: 64)
        body.put8(64)
        body.put8(0)
        body.put16(isDefaultRouter ? lifetime : 0)
        body.put32(0)
        body.put32(0)
        body.put8(1)
        body.put8(1)
        body.put(source.1)
        body.put16(0x0501)
        body.put16(0)
        body.put32(UInt32(mtu))
        body.put16(0x0304)
        body.put8(64)
        // On link, and for addresses.
        body.put8(0xc0)
        body.put32(UInt32(lifetime))
        body.put32(UInt32(lifetime))
        body.put32(0)
        body.put(IPv6Address(prefix, 0).bytes)
        let header = IPv6Header(
            source: source.0, destination: destination.0, nextHeader: IPProtocol.icmpv6, hopLimit: 255)
        return frame(header, from: source.1, to: destination.1, type: routerAdvertisement, body: body.bytes)
    }
}
