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
        @inlinable package static var end: UInt8 { 0 }
        @inlinable package static var noOperation: UInt8 { 1 }
        @inlinable package static var maximumSegment: UInt8 { 2 }
        @inlinable package static var windowScale: UInt8 { 3 }
        @inlinable package static var selectivePermitted: UInt8 { 4 }
        @inlinable package static var selective: UInt8 { 5 }
    }

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
            for offset in stride(from: 0, to: value.byteCount - 7, by: 8) {
                body(value.big32(at: offset), value.big32(at: offset + 4))
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
