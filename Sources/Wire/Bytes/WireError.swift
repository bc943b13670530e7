// SPDX-License-Identifier: Apache-2.0

/// Why a parser rejected its input. A frame that fails to parse is dropped and counted; it is not an error of the
/// program.
@usableFromInline
package enum WireError: Error, Equatable {
    /// Fewer bytes than the format's fixed part or than a length field promises.
    case truncated
    /// A version field of another protocol version.
    case badVersion
    /// A length field that contradicts the bytes around it.
    case badLength
    /// A field whose value the format forbids.
    case badField
    /// The checksum does not match.
    case badChecksum
}
