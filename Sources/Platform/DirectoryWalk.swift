// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform

extension Directory {
    /// Which symbolic links and directories a path may contain.
    package enum Trust: Sendable {
        /// Follows each link: for directories that are only read or joined.
        case anyLink
        /// Follows links of root and of this process's user; a link of another user only to what that user owns, so
        /// that no user can make a process with more rights use another user's directory.
        case trustedLinks
        /// Requires that each directory belongs to root or to this process's user, and that no other user can replace
        /// the next one.
        case trustedPath
    }

    /// Opens a directory, one path component after the other.
    /// - Parameter making: the mode with which missing directories are made; nil: they must exist.
    /// - Throws: "operation not permitted" naming the part of the path that is not trusted.
    package static func open(
        _ path: String, _ trust: Trust, making mode: UInt16? = nil
    ) throws(SystemError) -> Directory {
        var walk = DirectoryWalk(trust: trust, mode: mode)
        return try walk.open(Files.absolute(path))
    }

    /// Opens the directory that contains, or will contain, the entry at this path.
    package static func open(
        above path: String, _ trust: Trust, making mode: UInt16? = nil
    ) throws(SystemError) -> Directory {
        var whole = Substring(Files.absolute(path))
        while whole.last == "/" { whole.removeLast() }
        return try open(Files.parent(String(whole)), trust, making: mode)
    }

    /// The last component of a path.
    /// - Throws: if it is `.`, `..` or empty.
    package static func name(of path: String) throws(SystemError) -> String {
        let name = path.split(separator: "/").last.map(String.init) ?? ""
        guard !name.isEmpty, name != ".", name != ".." else { throw SystemError(code: EISDIR, "use", path) }
        return name
    }

    /// Why users other than root, this process's user and the user who called sudo could have written a file, or put it
    /// there; nil if none could.
    /// - Parameters:
    ///   - path: where it was opened.
    ///   - file: the open file, which is not replaced in the meantime.
    package static func untrustedPart(of path: String, _ file: borrowing Descriptor) throws(SystemError) -> String? {
        let status = try file.status(), caller = CurrentProcess.sudoCaller?.user
        if !DirectoryWalk.isTrusted(status), status.owner != caller {
            return "\(path) belongs to \(UserDatabase.userName(status.owner))"
        }
        if DirectoryWalk.isOpenToOthers(status) { return "\(path) is writable for other users" }
        // A file of the caller lies in directories of the caller.
        if let caller, caller != 0 { return nil }
        for place in [path, try Files.realPath(path)] {
            do throws(SystemError) {
                let directory = try open(above: place, .trustedPath)
                let status = try directory.status()
                let isSafe = !DirectoryWalk.isOpenToOthers(status) || status.mode & 0o1000 != 0
                guard DirectoryWalk.isTrusted(status), isSafe else {
                    throw SystemError(code: EPERM, "trust", directory.path)
                }
            } catch {
                guard error.code == EPERM else { throw error }
                return "\(error.subject) belongs to another user, or is writable for one"
            }
        }
        return nil
    }

    /// Fails unless the directory belongs to this process's user and no other user can write to it.
    package func requirePrivate() throws(SystemError) {
        let status = try status()
        guard status.owner == geteuid(), !DirectoryWalk.isOpenToOthers(status) else {
            throw SystemError(code: EPERM, "use", path)
        }
    }
}

/// Opens the components of a path, each one in the directory before it.
private struct DirectoryWalk {
    /// The number of links that the system follows (path_resolution(7)).
    private static let maximumLinks = 40

    let trust: Directory.Trust
    let mode: UInt16?
    private var links = 0

    init(trust: Directory.Trust, mode: UInt16?) {
        self.trust = trust
        self.mode = mode
    }

    mutating func open(_ path: String) throws(SystemError) -> Directory {
        let root = Directory(try Descriptor(checking: platform_directory_root(), "open", "/"), path: "/", isFixed: true)
        return try descend(root, path)
    }

    /// From `directory` along `path`, which is relative to it.
    private mutating func descend(_ directory: consuming Directory, _ path: String) throws(SystemError) -> Directory {
        var here = directory
        for name in path.split(separator: "/") where name != "." { here = try step(here, String(name)) }
        return here
    }

    private mutating func step(_ here: consuming Directory, _ name: String) throws(SystemError) -> Directory {
        let above = try here.status()
        let isClosed =
            DirectoryWalk.isTrusted(above) && (!DirectoryWalk.isOpenToOthers(above) || above.mode & 0o1000 != 0)
        if trust == .trustedPath && !isClosed { throw refusal(here.path) }
        if name == ".." {
            let parent = Descriptor(adopting: try SystemError.check(here.openHandle(".."), "open", here.path + "/.."))
            return Directory(parent, path: Files.parent(here.path), isFixed: here.isFixed)
        }
        let entry = try enter(here, name)
        let status = try entry.status()
        // In a sticky directory any user may make entries: this one must be root's or this process's user's.
        let isSafe = isClosed && (!DirectoryWalk.isOpenToOthers(above) || DirectoryWalk.isMadeByTrusted(status, above))
        if trust == .trustedPath && !isSafe { throw refusal(here.path(of: name)) }
        switch status.kind {
        case .directory: return Directory(entry, path: here.path(of: name), isFixed: here.isFixed && isSafe)
        case .link: return try follow(entry, status, from: here, name, isSafe: isSafe)
        default: throw SystemError(code: ENOTDIR, "open", here.path(of: name))
        }
    }

    /// Opens an entry; makes a directory if it is missing and `mode` is given.
    private func enter(_ here: borrowing Directory, _ name: String) throws(SystemError) -> Descriptor {
        var result = here.openHandle(name)
        if result == -ENOENT, let mode {
            do throws(SystemError) {
                try here.makeDirectory(name, mode: mode)
            } catch {
                // Another process may have made it at the same time.
                guard error.code == EEXIST else { throw error }
            }
            result = here.openHandle(name)
        }
        return Descriptor(adopting: try SystemError.check(result, "open", here.path(of: name)))
    }

    private mutating func follow(
        _ link: borrowing Descriptor, _ status: FileStatus, from here: consuming Directory, _ name: String, isSafe: Bool
    ) throws(SystemError) -> Directory {
        links += 1
        let linkPath = here.path(of: name)
        guard links <= DirectoryWalk.maximumLinks else { throw SystemError(code: ELOOP, "open", linkPath) }
        let text = try link.linkText(linkPath)
        let isFixed = here.isFixed && isSafe
        let found = text.hasPrefix("/") ? try open(text) : try descend(here, text)
        let target = try found.status()
        let isFollowed = trust == .anyLink || DirectoryWalk.isTrusted(status) || target.owner == status.owner
        guard isFollowed else {
            let whose =
                """
                a link of \(UserDatabase.userName(status.owner)) to \(found.path), which belongs to \
                \(UserDatabase.userName(target.owner))
                """
            throw SystemError(code: EPERM, "follow \(linkPath), \(whose)")
        }
        let fixed = found.isFixed && isFixed, path = found.path
        return Directory(try found.handle.duplicate(), path: path, isFixed: fixed)
    }

    private func refusal(_ path: String) -> SystemError { SystemError(code: EPERM, "trust", path) }

    /// Whether a directory or link belongs to root or to this process's user.
    static func isTrusted(_ status: FileStatus) -> Bool {
        status.owner == 0 || status.owner == geteuid() || UserDatabase.isUnmapped(status.owner)
    }

    /// The same for entries of a sticky directory, where an unmapped owner may be any user and is not trusted.
    static func isMadeByTrusted(_ status: FileStatus, _ above: FileStatus) -> Bool {
        status.owner == 0 || status.owner == geteuid()
    }

    /// Whether users other than the owner can make, rename and remove entries. A user private group does not count.
    static func isOpenToOthers(_ status: FileStatus) -> Bool {
        status.mode & 0o002 != 0
            || (status.mode & 0o020 != 0 && !UserDatabase.isPrivate(status.group, of: status.owner))
    }
}
