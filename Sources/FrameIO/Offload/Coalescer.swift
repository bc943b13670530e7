// SPDX-License-Identifier: Apache-2.0
import Wire

/// Coalesces consecutive TCP segments into a GSO frame, from which a kernel's or a NIC's segmentation makes the same
/// segments again: the inverse of `Segmenter`, and what GRO does in Linux.
///
/// Strict, because a mistake here would damage a stream: frames must be adjacent in the batch, so that no order
/// changes; and each must equal the first in all fields but those that always differ (lengths, sequence number, IP
/// identification, checksums, PSH on the last one). Fragments, IP options and extension headers, VLAN tags, SYN, FIN,
/// RST, URG, congestion marks (ECE, CWR, CE), gaps and padding end a run, and so does a frame whose checksum is wrong:
/// that one is sent as it is, for its receiver to drop.
@usableFromInline
package struct Coalescer: BitwiseCopyable, Sendable {
    /// The longest header that is written: Ethernet, IPv6, TCP with options.
    package static let maximumHeaderLength = 14 + 40 + 60
    private static let network = 14
    private static let longestPacket = 65_535

    /// A segment that may be part of a run.
    private struct Segment: BitwiseCopyable {
        let isIPv6: Bool
        let transport: Int
        let headerLength: Int
        let payloadLength: Int
        let sequence: UInt32
        let isPushed: Bool

        /// Returns nil for every frame that cannot be part of a run, by its own headers.
        init?(_ frame: RawSpan) {
            guard frame.byteCount >= EthernetHeader.length + 20 + 20 else { return nil }
            let network = Coalescer.network
            switch frame.big16(at: EthernetHeader.Field.type) {
            case EtherType.ipv4:
                // Version 4 without options; TCP; not a fragment; no CE mark; nothing behind the packet.
                guard frame.byte(at: network) == 0x45, frame.byte(at: network + 9) == IPProtocol.tcp,
                    frame.big16(at: network + 6) & 0xbfff == 0,
                    frame.byte(at: network + 1) & 3 != 3, Int(frame.big16(at: network + 2)) == frame.byteCount - network
                else { return nil }
                isIPv6 = false
                transport = network + 20
            case EtherType.ipv6:
                guard frame.byteCount >= EthernetHeader.length + 40 + 20, frame.byte(at: network) >> 4 == 6,
                    frame.byte(at: network + 6) == IPProtocol.tcp,
                    frame.byte(at: network + 1) & 0x30 != 0x30,
                    Int(frame.big16(at: network + 4)) == frame.byteCount - network - 40
                else { return nil }
                isIPv6 = true
                transport = network + 40
            default:
                return nil
            }
            let offset = Int(frame.byte(at: transport + 12) >> 4) * 4
            let flags = TCPFlags(rawValue: frame.byte(at: transport + 13))
            // The four bits beside the data offset are reserved (one of them was ECN's nonce).
            guard offset >= 20, frame.byte(at: transport + 12) & 0xf == 0, flags.subtracting(.psh) == .ack,
                transport + offset < frame.byteCount
            else { return nil }
            headerLength = transport + offset
            payloadLength = frame.byteCount - headerLength
            sequence = frame.big32(at: transport + 4)
            isPushed = flags.contains(.psh)
        }
    }

    private let first: Segment
    /// Where the next segment must begin.
    private var nextSequence: UInt32
    private var payloadLength: Int
    private var isPushed: Bool
    /// The first frame's checksum was verified.
    private var isVerified = false
    /// No segment can follow: the last one was short, or pushed.
    private var isComplete: Bool
    /// Frames in the run.
    package private(set) var count = 1

    /// Begins a run. Returns nil if no frame can follow this one.
    package init?(_ frame: RawSpan) {
        guard let segment = Segment(frame), !segment.isPushed else { return nil }
        first = segment
        nextSequence = segment.sequence &+ UInt32(truncatingIfNeeded: segment.payloadLength)
        payloadLength = segment.payloadLength
        isPushed = false
        isComplete = false
    }

    /// Bytes of all headers, which every frame of the run has.
    package var headerLength: Int { first.headerLength }

    /// Adds the frame behind the run's last one in the batch. Returns false if it does not belong to the run.
    /// - Parameter head: the run's first frame.
    package mutating func append(_ frame: RawSpan, to head: RawSpan) -> Bool {
        guard !isComplete, let segment = Segment(frame), segment.headerLength == first.headerLength,
            segment.sequence == nextSequence,
            segment.payloadLength <= first.payloadLength,
            headerLength - Coalescer.network + payloadLength + segment.payloadLength <= Coalescer.longestPacket,
            hasSameHeaders(frame, head)
        else { return false }
        if !isVerified {
            guard hasValidChecksums(head, first) else {
                isComplete = true
                return false
            }
            isVerified = true
        }
        guard hasValidChecksums(frame, segment) else { return false }
        count += 1
        nextSequence &+= UInt32(truncatingIfNeeded: segment.payloadLength)
        payloadLength += segment.payloadLength
        isPushed = segment.isPushed
        isComplete = segment.isPushed || segment.payloadLength < first.payloadLength
        return true
    }

    private func hasSameHeaders(_ frame: RawSpan, _ head: RawSpan) -> Bool {
        let network = Coalescer.network, transport = first.transport
        // Both addresses and the type.
        guard frame.native64(at: 0) == head.native64(at: 0), frame.native64(at: 6) == head.native64(at: 6) else {
            return false
        }
        if first.isIPv6 {
            // Version, class and flow; the next header is TCP in both, and the lengths were compared; hop limit;
            // addresses.
            guard frame.native32(at: network) == head.native32(at: network),
                frame.byte(at: network + 7) == head.byte(at: network + 7)
            else { return false }
            for offset in stride(from: network + 8, to: network + 40, by: 8)
            where frame.native64(at: offset) != head.native64(at: offset) { return false }
        } else {
            // Class; "don't fragment"; time to live; addresses.
            guard frame.byte(at: network + 1) == head.byte(at: network + 1),
                frame.big16(at: network + 6) == head.big16(at: network + 6),
                frame.byte(at: network + 8) == head.byte(at: network + 8),
                frame.native64(at: network + 12) == head.native64(at: network + 12)
            else { return false }
            // Segmentation counts the identification up. With "don't fragment" it has no meaning (RFC 6864), and
            // may also stay the same.
            let identification = frame.big16(at: network + 4), expected = head.big16(at: network + 4)
            let isAtomic = head.big16(at: network + 6) & 0x4000 != 0
            guard
                identification == expected &+ UInt16(truncatingIfNeeded: count)
                    || (isAtomic && identification == expected)
            else { return false }
        }
        // Ports; acknowledgment; data offset; window; urgent pointer. The sequence number and the flags were compared.
        guard frame.native32(at: transport) == head.native32(at: transport),
            frame.native32(at: transport + 8) == head.native32(at: transport + 8),
            frame.byte(at: transport + 12) == head.byte(at: transport + 12),
            frame.big16(at: transport + 14) == head.big16(at: transport + 14),
            frame.big16(at: transport + 18) == head.big16(at: transport + 18)
        else { return false }
        // Options, such as time stamps.
        for offset in stride(from: transport + 20, to: headerLength, by: 4)
        where frame.native32(at: offset) != head.native32(at: offset) { return false }
        return true
    }

    private func hasValidChecksums(_ frame: RawSpan, _ segment: Segment) -> Bool {
        let network = Coalescer.network
        if !segment.isIPv6 {
            var header = InternetChecksum()
            header.add(frame.extracting(network..<network + 20))
            guard header.isValid else { return false }
        }
        var sum = pseudoHeader(frame, transportLength: frame.byteCount - segment.transport)
        sum.add(frame.from(segment.transport))
        return sum.isValid
    }

    private func pseudoHeader(_ frame: RawSpan, transportLength: Int) -> InternetChecksum {
        let network = Coalescer.network
        return first.isIPv6
            ? InternetChecksum.pseudoHeader(
                addresses: frame.extracting(network + 8..<network + 40), protocolNumber: IPProtocol.tcp,
                length: transportLength)
            : InternetChecksum.pseudoHeader(
                source: IPv4Address(frame.big32(at: network + 12)),
                destination: IPv4Address(frame.big32(at: network + 16)),
                protocolNumber: IPProtocol.tcp, length: transportLength)
    }

    /// Writes the GSO frame's headers to the start of `header`, which holds at least `maximumHeaderLength` bytes. The
    /// payloads of the run's frames follow. Returns the frame's offload: its checksum is left to the receiver that
    /// needs one.
    /// - Parameter head: the run's first frame.
    @_lifetime(header: copy header)
    package func emit(_ head: RawSpan, into header: inout MutableRawSpan) -> VirtioNetHeader {
        let network = Coalescer.network, transport = first.transport
        header.put(head.extracting(0..<headerLength), at: 0)
        let transportLength = headerLength - transport + payloadLength
        if first.isIPv6 {
            header.put16(UInt16(truncatingIfNeeded: transportLength), at: network + 4)
        } else {
            header.put16(UInt16(truncatingIfNeeded: transport - network + transportLength), at: network + 2)
            header.put16(0, at: network + 10)
            var sum = InternetChecksum()
            sum.add(header.bytes.extracting(network..<transport))
            header.put16(sum.finished, at: network + 10)
        }
        if isPushed { header.put8(head.byte(at: transport + 13) | TCPFlags.psh.rawValue, at: transport + 13) }
        header.put16(pseudoHeader(head, transportLength: transportLength).folded, at: transport + 16)
        var offload = VirtioNetHeader()
        offload.flags = .needsChecksum
        offload.segmentation = first.isIPv6 ? .tcp6 : .tcp4
        offload.headerLength = UInt16(truncatingIfNeeded: headerLength)
        offload.segmentSize = UInt16(truncatingIfNeeded: first.payloadLength)
        offload.checksumStart = UInt16(truncatingIfNeeded: transport)
        offload.checksumOffset = UInt16(TCPHeader.Field.checksum)
        return offload
    }
}
