// SPDX-License-Identifier: Apache-2.0

/// TCP's control bits (RFC 9293 section 3.1).
@usableFromInline
package struct TCPFlags: OptionSet, BitwiseCopyable, Sendable {
    @usableFromInline package let rawValue: UInt8
    @inlinable package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The sender has no more data.
    @inlinable package static var fin: TCPFlags { TCPFlags(rawValue: 0x01) }
    /// The sequence number is the initial one.
    @inlinable package static var syn: TCPFlags { TCPFlags(rawValue: 0x02) }
    /// The connection is reset.
    @inlinable package static var rst: TCPFlags { TCPFlags(rawValue: 0x04) }
    /// The receiver should deliver the data at once.
    @inlinable package static var psh: TCPFlags { TCPFlags(rawValue: 0x08) }
    /// The acknowledgment field counts.
    @inlinable package static var ack: TCPFlags { TCPFlags(rawValue: 0x10) }
    /// The urgent pointer counts.
    @inlinable package static var urg: TCPFlags { TCPFlags(rawValue: 0x20) }
    /// Echoes a congestion mark (RFC 3168 section 6.1).
    @inlinable package static var ece: TCPFlags { TCPFlags(rawValue: 0x40) }
    /// The congestion window was reduced (RFC 3168 section 6.1).
    @inlinable package static var cwr: TCPFlags { TCPFlags(rawValue: 0x80) }
}

/// The layout of a TCP header (RFC 9293 section 3.1).
@usableFromInline
package enum TCPHeader {
    /// Bytes of a header without options, which is the shortest.
    @inlinable package static var length: Int { 20 }
    /// Bytes of the longest options: what the data offset leaves room for.
    @inlinable package static var maximumOptions: Int { 40 }
    /// Bytes of the longest header.
    @inlinable package static var maximumLength: Int { length + maximumOptions }
    /// The bits beside the data offset in its byte, which are reserved.
    @inlinable package static var reservedMask: UInt8 { 0x0f }

    /// Bytes of a header with its options, from the byte of its data offset. Below `length` for a malformed one.
    @inlinable
    package static func length(dataOffset: UInt8) -> Int { Int(dataOffset >> 4) * 4 }

    /// The byte of the data offset.
    /// - Parameter headerLength: bytes, a multiple of four, at most `maximumLength`.
    @inlinable
    package static func dataOffset(headerLength: Int) -> UInt8 { UInt8(headerLength / 4) << 4 }

    /// Offsets in bytes from the start of the segment.
    @usableFromInline
    package enum Field {
        /// The sender's port.
        @inlinable package static var sourcePort: Int { 0 }
        /// The receiver's port.
        @inlinable package static var destinationPort: Int { 2 }
        /// Of the first byte of payload, or of SYN.
        @inlinable package static var sequence: Int { 4 }
        /// The next sequence number that the sender expects.
        @inlinable package static var acknowledgment: Int { 8 }
        /// The header's length in words of 32 bits, in the high half of the byte.
        @inlinable package static var dataOffset: Int { 12 }
        /// `TCPFlags`.
        @inlinable package static var flags: Int { 13 }
        /// Bytes that the sender accepts, unscaled (RFC 7323 section 2).
        @inlinable package static var window: Int { 14 }
        /// With the pseudo-header.
        @inlinable package static var checksum: Int { 16 }
        /// An offset from the sequence number; counts with URG only.
        @inlinable package static var urgentPointer: Int { 18 }
    }
}

/// Reads a TCP segment (RFC 9293 section 3.1).
@usableFromInline
package struct TCPView: ~Escapable {
    /// The segment with its header.
    @usableFromInline package let bytes: RawSpan
    /// 20 to 60.
    @usableFromInline package let headerLength: Int

    /// - Throws: `truncated` if the header reaches beyond `bytes`; `badLength` if the data offset is below 5.
    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= TCPHeader.length else { throw .truncated }
        let header = TCPHeader.length(dataOffset: bytes.byte(at: TCPHeader.Field.dataOffset))
        guard header >= TCPHeader.length else { throw .badLength }
        guard header <= bytes.byteCount else { throw .truncated }
        self.bytes = bytes
        headerLength = header
    }

    /// The sender's port.
    @inlinable
    package var sourcePort: UInt16 { bytes.big16(at: TCPHeader.Field.sourcePort) }
    /// The receiver's port.
    @inlinable
    package var destinationPort: UInt16 { bytes.big16(at: TCPHeader.Field.destinationPort) }
    /// Of the first byte of payload, or of SYN.
    @inlinable
    package var sequence: UInt32 { bytes.big32(at: TCPHeader.Field.sequence) }
    /// The next sequence number that the sender expects; counts with ACK only.
    @inlinable
    package var acknowledgment: UInt32 { bytes.big32(at: TCPHeader.Field.acknowledgment) }
    /// The control bits.
    @inlinable
    package var flags: TCPFlags { TCPFlags(rawValue: bytes.byte(at: TCPHeader.Field.flags)) }
    /// Bytes that the sender accepts, unscaled (RFC 7323 section 2).
    @inlinable
    package var window: UInt16 { bytes.big16(at: TCPHeader.Field.window) }
    /// The bytes after header and options.
    @inlinable
    package var payload: RawSpan { @_lifetime(copy self) get { bytes.from(headerLength) } }

    /// As it is in the segment; `hasValidChecksum` checks it.
    @inlinable
    package var checksum: UInt16 { bytes.big16(at: TCPHeader.Field.checksum) }

    /// True if the checksum is right for these addresses.
    package func hasValidChecksum(source: IPv4Address, destination: IPv4Address) -> Bool {
        var sum = InternetChecksum.pseudoHeader(
            source: source, destination: destination, protocolNumber: IPProtocol.tcp, length: bytes.byteCount)
        sum.add(bytes)
        return sum.isValid
    }
}

/// A TCP segment without options and payload, to send.
package struct TCPSegment: Equatable, Sendable {
    /// The sender's port.
    package var sourcePort: UInt16
    /// The receiver's port.
    package var destinationPort: UInt16
    /// Of SYN, or of the byte after the last one that was sent.
    package var sequence: UInt32
    /// The next sequence number that the sender expects.
    package var acknowledgment: UInt32 = 0
    /// The control bits.
    package var flags: TCPFlags
    /// Bytes that the sender accepts.
    package var window: UInt16 = 0xffff

    /// A segment with a window of 65,535 bytes.
    package init(sourcePort: UInt16, destinationPort: UInt16, sequence: UInt32, flags: TCPFlags) {
        self.sourcePort = sourcePort
        self.destinationPort = destinationPort
        self.sequence = sequence
        self.flags = flags
    }

    /// Writes the segment with its checksum for these addresses.
    package func emit(into writer: inout ByteWriter, source: IPv4Address, destination: IPv4Address) {
        emit(
            into: &writer,
            InternetChecksum.pseudoHeader(
                source: source, destination: destination, protocolNumber: IPProtocol.tcp, length: TCPHeader.length))
    }

    /// The same with the sum over any pseudo-header.
    package func emit(into writer: inout ByteWriter, _ pseudoHeader: InternetChecksum) {
        let start = writer.count
        writer.put16(sourcePort)
        writer.put16(destinationPort)
        writer.put32(sequence)
        writer.put32(acknowledgment)
        writer.put8(TCPHeader.dataOffset(headerLength: TCPHeader.length))
        writer.put8(flags.rawValue)
        writer.put16(window)
        writer.put32(0)
        writer.patch16(
            writer.checksum(from: start, adding: pseudoHeader).finished, at: start + TCPHeader.Field.checksum)
    }
}
