// SPDX-License-Identifier: Apache-2.0
import Listeners
import Platform
import TestSupport
import Testing

/// The error of a listener that cannot be opened; "none" if it can.
private func complaint(_ kind: ListenerSocket.Kind, _ path: String) -> String {
    do throws(ListenerError) {
        try ListenerSocket(kind, at: path, access: ListenerAccess()).remove()
        return "none"
    } catch {
        return error.description
    }
}

/// The kinds of listeners that the system has.
private let offeredKinds = ListenerSocket.Kind.allCases.filter {
    $0 != .sequencedPacket || Socket.hasSequencedPackets
}

/// Leaves a dead socket behind, as a killed daemon does. A program that a test beside this one is just starting may
/// still hold it for a moment.
private func leave(_ kind: ListenerSocket.Kind, at path: String, access: ListenerAccess = ListenerAccess()) throws {
    do { _ = try ListenerSocket(kind, at: path, access: access).path }
    try eventually("the end of \(path)", within: ampleTime) {
        do throws(SystemError) {
            try kind.makeSocket().connect(to: UnixPath(path))
            return false
        } catch {
            return error.code == Errno.refused
        }
    }
}

@Suite struct ListenerTests {
    private func cause(_ kind: ListenerSocket.Kind, _ path: String) -> ListenerFailure? {
        do throws(ListenerError) {
            try ListenerSocket(kind, at: path, access: ListenerAccess()).remove()
            return nil
        } catch {
            return error.cause
        }
    }

    @Test(arguments: offeredKinds)
    func listenerSocketHasItsModeAndIsRemoved(kind: ListenerSocket.Kind) throws {
        let folder = try TemporaryFolder()
        let path = folder.file("listener")
        let listener = try ListenerSocket(kind, at: path, access: ListenerAccess(mode: 0o620))
        let status = try Files.status(path)
        #expect(status.kind == .socket && status.mode == 0o620)
        listener.remove()
        #expect(!Files.exists(path))
    }

    @Test(arguments: offeredKinds)
    func liveListenerIsNotReplaced(kind: ListenerSocket.Kind) throws {
        let folder = try TemporaryFolder()
        let path = folder.file("listener")
        let listener = try ListenerSocket(kind, at: path, access: ListenerAccess())
        #expect(cause(kind, path) == .occupied)
        for other in offeredKinds where other != kind {
            #expect(cause(other, path) == .occupied, "nor by a listener of another kind")
        }
        #expect(Files.exists(path))
        listener.remove()
    }

    @Test(arguments: offeredKinds)
    func socketOfDeadProcessIsReplaced(kind: ListenerSocket.Kind) throws {
        let folder = try TemporaryFolder()
        let path = folder.file("listener")
        try leave(kind, at: path)
        #expect(Files.exists(path))
        #expect(cause(kind, path) == nil)
    }

    /// As after `kill -9` of what one user has started through sudo, when another one starts it.
    @Test(
        .enabled(if: CurrentProcess.effectiveUser == 0),
        arguments: [(UInt16(0o755), true), (0o775, false), (0o1777, false)])
    func socketGivenAwayByRootIsReplacedIfOnlyRootWritesTheDirectory(mode: UInt16, isReplaced: Bool) throws {
        let folder = try TemporaryFolder()
        let path = folder.file("listener")
        try leave(.stream, at: path, access: ListenerAccess(user: 4711))
        try Files.setMode(folder.path, mode)
        #expect(try Files.status(path).owner == 4711)
        #expect(cause(.stream, path) == (isReplaced ? nil : .notOurs))
    }

    /// macOS has /var/run like that: writable for a group that has no users in it.
    @Test(.enabled(if: CurrentProcess.effectiveUser == 0 && UserDatabase.user(named: "nobody") == 65534))
    func socketGivenAwayByRootIsReplacedIfItsOwnerCannotWriteTheDirectory() throws {
        let nogroup = try #require(UserDatabase.account(65534)).group
        for (group, isReplaced) in [(UInt32(0), true), (nogroup, false)] {
            let folder = try TemporaryFolder()
            let path = folder.file("listener")
            try leave(.stream, at: path, access: ListenerAccess(user: 65534))
            try Files.setOwner(folder.path, user: 0, group: group)
            try Files.setMode(folder.path, 0o775)
            #expect(cause(.stream, path) == (isReplaced ? nil : .notOurs))
        }
    }

    /// A process that has bound its socket and does not listen yet.
    @Test func startingListenerIsAwaited() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("listener")
        let directory = try Files.open(folder.path, [.readOnly, .directory]), socket = try Socket.unixStream()
        #expect(try directory.tryLock())
        try socket.bind(to: UnixPath(path))
        let answer = Mutex("")
        try WorkerThread.start(named: "second") {
            answer.withLock { $0 = "it has come" }
            let text = complaint(.stream, path)
            answer.withLock { $0 = text }
        }
        try eventually("the second one") { !answer.withLock { $0 }.isEmpty }
        try socket.listen()
        _ = consume directory
        try eventually("its answer") { answer.withLock { $0 } != "it has come" }
        let text = answer.withLock { $0 }
        #expect(text.contains("is served already (process \(CurrentProcess.identifier))"), "\(text)")
    }

    @Test func lockedDirectoryIsStillUsed() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("listener")
        let directory = try Files.open(folder.path, [.readOnly, .directory])
        #expect(try directory.tryLock())
        #expect(complaint(.stream, path) == "none")
        try leave(.stream, at: path)
        #expect(complaint(.stream, path) == "none", "what was left is replaced all the same")
        try leave(.stream, at: path)
        // The lock is our own process's.
        #expect(throws: Never.self) { try ListenerSocket(.stream, at: path, access: ListenerAccess(), isLocked: true) }
    }

    /// However many start at once, with a dead socket in the way or without: one has the listener, the others report
    /// it, and it answers.
    @Test(arguments: offeredKinds, [false, true])
    func oneOfManyConcurrentStartsSucceeds(kind: ListenerSocket.Kind, isLeftOver: Bool) async throws {
        for _ in 0..<20 {
            let folder = try TemporaryFolder()
            let path = folder.file("listener")
            if isLeftOver { try leave(kind, at: path) }
            let outcomes = await withTaskGroup(of: (ListenerSocket?, String?).self) { group in
                for _ in 0..<8 {
                    group.addTask {
                        do throws(ListenerError) {
                            return (try ListenerSocket(kind, at: path, access: ListenerAccess()), nil)
                        } catch {
                            return (nil, error.description)
                        }
                    }
                }
                return await group.reduce(into: []) { $0.append($1) }
            }
            let winners = outcomes.compactMap(\.0)
            let complaints = outcomes.compactMap(\.1)
            #expect(
                winners.count == 1 && complaints.allSatisfy { $0.contains("\(path) is served already") },
                "\(complaints)")
            let client = try kind.makeSocket()
            try client.connect(to: try UnixPath(path))
            winners.forEach { $0.remove() }
            #expect(!Files.exists(path))
        }
    }

    @Test(.enabled(if: CurrentProcess.effectiveUser == 0)) func inaccessibleSocketIsNotReportedAsServed() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("listener")
        try leave(.stream, at: path, access: ListenerAccess(mode: 0o600))
        try Files.setMode(folder.path, 0o1777)
        let result = try ChildProcess.run([
            "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", TestHost.product("vde_vmnet"), "--uplink",
            "none", "--stream", path,
        ])
        #expect(
            result.error.contains("\(path) is a socket of root that is closed to nobody; choose another path"),
            "\(result.error)")
        #expect(result.termination == .exited(73))
    }

    @Test func nonSocketPathIsNotReplaced() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("file")
        try Files.replace(path, [1])
        #expect(cause(.stream, path) == .notOurs)
        #expect(try Files.read(path) == [1])
    }

    @Test func replacedPathIsNotRemoved() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("listener")
        let listener = try ListenerSocket(.stream, at: path, access: ListenerAccess())
        try Files.remove(path)
        try Files.replace(path, [1])
        listener.remove()
        #expect(Files.exists(path))
    }

    @Test func impossiblePathsAreReported() throws {
        let folder = try TemporaryFolder()
        #expect(cause(.stream, folder.file(String(repeating: "x", count: 120))) == .unsuitable)
        #expect(cause(.stream, folder.file("nowhere/listener")) == .system)
    }
}
