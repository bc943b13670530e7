// SPDX-License-Identifier: Apache-2.0

/// The options of a TCP header that matter to an endpoint (RFC 9293 section 3.2, RFC 7323 section 2, RFC
/// 2018). Unknown ones are skipped; an option with a wrong length ends the list.
@usableFromInline
package struct TCPOptions: Equatable, BitwiseCopyable, Sendable {
    /// Maximum segment size: bytes of the longest payload that the sender accepts; nil without the option.
    @usableFromInline package var maximumSegment: UInt16?
    /// Bits by which the sender shifts its windows, at most 14; nil if neither side may scale windows.
    @usableFromInline package var windowScale: UInt8?
    /// The sender accepts selective acknowledgments.
    @usableFromInline package var permitsSelective = false

    /// Kinds of options (RFC 9293 section 3.2, RFC 7323 section 2, RFC 2018).
    @usableFromInline
    package enum Kind {
        /// Nothing follows. One byte, without a length.
        @inlinable package static var end: UInt8 { 0 }
        /// Padding. One byte, without a length.
        @inlinable package static var noOperation: UInt8 { 1 }
        /// Two bytes: bytes of the longest payload.
        @inlinable package static var maximumSegment: UInt8 { 2 }
        /// One byte: bits of the shift.
        @inlinable package static var windowScale: UInt8 { 3 }
        /// No value.
        @inlinable package static var selectivePermitted: UInt8 { 4 }
        /// SACK blocks, of two sequence numbers each.
        @inlinable package static var selective: UInt8 { 5 }
    }

    /// Options to send, each a word of 32 bits in which no-operations stand before it as padding.
    @usableFromInline
    package enum Word {
        /// Bytes of a word.
        @inlinable package static var length: Int { 4 }

        /// - Parameter bytes: of the longest payload that the sender accepts.
        @inlinable
        package static func maximumSegment(_ bytes: UInt16) -> UInt32 { 0x0204_0000 | UInt32(bytes) }

        /// - Parameter bits: of the shift, at most 14.
        @inlinable
        package static func windowScale(_ bits: UInt8) -> UInt32 { 0x0103_0300 | UInt32(bits) }

        /// The sender accepts selective acknowledgments.
        @inlinable package static var selectivePermitted: UInt32 { 0x0101_0402 }

        /// The head of a SACK option. Its blocks follow, `blockLength` bytes each.
        @inlinable
        package static func selective(blocks: Int) -> UInt32 { 0x0101_0500 | UInt32(2 + blockLength * blocks) }
    }

    /// Bytes of a SACK block: the first sequence number, and the one after the last.
    @inlinable package static var blockLength: Int { 8 }
    /// Offset in a SACK block of the sequence number after the last.
    @inlinable package static var blockEnd: Int { 4 }

    /// No options.
    package init() {}

    /// - Parameter segment: a header of `headerLength` bytes, and more.
    package init(_ segment: borrowing TCPView) {
        TCPOptions.walk(segment) { kind, value in
            switch (kind, value.byteCount) {
            case (Kind.maximumSegment, 2): maximumSegment = value.big16(at: 0)
            case (Kind.windowScale, 1): windowScale = min(14, value.byte(at: 0))
            case (Kind.selectivePermitted, 0): permitsSelective = true
            default: break
            }
        }
    }

    /// Calls `body` for each SACK block: a range of sequence numbers that the sender has received out of order, the
    /// newest first (RFC 2018 section 4).
    @inlinable
    package static func selective(_ segment: borrowing TCPView, _ body: (_ start: UInt32, _ end: UInt32) -> Void) {
        walk(segment) { kind, value in
            guard kind == Kind.selective else { return }
            for offset in stride(from: 0, to: value.byteCount - (blockLength - 1), by: blockLength) {
                body(value.big32(at: offset), value.big32(at: offset + blockEnd))
            }
        }
    }

    @inlinable
    static func walk(_ segment: borrowing TCPView, _ body: (_ kind: UInt8, _ value: RawSpan) -> Void) {
        var offset = TCPHeader.length
        while offset < segment.headerLength {
            let kind = segment.bytes.byte(at: offset)
            if kind == Kind.end { return }
            if kind == Kind.noOperation {
                offset += 1
                continue
            }
            guard offset + 1 < segment.headerLength else { return }
            let length = Int(segment.bytes.byte(at: offset + 1))
            guard length >= 2, offset + length <= segment.headerLength else { return }
            body(kind, segment.bytes.extracting(offset + 2..<offset + length))
            offset += length
        }
    }
}

extension UInt32 {
    /// How far this sequence number is behind `other`; negative for one before it (RFC 9293 section 3.4).
    @inlinable
    package func distance(after other: UInt32) -> Int { Int(Int32(bitPattern: self &- other)) }
}
