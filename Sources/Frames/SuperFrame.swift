// SPDX-License-Identifier: Apache-2.0
import Wire

extension VirtioNetHeader {
    /// What is to be done to a TCP super-frame that came without a header: cut up into packets of at most `mtu` bytes, its checksum is complete.
    /// Returns nil for a frame that is none: short enough, or not TCP.
    package init?(superFrame frame: RawSpan, mtu: Int) {
        self.init()
        // The size is only known when the headers are; any will do to have them read.
        segmentSize = 1
        segmentation = .tcp4
        var parsed = Segmenter(frame, self)
        if parsed == nil {
            segmentation = .tcp6
            parsed = Segmenter(frame, self)
        }
        guard let parsed, parsed.end - parsed.network > mtu, mtu > parsed.headerLength - parsed.network else { return nil }
        segmentSize = UInt16(mtu - (parsed.headerLength - parsed.network))
        headerLength = UInt16(parsed.headerLength)
        hasECN = TCPFlags(rawValue: frame.byte(at: parsed.transport + 13)).contains(.cwr)
    }
}
