// SPDX-License-Identifier: Apache-2.0
import Wire

extension VirtioNetHeader {
    /// What is to be done to a TCP super-frame that came without a header: cut up into packets of at most `mtu` bytes,
    /// its checksum is complete. Returns nil for a frame that is none: short enough, or not TCP.
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
        guard let parsed, parsed.end - parsed.network > mtu, mtu > parsed.headerLength - parsed.network else {
            return nil
        }
        segmentSize = UInt16(mtu - (parsed.headerLength - parsed.network))
        headerLength = UInt16(parsed.headerLength)
        hasECN = TCPFlags(rawValue: frame.byte(at: parsed.transport + 13)).contains(.cwr)
    }
}

extension Segmenter {
    /// Whether a complete TCP frame, of which this was made, may be cut up: it is undamaged, for its segments get
    /// checksums of their own, under which nobody would notice; and nothing in it counts from the start of the segment
    /// (URG), or belongs to its first byte alone (SYN).
    package func mayCut(_ frame: RawSpan) -> Bool {
        guard isTCP, TCPFlags(rawValue: frame.byte(at: transport + 13)).isDisjoint(with: [.syn, .urg]) else {
            return false
        }
        if !isIPv6 {
            var header = InternetChecksum()
            header.add(frame.extracting(network..<transport))
            guard header.isValid else { return false }
        }
        var sum =
            isIPv6
            ? InternetChecksum.pseudoHeader(
                addresses: frame.extracting(network + 8..<network + 40), protocolNumber: IPProtocol.tcp,
                length: end - transport)
            : InternetChecksum.pseudoHeader(
                source: IPv4Address(frame.big32(at: network + 12)),
                destination: IPv4Address(frame.big32(at: network + 16)), protocolNumber: IPProtocol.tcp,
                length: end - transport)
        sum.add(frame.extracting(transport..<end))
        return sum.isValid
    }
}
