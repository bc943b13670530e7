// SPDX-License-Identifier: Apache-2.0

/// What an Ethernet frame carries after its VLAN tags and, in an IEEE 802.3 frame, after LLC and SNAP (RFC 1042).
///
/// Linux removes a tag of VLAN 0 at any depth, 0x8100 and 0x88a8 alike (`__netif_receive_skb_core`); other systems
/// remove tags of any VLAN, and read LLC/SNAP like Ethernet II whatever the length field holds (CERT VU#855201). A
/// filter has to parse a frame the way its receivers do.
@usableFromInline
package struct LinkHeader: Equatable, BitwiseCopyable, Sendable {
    /// Tags and SNAP headers that are read in one frame.
    @inlinable package static var limit: Int { 4 }

    /// The EtherType of the payload; in other frames the two bytes in its place: a length, or a tag that is cut off.
    @usableFromInline package private(set) var type: UInt16
    /// Bytes before the payload.
    @usableFromInline package private(set) var length = EthernetHeader.length
    /// Tags and SNAP headers that were read.
    @usableFromInline package private(set) var depth = 0
    /// Whether one of them is LLC/SNAP.
    @usableFromInline package private(set) var hasSNAP = false
    /// Whether a tag names a VLAN other than 0. The outermost 802.1Q tag does not count: the switch handles
    /// that one.
    @usableFromInline package private(set) var hasInnerVLAN = false
    /// Whether there are more tags than `limit`.
    @usableFromInline package private(set) var isTooDeep = false

    /// LLC and SNAP, 8 bytes: DSAP and SSAP SNAP, unnumbered information, organization 0, and the EtherType.
    private static let snapLength = 8
    private static let snap: UInt32 = 0xaaaa_0300

    /// - Parameter frame: at least an Ethernet header.
    @usableFromInline
    package init(_ frame: RawSpan) {
        type = frame.big16(at: EthernetHeader.Field.type)
        while true {
            let step: Int
            if type == EtherType.vlan || type == EtherType.serviceVLAN {
                guard frame.byteCount >= length + VLANTag.length else { return }
                step = VLANTag.length
            } else if type < EtherType.minimum {
                guard frame.byteCount >= length + LinkHeader.snapLength, frame.big32(at: length) == LinkHeader.snap,
                    frame.big16(at: length + 4) == 0
                else { return }
                step = LinkHeader.snapLength
            } else {
                return
            }
            guard depth < LinkHeader.limit else {
                isTooDeep = true
                return
            }
            if step == LinkHeader.snapLength {
                hasSNAP = true
            } else if (depth > 0 || type == EtherType.serviceVLAN)
                && frame.big16(at: length) & VLANTag.identifierMask != 0
            {
                hasInnerVLAN = true
            }
            depth += 1
            length += step
            type = frame.big16(at: length - 2)
        }
    }

    /// A copy of a frame without its tags, if it has tags and all of them carry a priority only.
    package static func withoutPriorityTags(_ frame: RawSpan) -> [UInt8]? {
        guard let tag = VLANTag(ofFrame: frame) else { return nil }
        let header = LinkHeader(frame)
        guard header.depth > 0, !header.hasSNAP, !header.isTooDeep, !header.hasInnerVLAN,
            tag.identifier == 0
        else { return nil }
        return frame.extracting(0..<EthernetHeader.Field.type).copied() + frame.from(header.length - 2).copied()
    }
}
