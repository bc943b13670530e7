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
    package static var maximumHeaderLength: Int {
        EthernetHeader.length + IPv6Header.length + TCPHeader.maximumLength
    }
    private static var network: Int { EthernetHeader.length }

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
            guard frame.byteCount >= EthernetHeader.length + IPv4Header.length + TCPHeader.length else { return nil }
            let network = Coalescer.network
            switch frame.big16(at: EthernetHeader.Field.type) {
            case EtherType.ipv4:
                // Version 4 without options; TCP; not a fragment; no CE mark; nothing after the packet.
                let mark = IPv4Header.congestionExperienced
                guard frame.byte(at: network + IPv4Header.Field.versionAndLength) == IPv4Header.versionAndLength,
                    frame.byte(at: network + IPv4Header.Field.protocolNumber) == IPProtocol.tcp,
                    frame.big16(at: network + IPv4Header.Field.fragment) & ~IPv4Header.Fragment.dontFragment == 0,
                    frame.byte(at: network + IPv4Header.Field.typeOfService) & mark != mark,
                    Int(frame.big16(at: network + IPv4Header.Field.totalLength)) == frame.byteCount - network
                else { return nil }
                isIPv6 = false
                transport = network + IPv4Header.length
            case EtherType.ipv6:
                let mark = IPv6Header.congestionExperienced
                guard frame.byteCount >= EthernetHeader.length + IPv6Header.length + TCPHeader.length,
                    frame.byte(at: network + IPv6Header.Field.version) >> 4 == IPv6Header.version,
                    frame.byte(at: network + IPv6Header.Field.nextHeader) == IPProtocol.tcp,
                    frame.byte(at: network + IPv6Header.Field.trafficClass) & mark != mark,
                    Int(frame.big16(at: network + IPv6Header.Field.payloadLength))
                        == frame.byteCount - network - IPv6Header.length
                else { return nil }
                isIPv6 = true
                transport = network + IPv6Header.length
            default:
                return nil
            }
            let dataOffset = frame.byte(at: transport + TCPHeader.Field.dataOffset)
            let length = TCPHeader.length(dataOffset: dataOffset)
            let flags = TCPFlags(rawValue: frame.byte(at: transport + TCPHeader.Field.flags))
            // The four bits beside the data offset are reserved (one of them was ECN's nonce).
            guard length >= TCPHeader.length, dataOffset & TCPHeader.reservedMask == 0,
                flags.subtracting(.psh) == .ack, transport + length < frame.byteCount
            else { return nil }
            headerLength = transport + length
            payloadLength = frame.byteCount - headerLength
            sequence = frame.big32(at: transport + TCPHeader.Field.sequence)
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

    /// Adds the frame after the run's last one in the batch. Returns false if it does not belong to the run.
    /// - Parameter head: the run's first frame.
    package mutating func append(_ frame: RawSpan, to head: RawSpan) -> Bool {
        guard !isComplete, let segment = Segment(frame), segment.headerLength == first.headerLength,
            segment.sequence == nextSequence,
            segment.payloadLength <= first.payloadLength,
            headerLength - Coalescer.network + payloadLength + segment.payloadLength <= IPv4Header.maximumPacket,
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
        // Both addresses and the type: two words of eight bytes that overlap cover the fourteen.
        guard
            frame.native64(at: EthernetHeader.Field.destination) == head.native64(at: EthernetHeader.Field.destination),
            frame.native64(at: EthernetHeader.Field.source) == head.native64(at: EthernetHeader.Field.source)
        else { return false }
        if first.isIPv6 {
            // Version, class and flow; the next header is TCP in both, and the lengths were compared; hop limit;
            // addresses.
            let hopLimit = network + IPv6Header.Field.hopLimit
            guard
                frame.native32(at: network + IPv6Header.Field.version)
                    == head.native32(at: network + IPv6Header.Field.version),
                frame.byte(at: hopLimit) == head.byte(at: hopLimit)
            else { return false }
            for offset in stride(from: network + IPv6Header.Field.source, to: network + IPv6Header.length, by: 8)
            where frame.native64(at: offset) != head.native64(at: offset) { return false }
        } else {
            // Class; "don't fragment"; time to live; both addresses.
            let typeOfService = network + IPv4Header.Field.typeOfService
            let fragment = network + IPv4Header.Field.fragment
            let timeToLive = network + IPv4Header.Field.timeToLive
            let addresses = network + IPv4Header.Field.source
            guard frame.byte(at: typeOfService) == head.byte(at: typeOfService),
                frame.big16(at: fragment) == head.big16(at: fragment),
                frame.byte(at: timeToLive) == head.byte(at: timeToLive),
                frame.native64(at: addresses) == head.native64(at: addresses)
            else { return false }
            // Segmentation counts the identification up. With "don't fragment" it has no meaning (RFC 6864), and
            // may also stay the same.
            let identification = frame.big16(at: network + IPv4Header.Field.identification)
            let expected = head.big16(at: network + IPv4Header.Field.identification)
            let isAtomic = head.big16(at: fragment) & IPv4Header.Fragment.dontFragment != 0
            guard
                identification == expected &+ UInt16(truncatingIfNeeded: count)
                    || (isAtomic && identification == expected)
            else { return false }
        }
        // Ports; acknowledgment; data offset; window; urgent pointer. The sequence number and the flags were compared.
        let ports = transport + TCPHeader.Field.sourcePort
        let acknowledgment = transport + TCPHeader.Field.acknowledgment
        let dataOffset = transport + TCPHeader.Field.dataOffset
        let window = transport + TCPHeader.Field.window
        let urgentPointer = transport + TCPHeader.Field.urgentPointer
        guard frame.native32(at: ports) == head.native32(at: ports),
            frame.native32(at: acknowledgment) == head.native32(at: acknowledgment),
            frame.byte(at: dataOffset) == head.byte(at: dataOffset),
            frame.big16(at: window) == head.big16(at: window),
            frame.big16(at: urgentPointer) == head.big16(at: urgentPointer)
        else { return false }
        // Options, such as time stamps, whose length is a multiple of four.
        for offset in stride(from: transport + TCPHeader.length, to: headerLength, by: 4)
        where frame.native32(at: offset) != head.native32(at: offset) { return false }
        return true
    }

    private func hasValidChecksums(_ frame: RawSpan, _ segment: Segment) -> Bool {
        let network = Coalescer.network
        if !segment.isIPv6 {
            var header = InternetChecksum()
            header.add(frame.extracting(network..<segment.transport))
            guard header.isValid else { return false }
        }
        var sum = pseudoHeader(frame, transportLength: frame.byteCount - segment.transport)
        sum.add(frame.from(segment.transport))
        return sum.isValid
    }

    private func pseudoHeader(_ frame: RawSpan, transportLength: Int) -> InternetChecksum {
        InternetChecksum.pseudoHeader(
            of: frame, at: Coalescer.network, isIPv6: first.isIPv6, protocolNumber: IPProtocol.tcp,
            length: transportLength)
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
            var packet = MutableIPv6View(&header, at: network)
            packet.set(payloadLength: transportLength)
        } else {
            var packet = MutableIPv4View(&header, at: network)
            packet.set(totalLength: transport - network + transportLength)
            packet.updateChecksum(headerLength: transport - network)
        }
        if isPushed {
            let flags = transport + TCPHeader.Field.flags
            header.put8(head.byte(at: flags) | TCPFlags.psh.rawValue, at: flags)
        }
        header.put16(
            pseudoHeader(head, transportLength: transportLength).folded, at: transport + TCPHeader.Field.checksum)
        var offload = VirtioNetHeader()
        offload.flags = .needsChecksum
        offload.segmentation = first.isIPv6 ? .tcp6 : .tcp4
        offload.headerLength = UInt16(truncatingIfNeeded: headerLength)
        offload.segmentSize = UInt16(truncatingIfNeeded: first.payloadLength)
        offload.checksumStart = UInt16(truncatingIfNeeded: transport)
        offload.checksumOffset = UInt16(TCPHeader.Field.checksum)
        return offload
    }
    /// Adds the payload of one of the run's frames to `sum` without reading it: the frame's checksum was verified, so
    /// that its payload is what the other fields lack (RFC 1624 section 2).
    /// - Parameter before: frames of the run before this one, each with as much payload as the first.
    package func addPayload(of frame: RawSpan, after before: Int, to sum: inout InternetChecksum) {
        var others = pseudoHeader(frame, transportLength: frame.byteCount - first.transport)
        others.add(frame.extracting(first.transport..<headerLength))
        let payload = others.finished
        // After an odd number of bytes, the two bytes of each word are exchanged (RFC 1071 section 2).
        sum.add(word: before & first.payloadLength & 1 == 0 ? payload : payload.byteSwapped)
    }

    /// As `emit`, with a complete checksum.
    /// - Parameter payload: the sum over the payloads of all frames.
    @_lifetime(header: copy header)
    package func emit(_ head: RawSpan, payload: InternetChecksum, into header: inout MutableRawSpan) {
        _ = emit(head, into: &header)
        var sum = payload
        sum.add(header.bytes.extracting(first.transport..<headerLength))
        header.put16(sum.finished, at: first.transport + TCPHeader.Field.checksum)
    }
}
