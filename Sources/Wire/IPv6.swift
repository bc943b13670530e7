// SPDX-License-Identifier: Apache-2.0

/// An IPv6 packet (RFC 8200 section 3).
@usableFromInline
package struct IPv6View: ~Escapable {
    @usableFromInline package static let headerLength = 40

    /// The packet up to its payload length: link-layer padding is cut off.
    @usableFromInline package let bytes: RawSpan

    /// - Throws: `truncated` if header or payload length reach beyond `bytes`; `badVersion`.
    @inlinable
    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) throws(WireError) {
        guard bytes.byteCount >= 40 else { throw .truncated }
        guard bytes.byte(at: 0) >> 4 == 6 else { throw .badVersion }
        let total = 40 + Int(bytes.big16(at: 4))
        guard total <= bytes.byteCount else { throw .truncated }
        self.bytes = bytes.extracting(0..<total)
    }

    /// The protocol of what follows the fixed header, which may be an extension header.
    @inlinable
    package var nextHeader: UInt8 { bytes.byte(at: 6) }
    @inlinable
    package var hopLimit: UInt8 { bytes.byte(at: 7) }
    /// Source and destination, 32 bytes, as the pseudo-header wants them.
    @inlinable
    package var addresses: RawSpan { @_lifetime(copy self) get { bytes.extracting(8..<40) } }
    @inlinable
    package var payload: RawSpan { @_lifetime(copy self) get { bytes.from(40) } }
}
