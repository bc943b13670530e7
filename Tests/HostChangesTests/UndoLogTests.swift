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

    /// Makes records of another namespace: `NAME: lines` each.
    private func makeForeign(_ records: [String: String], in folder: TemporaryFolder) throws -> [String] {
        let boot = Files.text("/proc/sys/kernel/random/boot_id")!.prefix(8)
        for (name, lines) in records {
            try Files.replace(folder.file("\(name)@\(boot)-1.run"), Array("vde_vmnet record 1\n\(lines)".utf8))
        }
        return records.keys.map { "\($0)@\(boot)-1.run" }
    }

    private func rest(_ folder: TemporaryFolder) throws -> [String] {
        try Files.entries(folder.path).map { String($0.prefix { $0 != "@" }) }.sorted()
    }

    /// Test hosts and containers make and remove many namespaces; changes inside a namespace end with it.
    @Test func recordsOfOtherNamespaceExpire() throws {
        let folder = try TemporaryFolder()
        let names = try makeForeign(
            [
                "empty": "pid 1\nnamespace 7\n", "gone": "pid 1\nnamespace 8\ntable vde_vmnet_t\n",
                "here": "pid 1\nnamespace 7\ntable vde_vmnet_t\n", "earlier": "pid 1\ntable vde_vmnet_t\n",
                "alive": "pid 1\nnamespace 8\n", "damaged": "pid x\n",
            ], in: folder)
        let alive = try Files.open(folder.file(names.first { $0.hasPrefix("alive") }!), [.readWrite])
        #expect(try alive.tryLock())
        let now = WallClock.seconds, week: Int64 = 7 * 86_400
        NamespaceSweep(folder.path, now: now + 60, namespaces: { [7] }).run(names)
        #expect(try rest(folder) == ["alive", "damaged", "earlier", "gone", "here"])
        NamespaceSweep(folder.path, now: now + 7200, namespaces: { nil }).run(names)
        #expect(try rest(folder) == ["alive", "damaged", "earlier", "gone", "here"], "unknown namespaces may exist")
        NamespaceSweep(folder.path, now: now + 7200, namespaces: { [7] }).run(names)
        #expect(try rest(folder) == ["alive", "damaged", "earlier", "here"])
        NamespaceSweep(folder.path, now: now + week + 60, namespaces: { [7] }).run(names)
        #expect(try rest(folder) == ["alive"])
    }

    /// A start reads the records of other namespaces once they are many.
    @Test(arguments: [NamespaceSweep.threshold - 1, NamespaceSweep.threshold])
    func manyRecordsOfOtherNamespacesAreExamined(count: Int) throws {
        let folder = try TemporaryFolder()
        var records: [String: String] = [:]
        for number in 0..<count { records["r\(number)"] = "pid 1\nnamespace 7\n" }
        _ = try makeForeign(records, in: folder)
        #expect(UndoLog.orphans(in: folder.path).isEmpty)
        #expect(try rest(folder).count == (count < NamespaceSweep.threshold ? count : 0))
    }

    @Test func oneStartExaminesSomeRecords() throws {
        let folder = try TemporaryFolder(), count = 2 * NamespaceSweep.limit + 40
        var records: [String: String] = [:]
        for number in 0..<count { records["r\(number)"] = "pid 1\nnamespace 7\n" }
        _ = try makeForeign(records, in: folder)
        for start in 1...3 {
            #expect(UndoLog.orphans(in: folder.path).isEmpty)
            #expect(try rest(folder).count == max(0, count - start * NamespaceSweep.limit))
        }
    }

    /// Needs root in the first process namespace; elsewhere the answer is nil.
    @Test func existingNamespacesAreFound() throws {
        guard let found = NetworkNamespace.inodes() else { return }
        #expect(found.contains(try #require(NetworkNamespace.inode)))
        let namespace = try Namespace("mounted")
        let inode = try Files.status("/run/netns/\(namespace.name)").inode
        #expect(try #require(NetworkNamespace.inodes()).contains(inode), "it is mounted, and no process is in it")
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
