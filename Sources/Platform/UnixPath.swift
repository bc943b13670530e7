// SPDX-License-Identifier: Apache-2.0
import Wire

/// The path of a unix socket, short enough for this system's `sockaddr_un`.
package struct UnixPath: Hashable, Sendable {
    /// Bytes of the path without terminator.
    package let bytes: [UInt8]

    /// Bytes of the longest path.
    package static var maximumLength: Int { UnixAddressLayout.native.pathCapacity - 1 }

    /// - Throws: `Errno.nameTooLong`, or `Errno.invalid` for an empty path.
    package init(_ text: String) throws(SystemError) { try self.init(Array(text.utf8)) }

    /// A path of any bytes; one that begins with 0 is a name of Linux without a file (unix(7), "Abstract").
    /// - Throws: `Errno.nameTooLong`, or `Errno.invalid` for an empty path.
    package init(_ bytes: [UInt8]) throws(SystemError) {
        guard !bytes.isEmpty else { throw SystemError(code: Errno.invalid, "use an empty path") }
        guard
            bytes.count < UnixAddressLayout.native.pathCapacity
                || (bytes[0] == 0 && bytes.count == UnixAddressLayout.native.pathCapacity)
        else {
            throw SystemError(code: Errno.nameTooLong, "use", String(decoding: bytes, as: UTF8.self))
        }
        self.bytes = bytes
    }
}

extension UnixPath: CustomStringConvertible {
    package var description: String {
        (bytes[0] == 0 ? "@" : "") + String(decoding: bytes.drop { $0 == 0 }, as: UTF8.self)
    }
}
