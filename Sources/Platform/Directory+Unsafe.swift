// SPDX-License-Identifier: Apache-2.0
import CPlatform

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// A directory as it was opened. Everything in it is named by the descriptor and one name, so that it does not matter
/// where its path leads a moment later, and no link in it is followed. Each function is named after the C function it
/// makes.
package struct Directory: ~Copyable, Sendable {
    /// With which entries can be named, and nothing else (`O_PATH`, `O_SEARCH`).
    let handle: Descriptor
    /// The absolute path without symbolic links, as it was when the directory was opened.
    package let path: String
    /// No other user can make `path` lead elsewhere: every directory above belongs to root or to us and is closed to
    /// others, or sticky.
    package let isFixed: Bool

    init(_ handle: consuming Descriptor, path: String, isFixed: Bool) {
        self.handle = handle
        self.path = path
        self.isFixed = isFixed
    }

    /// The path of an entry, for messages and for programs that look for it.
    package func path(of name: String) -> String { path == "/" ? "/" + name : path + "/" + name }

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

    /// What `fstat` says of the directory.
    package func status() throws(SystemError) -> FileStatus {
        var raw = stat()
        try SystemError.checkErrno(unsafe fstat(handle.raw, &raw), "stat", path)
        return FileStatus(raw)
    }

    /// What `lstat` says of an entry.
    package func status(of name: String) throws(SystemError) -> FileStatus {
        var raw = stat()
        try checkErrno(unsafe fstatat(handle.raw, name, &raw, AT_SYMLINK_NOFOLLOW), "stat", name)
        return FileStatus(raw)
    }

    /// True if the entry is the file or directory of this status, and not another that has taken its place.
    package func has(_ name: String, _ known: FileStatus) -> Bool {
        guard let there = try? status(of: name) else { return false }
        return there.inode == known.inode && there.device == known.device
    }

    /// Opens a file in it.
    package func open(_ name: String, _ flags: Files.OpenFlags, mode: UInt16 = 0o600) throws(SystemError) -> Descriptor
    {
        Descriptor(
            adopting: try check(
                unsafe platform_directory_open(handle.raw, name, flags.rawValue, UInt32(mode)), "open", name) as Int32)
    }

    /// The directory itself, open for reading: for its lock, its owner and mode, and its entries.
    package func reopen() throws(SystemError) -> Descriptor {
        let raw = unsafe platform_directory_open(handle.raw, ".", Files.OpenFlags([.readOnly, .directory]).rawValue, 0)
        return Descriptor(adopting: try SystemError.check(raw, "open", path))
    }

    /// Another value for the same directory.
    package func again() throws(SystemError) -> Directory {
        Directory(try handle.duplicate(), path: path, isFixed: isFixed)
    }

    /// A directory in it that is no link.
    package func enter(_ name: String) throws(SystemError) -> Directory {
        let entry = Descriptor(
            adopting: try check(unsafe platform_directory_enter(handle.raw, name), "open", name) as Int32)
        guard try entry.status().kind == .directory else { throw SystemError(code: ENOTDIR, "open", path(of: name)) }
        return Directory(entry, path: path(of: name), isFixed: isFixed && isStable)
    }

    package func makeDirectory(_ name: String, mode: UInt16) throws(SystemError) {
        try checkErrno(unsafe mkdirat(handle.raw, name, mode_t(mode)), "mkdir", name)
    }

    package func remove(_ name: String) throws(SystemError) {
        try checkErrno(unsafe unlinkat(handle.raw, name, 0), "unlink", name)
    }

    /// Removes an entry that was looked at before, unless another has taken its place meanwhile.
    package func remove(_ name: String, ifStill known: FileStatus) throws(SystemError) {
        // Only what has been moved aside is certain to be what is removed.
        guard has(name, known) else { return }
        let aside = ".\(name).\(getpid())-\(Random.value() as UInt32)"
        do throws(SystemError) {
            try renameNew(name, to: aside)
        } catch {
            if error.code == ENOENT { return }
            throw error
        }
        guard has(aside, known) else {
            try? renameNew(aside, to: name)
            return
        }
        try remove(aside)
    }

    package func removeDirectory(_ name: String) throws(SystemError) {
        try checkErrno(unsafe unlinkat(handle.raw, name, AT_REMOVEDIR), "rmdir", name)
    }

    package func rename(_ name: String, to new: String) throws(SystemError) {
        try checkErrno(unsafe renameat(handle.raw, name, handle.raw, new), "rename", name)
    }

    /// Moves an entry to a name that must not exist yet (`Errno.exists`), there or in another directory.
    func renameNew(_ name: String, to destination: borrowing Directory, _ new: String) throws(SystemError) {
        let result = unsafe platform_directory_rename_new(handle.raw, name, destination.handle.raw, new)
        try SystemError.check(result, "rename", destination.path(of: new))
    }

    /// Moves an entry to a name that must not exist yet.
    package func renameNew(_ name: String, to new: String) throws(SystemError) { try renameNew(name, to: self, new) }

    /// The names in it, `.` and `..` left out, in no order.
    package func entries() throws(SystemError) -> [String] {
        guard let stream = unsafe fdopendir(try reopen().release()) else {
            throw SystemError(code: Errno.last, "opendir", path)
        }
        defer { unsafe closedir(stream) }
        return unsafe Files.names(stream)
    }

    /// Makes what was made, renamed or removed in it survive a power cut.
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

// MARK: What is made by this process

extension Directory {
    /// Who may use a socket.
    package struct SocketAccess: Sendable {
        package var mode: UInt16
        /// nil: who makes it.
        package var user: UInt32?
        package var group: UInt32?

        package init(mode: UInt16, user: UInt32? = nil, group: UInt32? = nil) {
            self.mode = mode
            self.user = user
            self.group = group
        }
    }

    /// How directories begin that are there while something is made, and after a crash in that moment.
    package static let stagePrefix = ".vde_vmnet-stage-"

    /// No other user can put something else in the place of what we make here.
    package var isStable: Bool {
        guard platform_directory_can_be_shared_unseen() == 0, let status = try? status(),
            status.owner == 0 || status.owner == geteuid()
        else { return false }
        // In a sticky directory, entries are their owner's and the directory's.
        return status.mode & 0o022 == 0 || status.mode & 0o1000 != 0
    }

    /// Whether what root makes here must be made aside, so that nothing but that can be given away.
    private var needsStage: Bool { geteuid() == 0 && !isStable }

    /// Calls `body` with a new directory that is closed to all others.
    private func withStage(_ body: (borrowing Directory) throws(SystemError) -> Void) throws(SystemError) {
        let name = Directory.stagePrefix + "\(getpid())-\(Random.value() as UInt32)"
        try makeDirectory(name, mode: 0o700)
        defer { try? removeDirectory(name) }
        let stage = try enter(name)
        try SystemError.check(platform_directory_clear_inherited(try stage.reopen().raw), "clear access of", stage.path)
        // Another user's directory may have taken its place; ours is empty, and no other user can make anything in it.
        guard let status = try? stage.status(), status.owner == geteuid(), status.mode & 0o077 == 0,
            try stage.entries().isEmpty
        else {
            throw SystemError(code: EPERM, "use", stage.path)
        }
        try body(stage)
    }

    /// Removes what a process that was killed has left of making something here.
    package func removeStage(_ name: String) {
        if let stage = try? enter(name), let status = try? stage.status(), status.owner == geteuid() {
            try? stage.remove("s")
            try? stage.removeDirectory("d")
        }
        try? removeDirectory(name)
    }

    /// Binds a socket at a name that must not be taken (`Errno.addressInUse`), gives it its mode and owner, and for a
    /// stream listens. It is there for others only when all of that is done, or closed to them until then. Nothing is
    /// left behind by a failure.
    /// - Parameters:
    ///   - access: of several, the first that this process has the right to give.
    ///   - backlog: connections that may wait; nil for a datagram socket.
    ///   - bindsPath: bind by the path where that leads here for certain, so that programs find the socket's own name
    ///     to be its path.
    package func place(
        _ socket: borrowing Descriptor, at name: String, _ access: SocketAccess, backlog: Int32? = nil,
        bindsPath: Bool = false
    ) throws(SystemError) {
        try place(socket, at: name, [access], backlog: backlog, bindsPath: bindsPath)
    }

    package func place(
        _ socket: borrowing Descriptor, at name: String, _ access: [SocketAccess], backlog: Int32? = nil,
        bindsPath: Bool = false
    ) throws(SystemError) {
        if (try? status(of: name)) != nil { throw SystemError(code: EADDRINUSE, "bind", path(of: name)) }
        guard needsStage else {
            return try place(directly: socket, name, access, backlog, bindsPath: bindsPath && isFixed)
        }
        do throws(SystemError) {
            try withStage { stage throws(SystemError) in
                try stage.place(directly: socket, "s", access, backlog, bindsPath: false)
                do throws(SystemError) {
                    try stage.renameNew("s", to: self, name)
                } catch {
                    try? stage.remove("s")
                    throw error
                }
            }
        } catch {
            throw SystemError(code: error.code == EEXIST ? EADDRINUSE : error.code, error.operation, path(of: name))
        }
    }

    private func place(
        directly socket: borrowing Descriptor, _ name: String, _ access: [SocketAccess], _ backlog: Int32?,
        bindsPath: Bool
    ) throws(SystemError) {
        try Descriptor.withPrivateBinding(of: socket) { () throws(SystemError) in
            if bindsPath { return try socket.bind(to: UnixPath(path(of: name))) }
            _ = try check(unsafe platform_directory_bind(handle.raw, name, socket.raw), "bind", name) as Int32
        }
        do throws(SystemError) {
            try give(name, access)
            if let backlog { try socket.listen(backlog: backlog) }
        } catch {
            try? remove(name)
            throw error
        }
    }

    private func give(_ name: String, _ access: [SocketAccess]) throws(SystemError) {
        var failure: Int32 = 0
        for one in access {
            failure = unsafe platform_directory_give_socket(
                handle.raw, name, UInt32(one.mode), one.user ?? .max, one.group ?? .max)
            if failure == 0 { return }
        }
        try SystemError.check(failure, "change the owner or mode of", path(of: name))
    }

    /// Makes a directory for this process alone, whose mode and owner it may then change.
    /// - Throws: `Errno.exists` if the name is taken.
    package func makeOwn(_ name: String) throws(SystemError) -> Directory {
        guard needsStage else {
            try makeDirectory(name, mode: 0o700)
            return try enter(name)
        }
        var made: Descriptor?
        try withStage { stage throws(SystemError) in
            try stage.makeDirectory("d", mode: 0o700)
            let directory = try stage.enter("d")
            do throws(SystemError) {
                try stage.renameNew("d", to: self, name)
            } catch {
                try? stage.removeDirectory("d")
                throw error
            }
            made = try directory.handle.duplicate()
        }
        return Directory(made!, path: path(of: name), isFixed: false)
    }

    /// Connects to a socket in it. Links are not looked through, where the system lets us name what is open.
    package func connect(_ socket: borrowing Descriptor, to name: String) throws(SystemError) {
        let opened = "/proc/self/fd/\(handle.raw)"
        try socket.connect(to: UnixPath(Files.exists(opened) ? opened + "/" + name : path(of: name)))
    }
}
