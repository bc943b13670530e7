// SPDX-License-Identifier: Apache-2.0

/// The options of a TCP header that matter to whoever ends connections (RFC 9293 section 3.2, RFC 7323 section 2, RFC
/// 2018). Unknown ones are skipped; what contradicts itself ends the list.
package struct TCPOptions: Equatable, BitwiseCopyable, Sendable {
    /// The longest payload that the sender takes; nil where it does not say.
    package var maximumSegment: UInt16?
    /// By how many bits the sender shifts its windows, at most 14; nil where it does not shift, and wants no shifted
    /// ones.
    package var windowScale: UInt8?
    /// The sender understands selective acknowledgments.
    package var permitsSelective = false

    package init() {}

    /// - Parameter segment: a header of `headerLength` bytes, and more.
    package init(_ segment: borrowing TCPView) {
        TCPOptions.walk(segment) { kind, value in
            switch (kind, value.byteCount) {
            case (2, 2): maximumSegment = value.big16(at: 0)
            case (3, 1): windowScale = min(14, value.byte(at: 0))
            case (4, 0): permitsSelective = true
            default: break
            }
        }
    }

    /// Calls `body` for each range of sequence numbers that the sender has got out of order, in the order given, the
    /// newest first (RFC 2018 section 4).
    @inlinable
    package static func selective(_ segment: borrowing TCPView, _ body: (_ start: UInt32, _ end: UInt32) -> Void) {
        walk(segment) { kind, value in
            guard kind == 5 else { return }
            for offset in stride(from: 0, to: value.byteCount - 7, by: 8) {
                body(value.big32(at: offset), value.big32(at: offset + 4))
            }
        }
    }

    @inlinable
    static func walk(_ segment: borrowing TCPView, _ body: (_ kind: UInt8, _ value: RawSpan) -> Void) {
        var offset = 20
        while offset < segment.headerLength {
            let kind = segment.bytes.byte(at: offset)
            if kind == 0 { return }
            if kind == 1 {
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
