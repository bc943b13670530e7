// SPDX-License-Identifier: Apache-2.0
import Wire

extension VirtioNetHeader {
    /// The segmentation of a TCP GSO frame that came without a header: into packets of at most `mtu` bytes; its
    /// checksum is complete. Returns nil for any other frame: short enough, or not TCP.
    package init?(gsoFrame frame: RawSpan, mtu: Int) {
        self.init()
        // The size depends on the headers' length; any value will do for parsing them.
        segmentSize = 1
        segmentation = .tcp4
        var parsed = Segmenter(frame, self)
        if parsed == nil {
            segmentation = .tcp6
            parsed = Segmenter(frame, self)
        }
        guard let parsed, parsed.end - parsed.network > mtu, mtu > parsed.headerLength - parsed.network else {
            return nil
        }
        segmentSize = UInt16(mtu - (parsed.headerLength - parsed.network))
        headerLength = UInt16(parsed.headerLength)
        hasECN = TCPFlags(rawValue: frame.byte(at: parsed.transport + TCPHeader.Field.flags)).contains(.cwr)
    }
}

extension Segmenter {
    /// Whether a complete TCP frame, for which this was made, may be split: its checksums are correct, because segments
    /// get new ones, which would hide damage; and no field counts from the start of the segment (URG), or belongs to
    /// its first byte alone (SYN).
    package func maySplit(_ frame: RawSpan) -> Bool {
        guard isTCP,
            TCPFlags(rawValue: frame.byte(at: transport + TCPHeader.Field.flags)).isDisjoint(with: [.syn, .urg])
        else { return false }
        if !isIPv6 {
            var header = InternetChecksum()
            header.add(frame.extracting(network..<transport))
            guard header.isValid else { return false }
        }
        var sum = InternetChecksum.pseudoHeader(
            of: frame, at: network, isIPv6: isIPv6, protocolNumber: IPProtocol.tcp, length: end - transport)
        sum.add(frame.extracting(transport..<end))
        return sum.isValid
    }
}
