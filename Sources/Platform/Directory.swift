// SPDX-License-Identifier: Apache-2.0
import CLibrary

/// An open directory. Its functions name an entry by the descriptor and one path component: they are immune to changes
/// of the directory's path, and follow no symbolic link.
package struct Directory: ~Copyable, Sendable {
    /// A handle with which entries can be named, and nothing else (`O_PATH`, `O_SEARCH`).
    let handle: Descriptor
    /// The absolute path without symbolic links, as it was when the directory was opened.
    package let path: String
    /// Whether no other user can make `path` lead elsewhere: each directory above belongs to root or to this process's
    /// user, and is closed to others or sticky.
    package let isFixed: Bool

    init(_ handle: consuming Descriptor, path: String, isFixed: Bool) {
        self.handle = handle
        self.path = path
        self.isFixed = isFixed
    }

    /// The path of an entry, for messages and for other programs.
    package func path(of name: String) -> String { path == "/" ? "/" + name : path + "/" + name }

    /// True if the entry is still the file or directory with this status, not a replacement.
    package func has(_ name: String, _ known: FileStatus) -> Bool {
        guard let there = try? status(of: name) else { return false }
        return there.inode == known.inode && there.device == known.device
    }

    /// A second value for the same directory.
    package func duplicate() throws(SystemError) -> Directory {
        Directory(try handle.duplicate(), path: path, isFixed: isFixed)
    }

    /// Removes an entry unless it is no longer the one with the status `known`.
    package func remove(_ name: String, ifStill known: FileStatus) throws(SystemError) {
        // Between check and removal another entry could take the name. Once moved aside, the entry is certain.
        guard has(name, known) else { return }
        let aside = ".\(name).\(getpid())-\(Random.value() as UInt32)"
        do throws(SystemError) {
            try renameExclusively(name, to: aside)
        } catch {
            if error.code == ENOENT { return }
            throw error
        }
        guard has(aside, known) else {
            try? renameExclusively(aside, to: name)
            return
        }
        try remove(aside)
    }

    /// Moves an entry to a name that must not exist yet.
    package func renameExclusively(_ name: String, to new: String) throws(SystemError) {
        try renameExclusively(name, to: self, new)
    }

    /// Makes changes of its entries survive a power cut.
    package func synchronize() { try? reopen().synchronize() }

    /// Replaces a file in one step: other processes see the old contents or the new, also after a power cut.
    package func replace(_ name: String, _ bytes: [UInt8], mode: UInt16 = 0o600) throws(SystemError) {
        let temporary = name + ".new"
        try? remove(temporary)
        do {
            let file = try open(temporary, [.writeOnly, .create, .exclusive], mode: mode)
            try file.write(bytes)
            try file.synchronize()
            try rename(temporary, to: name)
        } catch {
            try? remove(temporary)
            throw SystemError(code: error.code, error.operation, path(of: name))
        }
        synchronize()
    }
}
