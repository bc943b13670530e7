// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform

extension Files {
    /// Opens a file, close-on-exec. The caller owns the descriptor.
    package static func open(_ path: String, _ flags: OpenFlags, mode: UInt16 = 0o644) throws(SystemError) -> Descriptor
    {
        let result = unsafe platform_open(path, flags.rawValue | O_CLOEXEC, UInt32(mode))
        return Descriptor(adopting: try SystemError.checkErrno(result, "open", path))
    }

    /// The status of a file (stat(2), lstat(2)).
    /// - Parameter followLinks: whether the status is that of a symbolic link's target.
    package static func status(_ path: String, followLinks: Bool = true) throws(SystemError) -> FileStatus {
        var raw = stat()
        try SystemError.checkErrno(unsafe followLinks ? stat(path, &raw) : lstat(path, &raw), "stat", path)
        return FileStatus(raw)
    }

    /// Whether the path exists.
    package static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

    /// Whether this process's real user may write to it (access(2)).
    package static func isWritable(_ path: String) -> Bool { unsafe access(path, W_OK) == 0 }

    /// Whether this process's real user may execute it (access(2)).
    package static func isExecutable(_ path: String) -> Bool { unsafe access(path, X_OK) == 0 }

    /// Removes a file (unlink(2)).
    package static func remove(_ path: String) throws(SystemError) {
        try SystemError.checkErrno(unsafe unlink(path), "unlink", path)
    }

    /// Removes an empty directory (rmdir(2)).
    package static func removeDirectory(_ path: String) throws(SystemError) {
        try SystemError.checkErrno(unsafe rmdir(path), "rmdir", path)
    }

    /// Makes a directory (mkdir(2)).
    package static func makeDirectory(_ path: String, mode: UInt16 = 0o755) throws(SystemError) {
        try SystemError.checkErrno(unsafe mkdir(path, mode_t(mode)), "mkdir", path)
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

    /// Changes the permission bits (chmod(2)).
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

    /// The target of a symbolic link; nil if the path is not one.
    package static func linkTarget(_ path: String) -> String? {
        var buffer = [CChar](repeating: 0, count: 4096)
        let length = unsafe readlink(path, &buffer, buffer.count)
        guard length >= 0 else { return nil }
        return String(decoding: buffer.prefix(length).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Changes the current directory to `/`, so that the process does not keep a file system from being unmounted.
    package static func enterRoot() throws(SystemError) { try SystemError.checkErrno(unsafe chdir("/"), "chdir", "/") }

    /// The current directory.
    package static func currentDirectory() -> String {
        guard let path = unsafe getcwd(nil, 0) else { return "/" }
        defer { unsafe free(path) }
        return unsafe String(cString: path)
    }

    /// Opens a file for reading, with the rights of the user that called sudo if the process was started through it:
    /// the program must not disclose files that this user cannot read. Does not block on a FIFO.
    package static func openForCaller(_ path: String) throws(SystemError) -> Descriptor {
        guard let caller = CurrentProcess.sudoCaller, caller.user != 0 else {
            return try open(path, [.readOnly, .nonBlocking])
        }
        let groups = UserDatabase.groups(of: caller.user, caller.group)
        return Descriptor(
            adopting: try SystemError.check(
                unsafe platform_open_as(
                    path, O_RDONLY | O_NONBLOCK, 0, caller.user, caller.group, groups, Int32(groups.count)),
                "open", path))
    }

    /// Opens a file for writing, and creates it, with the rights of the user that called sudo: only the kernel has
    /// which files that user may write.
    static func openForWriting(
        _ path: String, as caller: (user: UInt32, group: UInt32)
    ) throws(SystemError) -> Descriptor {
        // In /dev, links lead to the descriptors of the process.
        let flags: OpenFlags = [.writeOnly, .create, .nonBlocking, PrivateOutput.isDevice(path) ? [] : .noFollow]
        let groups = UserDatabase.groups(of: caller.user, caller.group)
        return Descriptor(
            adopting: try SystemError.check(
                unsafe platform_open_as(
                    path, flags.rawValue, 0o600, caller.user, caller.group, groups, Int32(groups.count)),
                "open", path))
    }
}

extension Descriptor {
    /// The open file's metadata, by `fstat`.
    package func status() throws(SystemError) -> FileStatus {
        var raw = stat()
        try SystemError.checkErrno(unsafe fstat(self.raw, &raw), "stat")
        return FileStatus(raw)
    }
}
