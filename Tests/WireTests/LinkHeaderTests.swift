// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import Wire

@Suite struct LinkHeaderTests {
    private let addresses = [UInt8](repeating: 2, count: 12)
    private let snap: [UInt8] = [0, 36, 0xaa, 0xaa, 3, 0, 0, 0]

    private func tag(_ vlan: UInt16, service: Bool = false) -> [UInt8] {
        (service ? [0x88, 0xa8] : [0x81, 0]) + [UInt8(vlan >> 8) | 0x60, UInt8(vlan & 0xff)]
    }

    @Test func upToFourTagsAndSNAPAreParsed() {
        let payload: [UInt8] = [0x08, 0x06] + [UInt8](repeating: 7, count: 28)
        let levels = [tag(0), tag(0, service: true), snap, tag(0)]
        for depth in 0...4 {
            let header = LinkHeader((addresses + levels.prefix(depth).flatMap(\.self) + payload).rawSpan)
            #expect(header.type == EtherType.arp && header.depth == depth && !header.isTooDeep && !header.hasInnerVLAN)
            #expect(
                header.length == 14 + levels.prefix(depth).map(\.count).reduce(0, +) && header.hasSNAP == (depth > 2))
        }
        let deep = LinkHeader((addresses + [[UInt8]](repeating: tag(0), count: 5).flatMap(\.self) + payload).rawSpan)
        #expect(deep.isTooDeep)
        // A frame of 802.3 that is no SNAP, and one with SNAP of another organization.
        #expect(LinkHeader((addresses + [0, 36, 0x42, 0x42, 3] + payload).rawSpan).depth == 0)
        #expect(LinkHeader((addresses + [0, 36, 0xaa, 0xaa, 3, 0, 0, 0xf8] + payload).rawSpan).depth == 0)
    }

    @Test func onlyOutermostTagIsHandledBySwitch() {
        let payload: [UInt8] = [0x08, 0, 0x45, 0]
        for (tags, isInner) in [
            ([tag(5)], false), ([tag(5, service: true)], true), ([tag(0), tag(5)], true), ([tag(5), tag(0)], false),
            ([tag(0), tag(0, service: true)], false),
        ] {
            #expect(LinkHeader((addresses + tags.flatMap(\.self) + payload).rawSpan).hasInnerVLAN == isInner)
        }
    }

    @Test func priorityTagsCanBeRemoved() {
        let payload: [UInt8] = [0x08, 0, 0x45, 0, 1, 2, 3, 4]
        let plain = addresses + payload
        #expect(LinkHeader.withoutPriorityTags((addresses + tag(0) + tag(0, service: true) + payload).rawSpan) == plain)
        for other in [
            plain, addresses + tag(1) + payload, addresses + tag(0) + tag(1) + payload, addresses + snap + payload,
            addresses + tag(0) + snap + payload,
        ] {
            #expect(LinkHeader.withoutPriorityTags(other.rawSpan) == nil)
        }
    }

    @Test func noLengthTraps() {
        let frame = addresses + tag(0) + snap + tag(0, service: true) + tag(0) + tag(0) + [0x08, 0]
        for length in 14...frame.count {
            let header = LinkHeader(Array(frame.prefix(length)).rawSpan)
            #expect(header.length <= length)
        }
        fuzz(frame) { bytes in
            guard bytes.count >= 14 else { return }
            #expect(LinkHeader(bytes.rawSpan).length <= bytes.count)
            _ = LinkHeader.withoutPriorityTags(bytes.rawSpan)
        }
    }
}
