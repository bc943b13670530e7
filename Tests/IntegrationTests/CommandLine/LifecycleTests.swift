// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Timing

extension IntegrationTests {
    /// Start, end, and what is left behind.
    @Suite struct Lifecycle {
        /// Runs the command to its end.
        private func run(
            _ network: TestNetwork, _ arguments: String..., user: String? = nil, environment: [String: String?] = [:]
        ) throws -> ChildProcess.Output {
            try network.host.attempt(
                Namespace.running(as: user) + [
                    TestHost.product("vde_vmnet"), "--state-dir", network.folder.file("state"),
                ] + arguments, environment: environment)
        }

        private func status(_ number: Int32) -> ChildProcess.Termination { .exited(number) }

        @Test(arguments: [Signal.interrupt, Signal.terminate, Signal.hangup])
        func everySignalEndsDaemonCleanly(signal: Int32) throws {
            let network = try TestNetwork()
            let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
            let before = try network.host.snapshot()
            let pidfile = network.folder.file("pid")
            let daemon = try VMNetDaemon(in: network.host, ["-p", pidfile, vde.path], folder: network.folder)
            #expect(daemon.readyLine == "192.168.105.0/24 on vmnet0, gateway 192.168.105.1, joined to \(vde.path)")
            #expect(Files.text(pidfile) == "\(daemon.program.identifier)")
            #expect(try network.host.snapshot() != before)
            daemon.program.signal(signal)
            #expect(try daemon.program.waitForEnd(within: 2) == .exited(0))
            #expect(try network.host.snapshot() == before)
            #expect(!Files.exists(pidfile))
            #expect(try Files.entries(vde.path) == ["ctl"], "no socket of ours is left with the switch")
        }

        /// Nothing reads standard error. The network works, and a signal ends it.
        @Test func fullStandardErrorStopsNothing() throws {
            let network = try TestNetwork()
            let pipe = try DescriptorPair.pipe(), vde = network.folder.file("vde")
            pipe.second.setNonBlocking()
            while (try? pipe.second.write([0])) != nil {}
            pipe.second.setBlocking()
            let daemon = try GuestProgram.start(
                network.host.prefix + ["sh", "-c", "exec \"$@\" 2>&3 3>&- >/dev/null", "sh"]
                    + [TestHost.product("vde_vmnet"), "--state-dir", network.folder.file("state")]
                    + ["--log-level", "debug", "--switch", vde],
                descriptor: pipe.second.raw, user: nil, environment: [:])
            try eventually("the switch", within: ampleTime) { Files.exists(vde + "/ctl") }
            let guest = try PlugGuest("guest", path: vde, folder: network.folder)
            try guest.lease()
            #expect(try guest.namespace.pings(gateway))
            // With room for some lines, the number of lost ones comes first.
            pipe.first.setNonBlocking()
            while let part = try? pipe.first.read(limit: 65_536), !part.isEmpty {}
            guest.stop()
            daemon.signal(Signal.terminate)
            try eventually("its end", within: ampleTime) { daemon.poll() == .exited(0) }
            let log = String(decoding: try pipe.first.read(limit: 65_536), as: UTF8.self)
            #expect(log.hasPrefix("vde_vmnet: warning: lines of this log that were lost"), "\(log)")
            #expect(log.contains("ending on signal 15"))
        }

        /// A limit of the size of files (`ulimit -f`) makes writes fail, and kills nothing.
        @Test func limitOfFileSizeIsReported() throws {
            let network = try TestNetwork()
            let vde = network.folder.file("vde"), log = network.folder.file("log")
            let result = try network.host.attempt([
                "sh", "-c", "ulimit -f 0; exec \"$@\" 2>&1 | cat", "sh", TestHost.product("vde_vmnet"), "--uplink",
                "none",
                "--switch", vde, "--state-dir", network.folder.file("state"), "--pcap", log, "--idle-exit", "1",
            ])
            #expect(result.succeeded && result.output.contains("File too large"), "\(result.output)\(result.error)")
            #expect(!Files.exists(vde))
        }

        @Test func nextRunUndoesChangesOfKilledRun() throws {
            let network = try TestNetwork()
            let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
            let before = try network.host.snapshot()
            let first = try VMNetDaemon(in: network.host, [vde.path], folder: network.folder)
            first.program.signal(Signal.kill)
            _ = try first.program.waitForEnd()
            #expect(try network.host.run("nft", "list", "ruleset").contains("vde_vmnet_vmnet0"))
            #expect(try network.host.run("cat", "/proc/sys/net/ipv4/conf/wan/forwarding").trimmed == "1")
            // Stopped at once: what was found counts, not what the crash left.
            let second = try VMNetDaemon(
                in: network.host, ["--vmnet-gateway", "192.168.200.1", vde.path], folder: network.folder)
            #expect(second.program.output.contains("cleaning up"))
            #expect(try second.stop() == .exited(0))
            #expect(try network.host.snapshot() == before)
        }

        @Test func lastOfTwoDaemonsRestoresHost() throws {
            let network = try TestNetwork()
            let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
            let before = try network.host.snapshot()
            let first = try VMNetDaemon(in: network.host, [vde.path], folder: network.folder)
            let second = try VMNetDaemon(in: network.host, ["--dhcp", "off", vde.path], folder: network.folder)
            #expect(first.readyLine.contains("192.168.105.0/24 on vmnet0"))
            #expect(second.readyLine.contains("192.168.106.0/24 on vmnet1"))
            #expect(try first.stop() == .exited(0))
            #expect(
                try network.host.run("cat", "/proc/sys/net/ipv4/conf/wan/forwarding").trimmed == "1",
                "the second still needs it")
            #expect(try second.stop() == .exited(0))
            #expect(try network.host.snapshot() == before)
        }

        @Test func gatewayAndPidfileBelongToOneDaemon() throws {
            let network = try TestNetwork()
            let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
            let pidfile = network.folder.file("pid")
            let first = try VMNetDaemon(
                in: network.host, ["--vmnet-gateway", "192.168.77.1", "-p", pidfile, vde.path], folder: network.folder)
            let sameNetwork = try run(network, "--dhcp", "off", "--vmnet-gateway", "192.168.77.1", vde.path)
            #expect(sameNetwork.termination == status(75))
            #expect(sameNetwork.error.contains("process \(first.program.identifier)"))
            let samePidfile = try run(network, "--dhcp", "off", "--pidfile", pidfile, vde.path)
            #expect(samePidfile.termination == status(75))
            #expect(samePidfile.error.contains("process \(first.program.identifier)"))
            #expect(try first.stop() == .exited(0))
        }

        @Test func systemdIsNotifiedWhenReady() throws {
            let network = try TestNetwork()
            let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
            let socket = try Socket.unixDatagram()
            let path = network.folder.file("notify")
            try socket.bind(to: UnixPath(path))
            let daemon = try VMNetDaemon(
                in: network.host, [vde.path], folder: network.folder, environment: ["NOTIFY_SOCKET": path])
            let ready = socket.wait(for: .readable, until: BootClock.now + .seconds(5))
            #expect(ready.contains(.readable))
            #expect(String(decoding: try socket.receive(limit: 1000), as: UTF8.self).hasPrefix("READY=1\n"))
            _ = try daemon.stop()
            #expect(String(decoding: try socket.receive(limit: 1000), as: UTF8.self) == "STOPPING=1")
        }

        @Test func missingPrivilegeIsReportedWithRemedy() throws {
            let network = try TestNetwork()
            let directory = network.folder.file("user")
            try Files.makeDirectory(directory)
            try Files.setOwner(directory, user: UserDatabase.user(named: "nobody"), group: nil)
            let vde = try VDESwitch(in: network.host, at: directory + "/vde", user: "nobody")
            let result = try run(
                network, "--uplink", "tap", "--state-dir", directory + "/state", vde.path, user: "nobody",
                environment: ["XDG_RUNTIME_DIR": directory, "HOME": directory])
            #expect(result.termination == status(77))
            #expect(result.error.contains("sudo"))
            #expect(result.output.isEmpty)
            #expect(try network.host.run("ip", "-o", "link").contains(": vmnet") == false)
            // The variable that leads astray is named, where the start needs it.
            let astray = try run(
                network, "--uplink", "user", "--name", "mine", "--state-dir", directory + "/state", vde.path,
                user: "nobody",
                environment: ["XDG_RUNTIME_DIR": "/etc/passwd", "HOME": directory])
            #expect(
                astray.termination == status(73)
                    && astray.error.contains("XDG_RUNTIME_DIR is /etc/passwd; set it to a directory that you own"),
                "\(astray.error)")
        }

        @Test func setUserIDIsRefused() throws {
            let network = try TestNetwork()
            let copy = network.folder.file("vde_vmnet")
            _ = try ChildProcess.run(["cp", TestHost.product("vde_vmnet"), copy])
            try Files.setMode(copy, 0o4755)
            try Files.setMode(network.folder.path, 0o755)
            let result = try network.host.attempt(Namespace.running(as: "nobody") + [copy, "/nowhere"])
            #expect(result.termination == status(77))
            #expect(result.error.contains("set-user-id"))
        }

        @Test func badPathsAreReportedAndLeftAlone() throws {
            let network = try TestNetwork()
            let folder = network.folder
            let before = try network.host.snapshot()
            try Files.replace(folder.file("file"), [])
            try Files.makeDirectory(folder.file("empty"))
            let long = folder.file(String(repeating: "x", count: 100))
            try Files.makeDirectory(long)
            for (path, word) in [
                (folder.file("missing"), "a new switch: vde_vmnet --switch"), (folder.file("file"), "is a file"),
                (folder.file("empty"), "no VDE switch"), (long, "too long"),
            ] {
                let result = try run(network, path)
                #expect(result.termination == status(["is a file", "too long"].contains(word) ? 64 : 69), "\(path)")
                #expect(result.error.contains(word), "\(result.error)")
                #expect(result.output.isEmpty)
            }
            let nowhere = try run(network, environment: ["HOME": folder.path])
            #expect(nowhere.termination == status(69))
            #expect(nowhere.error.contains(".vde2/default.switch"))
            #expect(try network.host.snapshot() == before)
        }

        @Test func defaultSwitchIsFoundByLibvdeplug() throws {
            let network = try TestNetwork()
            try Files.makeDirectory(network.folder.file(".vde2"))
            let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
            _ = try ChildProcess.run(["ln", "-s", vde.path, network.folder.file(".vde2/default.switch")])
            let daemon = try VMNetDaemon(
                in: network.host, [], folder: network.folder, environment: ["HOME": network.folder.path])
            #expect(daemon.readyLine.contains("joined to \(network.folder.path)/.vde2/default.switch"))
            #expect(try vde.command("port/allprint").contains("vde_vmnet user=root"))
        }

        @Test func usedTapNameOrNetworkIsReported() throws {
            let network = try TestNetwork()
            let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
            try network.host.ip("addr", "add", "10.1.2.3/16", "dev", "wan")
            let before = try network.host.snapshot()
            let tap = try run(network, "--tap-name", "wan", vde.path)
            #expect(tap.termination == status(69))
            #expect(tap.error.contains("wan exists already"))
            let overlap = try run(network, "--vmnet-gateway", "10.1.99.1", vde.path)
            #expect(overlap.termination == status(69))
            #expect(overlap.error.contains("overlaps 10.1.0.0/16") && overlap.error.contains("wan"))
            #expect(try network.host.snapshot() == before)
        }
    }
}
