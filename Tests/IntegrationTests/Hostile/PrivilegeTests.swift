// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

/// The user on whose behalf root acts, and who tries to get more.
private let caller: UInt32 = 65_534

/// What is left of root's rights, as `/proc/PID/task/TID/status` lists for one thread.
private struct Rights: Equatable {
    var inherited: UInt64 = 0, permitted: UInt64 = 0, effective: UInt64 = 0, bounding: UInt64 = 0, ambient: UInt64 = 0
    var canGainMore = true

    init(_ text: String) {
        for line in text.split(separator: "\n") {
            let words = line.split(whereSeparator: \.isWhitespace)
            guard words.count == 2 else { continue }
            let number = UInt64(words[1], radix: 16) ?? 0
            switch words[0] {
            case "CapInh:": inherited = number
            case "CapPrm:": permitted = number
            case "CapEff:": effective = number
            case "CapBnd:": bounding = number
            case "CapAmb:": ambient = number
            case "NoNewPrivs:": canGainMore = words[1] != "1"
            default: break
            }
        }
    }

    static func ofThreads(_ process: Int32) throws -> [Rights] {
        try Files.entries("/proc/\(process)/task").compactMap {
            Files.text("/proc/\(process)/task/\($0)/status").map(Rights.init)
        }
    }
}

private let chown: UInt64 = 1 << 0, dacOverride: UInt64 = 1 << 1, fileOwner: UInt64 = 1 << 3, kill: UInt64 = 1 << 5,
    bind: UInt64 = 1 << 10,
    netAdmin: UInt64 = 1 << 12, netRaw: UInt64 = 1 << 13
private let files = dacOverride | fileOwner

extension IntegrationTests {
    /// What root does for a user, and what a user cannot make root do.
    @Suite struct Privilege {
        private var sudo: [String: String?] { ["SUDO_UID": "\(caller)", "SUDO_GID": "\(caller)"] }

        /// The words that run a program where `directory` is /run/vde_vmnet.
        private func withRuntime(_ directory: String) -> [String] {
            [
                "unshare", "-m", "sh", "-c",
                "mkdir -p /run/vde_vmnet; mount --bind \(directory) /run/vde_vmnet; exec \"$@\"", "sh",
            ]
        }

        /// A directory of the caller's.
        private func home(_ network: TestNetwork) throws -> String {
            let path = network.folder.file("home")
            try Files.makeDirectory(path)
            try Files.setOwner(path, user: caller, group: caller)
            return path
        }

        // MARK: Rights

        private func expect(_ kept: UInt64, _ program: BackgroundProgram, _ what: String) throws {
            // A container may have given less.
            let own = try #require(Files.text("/proc/self/status").map(Rights.init)).bounding
            // A thread begins with giving up what it does not need, before anything else; it may just not have had its
            // turn yet.
            try eventually("the rights of every thread") {
                try Rights.ofThreads(program.identifier).allSatisfy { !$0.canGainMore }
            }
            let threads = try Rights.ofThreads(program.identifier)
            #expect(!threads.isEmpty)
            for thread in threads {
                #expect(
                    thread.permitted == kept & own && thread.effective == kept & own && thread.bounding == kept & own,
                    "\(what): \(thread)")
                #expect(thread.inherited == 0 && thread.ambient == 0 && !thread.canGainMore, "\(what): \(thread)")
            }
        }

        @Test(
            arguments: [
                (["--switch", "SWITCH"], files | chown | bind | netAdmin | netRaw),
                (["--switch", "--vmnet-mode", "host", "SWITCH"], files | chown | netAdmin | netRaw),
                (
                    ["--switch", "--workers", "3", "--uplink", "user", "SWITCH"],
                    files | chown | bind | netAdmin | netRaw
                ),
                (
                    ["--vmnet-mode", "bridged", "--vmnet-interface", "wan", "--switch", "SWITCH"],
                    files | chown | netAdmin | netRaw
                ),
                (["--switch", "--uplink", "none", "SWITCH"], files | chown | netAdmin),
                (["--stream", "SWITCH"], files | bind | netAdmin | netRaw),
            ] as [([String], UInt64)])
        func everyThreadKeepsOnlyNeededCapabilities(words: [String], kept: UInt64) throws {
            let network = try TestNetwork()
            let daemon = try VMNetDaemon(
                in: network.host, words.map { $0 == "SWITCH" ? network.folder.file("vde") : $0 }, folder: network.folder
            )
            if words.contains("user") { #expect(try Rights.ofThreads(daemon.program.identifier).count > 2) }
            try expect(kept, daemon.program, words.joined(separator: " "))
            #expect(try daemon.stop() == .exited(0))
        }

        @Test(arguments: [false, true])
        func programOfRunKeepsCallerPrivileges(isSudo: Bool) throws {
            let network = try TestNetwork()
            let script = "cat /proc/self/status; echo begun; exec sleep 100"
            let runner = try network.host.start(
                [
                    TestHost.product("vde_vmnet"), "run", "--state-dir", network.folder.file("state"), "--", "sh", "-c",
                    script,
                ], environment: isSudo ? sudo : [:])
            let program = Rights(try runner.wait(for: "begun"))
            let own = try #require(Files.text("/proc/self/status").map(Rights.init))
            #expect(
                program.canGainMore == own.canGainMore && program.bounding == own.bounding,
                "set-user-id programs are of use to it")
            #expect(program.effective == (isSudo ? 0 : own.effective))
            try expect(bind | netAdmin | netRaw | (isSudo ? kill : 0), runner, "run")
            // The signal reaches a program of another user.
            runner.signal(Signal.terminate)
            #expect(try runner.waitForEnd() == .exited(128 + Signal.terminate))
        }

        /// What comes after the start, and at the end: other users' guests, leases, what leads out now, and
        /// everything put back.
        @Test func keptCapabilitiesSuffice() throws {
            let network = try TestNetwork()
            let home = try home(network), path = home + "/vde", listener = home + "/listener", pidfile = home + "/pid"
            let before = try network.host.snapshot()
            let daemon = try VMNetDaemon(
                in: network.host,
                [
                    "--switch", "--mgmt", home + "/mgmt", "--stream", listener, "--dgram", home + "/dgram", "-p",
                    pidfile,
                    path,
                ], folder: network.folder, environment: sudo)
            let check = try network.host.attempt(
                Namespace.running(as: "nobody") + [TestHost.product("vde_vmnet"), "check", path])
            #expect(check.succeeded, "\(check.output)\(check.error)")
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            try guest.lease()
            // A new uplink: its forwarding is switched on, and off at the end.
            try network.host.ip("link", "add", "new", "type", "veth", "peer", "name", "newer")
            for name in ["new", "newer"] { try network.host.ip("link", "set", name, "up") }
            try network.host.ip("route", "add", "10.77.0.0/16", "dev", "new")
            try eventually("forwarding through it") {
                try network.host.run("cat", "/proc/sys/net/ipv4/conf/new/forwarding").trimmed == "1"
            }
            #expect(try daemon.stop() == .exited(0))
            #expect(try Files.entries(home).isEmpty)
            try network.host.ip("link", "del", "new")
            #expect(try network.host.snapshot() == before)
        }

        // MARK: What a user cannot make root do

        @Test func symlinkGivesNoRootDirectoryToCaller() throws {
            let network = try TestNetwork()
            let home = try home(network), victim = network.folder.file("sbin"), link = home + "/vde"
            try Files.makeDirectory(victim)
            let before = try Files.status(victim)
            _ = try ChildProcess.run(["ln", "-s", victim, link])
            try Files.setOwner(link, user: caller, group: caller)
            for words in [
                ["--switch", "--uplink", "none", link], ["switch", "-s", link, "--nostdin"],
                ["--uplink", "none", "--stream", link + "/listener"],
                ["--uplink", "none", "--switch", home + "/own", "-p", link + "/pid"],
                ["--uplink", "none", "--switch", home + "/own", "--mgmt", link + "/mgmt"],
            ] {
                let result = try network.host.attempt(
                    ["timeout", "5", TestHost.product("vde_vmnet")] + words, environment: sudo)
                #expect(
                    [.exited(69), .exited(73), .exited(77)].contains(result.termination),
                    "\(words): \(result.termination)")
                #expect(
                    result.error.contains("follow \(link), a link of nobody to \(victim), which belongs to root"),
                    "\(result.error)")
            }
            #expect(try Files.status(victim) == before && Files.entries(victim).isEmpty)
        }

        @Test func unreadableFileIsNotReadForCaller() throws {
            let network = try TestNetwork()
            try Files.setMode(network.folder.path, 0o755)
            let secret = network.folder.file("secret"), open = network.folder.file("open"),
                path = network.folder.file("vde")
            try Files.replace(secret, Array("root:secret:1\n".utf8), mode: 0o600)
            try Files.replace(open, Array("load \(secret)\nnonsense\n".utf8), mode: 0o644)
            let words = [TestHost.product("vde_vmnet"), "--switch", "--uplink", "none", path, "--rcfile"]
            let refused = try network.host.attempt(words + [secret], environment: sudo)
            #expect(
                refused.termination == .exited(66) && refused.error.contains("Permission denied")
                    && !refused.error.contains("secret:1"), "\(refused.error)")
            let taken = try network.host.start(words + [open], environment: sudo)
            try taken.wait(for: "vde_vmnet: ready: ")
            #expect(
                taken.output.contains("'load \(secret)' failed") && taken.output.contains("'nonsense' failed")
                    && !taken.output.contains("secret:1"), "\(taken.output)")
            #expect(try taken.stop() == .exited(0))
            // Nor by the console, which is the caller's terminal.
            let console = try network.host.start(VDESwitch.ours + ["-s", path], environment: sudo)
            try console.type("load \(secret)\nload \(open)\n")
            try eventually("two answers") { console.output.split(separator: "\n").count { $0.hasPrefix("10") } == 2 }
            #expect(!console.output.contains("secret:1"), "\(console.output)")
            #expect(try console.stop() == .exited(0))
        }

        /// As in /tmp, where another user may have made `vde_vmnet-UID`.
        @Test func recordsInForeignDirectoryAreIgnored() throws {
            let network = try TestNetwork()
            let theirs = network.folder.file("theirs"), home = try home(network)
            try Files.makeDirectory(theirs)
            try Files.makeDirectory(theirs + "/vde_vmnet")
            try Files.setOwner(theirs + "/vde_vmnet", user: caller, group: caller)
            try Files.setOwner(theirs, user: 1, group: 1)
            let result = try network.host.attempt(
                Namespace.running(as: "nobody") + [
                    "timeout", "5", TestHost.product("vde_vmnet"), "--switch", "--uplink", "user", "--state-dir",
                    home + "/state", home + "/vde",
                ],
                environment: ["XDG_RUNTIME_DIR": theirs, "HOME": home])
            // The network starts without the directory, and timeout(1) ends it.
            #expect(result.termination == .exited(124) && result.output.contains("ready"), "\(result.error)")
            #expect(result.error.contains("trust \(theirs)"), "\(result.error)")
            #expect(try Files.entries(theirs + "/vde_vmnet").isEmpty)
        }

        @Test func forgedRecordIsReportedAndIgnored() throws {
            let network = try TestNetwork()
            let runtime = network.folder.file("run"), precious = network.folder.file("precious")
            try Files.makeDirectory(runtime, mode: 0o755)
            try Files.replace(precious, Array("precious".utf8))
            let words =
                withRuntime(runtime) + [
                    TestHost.product("vde_vmnet"), "--state-dir", network.folder.file("state"), "--switch",
                    network.folder.file("vde"),
                ]
            let first = try network.host.start(words)
            try first.wait(for: "vde_vmnet: ready: ")
            #expect(try Files.status(runtime).mode == 0o755, "control sockets are reached through it")
            let name = try #require(try Files.entries(runtime).first { $0.hasSuffix(".run") })
            #expect(try Files.status(runtime + "/" + name).mode == 0o600)
            first.signal(Signal.kill)
            _ = try first.waitForEnd()
            try Files.overwrite(runtime + "/" + name, "vde_vmnet record 1\npid 1\nsetting ../..\(precious) owned\n")
            let second = try network.host.start(words)
            try second.wait(for: "vde_vmnet: ready: ")
            #expect(
                second.output.contains("'setting ../..\(precious) owned' is not a change that this program records"),
                "\(second.output)")
            #expect(Files.text(precious) == "precious")
            #expect(try second.stop() == .exited(0))
        }

        // MARK: Locks, disks, and kills

        @Test func lockOfAnotherInstanceDelaysNothing() throws {
            let network = try TestNetwork()
            let runtime = network.folder.file("run"), path = network.folder.file("vde")
            try Files.makeDirectory(runtime, mode: 0o700)
            let words =
                withRuntime(runtime) + [
                    TestHost.product("vde_vmnet"), "--state-dir", network.folder.file("state"), "--switch",
                ]
            let daemon = try network.host.start(words + [path])
            try daemon.wait(for: "vde_vmnet: ready: ")
            let lock = try Files.open(runtime + "/lock", [.readWrite])
            #expect(try lock.tryLock())
            try network.host.ip("link", "add", "new", "type", "veth", "peer", "name", "newer")
            for name in ["new", "newer"] { try network.host.ip("link", "set", name, "up") }
            try network.host.ip("route", "add", "10.77.0.0/16", "dev", "new")
            try daemon.wait(
                for:
                    "process \(CurrentProcess.identifier) keeps /run/vde_vmnet/lock locked; guests do not reach the "
                    + "outside through new interfaces until it is released"
            )
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            try guest.lease()
            // Another instance names the process that holds the lock.
            let other = try network.host.attempt(words + [network.folder.file("other")])
            #expect(
                other.termination == .exited(75)
                    && other.error.contains("process \(CurrentProcess.identifier) keeps /run/vde_vmnet/lock locked"),
                "\(other.error)")
            _ = consume lock
            try eventually("forwarding through it") {
                try network.host.run("cat", "/proc/sys/net/ipv4/conf/new/forwarding").trimmed == "1"
            }
            let again = try Files.open(runtime + "/lock", [.readWrite])
            #expect(try again.tryLock())
            #expect(try daemon.stop() == .exited(0))
            #expect(try network.host.run("cat", "/proc/sys/net/ipv4/conf/new/forwarding").trimmed == "0")
        }

        @Test func fullDiskDoesNotPreventStart() throws {
            let network = try TestNetwork()
            let state = network.folder.file("state"), path = network.folder.file("vde")
            try Files.makeDirectory(state)
            _ = try ChildProcess.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=755", "tmpfs", state])
            defer { _ = try? ChildProcess.run(["umount", state]) }
            let first = try VMNetDaemon(in: network.host, ["--switch", path], folder: network.folder)
            try PlugGuest("guest", path: path, mac: "52:54:00:00:00:01", folder: network.folder).lease()
            #expect(try first.stop() == .exited(0))
            _ = try ChildProcess.run(["sh", "-c", "cat /dev/zero > \(state)/filler"])
            let second = try VMNetDaemon(in: network.host, ["--switch", path], folder: network.folder)
            #expect(second.program.output.contains("leases cannot be written"))
            // What could be read is known, and when there is room again it is written.
            let guest = try PlugGuest("again", path: path, mac: "52:54:00:00:00:01", folder: network.folder)
            #expect(try guest.lease()["ip"] == "192.168.105.2")
            try Files.remove(state + "/filler")
            try guest.lease()
            try second.program.wait(for: "leases are being written again")
            #expect(try second.stop() == .exited(0))
        }

        @Test(.enabled(if: Files.exists("/usr/bin/strace"), "needs strace"))
        func killDuringSpawnLeavesNoLock() throws {
            let network = try TestNetwork()
            let path = network.folder.file("vde"),
                words = [TestHost.product("vde_vmnet"), "--state-dir", network.folder.file("state"), "--switch", path]
            // Between the child's first instruction and the program it starts.
            let tracer = try network.host.start(
                ["strace", "-f", "-o", "/dev/null", "-e", "trace=execve", "-e", "inject=execve:delay_enter=4000000"]
                    + words)
            var killed: Int32 = 0
            try eventually("the child", within: 20) {
                guard Files.exists(path + "/ctl"),
                    let daemon = Int32(try ChildProcess.run(["pgrep", "-P", "\(tracer.identifier)"]).output.trimmed)
                else { return false }
                guard try !ChildProcess.run(["pgrep", "-P", "\(daemon)"]).output.isEmpty else { return false }
                killed = daemon
                return ProcessTable.signal(daemon, Signal.kill)
            }
            // A process that is traced takes a moment to end.
            try eventually("its end", within: 2) { !Files.exists("/proc/\(killed)") }
            let second = try network.host.start(words)
            try second.wait(for: "vde_vmnet: ready: ", within: 3)
            #expect(try second.stop() == .exited(0))
        }
    }
}
