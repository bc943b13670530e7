// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

/// Files for guests' frames, in directories in which other users make entries.
@Suite struct PrivateOutputTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func text(_ path: String) throws -> String { String(decoding: try Files.read(path), as: UTF8.self) }

    private func fails(_ path: String, naming subject: String) {
        let error = #expect(throws: SystemError.self) { _ = try PrivateOutput.open(path) }
        #expect(error?.description.contains(subject) == true, "\(error?.description ?? "")")
    }

    @Test func newFileIsClosedToOthers() throws {
        let path = folder.file("new")
        try PrivateOutput.open(path).write([1, 2])
        #expect(try Files.read(path) == [1, 2])
        #expect(try Files.status(path).mode & 0o777 == 0o600)
    }

    @Test func ownFileIsEmptiedAndClosed() throws {
        let path = folder.file("old"), link = folder.file("link")
        try Files.replace(path, Array("before".utf8), mode: 0o644)
        try PrivateOutput.open(path).write([1])
        #expect(try Files.read(path) == [1])
        #expect(try Files.status(path).mode & 0o777 == 0o600)
        _ = try ChildProcess.run(["ln", "-s", "old", link])
        try PrivateOutput.open(link).write([7, 8])
        #expect(try Files.read(path) == [7, 8], "by a link of this user's")
    }

    @Test func devicesAndPipesAreOpened() throws {
        for path in ["/dev/null", "/dev/stderr"] { _ = try PrivateOutput.open(path) }
        let fifo = folder.file("fifo")
        _ = try ChildProcess.run(["mkfifo", fifo])
        let reader = try Files.open(fifo, [.readOnly, .nonBlocking])
        try PrivateOutput.open(fifo).write([5])
        #expect(try reader.read(limit: 8) == [5])
    }

    @Test func loopOfLinksIsRefused() throws {
        _ = try ChildProcess.run(["ln", "-s", "loop", folder.file("loop")])
        fails(folder.file("loop"), naming: "loop")
        fails(folder.file("nothing/there"), naming: "nothing")
        fails(folder.path, naming: folder.path)
    }

    /// Another user has made the entry before: a file that they then read, or a link to a file of this user's.
    @Test(.enabled(if: TestHost.isRoot)) func entriesOfAnotherUserAreRefused() throws {
        let stranger: UInt32 = 12_345
        let file = folder.file("theirs"), link = folder.file("link"), victim = folder.file("victim")
        try Files.replace(file, Array("theirs".utf8), mode: 0o666)
        try Files.setOwner(file, user: stranger, group: stranger)
        fails(file, naming: "belongs to")
        #expect(try text(file) == "theirs")
        try Files.replace(victim, Array("victim".utf8))
        for target in [victim, folder.file("new-victim")] {
            _ = try ChildProcess.run(["ln", "-sfn", target, link])
            _ = try ChildProcess.run(["chown", "-h", "\(stranger)", link])
            fails(link, naming: "belongs to")
        }
        #expect(try text(victim) == "victim")
        #expect(!Files.exists(folder.file("new-victim")))
        // A directory of theirs that is reached by a link of theirs.
        let elsewhere = try TemporaryFolder()
        _ = try ChildProcess.run(["ln", "-sfn", elsewhere.path, link])
        _ = try ChildProcess.run(["chown", "-h", "\(stranger)", link])
        fails(link + "/file", naming: "link")
        #expect(!Files.exists(elsewhere.file("file")))
    }
}
