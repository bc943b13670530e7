// SPDX-License-Identifier: Apache-2.0
import Daemon
import Lifecycle
import Platform
import TestSupport
import Testing
import Uplinks
import Wire

@Suite struct PidfileTests {
    @Test func oneFileIsOneProcess() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("pid")
        let first = try Pidfile(path)
        #expect(Files.text(path) == "\(Accounts.processID)")
        do {
            _ = try Pidfile(path)
            Issue.record("taken twice")
        } catch {
            #expect(error.status == .alreadyRunning)
            #expect(error.description.contains("process \(Accounts.processID)"))
        }
        first.remove()
        #expect(!Files.exists(path))
    }

    @Test func aStaleFileIsNoObstacleAndAForeignOneIsLeft() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("pid")
        try Files.replace(path, Array("99999\nmore\n".utf8))
        let pidfile = try Pidfile(path)
        #expect(Files.text(path) == "\(Accounts.processID)")
        try Files.remove(path)
        try Files.replace(path, Array("another's".utf8))
        pidfile.remove()
        #expect(Files.exists(path))
    }

    /// Any user may lock a file that any user may read.
    @Test func aForeignLockOnADeadOnesFileIsNoObstacle() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("pid")
        // No process has this number.
        try Files.replace(path, Array("4194305\n".utf8))
        let foreign = try Files.open(path, [.readOnly])
        #expect(try foreign.tryLock())
        let pidfile = try Pidfile(path)
        #expect(Files.text(path) == "\(Accounts.processID)")
        #expect(try Files.status(path).mode == 0o644 && Files.entries(folder.path) == ["pid"])
        // Nor does it take part in what is decided afterwards.
        #expect(throws: ExitError.self) { try Pidfile(path) }
        pidfile.remove()
        #expect(try Files.entries(folder.path).isEmpty)
    }

    @Test func whatIsThereIsNotWrittenTo() throws {
        let folder = try TemporaryFolder()
        let precious = folder.file("precious"), path = folder.file("pid")
        try Files.replace(precious, Array("precious".utf8))
        _ = try ChildProcess.run(["ln", precious, path])
        try Pidfile(path).remove()
        #expect(Files.text(precious) == "precious")
        _ = try ChildProcess.run(["mkfifo", path])
        #expect(throws: ExitError.self) { try Pidfile(path) }
    }

    @Test func oneOfManyThatStartAtOnceHasIt() async throws {
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

@Suite struct RunRecordTests {
    @Test func whatWasDoneIsReadBackByTheNext() throws {
        let folder = try TemporaryFolder()
        let setting = KernelSetting(path: "net/ipv4/conf/eth0/forwarding")
        do {
            let record = try #require(try RunRecord.create("a", in: folder.path).record)
            try record.add(.table("vde_vmnet_vmnet0"))
            try record.add(.setting(setting, before: "0"))
            try record.add(.setting(setting, before: "0"))
            #expect(try RunRecord.create("a", in: folder.path).holder == Accounts.processID)
            #expect(RunRecord.leftBehind(in: folder.path).isEmpty, "it is alive")
            let other = try #require(try RunRecord.create("b", in: folder.path).record)
            #expect(other.actsOfOthers() == [.table("vde_vmnet_vmnet0"), .setting(setting, before: "0")])
            other.remove()
        }
        // The lock went with the file; the record stayed, as after a crash.
        let dead = RunRecord.leftBehind(in: folder.path)
        #expect(dead.map(\.acts) == [[.table("vde_vmnet_vmnet0"), .setting(setting, before: "0")]])
        dead[0].remove()
        #expect(RunRecord.leftBehind(in: folder.path).isEmpty)
    }

    @Test func noOtherUserCanOpenARecord() throws {
        let folder = try TemporaryFolder()
        let record = try #require(try RunRecord.create("a", in: folder.path).record)
        #expect(try Files.status(record.path).mode == 0o600)
        record.remove()
    }

    /// A record of an earlier version, which any user could open, and one that no other user can.
    @Test(arguments: [UInt16(0o644), 0o600]) func aForeignLockOnARecordCountsOnlyWhereNoOtherUserCanHaveIt(
        mode: UInt16
    ) throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a@\(NetworkNamespace.identifier).run"), isOpen = mode != 0o600
        try Files.replace(path, Array("vde_vmnet record 1\npid 4194305\ntable vde_vmnet_vmnet0\n".utf8), mode: mode)
        let other = try Files.open(path, [.readOnly])
        #expect(try other.tryLock())
        #expect(RunRecord.leftBehind(in: folder.path).map(\.acts) == (isOpen ? [[.table("vde_vmnet_vmnet0")]] : []))
        let record = try RunRecord.create("a", in: folder.path).record
        #expect((record != nil) == isOpen)
        if let record {
            #expect(try RunRecord.create("a", in: folder.path).holder == Accounts.processID)
            #expect(try Files.status(path).mode == 0o600)
            record.remove()
        }
        // With a living process in it, it is one's that runs.
        try Files.replace(path, Array("vde_vmnet record 1\npid \(Accounts.processID)\n".utf8), mode: mode)
        let own = try Files.open(path, [.readOnly])
        #expect(try own.tryLock())
        #expect(RunRecord.leftBehind(in: folder.path).isEmpty)
    }

    @Test(arguments: [
        "table filter", "table vde_vmnet_", "table vde_vmnet_vmnet0;", "table vde_vmnet_a{b",
        "table vde_vmnet_0123456789abcdef", "table  vde_vmnet_vmnet0",
        "setting ../../etc/passwd 0", "setting net/ipv4/conf/../forwarding 0", "setting net/ipv4/conf/a/b/forwarding 0",
        "setting net/ipv4/conf/eth0/forwarding/ 0",
        "setting net/ipv4/conf//forwarding 0", "setting net/ipv4/conf/eth0/route_localnet 1",
        "setting kernel/core_pattern |x", "setting net/ipv4/conf/eth0/forwarding 2",
        "setting net/ipv4/conf/eth0/forwarding x", "setting /net/ipv4/conf/eth0/forwarding 0",
        "setting net/ipv4/conf/0123456789abcdef/forwarding 0",
        "switch-port --all br0", "switch-port vmnet0 --all", "switch-port a/b br0", "switch-port vmnet0", "unknown x",
        "setting net/ipv4/conf/eth0/forwarding 0 1",
    ])
    func aForgedLineIsRefusedAndReported(line: String) throws {
        let folder = try TemporaryFolder()
        try Files.replace(
            folder.file("a@\(NetworkNamespace.identifier).run"),
            Array(
                "vde_vmnet record 1\npid 1\ntable vde_vmnet_vmnet0\n\(line)\nsetting net/ipv4/conf/eth0.5/forwarding 1\nswitch-port vmnet0 br0\n"
                    .utf8))
        let dead = try #require(RunRecord.leftBehind(in: folder.path).first)
        let known = [
            RunRecord.Act.table("vde_vmnet_vmnet0"),
            .setting(KernelSetting(path: "net/ipv4/conf/eth0.5/forwarding"), before: "1"),
            .switchPort("vmnet0", bridge: "br0"),
        ]
        #expect(dead.acts == known)
        #expect(dead.refused == [line])
    }

    @Test func whatIsRecordedIsReadBack() {
        let acts: [RunRecord.Act] = [
            .table("vde_vmnet_vmnet0"), .table("vde_vmnet_0123456789abcde_guards"),
            .setting(.forwarding(on: "wlan-0.1"), before: "0"), .switchPort("tap_1", bridge: "ovs-br"),
        ]
        for act in acts { #expect(RunRecord.Act(act.line[...]) == act) }
    }

    @Test func recordsOfAnotherBootOrNamespaceAreNotOurs() throws {
        let folder = try TemporaryFolder()
        try Files.replace(folder.file("x@00000000-1.run"), Array("vde_vmnet record 1\ntable vde_vmnet_t\n".utf8))
        let boot = Files.text("/proc/sys/kernel/random/boot_id")!.prefix(8)
        try Files.replace(folder.file("y@\(boot)-1.run"), Array("vde_vmnet record 1\ntable vde_vmnet_t\n".utf8))
        #expect(RunRecord.leftBehind(in: folder.path).isEmpty)
        #expect(
            try Files.entries(folder.path) == ["y@\(boot)-1.run"],
            "an earlier boot's is removed, another namespace's is left")
    }

    /// Namespaces come and go on machines that test; what is left in them goes with them.
    @Test func recordsOfAnotherNamespaceDoNotStayForEver() throws {
        let folder = try TemporaryFolder()
        let boot = Files.text("/proc/sys/kernel/random/boot_id")!.prefix(8), week: Int64 = 7 * 86_400
        for name in ["dead", "alive"] {
            try Files.replace(
                folder.file("\(name)@\(boot)-1.run"), Array("vde_vmnet record 1\ntable vde_vmnet_t\n".utf8))
        }
        try Files.replace(
            folder.file("own@\(NetworkNamespace.identifier).run"), Array("vde_vmnet record 1\ntable vde_vmnet_t\n".utf8)
        )
        let alive = try Files.open(folder.file("alive@\(boot)-1.run"), [.readWrite])
        #expect(try alive.tryLock())
        #expect(RunRecord.leftBehind(in: folder.path, now: WallClock.seconds + week - 60).count == 1)
        #expect(try Files.entries(folder.path).count == 3)
        #expect(RunRecord.leftBehind(in: folder.path, now: WallClock.seconds + week + 60).count == 1)
        #expect(
            try Files.entries(folder.path).sorted() == [
                "alive@\(boot)-1.run", "own@\(NetworkNamespace.identifier).run",
            ])
    }

    @Test func damagedRecordsUndoNothing() throws {
        let folder = try TemporaryFolder()
        for (name, text) in [
            ("a", ""), ("b", "rubbish\ntable x\n"), ("c", "vde_vmnet record 1\ntable\nsetting x\nfoo bar\n"),
        ] {
            try Files.replace(folder.file("\(name)@\(NetworkNamespace.identifier).run"), Array(text.utf8))
        }
        #expect(RunRecord.leftBehind(in: folder.path).flatMap(\.acts).isEmpty)
    }
}
