// SPDX-License-Identifier: Apache-2.0

/// TCP's control bits (RFC 9293 section 3.1).
@usableFromInline
package struct TCPFlags: OptionSet, BitwiseCopyable, Sendable {
    @usableFromInline package let rawValue: UInt8
    @inlinable package init(rawValue: UInt8) { self.rawValue = rawValue }

    @inlinable package static var fin: TCPFlags { TCPFlags(rawValue: 0x01) }
    @inlinable package static var syn: TCPFlags { TCPFlags(rawValue: 0x02) }
    @inlinable package static var rst: TCPFlags { TCPFlags(rawValue: 0x04) }
    @inlinable package static var psh: TCPFlags { TCPFlags(rawValue: 0x08) }
    @inlinable package static var ack: TCPFlags { TCPFlags(rawValue: 0x10) }
    @inlinable package static var urg: TCPFlags { TCPFlags(rawValue: 0x20) }
    @inlinable package static var ece: TCPFlags { TCPFlags(rawValue: 0x40) }
    @inlinable package static var cwr: TCPFlags { TCPFlags(rawValue: 0x80) }
}

/// A TCP segment (RFC 9293 section 3.1).
@usableFromInline
package struct TCPView: ~Escapable {
    @usableFromInline package let bytes: RawSpan
    /// 20 to 60.
    @usableFromInline package let headerLength: Int

    /// - Throws: `truncated` if the header reaches beyond `bytes`; `badLength` if the data offset is below 5.
    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= 20 else { throw .truncated }
        let header = Int(bytes.byte(at: 12) >> 4) * 4
        guard header >= 20 else { throw .badLength }
        guard header <= bytes.byteCount else { throw .truncated }
        self.bytes = bytes
        headerLength = header
    }

    @inlinable
    package var sourcePort: UInt16 { bytes.big16(at: 0) }
    @inlinable
    package var destinationPort: UInt16 { bytes.big16(at: 2) }
    @inlinable
    package var sequence: UInt32 { bytes.big32(at: 4) }
    @inlinable
    package var acknowledgment: UInt32 { bytes.big32(at: 8) }
    @inlinable
    package var flags: TCPFlags { TCPFlags(rawValue: bytes.byte(at: 13)) }
    @inlinable
    package var window: UInt16 { bytes.big16(at: 14) }
    @inlinable
    package var payload: RawSpan { @_lifetime(copy self) get { bytes.from(headerLength) } }

    package func hasValidChecksum(source: IPv4Address, destination: IPv4Address) -> Bool {
        var sum = InternetChecksum.pseudoHeader(
            source: source, destination: destination, protocolNumber: IPProtocol.tcp, length: bytes.byteCount)
        sum.add(bytes)
        return sum.isValid
    }
}

/// A TCP segment without options and payload, to send.
package struct TCPSegment: Equatable, Sendable {
    package var sourcePort: UInt16
    package var destinationPort: UInt16
    package var sequence: UInt32
    package var acknowledgment: UInt32 = 0
    package var flags: TCPFlags
    package var window: UInt16 = 0xffff

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
                source: source, destination: destination, protocolNumber: IPProtocol.tcp, length: 20))
    }

    /// The same with the sum over any pseudo-header.
    package func emit(into writer: inout ByteWriter, _ pseudoHeader: InternetChecksum) {
        let start = writer.count
        writer.put16(sourcePort)
        writer.put16(destinationPort)
        writer.put32(sequence)
        writer.put32(acknowledgment)
        writer.put8(5 << 4)
        writer.put8(flags.rawValue)
        writer.put16(window)
        writer.put32(0)
        writer.patch16(writer.checksum(from: start, adding: pseudoHeader).finished, at: start + 16)
    }
}
