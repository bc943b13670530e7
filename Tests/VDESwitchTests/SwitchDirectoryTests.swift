// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import VDESwitch

/// The cause for which a directory could not be taken; nil if it could.
private func cause(_ path: String, allowed: [String] = []) -> SwitchFailure? {
    do throws(SwitchError) {
        let directory = try SwitchDirectory(path, access: SwitchAccess(), allowed: allowed)
        directory.remove()
        return nil
    } catch {
        #expect(!error.description.isEmpty)
        return error.cause
    }
}

@Suite struct SwitchDirectoryTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    @Test func directoryIsCreatedAndRemoved() throws {
        let path = folder.file("vde")
        let directory = try SwitchDirectory(path, access: SwitchAccess(mode: 0o660))
        #expect(try Files.status(path).mode == 0o2770)
        #expect(try Files.status(path + "/ctl").mode == 0o660)
        directory.remove()
        #expect(!Files.exists(path))
    }

    @Test func runningSwitchIsNotReplaced() throws {
        let path = folder.file("vde")
        let directory = try SwitchDirectory(path, access: SwitchAccess())
        #expect(cause(path) == .occupied)
        #expect(Files.exists(path + "/ctl"))
        directory.remove()
        let fake = try FakeSwitch(in: folder, .silent)
        #expect(cause(fake.path) == .occupied)
        #expect(Files.exists(fake.path + "/ctl"))
    }

    @Test func onlySocketsOfDeadSwitchAreRemoved() throws {
        let path = folder.file("vde")
        try Files.makeDirectory(path)
        for name in ["ctl", "001.5", "017.12", ".4711-00000"] {
            try Socket.unixDatagram().bind(to: UnixPath(path + "/" + name))
        }
        let directory = try SwitchDirectory(path, access: SwitchAccess())
        #expect(try Files.entries(path).sorted() == [".4711-00000", "ctl"])
        directory.remove()
        #expect(try Files.entries(path) == [".4711-00000"], "a client's own socket is the client's")
    }

    @Test func existingEmptyDirectoryIsKept() throws {
        let path = folder.file("vde")
        try Files.makeDirectory(path)
        #expect(cause(path) == nil)
        #expect(Files.exists(path))
    }

    @Test(arguments: ["notes.txt", "001.x", "ctl", "1.2"])
    func directoryWithOtherFilesIsLeftAlone(name: String) throws {
        let path = folder.file("vde")
        try Files.makeDirectory(path, mode: 0o755)
        try Files.replace(path + "/" + name, [])
        #expect(cause(path) == .notOurs)
        #expect(try Files.status(path).mode == 0o755)
        #expect(Files.exists(path + "/" + name))
    }

    @Test func allowedFilesAreAccepted() throws {
        let path = folder.file("vde")
        try Files.makeDirectory(path, mode: 0o755)
        try Files.replace(path + "/pid", [])
        #expect(cause(path, allowed: [path + "/pid"]) == nil)
        #expect(try Files.entries(path) == ["pid"])
    }

    @Test func foreignFilesAreReported() throws {
        try Files.replace(folder.file("file"), [])
        #expect(cause(folder.file("file")) == .system)
        #expect(cause(folder.file("missing/vde")) == .system)
        #expect(cause(folder.path + "/" + String(repeating: "x", count: 120)) == .pathTooLong)
        // Just short enough for every socket that may be in it.
        let room = 107 - 11 - folder.path.utf8.count - 1
        #expect(cause(folder.path + "/" + String(repeating: "x", count: room)) == nil)
        #expect(cause(folder.path + "/" + String(repeating: "x", count: room + 1)) == .pathTooLong)
    }

    @Test func failedStartLeavesNothing() throws {
        let path = folder.file("vde")
        // A name that just fits the directory itself, but for a link behind it that does not.
        let long = folder.path + "/" + String(repeating: "y", count: 100)
        try Files.makeDirectory(long)
        _ = try ChildProcess.run(["ln", "-s", long, path])
        #expect(cause(path) == .pathTooLong)
        #expect(try Files.entries(long).isEmpty)
    }

    @Test(.enabled(if: TestHost.isRoot, "\(TestHost.rootReason)"))
    func directoryOfAnotherUserIsRefused() throws {
        let path = folder.file("vde")
        try Files.makeDirectory(path)
        try Files.setOwner(path, user: 65_534, group: nil)
        #expect(cause(path) == .notOurs)
        let link = folder.file("link")
        _ = try ChildProcess.run(["ln", "-s", folder.file("other"), link])
        try Files.makeDirectory(folder.file("other"))
        #expect(cause(link) == nil)
        try Files.setOwner(link, user: 65_534, group: nil)
        #expect(cause(link) == .notOurs)
    }

    /// What the rule of packaging/sudoers lets a user try: a link to a directory of root's, or that directory itself.
    @Test(.enabled(if: TestHost.isRoot, "\(TestHost.rootReason)"))
    func directoryOfRootIsNotGivenToSudoCaller() throws {
        let user: UInt32 = 65_534, victim = folder.file("sbin"), link = folder.file("vde"), own = folder.file("own")
        let access = SwitchAccess(mode: 0o600, owner: (user, user))
        func attempt(_ path: String) -> SwitchFailure? {
            do throws(SwitchError) {
                try SwitchDirectory(path, access: access).remove()
                return nil
            } catch {
                return error.cause
            }
        }
        try Files.makeDirectory(victim, mode: 0o755)
        let before = try Files.status(victim)
        _ = try ChildProcess.run(["ln", "-s", victim, link])
        try Files.setOwner(link, user: user, group: user)
        for path in [link, victim, link + "/.", victim + "/../sbin"] { #expect(attempt(path) == .notOurs, "\(path)") }
        #expect(try Files.status(victim) == before)
        // Nothing is made behind such a link either.
        #expect(attempt(link + "/new") == .notOurs)
        #expect(try Files.entries(victim).isEmpty)
        // That user's own directory, and one that is made, are given.
        try Files.makeDirectory(own)
        try Files.setOwner(own, user: user, group: user)
        try Files.remove(link)
        _ = try ChildProcess.run(["ln", "-s", own, link])
        try Files.setOwner(link, user: user, group: user)
        #expect(attempt(link) == nil)
        #expect(try Files.status(own).mode == 0o2700 && Files.entries(own).isEmpty)
        #expect(attempt(folder.file("made")) == nil)
    }

    @Test func foreignLockDoesNotBlock() throws {
        let path = folder.file("vde")
        try Files.makeDirectory(path)
        for name in ["ctl", "001.5"] { try Socket.unixDatagram().bind(to: UnixPath(path + "/" + name)) }
        let other = try Files.open(path, [.readOnly, .directory])
        #expect(try other.tryLock())
        #expect(cause(path) == nil)
    }

    @Test func stagingDirectoriesAreRemoved() throws {
        let path = folder.file("vde")
        try Files.makeDirectories(path + "/.vde_vmnet-stage-1-2", mode: 0o700)
        try Socket.unixDatagram().bind(to: UnixPath(path + "/.vde_vmnet-stage-1-2/s"))
        #expect(cause(path) == nil)
        #expect(try Files.entries(path).isEmpty)
    }

    @Test func movedDirectoryStaysInUse() throws {
        let directory = try SwitchDirectory(folder.file("vde"), access: SwitchAccess())
        let peer = try Socket.unixDatagram()
        try peer.bind(to: UnixPath(folder.file("peer")))
        try Files.rename(folder.file("vde"), to: folder.file("moved"))
        try Files.makeDirectory(folder.file("victim"))
        try Files.replace(folder.file("victim/ctl"), [])
        _ = try ChildProcess.run(["ln", "-s", folder.file("victim"), folder.file("vde")])
        let socket = try directory.makeDataSocket(
            port: 1, end: 5, peer: Array(folder.file("peer").utf8), user: CurrentProcess.effectiveUser)
        #expect(try Files.entries(folder.file("moved")).sorted() == ["001.5", "ctl"])
        directory.removeDataSocket(socket.name)
        directory.remove()
        #expect(try Files.entries(folder.file("moved")).isEmpty)
        #expect(try Files.entries(folder.file("victim")) == ["ctl"])
    }

    @Test func abstractNamesNeedSameUser() throws {
        let directory = try SwitchDirectory(folder.file("vde"), access: SwitchAccess())
        let peer = try Socket.unixDatagram()
        var name: [UInt8] = [0] + Array("vde_vmnet test \(CurrentProcess.identifier)".utf8)
        name += [UInt8](repeating: 0, count: 108 - name.count)
        try peer.bind(to: UnixPath(name))
        let socket = try directory.makeDataSocket(port: 1, end: 5, peer: name, user: CurrentProcess.effectiveUser)
        _ = try socket.descriptor.send([1])
        #expect(try peer.receive(limit: 2) == [1])
        directory.removeDataSocket(socket.name)
        #expect(throws: SystemError.self) {
            _ = try directory.makeDataSocket(port: 2, end: 6, peer: name, user: CurrentProcess.effectiveUser + 1).path
        }
        directory.remove()
    }

    @Test func clientSocketsMustBelongToClients() throws {
        let directory = try SwitchDirectory(folder.file("vde"), access: SwitchAccess())
        let own = CurrentProcess.effectiveUser
        let peer = try Socket.unixDatagram()
        try peer.bind(to: UnixPath(folder.file("peer")))
        let socket = try directory.makeDataSocket(port: 7, end: 12, peer: Array(folder.file("peer").utf8), user: own)
        #expect(socket.path == directory.path + "/007.12")
        _ = try socket.descriptor.send([1, 2, 3])
        #expect(try peer.receive(limit: 10) == [1, 2, 3])
        // Not there, not a socket, a link, another user's.
        try Files.replace(folder.file("file"), [])
        _ = try ChildProcess.run(["ln", "-s", folder.file("peer"), folder.file("link")])
        for (name, user) in [("missing", own), ("file", own), ("link", own), ("peer", own + 1)] {
            #expect(throws: SystemError.self) {
                _ = try directory.makeDataSocket(port: 8, end: 13, peer: Array(folder.file(name).utf8), user: user).path
            }
        }
        #expect(try Files.entries(directory.path).sorted() == ["007.12", "ctl"])
        directory.removeDataSocket(socket.name)
        directory.remove()
    }
}
