// SPDX-License-Identifier: Apache-2.0

/// How a system lays out `struct sockaddr_un`, which the VDE protocol sends as it is in memory.
package struct UnixAddressLayout: Equatable, Sendable {
    /// Bytes of `sun_path`, including the terminating zero.
    package let pathCapacity: Int
    /// True if byte 0 is `sun_len` and the family is one byte (BSD).
    package let hasLengthByte: Bool

    /// unix(7).
    package static let linux = UnixAddressLayout(pathCapacity: 108, hasLengthByte: false)
    /// unix(4) of macOS.
    package static let darwin = UnixAddressLayout(pathCapacity: 104, hasLengthByte: true)

    /// The layout of the system this was compiled for.
    package static var native: UnixAddressLayout {
        #if canImport(Darwin)
            .darwin
        #else
            .linux
        #endif
    }

    /// The whole structure: 110 bytes on Linux, 106 on macOS.
    package var length: Int { 2 + pathCapacity }

    /// The two bytes before the path: AF_UNIX, which is 1 on both systems, as `sa_family_t` in the host's order or
    /// after `sun_len`.
    private var familyBytes: [UInt8] {
        hasLengthByte || UInt16(1).littleEndian != 1 ? [0, 1] : [1, 0]
    }

    /// The address of `path`, zero-padded; nil if the path is empty or leaves no room for its terminating zero.
    package func encode(path: [UInt8]) -> [UInt8]? {
        guard !path.isEmpty, path.count < pathCapacity else { return nil }
        return familyBytes + path + [UInt8](repeating: 0, count: pathCapacity - path.count)
    }

    /// The path in an address received from a peer: up to the first zero, or all of it. An abstract Linux name starts
    /// with a zero and is returned whole. `sun_len` is not looked at, since VDE programs leave it 0.
    /// - Throws: `truncated` if `bytes` is shorter than the structure; `badField` for another family or an empty path.
    package func decodePath(_ bytes: RawSpan) throws(WireError) -> [UInt8] {
        guard bytes.byteCount >= length else { throw .truncated }
        guard bytes.byte(at: 1) == familyBytes[1], hasLengthByte || bytes.byte(at: 0) == familyBytes[0] else {
            throw .badField
        }
        let path = bytes.extracting(2..<length).copied()
        if path[0] == 0 {
            guard !hasLengthByte, path.contains(where: { $0 != 0 }) else { throw .badField }
            return path
        }
        return Array(path.prefix { $0 != 0 })
    }
}
