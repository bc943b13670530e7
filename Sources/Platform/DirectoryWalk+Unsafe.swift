// SPDX-License-Identifier: Apache-2.0
import CPlatform

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

extension Directory {
    /// What is believed on the way to a directory.
    package enum Trust: Sendable {
        /// Every link is followed: for what is only looked at, or joined.
        case everything
        /// A link is followed that root or this process's user has made; another user's only to what that user owns. So
        /// no user leads us who may do more than they, to what is not theirs.
        case ownersOfLinks
        /// Every directory is root's or ours, and no other user can put anything in the place of the next one.
        case nobody
    }

    /// Opens a directory step by step.
    /// - Parameter making: with which mode it and its parents are made where they are missing; nil: they must exist.
    /// - Throws: "operation not permitted" naming the part of the path that is not to be trusted.
    package static func open(
        _ path: String, _ trust: Trust, making mode: UInt16? = nil
    ) throws(SystemError) -> Directory {
        var walk = DirectoryWalk(trust: trust, mode: mode)
        return try walk.open(Files.absolute(path))
    }

    /// Opens the directory that has, or is to have, an entry of this path.
    package static func open(
        above path: String, _ trust: Trust, making mode: UInt16? = nil
    ) throws(SystemError) -> Directory {
        var whole = Substring(Files.absolute(path))
        while whole.last == "/" { whole.removeLast() }
        return try open(Files.parent(String(whole)), trust, making: mode)
    }

    /// The name that an entry of this path has in its directory.
    /// - Throws: if the path ends in no name of its own.
    package static func name(of path: String) throws(SystemError) -> String {
        let name = path.split(separator: "/").last.map(String.init) ?? ""
        guard !name.isEmpty, name != ".", name != ".." else { throw SystemError(code: EISDIR, "use", path) }
        return name
    }

    /// Fails unless the directory is ours and no other user can write to it.
    package func requireOwn() throws(SystemError) {
        let status = try status()
        guard status.owner == geteuid(), !DirectoryWalk.isOpenToOthers(status) else {
            throw SystemError(code: EPERM, "use", path)
        }
    }
}

/// The way to a directory, a component at a time, each opened in the one before.
private struct DirectoryWalk {
    /// As many links as the system follows (path_resolution(7)).
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
        if trust == .nobody && !isClosed { throw refusal(here.path) }
        if name == ".." {
            let parent = Descriptor(
                adopting: try SystemError.check(
                    unsafe platform_directory_enter(here.handle.raw, ".."), "open", here.path + "/.."))
            return Directory(parent, path: Files.parent(here.path), isFixed: here.isFixed)
        }
        let entry = try enter(here, name)
        let status = try entry.status()
        // In a sticky directory everyone may make entries: this one must have been made by one of ours.
        let isSafe = isClosed && (!DirectoryWalk.isOpenToOthers(above) || DirectoryWalk.isMadeByTrusted(status, above))
        if trust == .nobody && !isSafe { throw refusal(here.path(of: name)) }
        switch status.kind {
        case .directory: return Directory(entry, path: here.path(of: name), isFixed: here.isFixed && isSafe)
        case .link: return try follow(entry, status, from: here, name, isSafe: isSafe)
        default: throw SystemError(code: ENOTDIR, "open", here.path(of: name))
        }
    }

    /// Opens an entry, which is made where it is missing and may be.
    private func enter(_ here: borrowing Directory, _ name: String) throws(SystemError) -> Descriptor {
        func attempt() -> Int32 { unsafe platform_directory_enter(here.handle.raw, name) }
        var result = attempt()
        if result == -ENOENT, let mode {
            do throws(SystemError) {
                try here.makeDirectory(name, mode: mode)
            } catch {
                // Another process may have made it at the same time.
                guard error.code == EEXIST else { throw error }
            }
            result = attempt()
        }
        return Descriptor(adopting: try SystemError.check(result, "open", here.path(of: name)))
    }

    private mutating func follow(
        _ link: borrowing Descriptor, _ status: FileStatus, from here: consuming Directory, _ name: String, isSafe: Bool
    ) throws(SystemError) -> Directory {
        links += 1
        let linkPath = here.path(of: name)
        guard links <= DirectoryWalk.maximumLinks else { throw SystemError(code: ELOOP, "open", linkPath) }
        var buffer = [CChar](repeating: 0, count: 4096)
        let length = try SystemError.check(
            unsafe platform_link_text(link.raw, &buffer, buffer.count), "read the link", linkPath)
        let text = String(decoding: buffer.prefix(Int(length)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let isFixed = here.isFixed && isSafe
        let found = text.hasPrefix("/") ? try open(text) : try descend(here, text)
        let target = try found.status()
        let isFollowed = trust == .everything || DirectoryWalk.isTrusted(status) || target.owner == status.owner
        guard isFollowed else {
            let whose =
                "a link of \(Accounts.userName(status.owner)) to \(found.path), which belongs to \(Accounts.userName(target.owner))"
            throw SystemError(code: EPERM, "follow \(linkPath), \(whose)")
        }
        let fixed = found.isFixed && isFixed, path = found.path
        return Directory(try found.handle.duplicate(), path: path, isFixed: fixed)
    }

    private func refusal(_ path: String) -> SystemError { SystemError(code: EPERM, "trust", path) }

    /// Of a directory or link that root or we own.
    static func isTrusted(_ status: FileStatus) -> Bool {
        status.owner == 0 || status.owner == geteuid() || Accounts.isUnmapped(status.owner)
    }

    /// Who is not known in our user namespace may be anyone, so that in a sticky directory only what is ours or root's
    /// is believed.
    static func isMadeByTrusted(_ status: FileStatus, _ above: FileStatus) -> Bool {
        status.owner == 0 || status.owner == geteuid()
    }

    /// Whether others than the owner can make, rename and remove entries. A group that is one user's own is not others.
    static func isOpenToOthers(_ status: FileStatus) -> Bool {
        status.mode & 0o002 != 0 || (status.mode & 0o020 != 0 && !Accounts.isPrivate(status.group, of: status.owner))
    }
}
