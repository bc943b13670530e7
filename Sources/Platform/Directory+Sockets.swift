// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform

extension Directory {
    /// The mode and owner of a socket, which decide who may connect to it.
    package struct SocketAccess: Sendable {
        /// Permission bits; to connect takes the right to write (unix(7)).
        package var mode: UInt16
        /// nil: the process's own.
        package var user: UInt32?
        /// nil: the process's own.
        package var group: UInt32?

        package init(mode: UInt16, user: UInt32? = nil, group: UInt32? = nil) {
            self.mode = mode
            self.user = user
            self.group = group
        }
    }

    /// Prefix of the names of staging directories. One remains if the process is killed while it is in use.
    package static let stagePrefix = ".vde_vmnet-stage-"

    /// Whether no other user can replace what this process makes in the directory.
    package var isStable: Bool {
        guard platform_directory_can_be_shared_unseen() == 0, let status = try? status(),
            status.owner == 0 || status.owner == geteuid()
        else { return false }
        // In a sticky directory only an entry's owner and the directory's owner can replace it.
        return status.mode & 0o022 == 0 || status.mode & 0o1000 != 0
    }

    /// Whether root must make things in a staging directory first, so that it cannot be tricked into giving away
    /// another file.
    private var needsStage: Bool { geteuid() == 0 && !isStable }

    /// Calls `body` with a staging directory: a new one that is closed to all other users.
    private func withStage(_ body: (borrowing Directory) throws(SystemError) -> Void) throws(SystemError) {
        let name = Directory.stagePrefix + "\(getpid())-\(Random.value() as UInt32)"
        try makeDirectory(name, mode: 0o700)
        defer { try? removeDirectory(name) }
        let stage = try enter(name)
        try SystemError.check(platform_directory_clear_inherited(try stage.reopen().raw), "clear access of", stage.path)
        // Another user may have replaced the new directory. The right one is empty, and closed to other users.
        guard let status = try? stage.status(), status.owner == geteuid(), status.mode & 0o077 == 0,
            try stage.entries().isEmpty
        else {
            throw SystemError(code: EPERM, "use", stage.path)
        }
        try body(stage)
    }

    /// Removes the staging directory of a process that was killed.
    package func removeStage(_ name: String) {
        if let stage = try? enter(name), let status = try? stage.status(), status.owner == geteuid() {
            try? stage.remove("s")
            try? stage.removeDirectory("d")
        }
        try? removeDirectory(name)
    }

    /// Binds a socket at a name that must not exist (`Errno.addressInUse`), sets its mode and owner, and listens on a
    /// stream socket. Until all of that is done, other users cannot connect. A failure leaves nothing behind.
    /// - Parameters:
    ///   - backlog: the number of connections that may wait; nil for a datagram socket.
    ///   - bindsPath: bind by the full path, if it is certain to lead here, so that getsockname(2) returns the path.
    package func bind(
        _ socket: borrowing Descriptor, at name: String, _ access: SocketAccess, backlog: Int32? = nil,
        bindsPath: Bool = false
    ) throws(SystemError) {
        try bind(socket, at: name, [access], backlog: backlog, bindsPath: bindsPath)
    }

    /// The same with several modes and owners: the first that this process has the right to set is used.
    package func bind(
        _ socket: borrowing Descriptor, at name: String, _ access: [SocketAccess], backlog: Int32? = nil,
        bindsPath: Bool = false
    ) throws(SystemError) {
        if (try? status(of: name)) != nil { throw SystemError(code: EADDRINUSE, "bind", path(of: name)) }
        guard needsStage else {
            return try bind(directly: socket, name, access, backlog, bindsPath: bindsPath && isFixed)
        }
        do throws(SystemError) {
            try withStage { stage throws(SystemError) in
                try stage.bind(directly: socket, "s", access, backlog, bindsPath: false)
                do throws(SystemError) {
                    try stage.renameExclusively("s", to: self, name)
                } catch {
                    try? stage.remove("s")
                    throw error
                }
            }
        } catch {
            throw SystemError(code: error.code == EEXIST ? EADDRINUSE : error.code, error.operation, path(of: name))
        }
    }

    private func bind(
        directly socket: borrowing Descriptor, _ name: String, _ access: [SocketAccess], _ backlog: Int32?,
        bindsPath: Bool
    ) throws(SystemError) {
        try Descriptor.withPrivateBinding(of: socket) { () throws(SystemError) in
            if bindsPath { return try socket.bind(to: UnixPath(path(of: name))) }
            try bind(socket, at: name)
        }
        do throws(SystemError) {
            try give(name, access)
            if let backlog { try socket.listen(backlog: backlog) }
        } catch {
            try? remove(name)
            throw error
        }
    }

    /// Makes a directory that only this process can use until it changes the mode and owner.
    /// - Throws: `Errno.exists` if the name is taken.
    package func makePrivateDirectory(_ name: String) throws(SystemError) -> Directory {
        guard needsStage else {
            try makeDirectory(name, mode: 0o700)
            return try enter(name)
        }
        var made: Descriptor?
        try withStage { stage throws(SystemError) in
            try stage.makeDirectory("d", mode: 0o700)
            let directory = try stage.enter("d")
            do throws(SystemError) {
                try stage.renameExclusively("d", to: self, name)
            } catch {
                try? stage.removeDirectory("d")
                throw error
            }
            made = try directory.handle.duplicate()
        }
        return Directory(made!, path: path(of: name), isFixed: false)
    }

    /// Connects to a socket in it. On Linux symbolic links in the directory's path are not followed again.
    package func connect(_ socket: borrowing Descriptor, to name: String) throws(SystemError) {
        let opened = "/proc/self/fd/\(handle.raw)"
        try socket.connect(to: UnixPath(Files.exists(opened) ? opened + "/" + name : path(of: name)))
    }
}
