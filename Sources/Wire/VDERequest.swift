// SPDX-License-Identifier: Apache-2.0

/// How a system lays out `struct sockaddr_un`, which the VDE protocol puts on the wire as it is.
package struct UnixAddressLayout: Equatable, Sendable {
    /// Bytes of `sun_path`, including the terminating zero.
    package let pathCapacity: Int
    /// True where byte 0 is `sun_len` and the family is one byte (BSD).
    package let hasLengthByte: Bool

    package static let linux = UnixAddressLayout(pathCapacity: 108, hasLengthByte: false)
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

    /// The two bytes before the path: AF_UNIX, which is 1 on both systems, as `sa_family_t` in the machine's order or
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

/// A request on the control socket of a VDE switch, version 3 or 1 (vde-2's `switch.h`): who asks, for which port, and
/// where its data socket is.
package struct VDERequest: Equatable, Sendable {
    package enum Kind: Equatable, Sendable {
        /// REQ_NEW_CONTROL: port `number`, or any free one where 0.
        case newControl(port: Int)
        /// REQ_NEW_PORT0: the management port.
        case newPort0
    }

    package static let magic: UInt32 = 0xfeed_face
    package static let version: UInt32 = 3
    /// The switch reads 256 bytes once; libvdeplug caps the text at 127.
    package static let maximumDescription = 127

    package var kind: Kind
    /// The path of the plug's bound data socket.
    package var path: [UInt8]
    /// Shown by the switch's `port/allprint`.
    package var description: String

    package init(kind: Kind, path: [UInt8], description: String) {
        self.kind = kind
        self.path = path
        self.description = description
    }

    /// The request as bytes, in this machine's byte order; nil if the path does not fit.
    /// A longer description is cut at a character's boundary.
    package func encode(_ layout: UnixAddressLayout = .native) -> [UInt8]? {
        guard let address = layout.encode(path: path) else { return nil }
        let type: UInt32 =
            switch kind {
            case .newControl(let port): UInt32(truncatingIfNeeded: port) << 8
            case .newPort0: 1
            }
        var bytes: [UInt8] = []
        for word in [VDERequest.magic, VDERequest.version, type] {
            bytes.append(contentsOf: nativeBytes(word))
        }
        bytes.append(contentsOf: address)
        var text: [UInt8] = []
        for character in description {
            let more = Array(character.utf8)
            guard text.count + more.count <= VDERequest.maximumDescription else { break }
            text.append(contentsOf: more)
        }
        bytes.append(contentsOf: text)
        return bytes
    }

    /// Parses a request of version 3, or of version 1, which has no field for its version but a type that is 0 or 1 in
    /// its place, and a hardware address that nobody looks at. What comes so far is enough to tell a wrong magic or
    /// version.
    /// - Throws: `truncated` as long as more is needed, `badField` for a wrong magic, type or address, `badVersion`.
    package init(parsing bytes: RawSpan, layout: UnixAddressLayout = .native) throws(WireError) {
        guard bytes.byteCount >= 4 else { throw .truncated }
        guard bytes.native32(at: 0) == VDERequest.magic else { throw .badField }
        guard bytes.byteCount >= 8 else { throw .truncated }
        let version = bytes.native32(at: 4)
        guard version == VDERequest.version || version <= 1 else { throw .badVersion }
        let addressOffset = version == VDERequest.version ? 12 : 14
        guard bytes.byteCount >= addressOffset + layout.length else { throw .truncated }
        let type = version == VDERequest.version ? bytes.native32(at: 8) : version
        switch type & 0xff {
        case 0: kind = .newControl(port: Int(type >> 8))
        case 1: kind = .newPort0
        default: throw .badField
        }
        path = try layout.decodePath(bytes.from(addressOffset))
        let text = bytes.from(addressOffset + layout.length).copied().prefix { $0 != 0 }
        description = String(decoding: text, as: UTF8.self)
    }
}

/// The four bytes of `value` in this machine's order.
func nativeBytes(_ value: UInt32) -> [UInt8] {
    var value = value.littleEndian == value ? value : value.byteSwapped
    var bytes: [UInt8] = []
    for _ in 0..<4 {
        bytes.append(UInt8(truncatingIfNeeded: value))
        value >>= 8
    }
    return bytes
}
