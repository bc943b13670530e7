// SPDX-License-Identifier: Apache-2.0
import Listeners
import Platform
import TestSupport
import Testing

/// The user who attacks.
private let other: UInt32 = 65_534

/// Which paths are believed, and what is given away.
@Suite struct DirectoryTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func link(_ target: String, _ name: String, owner: UInt32? = nil) throws {
        _ = try ChildProcess.run(["ln", "-s", target, folder.file(name)])
        if let owner { try Files.setOwner(folder.file(name), user: owner, group: owner) }
    }

    private func directory(_ name: String, mode: UInt16 = 0o755, owner: UInt32? = nil) throws {
        try Files.makeDirectory(folder.file(name))
        if let owner { try Files.setOwner(folder.file(name), user: owner, group: owner) }
        try Files.setMode(folder.file(name), mode)
    }

    /// The path that was opened; nil if it was refused.
    private func opened(_ name: String, _ trust: Directory.Trust, making mode: UInt16? = nil) -> String? {
        guard let found = try? Directory.open(folder.file(name), trust, making: mode) else { return nil }
        return found.path
    }

    @Test func pathsResolveLikeTheKernel() throws {
        try directory("a")
        try directory("a/b")
        try link("a/b", "relative")
        try link(folder.file("a"), "absolute")
        try link("loop", "loop")
        for name in ["a/b", "a//b/", "a/./b", "relative", "absolute/b", "relative/../b", "absolute/../a/b"] {
            #expect(opened(name, .trustedLinks) == folder.file("a/b"), "\(name)")
            #expect(opened(name, .trustedPath) == folder.file("a/b"), "\(name)")
        }
        for name in ["loop", "missing", "a/missing/b"] { #expect(opened(name, .anyLink) == nil, "\(name)") }
        #expect(opened("new/parents/too", .trustedPath, making: 0o700) == folder.file("new/parents/too"))
        #expect(try Files.status(folder.file("new/parents")).mode == 0o700)
        let top = try Directory.open("/", .trustedPath)
        #expect(top.path == "/")
    }

    @Test(.enabled(if: TestHost.isRoot, "\(TestHost.rootReason)"))
    func symbolicLinkIsFollowedToFilesOfItsOwnerOnly() throws {
        try directory("roots")
        try directory("others", owner: other)
        try link(folder.file("roots"), "toRoots", owner: other)
        try link(folder.file("others"), "toOthers", owner: other)
        try link(folder.file("others"), "byRoot")
        try link("byRoot/../roots", "mixed", owner: other)
        try link("toRoots", "chain")
        #expect(opened("toRoots", .trustedLinks) == nil)
        #expect(opened("toRoots/new", .trustedLinks, making: 0o755) == nil)
        #expect(opened("mixed", .trustedLinks) == nil)
        #expect(opened("chain", .trustedLinks) == nil, "a link of root's to a link of another user's")
        #expect(try Files.entries(folder.file("roots")).isEmpty)
        #expect(opened("toOthers", .trustedLinks) == folder.file("others"))
        #expect(opened("byRoot", .trustedLinks) == folder.file("others"))
        #expect(opened("toRoots", .anyLink) == folder.file("roots"))
    }

    @Test(.enabled(if: TestHost.isRoot, "\(TestHost.rootReason)"))
    func trustedPathExcludesDirectoriesOfOtherUsers() throws {
        try directory("others", owner: other)
        try directory("others/roots")
        try directory("open", mode: 0o777)
        try directory("open/roots")
        try directory("group", mode: 0o775)
        try Files.setOwner(folder.file("group"), user: nil, group: other)
        try directory("group/roots")
        try directory("sticky", mode: 0o1777)
        try directory("sticky/roots")
        try directory("sticky/others", owner: other)
        try directory("sticky/others/roots")
        try link(folder.file("sticky/roots"), "sticky/link", owner: other)
        for name in ["others/roots", "open/roots", "group/roots", "sticky/others/roots", "sticky/link"] {
            #expect(opened(name, .trustedPath) == nil, "\(name)")
        }
        #expect(opened("sticky/roots", .trustedPath) == folder.file("sticky/roots"))
        #expect(opened("sticky/others/new", .trustedPath, making: 0o700) == nil)
        #expect(try Files.entries(folder.file("sticky/others")) == ["roots"])
    }

    @Test(.enabled(if: TestHost.isRoot, "\(TestHost.rootReason)"), arguments: [UInt16(0o755), 0o777, 0o1777])
    func socketInForeignDirectoryAppearsWithItsModeAndOwner(mode: UInt16) throws {
        try directory("home", mode: mode, owner: other)
        let path = folder.file("home/listener")
        let listener = try ListenerSocket(
            .stream, at: path, access: ListenerAccess(mode: 0o620, user: other, group: other))
        let status = try Files.status(path, followLinks: false)
        #expect(status.kind == .socket && status.owner == other && status.group == other && status.mode == 0o620)
        #expect(try Files.entries(folder.file("home")) == ["listener"])
        let client = try Socket.unixStream()
        try client.connect(to: UnixPath(path))
        #expect(throws: ListenerError.self) {
            try ListenerSocket(.stream, at: path, access: ListenerAccess(user: other))
        }
        #expect(try Files.entries(folder.file("home")) == ["listener"])
        listener.remove()
        #expect(try Files.entries(folder.file("home")).isEmpty)
    }

    /// The owner of a directory exchanges what root makes there for sockets and files that are not to be given away.
    @Test(.enabled(if: TestHost.isRoot, "\(TestHost.rootReason)"), .timeLimit(.minutes(2)))
    func fileExchangedDuringBindKeepsItsOwner() throws {
        try directory("home", owner: other)
        let path = folder.file("home/listener"), bait = folder.file("home/bait")
        // Of root's, closed, and under one name, as what root has just made.
        let precious = try Socket.unixStream()
        try precious.bind(to: UnixPath(bait))
        try Files.setMode(bait, 0o600)
        let before = try Files.status(bait, followLinks: false)
        let isOver = Mutex(false), rounds = Mutex(0)
        try WorkerThread.start(named: "attacker") {
            while !isOver.withLock({ $0 }) {
                try? Files.rename(bait, to: path)
                try? Files.rename(path, to: bait)
                rounds.withLock { $0 += 1 }
            }
            rounds.withLock { $0 = -1 }
        }
        for _ in 0..<300 {
            if let listener = try? ListenerSocket(
                .stream, at: path, access: ListenerAccess(mode: 0o666, user: other, group: other))
            {
                listener.remove()
            }
            for name in [path, bait] where (try? Files.status(name, followLinks: false))?.inode == before.inode {
                let now = try? Files.status(name, followLinks: false)
                if let now, now.inode == before.inode { #expect(now.owner == 0 && now.mode == 0o600) }
            }
        }
        isOver.withLock { $0 = true }
        try eventually("the attacker's end") { rounds.withLock { $0 } == -1 }
        withExtendedLifetime(precious) {}
    }

    @Test func ownerOfFileLockIsFound() {
        let list =
            "1: POSIX  ADVISORY  WRITE 7 08:01:4660 0 EOF\n2: -> FLOCK  ADVISORY  WRITE 8 08:01:4660 0 EOF\n3: FLOCK "
            + " ADVISORY  WRITE 4711 08:01:4660 0 EOF\nrubbish\n4: FLOCK a b c d:e 0\n"
        #expect(FileLocks.holder(of: (device: 0x801, inode: 4660), in: list) == 4711)
        #expect(FileLocks.holder(of: (device: 0x801, inode: 4661), in: list) == nil)
        #expect(FileLocks.holder(of: (device: 0x802, inode: 4660), in: list) == nil)
    }
}
