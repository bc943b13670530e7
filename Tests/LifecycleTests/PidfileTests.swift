// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Platform
import TestSupport
import Testing

@Suite struct PidfileTests {
    @Test func pidfileBelongsToOneProcess() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("pid")
        let first = try Pidfile(path)
        #expect(Files.text(path) == "\(CurrentProcess.identifier)")
        do {
            _ = try Pidfile(path)
            Issue.record("taken twice")
        } catch {
            #expect(error.status == .alreadyRunning)
            #expect(error.description.contains("process \(CurrentProcess.identifier)"))
        }
        first.remove()
        #expect(!Files.exists(path))
    }

    @Test func staleFileIsReplacedAndForeignFileIsLeft() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("pid")
        try Files.replace(path, Array("99999\nmore\n".utf8))
        let pidfile = try Pidfile(path)
        #expect(Files.text(path) == "\(CurrentProcess.identifier)")
        try Files.remove(path)
        try Files.replace(path, Array("another's".utf8))
        pidfile.remove()
        #expect(Files.exists(path))
    }

    /// Any user may lock a file that any user may read.
    @Test func foreignLockOnStaleFileIsIgnored() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("pid")
        // No process has this number.
        try Files.replace(path, Array("4194305\n".utf8))
        let foreign = try Files.open(path, [.readOnly])
        #expect(try foreign.tryLock())
        let pidfile = try Pidfile(path)
        #expect(Files.text(path) == "\(CurrentProcess.identifier)")
        #expect(try Files.status(path).mode == 0o644 && Files.entries(folder.path) == ["pid"])
        // Nor does it take part in what is decided afterwards.
        #expect(throws: ExitError.self) { try Pidfile(path) }
        pidfile.remove()
        #expect(try Files.entries(folder.path).isEmpty)
    }

    @Test func incompletePidfileIsHeldAndUnreadable() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("pid")
        let first = try Pidfile(path, isComplete: false)
        #expect(try Files.text(path) == "" && Files.status(path).mode == 0o600)
        do {
            _ = try Pidfile(path)
            Issue.record("a second instance has replaced the pidfile of the first")
        } catch {
            #expect(error.status == .alreadyRunning && error.description.contains("a process that is starting"))
        }
        try first.complete()
        #expect(try Files.text(path) == "\(CurrentProcess.identifier)" && Files.status(path).mode == 0o644)
        #expect(throws: ExitError.self) { try Pidfile(path) }
        first.remove()
        // One that a killed process has left empty is replaced.
        try Files.replace(path, [])
        _ = try Pidfile(path)
        #expect(Files.text(path) == "\(CurrentProcess.identifier)")
    }

    @Test func existingFileIsNotWrittenTo() throws {
        let folder = try TemporaryFolder()
        let precious = folder.file("precious"), path = folder.file("pid")
        try Files.replace(precious, Array("precious".utf8))
        _ = try ChildProcess.run(["ln", precious, path])
        try Pidfile(path).remove()
        #expect(Files.text(precious) == "precious")
        _ = try ChildProcess.run(["mkfifo", path])
        #expect(throws: ExitError.self) { try Pidfile(path) }
    }

    @Test func oneOfManyConcurrentStartsSucceeds() async throws {
        for _ in 0..<20 {
            let folder = try TemporaryFolder()
            let path = folder.file("pid")
            try Files.replace(path, Array("4194305\n".utf8))
            let taken = await withTaskGroup(of: Pidfile?.self) { group in
                for _ in 0..<8 { group.addTask { try? Pidfile(path) } }
                return await group.reduce(into: []) { $0.append($1) }.compactMap(\.self)
            }
            #expect(taken.count == 1)
            taken.forEach { $0.remove() }
            #expect(try Files.entries(folder.path).isEmpty)
        }
    }

    @Test func linksAreNotFollowed() throws {
        let folder = try TemporaryFolder()
        _ = try ChildProcess.run(["ln", "-s", folder.file("target"), folder.file("pid")])
        #expect(throws: ExitError.self) { try Pidfile(folder.file("pid")) }
        #expect(!Files.exists(folder.file("target")))
        #expect(throws: ExitError.self) { try Pidfile(folder.file("missing/pid")) }
    }
}
