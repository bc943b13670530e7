// SPDX-License-Identifier: Apache-2.0

/// EtherType values (IEEE 802 Numbers, IANA).
@usableFromInline
package enum EtherType {
    /// Bytes of the field.
    @inlinable package static var length: Int { 2 }
    /// IPv4 (RFC 894).
    @inlinable package static var ipv4: UInt16 { 0x0800 }
    /// ARP (RFC 826).
    @inlinable package static var arp: UInt16 { 0x0806 }
    /// IEEE 802.1Q customer VLAN tag.
    @inlinable package static var vlan: UInt16 { 0x8100 }
    /// IEEE 802.1ad service VLAN tag.
    @inlinable package static var serviceVLAN: UInt16 { 0x88a8 }
    /// IPv6 (RFC 2464).
    @inlinable package static var ipv6: UInt16 { 0x86dd }
    /// Smaller values are lengths (IEEE 802.3 clause 3.2.6).
    @inlinable package static var minimum: UInt16 { 0x0600 }
}

/// An Ethernet II header (IEEE 802.3 clause 3). Frames in this program carry no FCS.
@usableFromInline
package struct EthernetHeader: Equatable, Sendable {
    /// Bytes of an untagged header.
    @inlinable package static var length: Int { 14 }
    /// Bytes of a header with one VLAN tag.
    @inlinable package static var taggedLength: Int { length + VLANTag.length }
    /// Bytes of a header with two VLAN tags (IEEE 802.1ad), the longest that `network(of:)` reads.
    @inlinable package static var doubleTaggedLength: Int { length + 2 * VLANTag.length }
    /// Bytes of the shortest frame, without FCS, that an Ethernet carries (IEEE 802.3 clause 3.2.8).
    @inlinable package static var minimumFrame: Int { 60 }
    /// The least significant bit of an address's first byte: the address is a group's (IEEE 802-2014 section 8.2).
    @inlinable package static var groupBit: UInt8 { 1 }

    /// Offsets in bytes from the start of the frame.
    @usableFromInline
    package enum Field {
        /// Six bytes.
        @inlinable package static var destination: Int { 0 }
        /// Six bytes.
        @inlinable package static var source: Int { 6 }
        /// The EtherType of an untagged frame, the TPID of a tagged one.
        @inlinable package static var type: Int { 12 }
        /// The tag control information of a tagged frame.
        @inlinable package static var tagControl: Int { type + VLANTag.controlOffset }
    }

    /// The hardware address of the receiver, or of a group.
    @usableFromInline package var destination: MACAddress
    /// The hardware address of the sender.
    @usableFromInline package var source: MACAddress
    /// The EtherType of the payload.
    @usableFromInline package var type: UInt16

    /// A header to send.
    @inlinable
    package init(destination: MACAddress, source: MACAddress, type: UInt16) {
        self.destination = destination
        self.source = source
        self.type = type
    }

    /// Appends the header. Allocates: not for the data path.
    package func emit(into writer: inout ByteWriter) {
        writer.put(destination)
        writer.put(source)
        writer.put16(type)
    }

    /// Writes the header to the start of `frame`.
    @inlinable
    @_lifetime(frame: copy frame)
    package func emit(into frame: inout MutableRawSpan) {
        EthernetHeader.set(destination: destination, source: source, of: &frame)
        frame.put16(type, at: Field.type)
    }

    /// Replaces the two hardware addresses of `frame`, which has at least a header.
    @inlinable
    @_lifetime(frame: copy frame)
    package static func set(
        destination: MACAddress, source: MACAddress, of frame: inout MutableRawSpan
    ) {
        // Two addresses of six bytes are a word of eight and one of four.
        frame.put64(destination.value << 16 | source.value >> 32, at: Field.destination)
        frame.put32(UInt32(truncatingIfNeeded: source.value), at: Field.source + 2)
    }

    /// The EtherType and the offset of the payload, after up to two VLAN tags. Nil for a frame that is too short, or
    /// that has more tags.
    @inlinable
    package static func network(of frame: RawSpan) -> (type: UInt16, offset: Int)? {
        guard frame.byteCount >= length else { return nil }
        var offset = Field.type
        var type = frame.big16(at: offset)
        while type == EtherType.vlan || type == EtherType.serviceVLAN {
            offset += VLANTag.length
            guard offset <= doubleTaggedLength - EtherType.length, offset + EtherType.length <= frame.byteCount else {
                return nil
            }
            type = frame.big16(at: offset)
        }
        return (type, offset + EtherType.length)
    }
}

/// Reads an Ethernet II header (IEEE 802.3 clause 3): destination, source, type.
@usableFromInline
package struct EthernetView: ~Escapable {
    /// The whole frame.
    @usableFromInline package let bytes: RawSpan

    /// - Throws: `truncated` below 14 bytes.
    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= EthernetHeader.length else { throw .truncated }
        self.bytes = bytes
    }

    // One load of eight bytes each, which the fourteen of the header cover.

    /// The hardware address of the receiver, or of a group.
    @inlinable
    package var destination: MACAddress { MACAddress(bytes.big64(at: EthernetHeader.Field.destination) >> 16) }
    /// The hardware address of the sender.
    @inlinable
    package var source: MACAddress { MACAddress(bytes.big64(at: EthernetHeader.Field.source) >> 16) }
    /// The EtherType, or a length below 1536 for IEEE 802.3 framing.
    @inlinable
    package var type: UInt16 { bytes.big16(at: EthernetHeader.Field.type) }
    /// The bytes after the 14 of the header.
    @inlinable
    package var payload: RawSpan { @_lifetime(copy self) get { bytes.from(EthernetHeader.length) } }
}
