// SPDX-License-Identifier: Apache-2.0
import CLibrary

/// Files by their path. A function that makes one system call is named after it.
package enum Files {
    /// Flags of open(2).
    package struct OpenFlags: OptionSet, Sendable {
        package let rawValue: Int32
        package init(rawValue: Int32) { self.rawValue = rawValue }
        package static let readOnly = OpenFlags(rawValue: O_RDONLY)
        package static let writeOnly = OpenFlags(rawValue: O_WRONLY)
        package static let readWrite = OpenFlags(rawValue: O_RDWR)
        package static let create = OpenFlags(rawValue: O_CREAT)
        package static let exclusive = OpenFlags(rawValue: O_EXCL)
        package static let truncate = OpenFlags(rawValue: O_TRUNC)
        package static let append = OpenFlags(rawValue: O_APPEND)
        /// Does not block, for example on opening a FIFO.
        package static let nonBlocking = OpenFlags(rawValue: O_NONBLOCK)
        package static let noFollow = OpenFlags(rawValue: O_NOFOLLOW)
        package static let directory = OpenFlags(rawValue: O_DIRECTORY)
    }

    /// The whole file, up to 16 MiB.
    package static func read(_ path: String) throws(SystemError) -> [UInt8] {
        do {
            return try open(path, .readOnly).readAll()
        } catch {
            throw SystemError(code: error.code, error.operation, path)
        }
    }

    /// The file as text without white space at its ends, as /proc and /sys have it; nil if it cannot be read.
    package static func text(_ path: String) -> String? {
        guard let bytes = try? read(path) else { return nil }
        let text = String(decoding: bytes, as: UTF8.self)
        guard let first = text.firstIndex(where: { !$0.isWhitespace }),
            let last = text.lastIndex(where: { !$0.isWhitespace })
        else { return "" }
        return String(text[first...last])
    }

    /// Overwrites an existing file, such as one in /proc.
    package static func overwrite(_ path: String, _ text: String) throws(SystemError) {
        do {
            try open(path, [.writeOnly, .truncate]).write(Array(text.utf8))
        } catch {
            throw SystemError(code: error.code, error.operation, path)
        }
    }

    /// Replaces a file in one step: other processes see the old contents or the new, also after a power cut.
    package static func replace(_ path: String, _ bytes: [UInt8], mode: UInt16 = 0o644) throws(SystemError) {
        let temporary = path + ".new"
        try? remove(temporary)
        do {
            let file = try open(temporary, [.writeOnly, .create, .exclusive, .noFollow], mode: mode)
            try file.write(bytes)
            try file.synchronize()
            try rename(temporary, to: path)
        } catch {
            try? remove(temporary)
            throw SystemError(code: error.code, error.operation, path)
        }
        synchronizeDirectory(of: path)
    }

    /// Makes the directory's entry for `path` survive a power cut.
    package static func synchronizeDirectory(of path: String) {
        if let directory = try? open(parent(path), [.readOnly, .directory]) { try? directory.synchronize() }
    }

    /// Renames a file, replacing another one (rename(2)).
    package static func rename(_ from: String, to: String) throws(SystemError) {
        try SystemError.checkErrno(systemRename(from, to), "rename", from)
    }

    /// Makes a directory and its missing parents.
    package static func makeDirectories(_ path: String, mode: UInt16 = 0o755) throws(SystemError) {
        do {
            try makeDirectory(path, mode: mode)
        } catch  where error.code == EEXIST {
            guard try status(path).kind == .directory else { throw SystemError(code: ENOTDIR, "mkdir", path) }
        } catch  where error.code == ENOENT && parent(path) != path {
            try makeDirectories(parent(path), mode: mode)
            try makeDirectory(path, mode: mode)
        }
    }

    /// An absolute path without symbolic links on the way to its last part, which need not exist.
    package static func resolved(_ path: String) -> String {
        let whole = absolute(path)
        guard let directory = try? realPath(parent(whole)) else { return whole }
        let name = String(whole.split(separator: "/").last ?? "")
        return directory == "/" ? "/" + name : directory + "/" + name
    }

    /// The path of the directory that contains `path`.
    package static func parent(_ path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    /// The absolute form of `path`.
    package static func absolute(_ path: String) -> String {
        path.hasPrefix("/") ? path : currentDirectory() + "/" + path
    }
}
