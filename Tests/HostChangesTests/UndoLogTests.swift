// SPDX-License-Identifier: Apache-2.0
import HostChanges
import Platform
import TestSupport
import Testing
import Wire

@Suite struct UndoLogTests {
    @Test func nextInstanceReadsChanges() throws {
        let folder = try TemporaryFolder()
        let setting = KernelSetting(path: "net/ipv4/conf/eth0/forwarding")
        do {
            let record = try #require(try UndoLog.create("a", in: folder.path).log)
            try record.add(.table("vde_vmnet_vmnet0"))
            try record.add(.setting(setting, before: "0"))
            try record.add(.setting(setting, before: "0"))
            #expect(try UndoLog.create("a", in: folder.path).owner == CurrentProcess.identifier)
            #expect(UndoLog.orphans(in: folder.path).isEmpty, "it is alive")
            let other = try #require(try UndoLog.create("b", in: folder.path).log)
            #expect(other.changesOfOthers() == [.table("vde_vmnet_vmnet0"), .setting(setting, before: "0")])
            other.remove()
        }
        // The lock went with the file; the record stayed, as after a crash.
        let dead = UndoLog.orphans(in: folder.path)
        #expect(dead.map(\.changes) == [[.table("vde_vmnet_vmnet0"), .setting(setting, before: "0")]])
        dead[0].remove()
        #expect(UndoLog.orphans(in: folder.path).isEmpty)
    }

    @Test func recordIsClosedToOtherUsers() throws {
        let folder = try TemporaryFolder()
        let record = try #require(try UndoLog.create("a", in: folder.path).log)
        #expect(try Files.status(record.path).mode == 0o600)
        record.remove()
    }

    /// A record of an earlier version, which any user could open, and one that no other user can.
    @Test(arguments: [UInt16(0o644), 0o600]) func foreignLockCountsOnlyOnClosedRecord(
        mode: UInt16
    ) throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a@\(NetworkNamespace.identifier).run"), isOpen = mode != 0o600
        try Files.replace(path, Array("vde_vmnet record 1\npid 4194305\ntable vde_vmnet_vmnet0\n".utf8), mode: mode)
        let other = try Files.open(path, [.readOnly])
        #expect(try other.tryLock())
        #expect(UndoLog.orphans(in: folder.path).map(\.changes) == (isOpen ? [[.table("vde_vmnet_vmnet0")]] : []))
        let record = try UndoLog.create("a", in: folder.path).log
        #expect((record != nil) == isOpen)
        if let record {
            #expect(try UndoLog.create("a", in: folder.path).owner == CurrentProcess.identifier)
            #expect(try Files.status(path).mode == 0o600)
            record.remove()
        }
        // With a living process in it, it is one's that runs.
        try Files.replace(path, Array("vde_vmnet record 1\npid \(CurrentProcess.identifier)\n".utf8), mode: mode)
        let own = try Files.open(path, [.readOnly])
        #expect(try own.tryLock())
        #expect(UndoLog.orphans(in: folder.path).isEmpty)
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
        "switch-port --all br0", "switch-port vmnet0 --all", "switch-port a/b br0", "switch-port vmnet0",
        "resolver --x", "resolver a b", "resolver-file", "resolver-file ../x", "resolver-file a/b", "resolver-file .a",
        "resolver-file a b",
        "unknown x",
        "setting net/ipv4/conf/eth0/forwarding 0 1",
    ])
    func forgedLineIsRejectedAndReported(line: String) throws {
        let folder = try TemporaryFolder()
        try Files.replace(
            folder.file("a@\(NetworkNamespace.identifier).run"),
            Array(
                """
                vde_vmnet record 1
                pid 1
                table vde_vmnet_vmnet0
                \(line)
                setting net/ipv4/conf/eth0.5/forwarding 1
                switch-port vmnet0 br0

                """.utf8))
        let dead = try #require(UndoLog.orphans(in: folder.path).first)
        let known = [
            HostChange.table("vde_vmnet_vmnet0"),
            .setting(KernelSetting(path: "net/ipv4/conf/eth0.5/forwarding"), before: "1"),
            .switchPort("vmnet0", bridge: "br0"),
        ]
        #expect(dead.changes == known)
        #expect(dead.rejected == [line])
    }

    @Test func recordedChangesRoundTrip() {
        let changes: [HostChange] = [
            .table("vde_vmnet_vmnet0"), .table("vde_vmnet_0123456789abcde_guards"),
            .setting(.forwarding(on: "wlan-0.1"), before: "0"), .switchPort("tap_1", bridge: "ovs-br"),
            .resolver(interface: "vmnet0"), .resolverFile(domain: "vm.internal"),
            .setting(.forcedForwarding(on: "eth0"), before: "0"), .setting(.forwardingEverywhere6, before: "0"),
            .setting(KernelSetting(path: "net/ipv6/conf/default/accept_ra"), before: "1"),
            .rule(.ipv4(IPv4Network("192.168.105.0/24")!), preference: 9),
            .rule(.ipv6(IPv6Network(containing: IPv6Address("fd12::")!, prefixLength: 64)), preference: 9),
        ]
        for change in changes { #expect(HostChange(change.line[...]) == change) }
    }

    @Test func recordsOfOtherBootOrNamespaceAreIgnored() throws {
        let folder = try TemporaryFolder()
        try Files.replace(folder.file("x@00000000-1.run"), Array("vde_vmnet record 1\ntable vde_vmnet_t\n".utf8))
        let boot = Files.text("/proc/sys/kernel/random/boot_id")!.prefix(8)
        try Files.replace(folder.file("y@\(boot)-1.run"), Array("vde_vmnet record 1\ntable vde_vmnet_t\n".utf8))
        #expect(UndoLog.orphans(in: folder.path).isEmpty)
        #expect(
            try Files.entries(folder.path) == ["y@\(boot)-1.run"],
            "an earlier boot's is removed, another namespace's is left")
    }

    /// Test hosts create and remove many namespaces; changes inside a namespace end with it.
    @Test func recordsOfOtherNamespaceExpire() throws {
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
        #expect(UndoLog.orphans(in: folder.path, now: WallClock.seconds + week - 60).count == 1)
        #expect(try Files.entries(folder.path).count == 3)
        #expect(UndoLog.orphans(in: folder.path, now: WallClock.seconds + week + 60).count == 1)
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
        #expect(UndoLog.orphans(in: folder.path).flatMap(\.changes).isEmpty)
    }
}
