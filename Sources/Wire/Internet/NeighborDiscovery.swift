// SPDX-License-Identifier: Apache-2.0

/// Reads a message of neighbour discovery that has a target: a neighbour solicitation or advertisement, or a redirect
/// (RFC 4861 sections 4.3 to 4.5).
@usableFromInline
package struct NDPView: ~Escapable {
    /// Bytes before the options: the ICMPv6 header and the target.
    @inlinable package static var headerLength: Int { ICMPHeader.length + 16 }

    /// Offsets in bytes from the start of the message.
    @usableFromInline
    package enum Field {
        /// Of advertisements: `Flags`.
        @inlinable package static var flags: Int { 4 }
        /// 16 bytes: the address that the message is about.
        @inlinable package static var target: Int { 8 }
    }

    /// Bits of an advertisement's first byte after the checksum (RFC 4861 section 4.4).
    @usableFromInline
    package enum Flags {
        /// The sender is a router.
        @inlinable package static var router: UInt8 { 0x80 }
        /// The message answers a solicitation.
        @inlinable package static var solicited: UInt8 { 0x40 }
        /// The address replaces the one that the receiver stores.
        @inlinable package static var override: UInt8 { 0x20 }
    }

    /// The whole message.
    @usableFromInline package let bytes: RawSpan

    /// - Parameter bytes: the message from its type to the packet's end.
    /// - Throws: `truncated` below 24 bytes; `badField` for a type without a target.
    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= NDPView.headerLength else { throw .truncated }
        guard (ICMPv6Type.neighborSolicitation...ICMPv6Type.redirect).contains(bytes.byte(at: ICMPHeader.Field.type))
        else { throw .badField }
        self.bytes = bytes
    }

    /// `ICMPv6Type`.
    @inlinable
    package var type: UInt8 { bytes.byte(at: ICMPHeader.Field.type) }
    /// Of advertisements: `Flags`.
    @inlinable
    package var flags: UInt8 { bytes.byte(at: Field.flags) }
    /// The address that the message is about.
    @inlinable
    package var target: IPv6Address { IPv6Address(bytes, at: Field.target) }
    /// The options after the target.
    @inlinable
    package var options: NDPOptions { @_lifetime(copy self) get { NDPOptions(bytes.from(NDPView.headerLength)) } }
}

/// Reads the options of a message of neighbour discovery one by one (RFC 4861 section 4.6).
@usableFromInline
package struct NDPOptions: ~Escapable {
    /// Option types.
    @usableFromInline
    package enum Kind {
        /// Of solicitations and router advertisements (RFC 4861 section 4.6.1).
        @inlinable package static var sourceLinkLayerAddress: UInt8 { 1 }
        /// Of advertisements and redirects (RFC 4861 section 4.6.1).
        @inlinable package static var targetLinkLayerAddress: UInt8 { 2 }
        /// Of router advertisements (RFC 4861 section 4.6.2).
        @inlinable package static var prefixInformation: UInt8 { 3 }
        /// Of router advertisements (RFC 4861 section 4.6.4).
        @inlinable package static var mtu: UInt8 { 5 }
        /// Of router advertisements (RFC 8106 section 5.1).
        @inlinable package static var recursiveNameServers: UInt8 { 25 }
        /// Of router advertisements (RFC 8106 section 5.2).
        @inlinable package static var searchDomains: UInt8 { 31 }
        /// Of router advertisements (RFC 8781 section 4).
        @inlinable package static var nat64Prefix: UInt8 { 38 }
    }

    /// Offsets in bytes from the start of an option.
    @usableFromInline
    package enum Field {
        /// `Kind`.
        @inlinable package static var kind: Int { 0 }
        /// The option's length in units, type and length included.
        @inlinable package static var length: Int { 1 }
    }

    /// Options are a multiple of this many bytes long.
    @inlinable package static var unit: Int { 8 }
    /// Offset of the address in an option with a link-layer address.
    @inlinable package static var addressOffset: Int { 2 }

    @usableFromInline let bytes: RawSpan
    @usableFromInline var offset = 0

    /// - Parameter bytes: the options, to the packet's end.
    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) { self.bytes = bytes }

    /// True after the last option.
    @inlinable
    package var isAtEnd: Bool { offset == bytes.byteCount }

    /// The next option, type and length included.
    /// - Throws: `truncated` if the option reaches beyond the message, `badLength` for a length of 0.
    @inlinable
    @_lifetime(copy self)
    package mutating func next() throws(WireError) -> RawSpan {
        guard bytes.byteCount - offset >= NDPOptions.unit else { throw .truncated }
        let length = Int(bytes.byte(at: offset + Field.length)) * NDPOptions.unit
        guard length > 0 else { throw .badLength }
        guard length <= bytes.byteCount - offset else { throw .truncated }
        let option = bytes.extracting(offset..<offset + length)
        offset += length
        return option
    }
}

/// Messages of neighbour discovery to send (RFC 4861 section 4). Hosts ignore one whose hop limit is not 255.
@usableFromInline
package enum NeighborDiscovery {
    /// Hop limit of all messages: no router has forwarded them.
    @inlinable package static var hopLimit: UInt8 { 255 }
    /// Bytes of a router advertisement before its options (section 4.2).
    @inlinable package static var routerAdvertisementLength: Int { 16 }

    /// An ICMPv6 message in an Ethernet frame.
    /// - Parameter body: what follows type, code and checksum.
    package static func frame(
        _ header: IPv6Header, from source: MACAddress, to destination: MACAddress, type: UInt8, code: UInt8 = 0,
        body: [UInt8]
    ) -> [UInt8] {
        let length = ICMPHeader.Field.rest + body.count
        var writer = ByteWriter(capacity: EthernetHeader.length + IPv6Header.length + length)
        EthernetHeader(destination: destination, source: source, type: EtherType.ipv6).emit(into: &writer)
        header.emit(into: &writer, payloadLength: length)
        let start = writer.count
        writer.put8(type)
        writer.put8(code)
        writer.put16(0)
        writer.put(body)
        writer.patch16(
            writer.checksum(from: start, adding: header.pseudoHeader(length: length)).finished,
            at: start + ICMPHeader.Field.checksum)
        return writer.bytes
    }

    /// A neighbour solicitation for `target` (section 4.3).
    /// - Parameters:
    ///   - source: the sender's addresses.
    ///   - destination: the hardware address of the group `target.solicitedNode`, or of one host of it.
    package static func solicitation(
        for target: IPv6Address, from source: (IPv6Address, MACAddress), to destination: MACAddress
    ) -> [UInt8] {
        var body = ByteWriter(capacity: 28)
        body.put32(0)
        body.put(target)
        put(NDPOptions.Kind.sourceLinkLayerAddress, source.1, into: &body)
        let header = IPv6Header(
            source: source.0, destination: target.solicitedNode, nextHeader: IPProtocol.icmpv6, hopLimit: hopLimit)
        return frame(header, from: source.1, to: destination, type: ICMPv6Type.neighborSolicitation, body: body.bytes)
    }

    /// A neighbour advertisement: `target` is at `hardware` (section 4.4).
    /// - Parameter isRouter: whether the sender is a router.
    package static func advertisement(
        of target: IPv6Address, at hardware: MACAddress, to destination: (IPv6Address, MACAddress), isRouter: Bool
    ) -> [UInt8] {
        let flags =
            (isRouter ? NDPView.Flags.router : 0) | (destination.0.isMulticast ? 0 : NDPView.Flags.solicited)
            | NDPView.Flags.override
        var body = ByteWriter(capacity: 28)
        body.put32(UInt32(flags) << 24)
        body.put(target)
        put(NDPOptions.Kind.targetLinkLayerAddress, hardware, into: &body)
        let header = IPv6Header(
            source: target, destination: destination.0, nextHeader: IPProtocol.icmpv6, hopLimit: hopLimit)
        return frame(
            header, from: hardware, to: destination.1, type: ICMPv6Type.neighborAdvertisement, body: body.bytes)
    }

    /// A router advertisement with a prefix of 64 bits from which hosts make their addresses (section 4.2, 4.6.2).
    /// - Parameters:
    ///   - lifetime: seconds for which the prefix is good, and the sender a default router.
    ///   - isDefaultRouter: false on a network without an uplink.
    ///   - mtu: bytes, for the MTU option.
    package static func routerAdvertisement(
        from source: (IPv6Address, MACAddress), to destination: (IPv6Address, MACAddress), prefix: UInt64,
        lifetime: UInt16, isDefaultRouter: Bool = true, mtu: Int
    ) -> [UInt8] {
        var advertisement = RouterAdvertisement(hardware: source.1)
        advertisement.routerLifetime = isDefaultRouter ? lifetime : 0
        advertisement.mtu = UInt32(mtu)
        advertisement.prefix = prefix
        advertisement.validLifetime = UInt32(lifetime)
        advertisement.preferredLifetime = UInt32(lifetime)
        return advertisement.frame(from: source.0, to: destination)
    }

    private static func put(_ kind: UInt8, _ hardware: MACAddress, into body: inout ByteWriter) {
        body.put8(kind)
        body.put8(1)
        body.put(hardware)
    }
}
