// SPDX-License-Identifier: Apache-2.0

// Reading and writing fixed-width integers in spans of bytes. Every access is bounds-checked by the standard library: a
// mistake in a caller traps, it never reads memory outside the span. Callers check lengths once, in the initialiser of
// a view, so that no access traps.

extension RawSpan {
    /// The byte at `offset`.
    @inlinable
    package func byte(at offset: Int) -> UInt8 {
        unsafe unsafeLoad(fromByteOffset: offset, as: UInt8.self)
    }

    /// The big-endian 16-bit integer at `offset`.
    @inlinable
    package func big16(at offset: Int) -> UInt16 {
        UInt16(bigEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt16.self))
    }

    /// The big-endian 32-bit integer at `offset`.
    @inlinable
    package func big32(at offset: Int) -> UInt32 {
        UInt32(bigEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    /// The big-endian 64-bit integer at `offset`.
    @inlinable
    package func big64(at offset: Int) -> UInt64 {
        UInt64(bigEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }

    /// The little-endian 16-bit integer at `offset`.
    @inlinable
    package func little16(at offset: Int) -> UInt16 {
        UInt16(littleEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt16.self))
    }

    /// The 32-bit integer at `offset` in the host's byte order.
    @inlinable
    package func native32(at offset: Int) -> UInt32 {
        unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self)
    }

    /// The 64-bit integer at `offset` in the host's byte order.
    @inlinable
    package func native64(at offset: Int) -> UInt64 {
        unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self)
    }

    /// Four 64-bit integers at `offset` in the host's byte order, for sums in which the order does not matter.
    @inlinable
    package func native256(at offset: Int) -> SIMD4<UInt64> {
        unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: SIMD4<UInt64>.self)
    }

    /// The bytes from `offset` to the end. `offset` may equal the count.
    @inlinable
    @_lifetime(copy self)
    package func from(_ offset: Int) -> RawSpan {
        extracting(offset..<byteCount)
    }

    /// A copy of these bytes. Allocates: not for the data path.
    @inlinable
    package func copied() -> [UInt8] {
        unsafe withUnsafeBytes { unsafe [UInt8]($0) }
    }
}

extension MutableRawSpan {
    /// The bytes from `offset` to the end, for writing. `offset` may equal the count. `self` cannot be used while the
    /// result lives.
    @inlinable
    @_lifetime(&self)
    package mutating func mutableFrom(_ offset: Int) -> MutableRawSpan {
        _mutatingExtracting(offset..<byteCount)
    }

    /// Stores a hardware address at `offset`.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func put(_ address: MACAddress, at offset: Int) {
        put16(UInt16(truncatingIfNeeded: address.value >> 32), at: offset)
        put32(UInt32(truncatingIfNeeded: address.value), at: offset + 2)
    }

    /// Stores an IPv6 address in network order at `offset`.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func put(_ address: IPv6Address, at offset: Int) {
        put64(address.high, at: offset)
        put64(address.low, at: offset + 8)
    }

    /// Stores a byte at `offset`.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func put8(_ value: UInt8, at offset: Int) {
        storeBytes(of: value, toByteOffset: offset, as: UInt8.self)
    }

    /// Stores a 16-bit integer in big-endian order at `offset`.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func put16(_ value: UInt16, at offset: Int) {
        storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt16.self)
    }

    /// Stores a 32-bit integer in big-endian order at `offset`.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func put32(_ value: UInt32, at offset: Int) {
        storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt32.self)
    }

    /// Stores a 64-bit integer in big-endian order at `offset`.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func put64(_ value: UInt64, at offset: Int) {
        storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt64.self)
    }

    /// Stores a 16-bit integer in little-endian order at `offset`.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func put16Little(_ value: UInt16, at offset: Int) {
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt16.self)
    }

    /// Copies `source` to `offset`.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func put(_ source: RawSpan, at offset: Int) {
        precondition(offset >= 0 && offset <= byteCount && source.byteCount <= byteCount - offset)
        guard source.byteCount > 0 else { return }
        unsafe withUnsafeMutableBytes { destination in
            unsafe source.withUnsafeBytes { bytes in
                unsafe destination.baseAddress!.advanced(by: offset).copyMemory(
                    from: bytes.baseAddress!, byteCount: bytes.count)
            }
        }
    }
}

extension Array<UInt8> {
    /// The array's bytes as a raw span, for parsers.
    @inlinable
    package var rawSpan: RawSpan {
        @_lifetime(borrow self)
        get {
            // `span` is macOS 26's. An array of bytes is in one piece and stays where it is while it is borrowed.
            let buffer = unsafe withUnsafeBytes { unsafe $0 }
            let bytes = unsafe RawSpan(_unsafeBytes: buffer)
            return unsafe _overrideLifetime(bytes, borrowing: self)
        }
    }

    /// Hands the array's bytes to `body` for writing.
    @inlinable
    package mutating func withMutableRawSpan<Result>(_ body: (inout MutableRawSpan) -> Result) -> Result {
        unsafe withUnsafeMutableBytes { buffer in
            var span = unsafe MutableRawSpan(_unsafeBytes: buffer)
            return body(&span)
        }
    }
}
