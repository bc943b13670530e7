// SPDX-License-Identifier: Apache-2.0

/// What an Ethernet frame carries behind its VLAN tags and, in an IEEE 802.3 frame, behind LLC and SNAP (RFC 1042).
///
/// Linux takes a tag of VLAN 0 out at any depth, 0x8100 and 0x88a8 alike (`__netif_receive_skb_core`); other systems
/// take out tags of any VLAN, and read LLC/SNAP like Ethernet II whatever the length field says (CERT VU#855201). Who
/// judges a frame has to look where they look.
@usableFromInline
package struct LinkHeader: Equatable, BitwiseCopyable, Sendable {
    /// Tags and SNAP headers that are read in one frame.
    @inlinable package static var limit: Int { 4 }

    /// The EtherType of the payload; for other frames what stands in its place: a length, or a tag that is cut off.
    @usableFromInline package private(set) var type: UInt16
    /// Bytes in front of the payload.
    @usableFromInline package private(set) var length = 14
    /// Tags and SNAP headers that were read.
    @usableFromInline package private(set) var depth = 0
    /// Whether one of them is LLC/SNAP.
    @usableFromInline package private(set) var hasSNAP = false
    /// Whether a tag names a VLAN other than 0. The outermost 802.1Q tag does not count: that one is the switch's own
    /// business.
    @usableFromInline package private(set) var hasInnerVLAN = false
    /// Whether there are more tags than `limit`.
    @usableFromInline package private(set) var isTooDeep = false

    /// - Parameter frame: at least an Ethernet header.
    @usableFromInline
    package init(_ frame: RawSpan) {
        type = frame.big16(at: 12)
        while true {
            let step: Int
            if type == EtherType.vlan || type == EtherType.serviceVLAN {
                guard frame.byteCount >= length + 4 else { return }
                step = 4
            } else if type < EtherType.minimum {
                // DSAP and SSAP SNAP, unnumbered information, organization 0.
                guard frame.byteCount >= length + 8, frame.big32(at: length) == 0xaaaa_0300,
                    frame.big16(at: length + 4) == 0
                else { return }
                step = 8
            } else {
                return
            }
            guard depth < LinkHeader.limit else {
                isTooDeep = true
                return
            }
            if step == 8 {
                hasSNAP = true
            } else if (depth > 0 || type == EtherType.serviceVLAN) && frame.big16(at: length) & 0x0fff != 0 {
                hasInnerVLAN = true
            }
            depth += 1
            length += step
            type = frame.big16(at: length - 2)
        }
    }

    /// A copy of a frame without its tags, if it has tags and all of them carry a priority only.
    package static func withoutPriorityTags(_ frame: RawSpan) -> [UInt8]? {
        guard frame.byteCount >= 18,
            frame.big16(at: 12) == EtherType.vlan || frame.big16(at: 12) == EtherType.serviceVLAN
        else { return nil }
        let header = LinkHeader(frame)
        guard header.depth > 0, !header.hasSNAP, !header.isTooDeep, !header.hasInnerVLAN,
            frame.big16(at: 14) & 0x0fff == 0
        else { return nil }
        return frame.extracting(0..<12).copied() + frame.from(header.length - 2).copied()
    }
}
