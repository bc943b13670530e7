// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform

extension Directory {
    private func check<Value: SignedInteger>(
        _ value: Value, _ operation: String, _ name: String
    ) throws(SystemError) -> Value {
        try SystemError.check(value, operation, path(of: name))
    }

    private func checkErrno<Value: SignedInteger>(
        _ value: Value, _ operation: String, _ name: String
    ) throws(SystemError) {
        try SystemError.checkErrno(value, operation, path(of: name))
    }

    /// The status of the directory (fstat(2)).
    package func status() throws(SystemError) -> FileStatus {
        var raw = stat()
        try SystemError.checkErrno(unsafe fstat(handle.raw, &raw), "stat", path)
        return FileStatus(raw)
    }

    /// The status of an entry; a link is not followed (fstatat(2)).
    package func status(of name: String) throws(SystemError) -> FileStatus {
        var raw = stat()
        try checkErrno(unsafe fstatat(handle.raw, name, &raw, AT_SYMLINK_NOFOLLOW), "stat", name)
        return FileStatus(raw)
    }

    /// Opens a file in it (openat(2)). The caller owns the descriptor.
    package func open(_ name: String, _ flags: Files.OpenFlags, mode: UInt16 = 0o600) throws(SystemError) -> Descriptor
    {
        Descriptor(
            adopting: try check(
                unsafe platform_directory_open(handle.raw, name, flags.rawValue, UInt32(mode)), "open", name) as Int32)
    }

    /// Opens the directory itself for reading, which its lock, owner, mode and entries need.
    package func reopen() throws(SystemError) -> Descriptor {
        let raw = unsafe platform_directory_open(handle.raw, ".", Files.OpenFlags([.readOnly, .directory]).rawValue, 0)
        return Descriptor(adopting: try SystemError.check(raw, "open", path))
    }

    /// Opens a subdirectory, which must not be a link.
    package func enter(_ name: String) throws(SystemError) -> Directory {
        let entry = Descriptor(
            adopting: try check(unsafe platform_directory_enter(handle.raw, name), "open", name) as Int32)
        guard try entry.status().kind == .directory else { throw SystemError(code: ENOTDIR, "open", path(of: name)) }
        return Directory(entry, path: path(of: name), isFixed: isFixed && isStable)
    }

    /// Makes a subdirectory (mkdirat(2)).
    package func makeDirectory(_ name: String, mode: UInt16) throws(SystemError) {
        try checkErrno(unsafe mkdirat(handle.raw, name, mode_t(mode)), "mkdir", name)
    }

    /// Removes a file in it (unlinkat(2)).
    package func remove(_ name: String) throws(SystemError) {
        try checkErrno(unsafe unlinkat(handle.raw, name, 0), "unlink", name)
    }

    /// Removes an empty subdirectory (unlinkat(2)).
    package func removeDirectory(_ name: String) throws(SystemError) {
        try checkErrno(unsafe unlinkat(handle.raw, name, AT_REMOVEDIR), "rmdir", name)
    }

    /// Renames an entry, replacing another one (renameat(2)).
    package func rename(_ name: String, to new: String) throws(SystemError) {
        try checkErrno(unsafe renameat(handle.raw, name, handle.raw, new), "rename", name)
    }

    /// Moves an entry to a name that must not exist yet (`Errno.exists`), there or in another directory.
    func renameExclusively(_ name: String, to destination: borrowing Directory, _ new: String) throws(SystemError) {
        let result = unsafe platform_directory_rename_new(handle.raw, name, destination.handle.raw, new)
        try SystemError.check(result, "rename", destination.path(of: new))
    }

    /// The names in it, `.` and `..` left out, in no order.
    package func entries() throws(SystemError) -> [String] {
        guard let stream = unsafe fdopendir(try reopen().release()) else {
            throw SystemError(code: Errno.last, "opendir", path)
        }
        defer { unsafe closedir(stream) }
        return unsafe Files.names(stream)
    }

    /// Binds a unix socket at a name in it.
    func bind(_ socket: borrowing Descriptor, at name: String) throws(SystemError) {
        _ = try check(unsafe platform_directory_bind(handle.raw, name, socket.raw), "bind", name) as Int32
    }

    /// Gives a socket the first mode and owner of `access` that this process has the right to give.
    func give(_ name: String, _ access: [SocketAccess]) throws(SystemError) {
        var failure: Int32 = 0
        for one in access {
            failure = unsafe platform_directory_give_socket(
                handle.raw, name, UInt32(one.mode), one.user ?? .max, one.group ?? .max)
            if failure == 0 { return }
        }
        try SystemError.check(failure, "change the owner or mode of", path(of: name))
    }

    /// A handle of a directory or link in it, which is not followed; a negative errno if there is none.
    func openHandle(_ name: String) -> Int32 { unsafe platform_directory_enter(handle.raw, name) }
}

extension Descriptor {
    /// The path that the symbolic link behind this handle holds.
    func linkText(_ path: String) throws(SystemError) -> String {
        var buffer = [CChar](repeating: 0, count: 4096)
        let length = try SystemError.check(
            unsafe platform_link_text(raw, &buffer, buffer.count), "read the link", path)
        return String(decoding: buffer.prefix(Int(length)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
