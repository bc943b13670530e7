// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Timing

extension IntegrationTests {
    /// A VDE network of another program: its owner, how it is joined, and what happens when it goes.
    @Suite struct JoinedSwitches {
        @Test func daemonRejoinsReturningSwitch() throws {
            let network = try TestNetwork()
            let path = network.folder.file("vde")
            var vde: VDESwitch? = try VDESwitch(in: network.host, at: path)
            let daemon = try VMNetDaemon(in: network.host, ["--dhcp", "builtin", path], folder: network.folder)
            var guest: PlugGuest? = try PlugGuest("first", path: path, mac: "52:54:00:00:00:01", folder: network.folder)
            #expect(try guest!.lease()["ip"] == "192.168.105.2")
            for signal in [Signal.terminate, Signal.kill] {
                guest = nil
                vde!.program.signal(signal)
                _ = try vde!.program.waitForEnd()
                vde = nil
                let before = daemon.program.output.count
                try eventually("the loss is noticed") { daemon.program.output.contains("has gone") }
                #expect(
                    try network.host.run("ip", "-o", "link", "show", "vmnet0").contains("vmnet0"), "the uplink stays")
                vde = try VDESwitch(in: network.host, at: path)
                try daemon.program.wait(for: "joined the switch at \(path) again", after: before, within: 5)
                guest = try PlugGuest("again", path: path, mac: "52:54:00:00:00:01", folder: network.folder)
                #expect(try guest!.lease()["ip"] == "192.168.105.2", "the same guest, the same address")
                #expect(try guest!.namespace.pings(gateway))
            }
            #expect(try daemon.stop() == .exited(0))
        }

        @Test func startingSwitchIsAwaited() throws {
            let network = try TestNetwork()
            let path = network.folder.file("vde")
            let daemon = try VMNetDaemon.start(in: network.host, [path], folder: network.folder)
            BootClock.sleep(.milliseconds(200))
            let vde = try VDESwitch(in: network.host, at: path)
            try daemon.wait(for: "vde_vmnet: ready: ", within: 5)
            #expect(try daemon.stop() == .exited(0))
            _ = vde
        }

        @Test func switchOfOtherUserIsJoined() throws {
            let network = try TestNetwork()
            let directory = network.folder.file("user")
            try Files.makeDirectory(directory)
            _ = try ChildProcess.run(["chown", "nobody", directory])
            let vde = try VDESwitch(in: network.host, at: directory + "/vde", user: "nobody")
            let daemon = try VMNetDaemon(in: network.host, ["--dhcp", "builtin", vde.path], folder: network.folder)
            let guest = try PlugGuest("guest", path: vde.path, folder: network.folder)
            #expect(try guest.lease()["ip"] == "192.168.105.2")
            #expect(try daemon.stop() == .exited(0))
        }

        @Test func givenGroupMayWrite() throws {
            let network = try TestNetwork()
            let directory = network.folder.file("user")
            try Files.makeDirectory(directory)
            _ = try ChildProcess.run(["chown", "nobody", directory])
            let vde = try VDESwitch(
                in: network.host, at: directory + "/vde", options: ["--mode", "0660"], user: "nobody")
            let daemon = try VMNetDaemon(
                in: network.host, ["--vde-group", "nogroup", vde.path], folder: network.folder)
            #expect(try daemon.stop() == .exited(0))
            // A group that the switch is not in keeps it out, and it refuses the join.
            let refused = try network.host.attempt([
                TestHost.product("vde_vmnet"), "--state-dir", network.folder.file("state"), "--vde-group", "adm",
                vde.path,
            ])
            #expect(refused.termination == .exited(69))
            #expect(refused.error.contains("refused"))
        }

        @Test func portIsChosenByNumber() throws {
            let network = try TestNetwork()
            let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
            let daemon = try VMNetDaemon(in: network.host, [vde.path + "[7]"], folder: network.folder)
            let listing = try vde.command("port/allprint")
            #expect(listing.contains("Port 0007"))
            #expect(listing.contains("vde_vmnet user=root pid=\(daemon.program.identifier)"))
            // Debian's switch refuses a port out of range by silence.
            let refused = try network.host.attempt([
                TestHost.product("vde_vmnet"), "--state-dir", network.folder.file("state"), vde.path + "[4000]",
            ])
            #expect(refused.termination == .exited(69))
            #expect(refused.error.contains("did not answer") || refused.error.contains("refused"))
        }

        @Test(arguments: [
            (FakeSwitch.Behaviour.silent, "did not answer"), (.refusing, "refused"), (.halfway(60), "refused"),
            (.answering([UInt8](repeating: 0x41, count: 110)), "is not a VDE switch"),
        ])
        func misbehavingSwitchIsReported(behaviour: FakeSwitch.Behaviour, word: String) throws {
            let network = try TestNetwork()
            let fake = try FakeSwitch(in: network.folder, behaviour)
            let before = try network.host.snapshot()
            let result = try network.host.attempt([
                TestHost.product("vde_vmnet"), "--state-dir", network.folder.file("state"), fake.path,
            ])
            #expect(result.termination == .exited(69))
            #expect(result.error.contains(word), "\(result.error)")
            #expect(try network.host.snapshot() == before)
        }

        @Test(arguments: [true, false])
        func cableWorksInEitherStartOrder(isOurs first: Bool) throws {
            let network = try TestNetwork()
            let path = network.folder.file("cable")
            var daemon: VMNetDaemon?
            if first { daemon = try VMNetDaemon(in: network.host, [path + "[]"], folder: network.folder) }
            var guest: PlugGuest? = try PlugGuest("guest", path: "ptp://" + path, folder: network.folder)
            if !first { daemon = try VMNetDaemon(in: network.host, ["ptp://" + path], folder: network.folder) }
            #expect(try guest!.lease()["ip"] == "192.168.105.2")
            #expect(try guest!.namespace.pings(gateway))
            // The other end goes, and another comes.
            guest = nil
            if first {
                try daemon!.program.wait(for: "the other end of \(path) is gone")
                guest = try PlugGuest("guest", path: "ptp://" + path, folder: network.folder)
                #expect(try guest!.lease()["ip"] == "192.168.105.3")
            }
            #expect(try daemon!.stop() == .exited(0))
            guest = nil
            #expect(!Files.exists(path + (first ? "" : "+")))
        }

        @Test func thirdCableEndIsRejected() throws {
            let network = try TestNetwork()
            let path = network.folder.file("cable")
            let daemon = try VMNetDaemon(in: network.host, [path + "[]"], folder: network.folder)
            let guest = try PlugGuest("guest", path: "ptp://" + path, folder: network.folder)
            try guest.lease()
            let third = try network.host.attempt([
                TestHost.product("vde_vmnet"), "--state-dir", network.folder.file("state"), path + "[]",
            ])
            #expect(third.termination == .exited(75))
            #expect(third.error.contains("both ends"))
            _ = daemon
        }
    }
}
