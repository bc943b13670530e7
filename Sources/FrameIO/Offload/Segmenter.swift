// SPDX-License-Identifier: Apache-2.0
import Wire

/// Segments a GSO frame into frames that any port can send (what a NIC does for TSO and USO; RFC 9293, RFC 768, RFC
/// 791).
///
/// The payload is not copied: each call of `next` writes new headers and returns which part of the GSO frame's
/// payload follows. Headers are parsed here; the lengths in the virtio header are hints that are not trusted.
@usableFromInline
package struct Segmenter: BitwiseCopyable, Sendable {
    /// Ethernet with two VLAN tags, IPv4 with options or IPv6 with up to 96 bytes of extension headers, TCP with
    /// options.
    @inlinable package static var maximumHeaderLength: Int {
        EthernetHeader.doubleTaggedLength + IPv6Header.length + TransportPosition.maximumExtensions
            + TCPHeader.maximumLength
    }
    /// Most datagrams that a kernel makes of one GSO frame (UDP_MAX_SEGMENTS of Linux's include/linux/udp.h).
    @usableFromInline package static let maximumDatagrams = 128

    /// One frame: its headers are the first `headerLength` bytes of the output, its payload is a part of the
    /// GSO frame.
    @usableFromInline
    package struct Segment: BitwiseCopyable, Sendable {
        /// Bytes of the headers.
        @usableFromInline package let headerLength: Int
        /// Offset in the GSO frame.
        @usableFromInline package let payloadOffset: Int
        /// Bytes, at least one.
        @usableFromInline package let payloadLength: Int

        @inlinable
        init(headerLength: Int, payloadOffset: Int, payloadLength: Int) {
            self.headerLength = headerLength
            self.payloadOffset = payloadOffset
            self.payloadLength = payloadLength
        }
    }

    /// Offsets of the IP and the transport header, and all headers' length.
    @usableFromInline let network: Int
    @usableFromInline let transport: Int
    @usableFromInline let headerLength: Int
    @usableFromInline let isIPv6: Bool
    @usableFromInline let isTCP: Bool
    @usableFromInline let hasECN: Bool
    @usableFromInline let segmentSize: Int
    /// Offset of the first byte of payload not yet returned, and the end of the payload (padding is not payload).
    @usableFromInline var position: Int
    @usableFromInline let end: Int
    @usableFromInline var index: UInt16 = 0

    /// How many frames `next` will still return.
    @inlinable
    package var remaining: Int { (end - position + segmentSize - 1) / segmentSize }

    /// The longest frame that `next` will return.
    @inlinable
    package var longestFrame: Int { headerLength + min(segmentSize, end - headerLength) }

    /// Returns nil if the frame contradicts `offload`, is a fragment, has no payload, or makes more datagrams than any
    /// kernel sends in one.
    @inlinable
    package init?(_ frame: RawSpan, _ offload: VirtioNetHeader) {
        guard offload.segmentation != .none, offload.segmentSize > 0, let position = TransportPosition(frame),
            offload.segmentation != (position.isIPv6 ? .tcp4 : .tcp6)
        else { return nil }
        let transport = position.transport, end = position.end
        isIPv6 = position.isIPv6
        isTCP = offload.segmentation != .udp
        guard position.protocolNumber == (isTCP ? IPProtocol.tcp : IPProtocol.udp), transport < end else { return nil }
        if isTCP {
            guard let segment = try? TCPView(frame.extracting(transport..<end)) else { return nil }
            headerLength = transport + segment.headerLength
        } else {
            headerLength = transport + UDPHeader.length
        }
        guard headerLength < end, headerLength <= Segmenter.maximumHeaderLength else { return nil }
        guard isTCP || end - headerLength <= Int(offload.segmentSize) * Segmenter.maximumDatagrams else { return nil }
        network = position.network
        self.transport = transport
        self.end = end
        hasECN = offload.hasECN
        segmentSize = Int(offload.segmentSize)
        self.position = headerLength
    }

    /// Writes the next frame's headers to the start of `header`, which holds at least `maximumHeaderLength` bytes.
    /// Returns nil after the last one. `frame` is the GSO frame that this was made from.
    @inlinable
    @_lifetime(header: copy header)
    package mutating func next(_ frame: RawSpan, header: inout MutableRawSpan) -> Segment? {
        guard position < end else { return nil }
        let length = min(segmentSize, end - position)
        let isFirst = position == headerLength, isLast = position + length == end
        header.put(frame.extracting(0..<headerLength), at: 0)

        let transportLength = headerLength - transport + length
        if isIPv6 {
            var packet = MutableIPv6View(&header, at: network)
            packet.set(payloadLength: headerLength - network - IPv6Header.length + length)
        } else {
            var packet = MutableIPv4View(&header, at: network)
            packet.set(totalLength: headerLength - network + length)
            packet.set(identification: frame.big16(at: network + IPv4Header.Field.identification) &+ index)
            packet.updateChecksum(headerLength: transport - network)
        }
        let checksumField: Int
        if isTCP {
            let sequenceField = transport + TCPHeader.Field.sequence, flagsField = transport + TCPHeader.Field.flags
            header.put32(
                frame.big32(at: sequenceField) &+ UInt32(truncatingIfNeeded: position - headerLength), at: sequenceField
            )
            var flags = TCPFlags(rawValue: frame.byte(at: flagsField))
            if !isLast { flags.subtract([.fin, .psh]) }
            if !isFirst && hasECN { flags.remove(.cwr) }
            header.put8(flags.rawValue, at: flagsField)
            checksumField = transport + TCPHeader.Field.checksum
        } else {
            header.put16(UInt16(truncatingIfNeeded: transportLength), at: transport + UDPHeader.Field.length)
            checksumField = transport + UDPHeader.Field.checksum
        }
        header.put16(0, at: checksumField)
        var sum = InternetChecksum.pseudoHeader(
            of: frame, at: network, isIPv6: isIPv6, protocolNumber: isTCP ? IPProtocol.tcp : IPProtocol.udp,
            length: transportLength)
        sum.add(header.bytes.extracting(transport..<headerLength))
        // The header's length is a multiple of four (TCP) or eight (UDP): the payload starts on an even byte of the
        // sum.
        sum.add(frame.extracting(position..<position + length))
        header.put16(isTCP ? sum.finished : sum.finishedForUDP, at: checksumField)

        defer {
            position += length
            index &+= 1
        }
        return Segment(headerLength: headerLength, payloadOffset: position, payloadLength: length)
    }
}
