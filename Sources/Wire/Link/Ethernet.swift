// SPDX-License-Identifier: Apache-2.0

/// EtherType values (IEEE 802 Numbers, IANA).
@usableFromInline
package enum EtherType {
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

    /// Offsets in bytes from the start of the frame.
    @usableFromInline
    package enum Field {
        @inlinable package static var destination: Int { 0 }
        @inlinable package static var source: Int { 6 }
        /// The EtherType of an untagged frame, the TPID of a tagged one.
        @inlinable package static var type: Int { 12 }
    }

    @usableFromInline package var destination: MACAddress
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
        // Two addresses of six bytes are a word of eight and one of four.
        frame.put64(destination.value << 16 | source.value >> 32, at: Field.destination)
        frame.put32(UInt32(truncatingIfNeeded: source.value), at: Field.source + 2)
        frame.put16(type, at: Field.type)
    }
}

/// Reads an Ethernet II header (IEEE 802.3 clause 3): destination, source, type.
@usableFromInline
package struct EthernetView: ~Escapable {
    /// The same as `EthernetHeader.length`.
    @inlinable package static var headerLength: Int { EthernetHeader.length }

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

    @inlinable
    package var destination: MACAddress { MACAddress(bytes.big64(at: EthernetHeader.Field.destination) >> 16) }
    @inlinable
    package var source: MACAddress { MACAddress(bytes.big64(at: EthernetHeader.Field.source) >> 16) }
    /// The EtherType, or a length below 1536 for IEEE 802.3 framing.
    @inlinable
    package var type: UInt16 { bytes.big16(at: EthernetHeader.Field.type) }
    /// The bytes behind the 14 of the header.
    @inlinable
    package var payload: RawSpan { @_lifetime(copy self) get { bytes.from(EthernetHeader.length) } }
}
