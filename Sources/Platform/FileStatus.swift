// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform

/// The status of a file (stat(2)), as far as it is used.
package struct FileStatus: Equatable, Sendable {
    /// What a file is; `other` is a device or a pipe.
    package enum Kind: Sendable { case regular, directory, socket, link, other }

    /// What the file is.
    package let kind: Kind
    /// Permission bits, set-id and sticky bits included.
    package let mode: UInt16
    /// The user id of the owner.
    package let owner: UInt32
    /// The id of the group.
    package let group: UInt32
    /// The device that the file lies on. Together with `inode` it identifies the file.
    package let device: UInt64
    /// The number of the file on its device, which the system reuses once the file is gone.
    package let inode: UInt64
    /// Bytes.
    package let size: Int
    /// Nanoseconds since 1970.
    package let modified: Int64

    init(_ raw: stat) {
        // S_IFMT and its values, the same on every Unix, which the two systems' Swift modules give different types.
        kind =
            switch UInt32(raw.st_mode) & 0o170000 {
            case 0o100000: .regular
            case 0o040000: .directory
            case 0o140000: .socket
            case 0o120000: .link
            default: .other
            }
        mode = UInt16(truncatingIfNeeded: raw.st_mode & 0o7777)
        owner = raw.st_uid
        group = raw.st_gid
        device = UInt64(truncatingIfNeeded: raw.st_dev)
        inode = UInt64(raw.st_ino)
        size = Int(raw.st_size)
        #if canImport(Darwin)
            modified = Int64(raw.st_mtimespec.tv_sec) * 1_000_000_000 + Int64(raw.st_mtimespec.tv_nsec)
        #else
            modified = Int64(raw.st_mtim.tv_sec) * 1_000_000_000 + Int64(raw.st_mtim.tv_nsec)
        #endif
    }
}
