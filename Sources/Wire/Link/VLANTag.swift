// SPDX-License-Identifier: Apache-2.0

/// An IEEE 802.1Q tag: the four bytes between the source address and the original EtherType.
@usableFromInline
package struct VLANTag: Equatable, BitwiseCopyable, Sendable {
    /// Bytes that a tag adds to a frame.
    @inlinable package static var length: Int { 4 }
    /// The bits of `control` that are the VLAN id.
    @inlinable package static var identifierMask: UInt16 { 0x0fff }
    /// The bits of `control` that are not the VLAN id: priority and drop eligibility.
    @inlinable package static var priorityMask: UInt16 { ~identifierMask }
    /// Offset of `control` from the tag's start, which is `EthernetHeader.Field.type`.
    @inlinable package static var controlOffset: Int { 2 }

    /// Tag protocol identifier: 0x8100 (802.1Q) or 0x88a8 (802.1ad).
    @usableFromInline package var protocolIdentifier: UInt16
    /// Priority (3 bits), drop eligible (1 bit), VLAN id (12 bits).
    @usableFromInline package var control: UInt16

    /// A tag from its two fields.
    @inlinable
    package init(protocolIdentifier: UInt16, control: UInt16) {
        self.protocolIdentifier = protocolIdentifier
        self.control = control
    }

    /// The VLAN id, 0 to 4095; 0 marks a frame that carries a priority only.
    @inlinable
    package var identifier: UInt16 { control & VLANTag.identifierMask }
    /// The 802.1p priority, 0 to 7.
    @inlinable
    package var priority: UInt8 { UInt8(control >> 13) }

    /// The tag of an Ethernet frame, or nil if it has none or is too short for one.
    @inlinable
    package init?(ofFrame frame: RawSpan) {
        guard frame.byteCount >= EthernetHeader.length + VLANTag.length else { return nil }
        let type = frame.big16(at: EthernetHeader.Field.type)
        guard type == EtherType.vlan || type == EtherType.serviceVLAN else { return nil }
        self.init(
            protocolIdentifier: type,
            control: frame.big16(at: EthernetHeader.Field.type + VLANTag.controlOffset))
    }

    /// Writes the tag at `offset`, where the EtherType stands in an untagged frame.
    @inlinable
    @_lifetime(bytes: copy bytes)
    package func emit(into bytes: inout MutableRawSpan, at offset: Int) {
        bytes.put16(protocolIdentifier, at: offset)
        bytes.put16(control, at: offset + VLANTag.controlOffset)
    }
}
