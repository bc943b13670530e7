// SPDX-License-Identifier: Apache-2.0

/// A file for data that other users must not read, such as guests' frames. Its name may lie in a directory in which
/// other users make entries.
package enum PrivateOutput {
    /// Links of a path that are followed, one after the other.
    private static let maximumLinks = 8

    /// Creates or empties a file, and lets only its owner read it. If the process was started through sudo, the file is
    /// opened with the rights of the user that called sudo. Does not wait for the reader of a FIFO.
    /// - Throws: if it exists and belongs to another user, or if a link of another user leads to it.
    package static func open(_ path: String) throws(SystemError) -> Descriptor {
        if let caller = CurrentProcess.sudoCaller, caller.user != 0 {
            return try finish(try Files.openForWriting(path, as: caller), path, owner: caller.user)
        }
        return try open(path, links: maximumLinks)
    }

    /// Entries of these directories are root's, and some are links to the descriptors of the process.
    static func isDevice(_ path: String) -> Bool { ["/dev", "/dev/fd"].contains(Files.parent(Files.absolute(path))) }

    private static func open(_ path: String, links: Int) throws(SystemError) -> Descriptor {
        let own = CurrentProcess.effectiveUser
        if isDevice(path) { return try Files.open(path, [.writeOnly, .nonBlocking]) }
        let name = try Directory.name(of: path)
        let directory = try Directory.open(above: path, .trustedLinks)
        do throws(SystemError) {
            return try directory.open(name, [.writeOnly, .create, .exclusive, .nonBlocking])
        } catch {
            guard error.code == Errno.exists else { throw error }
        }
        let status = try directory.status(of: name)
        guard status.owner == own || status.owner == 0 else { throw refusal(status, path) }
        if status.kind == .link {
            let whole = directory.path(of: name)
            guard links > 0, let target = Files.linkTarget(whole) else {
                throw SystemError(code: Errno.invalid, "follow the link", path)
            }
            return try open(target.hasPrefix("/") ? target : directory.path(of: target), links: links - 1)
        }
        return try finish(try directory.open(name, [.writeOnly, .noFollow, .nonBlocking]), path, owner: own)
    }

    /// Empties an existing file, and closes it to other users.
    private static func finish(
        _ file: consuming Descriptor, _ path: String, owner: UInt32
    ) throws(SystemError) -> Descriptor {
        let status = try file.status()
        guard status.kind == .regular else { return file }
        guard status.owner == owner else { throw refusal(status, path) }
        if status.mode & 0o077 != 0 { try file.setMode(0o600) }
        try file.truncate(to: 0)
        return file
    }

    private static func refusal(_ status: FileStatus, _ path: String) -> SystemError {
        SystemError(
            code: Errno.notPermitted, "write, because it belongs to \(UserDatabase.userName(status.owner)),", path)
    }
}
