// SPDX-License-Identifier: Apache-2.0
import CPlatform

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// What `stat` says of a path.
package struct FileStatus: Equatable, Sendable {
    package enum Kind: Sendable { case regular, directory, socket, link, other }

    package let kind: Kind
    /// Permission bits, set-id and sticky bits included.
    package let mode: UInt16
    package let owner: UInt32
    package let group: UInt32
    package let device: UInt64
    package let inode: UInt64
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

/// Files by their path, each call named after the C function it makes.
package enum Files {
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
        /// Does not wait, for one for the other end of a FIFO.
        package static let nonBlocking = OpenFlags(rawValue: O_NONBLOCK)
        package static let noFollow = OpenFlags(rawValue: O_NOFOLLOW)
        package static let directory = OpenFlags(rawValue: O_DIRECTORY)
    }

    package static func open(_ path: String, _ flags: OpenFlags, mode: UInt16 = 0o644) throws(SystemError) -> Descriptor
    {
        let result = unsafe platform_open(path, flags.rawValue | O_CLOEXEC, UInt32(mode))
        return Descriptor(adopting: try SystemError.checkErrno(result, "open", path))
    }

    /// - Parameter followLinks: whether a symbolic link is looked through.
    package static func status(_ path: String, followLinks: Bool = true) throws(SystemError) -> FileStatus {
        var raw = stat()
        try SystemError.checkErrno(unsafe followLinks ? stat(path, &raw) : lstat(path, &raw), "stat", path)
        return FileStatus(raw)
    }

    package static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

    package static func isWritable(_ path: String) -> Bool { unsafe access(path, W_OK) == 0 }

    package static func isExecutable(_ path: String) -> Bool { unsafe access(path, X_OK) == 0 }

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

    /// Writes into an existing file such as one in /proc.
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

    package static func rename(_ from: String, to: String) throws(SystemError) {
        #if canImport(Darwin)
            try SystemError.checkErrno(unsafe Darwin.rename(from, to), "rename", from)
        #elseif canImport(Musl)
            try SystemError.checkErrno(unsafe Musl.rename(from, to), "rename", from)
        #else
            try SystemError.checkErrno(unsafe Glibc.rename(from, to), "rename", from)
        #endif
    }

    package static func remove(_ path: String) throws(SystemError) {
        try SystemError.checkErrno(unsafe unlink(path), "unlink", path)
    }

    package static func removeDirectory(_ path: String) throws(SystemError) {
        try SystemError.checkErrno(unsafe rmdir(path), "rmdir", path)
    }

    package static func makeDirectory(_ path: String, mode: UInt16 = 0o755) throws(SystemError) {
        try SystemError.checkErrno(unsafe mkdir(path, mode_t(mode)), "mkdir", path)
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

    /// The names in a directory, `.` and `..` left out, in no order.
    package static func entries(_ path: String) throws(SystemError) -> [String] {
        guard let stream = unsafe opendir(path) else { throw SystemError(code: Errno.last, "opendir", path) }
        defer { unsafe closedir(stream) }
        return unsafe names(stream)
    }

    #if canImport(Darwin)
        typealias Stream = UnsafeMutablePointer<DIR>
    #else
        typealias Stream = OpaquePointer
    #endif

    static func names(_ stream: Stream) -> [String] {
        var names: [String] = []
        while let entry = unsafe readdir(stream) {
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names
    }

    package static func setMode(_ path: String, _ mode: UInt16) throws(SystemError) {
        try SystemError.checkErrno(unsafe chmod(path, mode_t(mode)), "chmod", path)
    }

    /// Changes owner and group; nil leaves one alone. A symbolic link itself is changed, not what it names.
    package static func setOwner(_ path: String, user: UInt32?, group: UInt32?) throws(SystemError) {
        try SystemError.checkErrno(unsafe lchown(path, user ?? .max, group ?? .max), "chown", path)
    }

    /// The absolute path without symbolic links.
    package static func realPath(_ path: String) throws(SystemError) -> String {
        guard let resolved = unsafe realpath(path, nil) else { throw SystemError(code: Errno.last, "resolve", path) }
        defer { unsafe free(resolved) }
        return unsafe String(cString: resolved)
    }

    /// What a symbolic link holds; nil if it is none.
    package static func linkTarget(_ path: String) -> String? {
        var buffer = [CChar](repeating: 0, count: 4096)
        let length = unsafe readlink(path, &buffer, buffer.count)
        guard length >= 0 else { return nil }
        return String(decoding: buffer.prefix(length).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    package static func parent(_ path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    /// Makes the root the current directory, so that no other is kept from being unmounted.
    package static func enterRoot() throws(SystemError) { try SystemError.checkErrno(unsafe chdir("/"), "chdir", "/") }

    /// `path` as it is from any directory.
    package static func absolute(_ path: String) -> String {
        path.hasPrefix("/") ? path : currentDirectory() + "/" + path
    }

    /// The current directory.
    package static func currentDirectory() -> String {
        guard let path = unsafe getcwd(nil, 0) else { return "/" }
        defer { unsafe free(path) }
        return unsafe String(cString: path)
    }
}

extension Descriptor {
    /// What `fstat` says of the open file.
    package func status() throws(SystemError) -> FileStatus {
        var raw = stat()
        try SystemError.checkErrno(unsafe fstat(self.raw, &raw), "stat")
        return FileStatus(raw)
    }

    /// Waits until what was written is on the disk.
    package func synchronize() throws(SystemError) { try SystemError.checkErrno(fsync(raw), "fsync") }

    /// Goes back to the start of the file.
    package func rewind() throws(SystemError) { try SystemError.checkErrno(lseek(raw, 0, SEEK_SET), "seek") }

    package func truncate(to length: Int) throws(SystemError) {
        try SystemError.checkErrno(ftruncate(raw, off_t(length)), "truncate")
    }

    /// Takes the file's exclusive lock, which ends with the open file; false if another open file has it.
    package func tryLock() throws(SystemError) -> Bool {
        if flock(raw, LOCK_EX | LOCK_NB) == 0 { return true }
        if Errno.last == EWOULDBLOCK { return false }
        throw SystemError(code: Errno.last, "lock")
    }

    /// Waits for the file's exclusive lock, until `deadline` (nanoseconds of the clock); false if another open file has
    /// it for longer.
    package func lock(until deadline: UInt64) throws(SystemError) -> Bool {
        while try !tryLock() {
            guard MonotonicClock.now < deadline else { return false }
            // There is nothing that tells when it is free.
            usleep(2000)
        }
        return true
    }

    /// Waits for the file's exclusive lock.
    package func lock() throws(SystemError) {
        while flock(raw, LOCK_EX) != 0 {
            if Errno.last != EINTR { throw SystemError(code: Errno.last, "lock") }
        }
    }

    package func setMode(_ mode: UInt16) throws(SystemError) {
        try SystemError.checkErrno(fchmod(raw, mode_t(mode)), "chmod")
    }

    package func setOwner(user: UInt32?, group: UInt32?) throws(SystemError) {
        try SystemError.checkErrno(fchown(raw, user ?? .max, group ?? .max), "chown")
    }
}
