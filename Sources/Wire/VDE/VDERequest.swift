// SPDX-License-Identifier: Apache-2.0

/// A request on the control socket of a VDE switch, version 3 or 1 (vde-2's `switch.h`): the plug, the port that it
/// requests, and the address of its data socket.
package struct VDERequest: Equatable, Sendable {
    /// Request types of vde-2.
    package enum Kind: Equatable, Sendable {
        /// REQ_NEW_CONTROL: port `number`, or any free one for 0.
        case newControl(port: Int)
        /// REQ_NEW_PORT0: the management port.
        case newPort0
    }

    /// SWITCH_MAGIC.
    package static let magic: UInt32 = 0xfeed_face
    /// The version that is sent.
    package static let version: UInt32 = 3
    /// The switch reads 256 bytes once; libvdeplug caps the text at 127.
    package static let maximumDescription = 127

    /// Offsets in bytes from the start of the request.
    private enum Field {
        static let magic = 0, version = 4, type = 8, address = 12
        /// After a type of four bytes and a hardware address.
        static let addressInVersion1 = 14
    }

    /// What is requested.
    package var kind: Kind
    /// The path of the plug's bound data socket.
    package var path: [UInt8]
    /// Shown by the switch's `port/allprint`.
    package var description: String

    /// A request to send.
    package init(kind: Kind, path: [UInt8], description: String) {
        self.kind = kind
        self.path = path
        self.description = description
    }

    /// The request as bytes, in the host's byte order; nil if the path does not fit.
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
    /// its place, and a hardware address that no program reads. A wrong magic or version is reported as soon as
    /// its bytes are there.
    /// - Throws: `truncated` while bytes are missing, `badField` for a wrong magic, type or address, `badVersion`.
    package init(parsing bytes: RawSpan, layout: UnixAddressLayout = .native) throws(WireError) {
        guard bytes.byteCount >= Field.version else { throw .truncated }
        guard bytes.native32(at: Field.magic) == VDERequest.magic else { throw .badField }
        guard bytes.byteCount >= Field.type else { throw .truncated }
        let version = bytes.native32(at: Field.version)
        guard version == VDERequest.version || version <= 1 else { throw .badVersion }
        let addressOffset = version == VDERequest.version ? Field.address : Field.addressInVersion1
        guard bytes.byteCount >= addressOffset + layout.length else { throw .truncated }
        let type = version == VDERequest.version ? bytes.native32(at: Field.type) : version
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

/// The four bytes of `value` in the host's order.
func nativeBytes(_ value: UInt32) -> [UInt8] {
    var value = value.littleEndian == value ? value : value.byteSwapped
    var bytes: [UInt8] = []
    for _ in 0..<4 {
        bytes.append(UInt8(truncatingIfNeeded: value))
        value >>= 8
    }
    return bytes
}
