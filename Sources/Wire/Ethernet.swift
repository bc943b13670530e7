// SPDX-License-Identifier: Apache-2.0

/// EtherType values (IEEE 802 Numbers, IANA).
@usableFromInline
package enum EtherType {
    @inlinable package static var ipv4: UInt16 { 0x0800 }
    @inlinable package static var arp: UInt16 { 0x0806 }
    /// IEEE 802.1Q customer VLAN tag.
    @inlinable package static var vlan: UInt16 { 0x8100 }
    /// IEEE 802.1ad service VLAN tag.
    @inlinable package static var serviceVLAN: UInt16 { 0x88a8 }
    @inlinable package static var ipv6: UInt16 { 0x86dd }
    /// Smaller values are lengths (IEEE 802.3 clause 3.2.6).
    @inlinable package static var minimum: UInt16 { 0x0600 }
}

/// An Ethernet II header (IEEE 802.3 clause 3): destination, source, type. No FCS anywhere in this program.
@usableFromInline
package struct EthernetView: ~Escapable {
    @usableFromInline package static let headerLength = 14

    @usableFromInline package let bytes: RawSpan

    /// - Throws: `truncated` below 14 bytes.
    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= 14 else { throw .truncated }
        self.bytes = bytes
    }

    @inlinable
    package var destination: MACAddress { MACAddress(bytes.big64(at: 0) >> 16) }
    @inlinable
    package var source: MACAddress { MACAddress(bytes.big64(at: 6) >> 16) }
    /// The EtherType, or a length below 1536 for IEEE 802.3 framing.
    @inlinable
    package var type: UInt16 { bytes.big16(at: 12) }
    @inlinable
    package var payload: RawSpan { @_lifetime(copy self) get { bytes.from(14) } }
}

/// An Ethernet header to send.
package struct EthernetHeader: Equatable, Sendable {
    package var destination: MACAddress
    package var source: MACAddress
    package var type: UInt16

    package init(destination: MACAddress, source: MACAddress, type: UInt16) {
        self.destination = destination
        self.source = source
        self.type = type
    }

    package func emit(into writer: inout ByteWriter) {
        writer.put(destination)
        writer.put(source)
        writer.put16(type)
    }
}
