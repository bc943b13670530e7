// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// `vde_vmnet --switch`: no other switch is needed.
    @Suite struct OwnSwitch {
        @Test(
            .enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"),
            .enabled(if: VirtualMachine.canRunUML, "\(VirtualMachine.umlReason)"))
        func oneCommandMakesWholeNetwork() throws {
            let fixture = try OwnSwitchFixture(internet: true)
            #expect(
                fixture.daemon.readyLine
                    == "192.168.105.0/24 on vmnet0, gateway 192.168.105.1, switch at \(fixture.path)")
            let before = try fixture.host.attempt([
                TestHost.product("vde_vmnet"), "check", fixture.path, "--name", TestNetwork.internetName,
            ])
            #expect(before.succeeded, "\(before.output)")
            #expect(!before.output.contains("failed"))
            let guests = [
                try VirtualMachine.qemu(
                    "qemu", netdev: "vde,id=net0,sock=\(fixture.path)", mac: "52:54:00:00:00:01", in: fixture.host,
                    folder: fixture.folder),
                try VirtualMachine.uml(
                    "uml", network: "vde,\(fixture.path)", mac: "52:54:00:00:00:03", in: fixture.host,
                    folder: fixture.folder),
            ]
            var addresses: [String] = []
            for guest in guests {
                try guest.waitUntilBooted()
                addresses.append(VirtualMachine.address(in: try guest.lease()))
            }
            for (number, guest) in guests.enumerated() {
                #expect(try guest.run("ping -c 1 -W 5 \(addresses[1 - number])").status == 0)
                #expect(
                    try guest.run("wget -q -O - http://\(TestNetwork.internetName)/").output
                        == "Hello from the Internet", "\(guest.name) fetches")
                try guest.run("mkdir -p /www && echo 'this is \(guest.name)' > /www/index.html && httpd -p 80 -h /www")
                #expect(try fixture.host.fetch(addresses[number]) == "this is \(guest.name)")
            }
            #expect(try fixture.daemon.stop() == .exited(0))
            #expect(!Files.exists(fixture.path))
        }

        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"))
        func sudoGivesSwitchToCaller() throws {
            let network = try TestNetwork()
            let user = try #require(UserDatabase.user(named: "nobody")),
                group = try #require(UserDatabase.group(named: "nogroup"))
            let path = network.folder.file("own"), console = network.folder.file("mgmt")
            let daemon = try VMNetDaemon(
                in: network.host, ["--switch", "--mgmt", console, path], folder: network.folder,
                environment: ["SUDO_UID": "\(user)", "SUDO_GID": "\(group)"])
            for (name, mode) in [(path, 0o2700), (path + "/ctl", 0o600), (console, 0o600)] as [(String, UInt16)] {
                let status = try Files.status(name)
                #expect(status.owner == user && status.group == group && status.mode == mode, "\(name)")
            }
            let guest = try VirtualMachine.qemu(
                "guest", netdev: "vde,id=net0,sock=\(path)", mac: "52:54:00:00:00:01", in: network.host, user: "nobody",
                folder: network.folder)
            try guest.waitUntilBooted()
            #expect(VirtualMachine.address(in: try guest.lease()) == "192.168.105.2")
            let socket = try #require(try Files.entries(path).first { $0.hasPrefix("002.") })
            #expect(try Files.status(path + "/" + socket).owner == user)
            // Others stay out, and root does not.
            let other = try network.host.attempt(
                Namespace.running(as: "daemon") + [TestHost.product("vde_vmnet"), "check", path])
            #expect(other.termination == .exited(1) && other.output.contains("Permission denied"))
            #expect(try network.host.attempt([TestHost.product("vde_vmnet"), "check", path]).succeeded)
            #expect(try daemon.stop() == .exited(0))
            #expect(!Files.exists(path))
        }

        @Test func noUplinkNeedsNoPrivilege() throws {
            let network = try TestNetwork()
            let directory = network.folder.file("user")
            try Files.makeDirectory(directory)
            _ = try ChildProcess.run(["chown", "nobody", directory])
            let path = directory + "/vde"
            let before = try network.host.snapshot()
            let daemon = try network.host.start(
                Namespace.running(as: "nobody") + [TestHost.product("vde_vmnet"), "--switch", "--uplink", "none", path])
            try daemon.wait(for: "vde_vmnet: ready: switch at \(path)\n")
            #expect(try network.host.snapshot() == before)
            let one = try PlugGuest("one", path: path, folder: network.folder),
                two = try PlugGuest("two", path: path, folder: network.folder)
            try one.namespace.ip("addr", "add", "10.9.0.1/24", "dev", PlugGuest.interface)
            try two.namespace.ip("addr", "add", "10.9.0.2/24", "dev", PlugGuest.interface)
            #expect(try one.namespace.pings("10.9.0.2"))
            #expect(try daemon.stop() == .exited(0))
            #expect(!Files.exists(path))
            // With one, it prints its usage.
            let refused = try network.host.attempt(
                Namespace.running(as: "nobody") + [
                    TestHost.product("vde_vmnet"), "--state-dir", directory + "/state", "--uplink", "tap", "--switch",
                    path,
                ])
            #expect(refused.termination == .exited(77), "\(refused.error)")
            #expect(refused.error.contains("--uplink none"))
            #expect(!Files.exists(path))
        }

        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"))
        func guestsLearnMTUAndJumboFramesPass() throws {
            let fixture = try OwnSwitchFixture(["--vmnet-mtu", "9000"])
            #expect(try fixture.host.run("ip", "link", "show", "vmnet0").contains("mtu 9000"))
            let guests = try [1, 2].map {
                try VirtualMachine.qemu(
                    "jumbo\($0)", netdev: "vde,id=net0,sock=\(fixture.path)", mac: "52:54:00:00:00:0\($0)",
                    in: fixture.host, folder: fixture.folder)
            }
            for guest in guests {
                try guest.waitUntilBooted()
                _ = try guest.lease()
                #expect(
                    try guest.run("ip link show eth0").output.contains("mtu 9000"), "the client took it from its lease")
            }
            for address in [gateway, "192.168.105.3"] {
                let ping = try guests[0].run("ping -c 1 -W 5 -s 8972 \(address)")
                #expect(ping.status == 0 && ping.output.contains("8980 bytes"), "\(ping.output)")
            }
            // Unfragmented, as the host counts it.
            #expect(
                try fixture.host.attempt(["ping", "-c", "1", "-W", "5", "-M", "do", "-s", "8972", "192.168.105.2"])
                    .succeeded)
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func isolatedGuestsReachOnlyUplink() throws {
            let fixture = try OwnSwitchFixture(["--vmnet-isolation"], internet: true)
            let one = try fixture.guest("one"), two = try fixture.guest("two")
            #expect(try one.lease()["ip"] == "192.168.105.2")
            #expect(try two.lease()["ip"] == "192.168.105.3")
            for guest in [one, two] {
                #expect(try guest.namespace.pings(gateway))
                #expect(try guest.namespace.pings(TestNetwork.internetAddress))
            }
            #expect(try !one.namespace.pings("192.168.105.3", seconds: 1))
            #expect(try fixture.host.pings("192.168.105.3"))
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test(arguments: [true, false]) func guestsWithoutUplinkAreIsolated(isIsolating: Bool) throws {
            let fixture = try OwnSwitchFixture(["--uplink", "none"] + (isIsolating ? ["--vmnet-isolation"] : []))
            let one = try fixture.guest("one"), two = try fixture.guest("two")
            for (guest, last) in [(one, 2), (two, 3)] {
                try guest.namespace.ip("addr", "add", "192.168.105.\(last)/24", "dev", PlugGuest.interface)
            }
            #expect(try one.namespace.pings("192.168.105.3", seconds: isIsolating ? 1 : 5) == !isIsolating)
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func vlansSeparateGuestsAndUplinkIsInOne() throws {
            let network = try TestNetwork()
            let path = network.folder.file("own")
            let file = network.folder.file("rc")
            // The uplink is port 1; ports 2 and 3 are in VLAN 0 with it, 4 and 5 in 20.
            try Files.replace(
                file,
                Array(
                    """
                    vlan/create 20
                    port/create 4
                    port/create 5
                    port/setvlan 4 20
                    port/setvlan 5 20
                    no/such/command

                    """.utf8))
            let daemon = try VMNetDaemon(
                in: network.host, ["--switch", "--rcfile", file, path], folder: network.folder)
            #expect(daemon.program.output.contains("'no/such/command' failed: Function not implemented"))
            let two = try PlugGuest("two", path: path + "[2]", folder: network.folder)
            let four = try PlugGuest("four", path: path + "[4]", folder: network.folder),
                five = try PlugGuest("five", path: path + "[5]", folder: network.folder)
            #expect(try two.lease()["ip"] == "192.168.105.2")
            for (guest, address) in [(four, "10.9.0.4/24"), (five, "10.9.0.5/24")] {
                try guest.namespace.ip("addr", "add", address, "dev", PlugGuest.interface)
            }
            try two.namespace.ip("addr", "add", "10.9.0.2/24", "dev", PlugGuest.interface)
            #expect(try four.namespace.pings("10.9.0.5"))
            #expect(try !four.namespace.pings("10.9.0.2", seconds: 1))
            #expect(throws: CommandFailed.self) { try four.lease(seconds: 2) }
            #expect(try daemon.stop() == .exited(0))
        }

        // MARK: Cables

        @Test func twoCabledSwitchesFormOne() throws {
            let fixture = try OwnSwitchFixture()
            let other = fixture.folder.file("other")
            let second = try fixture.host.start([TestHost.product("vde_vmnet"), "--switch", "--uplink", "none", other])
            try second.wait(for: "ready")
            let cable = try fixture.host.start(["dpipe", "vde_plug", fixture.path, "=", "vde_plug", other])
            let guest = try PlugGuest("far", path: other, folder: fixture.folder)
            #expect(try guest.lease(seconds: 15)["ip"] == "192.168.105.2")
            #expect(try guest.namespace.pings(gateway))
            cable.kill()
            #expect(try !guest.namespace.pings(gateway, seconds: 1))
            #expect(try second.stop() == .exited(0))
        }

        @Test func secondSwitchPlugsIntoFirst() throws {
            let fixture = try OwnSwitchFixture()
            // It finds out that the first serves addresses, and keeps silent.
            let second = try VMNetDaemon(
                in: fixture.network.internet,
                ["--vmnet-gateway", "192.168.120.1", "--tap-name", "second", fixture.path],
                folder: fixture.folder)
            try second.program.wait(for: "192.168.105.1 serves DHCP on this network", within: 10)
            let guest = try fixture.guest()
            #expect(try guest.lease()["ip"]?.hasPrefix("192.168.105.") == true)
            try guest.namespace.ip("addr", "add", "192.168.120.9/24", "dev", PlugGuest.interface)
            #expect(try guest.namespace.pings("192.168.120.1"), "and both hosts are on the network")
            #expect(try guest.namespace.pings(gateway))
            #expect(try second.stop() == .exited(0))
        }

        @Test func loopOfTwoCablesIsClosedAndReported() throws {
            let fixture = try OwnSwitchFixture()
            let other = fixture.folder.file("other")
            let second = try fixture.host.start(["vde_switch", "--unix", other])
            try eventually("vde_switch") { Files.exists(other + "/ctl") }
            let guest = try fixture.guest()
            let cables = [
                try fixture.host.start(["dpipe", "vde_plug", fixture.path, "=", "vde_plug", other]),
                try fixture.host.start(["dpipe", "vde_plug", fixture.path, "=", "vde_plug", other]),
            ]
            // Addresses that are flooded: anything that the guest and the host send.
            try guest.namespace.ip("addr", "add", "192.168.105.77/24", "dev", PlugGuest.interface)
            for number in 100..<110 {
                _ = try guest.namespace.attempt(["ping", "-c", "1", "-W", "0.05", "192.168.105.\(number)"])
            }
            try fixture.daemon.program.wait(for: "are connected to each other outside this switch (a loop)", within: 20)
            #expect(try guest.lease(seconds: 15)["ip"] == "192.168.105.2", "the network works")
            #expect(try guest.namespace.pings(gateway))
            for cable in cables { cable.kill() }
            second.kill()
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        // MARK: Start and end

        @Test func secondSwitchOnDirectoryReportsFirst() throws {
            let fixture = try OwnSwitchFixture()
            let again = try fixture.host.attempt([
                TestHost.product("vde_vmnet"), "--switch", "--uplink", "none", fixture.path,
            ])
            #expect(again.termination == .exited(75))
            #expect(again.error.contains("process \(fixture.daemon.program.identifier)"))
            #expect(try fixture.host.attempt([TestHost.product("vde_vmnet"), "check", fixture.path]).succeeded)
        }

        @Test(arguments: [["--switch", "--uplink", "none"], ["--switch"]])
        func nextRunReplacesKilledSwitch(options: [String]) throws {
            let network = try TestNetwork()
            let path = network.folder.file("own"), console = network.folder.file("mgmt")
            let arguments = options + ["--mgmt", console, path]
            let first = try VMNetDaemon(in: network.host, arguments, folder: network.folder)
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            try eventually("the guest's port") { try Files.entries(path).contains { $0.hasPrefix("00") } }
            first.program.signal(Signal.kill)
            _ = try first.program.waitForEnd()
            #expect(Files.exists(path + "/ctl") && Files.exists(console))
            let second = try VMNetDaemon(in: network.host, arguments, folder: network.folder)
            let another = try PlugGuest("another", path: path, folder: network.folder)
            if options.count == 1 { #expect(try another.lease()["ip"] == "192.168.105.2") }
            #expect(try Files.entries(path).filter { $0.hasPrefix("00") }.count == 1, "the old guest's socket is gone")
            _ = guest
            #expect(try second.stop() == .exited(0))
            #expect(!Files.exists(path) && !Files.exists(console))
        }

        @Test func usedConsoleAndNonSocketAreLeftInPlace() throws {
            let network = try TestNetwork()
            let console = network.folder.file("mgmt"), file = network.folder.file("file")
            let first = try VMNetDaemon(
                in: network.host, ["--switch", "--uplink", "none", "--mgmt", console, network.folder.file("one")],
                folder: network.folder)
            func attempt(_ console: String) throws -> ChildProcess.Output {
                try network.host.attempt([
                    TestHost.product("vde_vmnet"), "--switch", "--uplink", "none", "--mgmt", console,
                    network.folder.file("two"),
                ])
            }
            let second = try attempt(console)
            #expect(
                second.termination == .exited(75)
                    && second.error.contains(
                        "\(console) is a console in use; stop the process that serves it, or give another --mgmt")
            )
            _ = try Console(console).ask("port/print")
            try Files.replace(file, [1])
            let third = try attempt(file)
            #expect(
                third.termination == .exited(73)
                    && third.error.contains("--mgmt: \(file) is there already, and no socket; choose another path"),
                "\(third.error)")
            // A file that another program has put in its place stays.
            try Files.remove(console)
            try Files.replace(console, [2])
            #expect(try first.stop() == .exited(0))
            #expect(try Files.read(console) == [2] && Files.read(file) == [1])
        }

        @Test func consoleAndPidfileAllowLinkedDirectory() throws {
            let network = try TestNetwork()
            try Files.makeDirectory(network.folder.file("real"))
            _ = try ChildProcess.run(["ln", "-s", network.folder.file("real"), network.folder.file("link")])
            let path = network.folder.file("link/vde")
            let words = VDESwitch.ours + ["-s", path, "-M", path + "/mgmt", "-p", path + "/pid", "--nostdin"]
            for isKilled in [true, false] {
                let program = try network.host.start(words)
                try eventually("the pidfile") { Files.text(path + "/pid") == "\(program.identifier)" }
                _ = try Console(path + "/mgmt").ask("port/print")
                program.signal(isKilled ? Signal.kill : Signal.terminate)
                _ = try program.waitForEnd()
                #expect(Files.exists(path) == isKilled)
            }
        }

        @Test func daemonWithoutStandardStreamsStarts() throws {
            let network = try TestNetwork()
            let path = network.folder.file("vde"), pidfile = network.folder.file("pid")
            let line = (VDESwitch.ours + ["-s", path, "-d", "-p", pidfile]).joined(separator: " ")
            let started = try network.host.attempt(["timeout", "10", "sh", "-c", "\(line) <&- >&- 2>&-"])
            #expect(started.succeeded, "\(started.termination)")
            let process = try #require(Files.text(pidfile).flatMap { Int32($0) })
            let plug = try PlugPort(path: path)
            ProcessTable.signal(process, Signal.terminate)
            try eventually("its end") { !ProcessTable.isAlive(process) }
            #expect(!Files.exists(path))
            withExtendedLifetime(plug) {}
        }

        /// What docs/switch.md describes of a switch that was killed.
        @Test(
            .enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"),
            .enabled(if: VirtualMachine.canRunUML, "\(VirtualMachine.umlReason)"))
        func guestsSurviveKilledSwitchWithNewCard() throws {
            let fixture = try OwnSwitchFixture()
            let monitor = fixture.folder.file("monitor")
            let qemu = try VirtualMachine.qemu(
                "qemu", netdev: "vde,id=net0,sock=\(fixture.path)", mac: "52:54:00:00:00:01", in: fixture.host,
                device: ",id=card0", options: ["-monitor", "unix:\(monitor),server,nowait"],
                folder: fixture.folder)
            let uml = try VirtualMachine.uml(
                "uml", network: "vde,\(fixture.path)", mac: "52:54:00:00:00:02", in: fixture.host,
                folder: fixture.folder)
            let plug = try PlugGuest("plug", path: fixture.path, folder: fixture.folder)
            let joined = try VMNetDaemon(
                in: fixture.network.internet, ["--vmnet-gateway", "192.168.130.1", "--dhcp", "off", fixture.path],
                folder: fixture.folder)
            for guest in [qemu, uml] {
                try guest.waitUntilBooted()
                _ = try guest.lease()
            }
            fixture.daemon.program.signal(Signal.kill)
            _ = try fixture.daemon.program.waitForEnd()
            try joined.program.wait(for: "has gone; waiting for it to come back")
            try eventually("vde_plug2tap's end") {
                (try? plug.namespace.run("ip", "link", "show", PlugGuest.interface)) == nil
            }
            let again = try VMNetDaemon(in: fixture.host, ["--switch", fixture.path], folder: fixture.folder)
            try joined.program.wait(for: "joined the switch at \(fixture.path) again")
            for guest in [qemu, uml] {
                #expect(try guest.run("ping -c 1 -W 1 \(gateway)").status != 0, "\(guest.name) runs, with a dead link")
            }
            // A new card for QEMU.
            let control = try Console(monitor, prompt: "(qemu) ")
            _ = try control.ask("device_del card0")
            try eventually("the card is out") { try qemu.run("ip link show eth0").status != 0 }
            _ = try control.ask("netdev_del net0")
            _ = try control.ask("netdev_add vde,id=net1,sock=\(fixture.path)")
            _ = try control.ask("device_add virtio-net-pci,netdev=net1,mac=52:54:00:00:00:01,id=card1")
            try eventually("the card is in") { try qemu.run("ip link show eth0").status == 0 }
            #expect(VirtualMachine.address(in: try qemu.lease()) == "192.168.105.2")
            #expect(try qemu.run("ping -c 1 -W 5 \(gateway)").status == 0)
            #expect(try again.stop() == .exited(0))
        }

        @Test func foreignDirectoryIsLeftAlone() throws {
            let network = try TestNetwork()
            let path = network.folder.file("own")
            try Files.makeDirectory(path)
            try Files.setOwner(path, user: 65_534, group: nil)
            let before = try Files.status(path)
            let refused = try network.host.attempt([
                TestHost.product("vde_vmnet"), "--switch", "--uplink", "none", path,
            ])
            #expect(refused.termination == .exited(73) && refused.error.contains("belongs to nobody"))
            #expect(try Files.status(path) == before)
            let home = try network.host.attempt([
                TestHost.product("vde_vmnet"), "--switch", "--uplink", "none", network.folder.path,
            ])
            #expect(
                home.termination == .exited(73) && home.error.contains("holds files that are not a switch's sockets"))
            let long = try network.host.attempt([
                TestHost.product("vde_vmnet"), "--switch", "--uplink", "none",
                "/tmp/" + String(repeating: "x", count: 100),
            ])
            #expect(long.termination == .exited(64) && long.error.contains("too long"))
        }

        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"))
        func stoppedGuestLosesOnlyItsFrames() throws {
            let fixture = try OwnSwitchFixture()
            let stuck = try VirtualMachine.qemu(
                "stuck", netdev: "vde,id=net0,sock=\(fixture.path)", mac: "52:54:00:00:00:01", in: fixture.host,
                folder: fixture.folder)
            try stuck.waitUntilBooted()
            _ = try stuck.lease()
            stuck.signal(Signal.stop)
            let one = try fixture.guest("one"), two = try fixture.guest("two")
            try one.lease()
            let address = try #require(try two.lease()["ip"])
            // Broadcasts fill the one that never reads, many times over.
            let sender = try PlugPort(path: fixture.path)
            let pings = try one.namespace.start(["ping", "-i", "0.01", "-c", "100", "-W", "2", address])
            for _ in 0..<5000 {
                sender.send(
                    MACAddress.broadcast.bytes + [6, 0, 0, 0, 0, 1, 0x88, 0xb6] + [UInt8](repeating: 0, count: 1400))
            }
            #expect(try pings.waitForEnd(within: 20) == .exited(0))
            #expect(pings.output.contains(" 0% packet loss"), "\(pings.output)")
            try eventually("its drops are counted") {
                fixture.daemon.program.signal(Signal.user1)
                return fixture.daemon.program.output.contains("queueFull")
            }
            // When it goes on, it is on the network as before.
            stuck.signal(Signal.resume)
            #expect(try stuck.run("ping -c 1 -W 10 \(gateway)").status == 0)
        }
    }
}
