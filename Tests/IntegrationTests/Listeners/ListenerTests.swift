// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Timing
import Wire

extension IntegrationTests {
    /// Ways in besides VDE.
    @Suite struct Listeners {
        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"))
        func guestConnectsByStreamWithoutVDE() throws {
            let fixture = try ListenerFixture(internet: true)
            #expect(
                fixture.daemon.readyLine.hasSuffix(
                    "gateway 192.168.105.1, stream at \(fixture.stream), dgram at \(fixture.dgram)"))
            let guest = try fixture.vm("guest", fixture.streamNetdev, 1)
            try guest.waitUntilBooted()
            #expect(VirtualMachine.address(in: try guest.lease()) == "192.168.105.2")
            #expect(
                try guest.run("wget -q -O - http://\(TestNetwork.internetName)/").output == "Hello from the Internet")
            #expect(try fixture.host.pings("192.168.105.2"))
            #expect(try fixture.daemon.stop() == .exited(0))
            #expect(!Files.exists(fixture.stream) && !Files.exists(fixture.dgram))
        }

        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"))
        func guestsOfTwoListenersReachEachOther() throws {
            let fixture = try ListenerFixture(vde: true)
            let one = try fixture.vm("stream", fixture.streamNetdev, 1),
                two = try fixture.vm("vde", "vde,id=net0,sock=\(fixture.vde)", 2)
            var addresses: [String] = []
            for guest in [one, two] {
                try guest.waitUntilBooted()
                addresses.append(VirtualMachine.address(in: try guest.lease()))
            }
            #expect(addresses == ["192.168.105.2", "192.168.105.3"])
            #expect(try one.run("ping -c 1 -W 5 \(addresses[1])").status == 0)
            #expect(try two.run("ping -c 1 -W 5 \(addresses[0])").status == 0)
            one.kill()
            try fixture.daemon.program.wait(for: "has left")
            let again = try fixture.vm("again", fixture.streamNetdev, 1)
            try again.waitUntilBooted()
            #expect(
                VirtualMachine.address(in: try again.lease()) == addresses[0],
                "a machine that was restarted has its address")
            #expect(try two.run("ping -c 1 -W 5 \(addresses[0])").status == 0)
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"))
        func clientProgramPassesStreamToQEMU() throws {
            let fixture = try ListenerFixture()
            let guest = try VirtualMachine.qemu(
                "guest", netdev: "socket,id=net0,fd=3", mac: "52:54:00:00:00:01", in: fixture.host,
                folder: fixture.folder,
                wrapper: [TestHost.product("vde_vmnet"), "client", fixture.stream])
            try guest.waitUntilBooted()
            #expect(VirtualMachine.address(in: try guest.lease()) == "192.168.105.2")
            #expect(try guest.run("ping -c 1 -W 5 \(gateway)").status == 0)
        }

        @Test(
            .enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"),
            arguments: ["dgram,id=net0,local.type=fd,local.str=3", "socket,id=net0,fd=3"])
        func runStartsAndEndsGuestWithNetwork(netdev: String) throws {
            let network = try TestNetwork()
            let guest = try VirtualMachine.qemu(
                "guest", netdev: netdev, mac: "52:54:00:00:00:01", in: network.host, folder: network.folder,
                wrapper: [TestHost.product("vde_vmnet"), "run", "--state-dir", network.folder.file("state"), "--"])
            try guest.waitUntilBooted()
            #expect(VirtualMachine.address(in: try guest.lease()) == "192.168.105.2")
            #expect(try guest.run("ping -c 1 -W 5 \(gateway)").status == 0)
            #expect(try network.host.pings("192.168.105.2"))
            // QEMU ends on SIGTERM with 0, and we with it.
            guest.signal(Signal.terminate)
            #expect(try guest.waitForEnd() == .exited(0))
            #expect(try network.host.run("ip", "-o", "link").contains(" vmnet0:") == false, "the network has gone")
        }

        @Test func runReturnsExitStatusOfProgram() throws {
            let host = try Namespace("host")
            func run(_ script: String, _ environment: [String: String?] = [:]) throws -> ChildProcess.Output {
                try host.attempt(
                    [TestHost.product("vde_vmnet"), "run", "--uplink", "none", "--", "sh", "-c", script],
                    environment: environment)
            }
            #expect(try run("exit 7").termination == .exited(7))
            #expect(try run("kill -9 $$").termination == .exited(137))
            #expect(
                try run("echo word; test -S /proc/self/fd/3").output == "word\n",
                "standard output is the program's alone")
            #expect(
                try run("id -u; id -g; echo $USER", ["SUDO_UID": "65534", "SUDO_GID": "65534"]).output
                    == "65534\n65534\nnobody\n")
            let missing = try host.attempt([
                TestHost.product("vde_vmnet"), "run", "--uplink", "none", "--", "/nowhere/program",
            ])
            #expect(missing.termination == .exited(127) && missing.error.contains("/nowhere/program: No such file"))
            let nothing = try host.attempt([TestHost.product("vde_vmnet"), "run", "--uplink", "none"])
            #expect(nothing.termination == .exited(64))
            let alone = try host.attempt([TestHost.product("vde_vmnet"), "client", "/nowhere/socket", "true"])
            #expect(
                alone.termination == .exited(69)
                    && alone.error.contains("is vde_vmnet --stream /nowhere/socket running"))
        }

        /// A program that ignores SIGTERM is killed after a timeout, or at a second signal.
        @Test(arguments: [false, true])
        func programThatIgnoresSIGTERMIsKilled(isAskedAgain: Bool) throws {
            let network = try TestNetwork()
            let script = "trap 'echo heard' TERM INT; echo up; while :; do sleep 0.1; done"
            let runner = try network.host.start([
                TestHost.product("vde_vmnet"), "run", "--state-dir", network.folder.file("state"), "--", "sh", "-c",
                script,
            ])
            _ = try runner.wait(for: "up\n", within: 20)
            func waitUntilReported(times: Int) throws {
                try eventually("signal \(times)") {
                    runner.output.split(separator: "\n").count { $0 == "heard" } == times
                }
            }
            runner.signal(Signal.interrupt)
            try waitUntilReported(times: 1)
            try network.host.ip("link", "del", "vmnet0")
            try waitUntilReported(times: 2)
            if isAskedAgain {
                runner.signal(Signal.terminate)
                try waitUntilReported(times: 3)
                runner.signal(Signal.terminate)
            }
            #expect(try runner.waitForEnd(within: 20) == .exited(69))
            #expect(
                runner.output.contains("sh (process ")
                    && runner.output.contains("did not exit within 5 s after SIGTERM; sending SIGKILL"))
            #expect(runner.output.contains("vmnet0, the uplink of the guests, is gone: "))
        }

        /// The network ends at its console; the exit status is the program's.
        @Test(arguments: [true, false])
        func networkShutdownEndsProgram(isWilling: Bool) throws {
            let network = try TestNetwork()
            let folder = network.folder, mgmt = folder.file("mgmt")
            let script =
                "trap 'echo asked; \(isWilling ? "exit 5" : "")' TERM; trap 'echo asked again' INT; echo up; while "
                + ":; do sleep 0.1; done"
            let runner = try network.host.start([
                TestHost.product("vde_vmnet"), "run", "--uplink", "none", "--switch", folder.file("vde"), "--mgmt",
                mgmt,
                "--", "sh", "-c", script,
            ])
            try runner.wait(for: "up\n")
            let console = try Console(mgmt)
            try console.send(Array("shutdown\n".utf8))
            try runner.wait(for: "asked\n")
            if !isWilling {
                runner.signal(Signal.interrupt)
                try runner.wait(for: "asked again")
                runner.signal(Signal.interrupt)
            }
            #expect(try runner.waitForEnd() == .exited(isWilling ? 5 : 137))
            #expect(!Files.exists(folder.file("vde")) && !Files.exists(mgmt), "nothing is left")
        }

        /// A switch keeps its directory locked for as long as it lives.
        @Test func listenersShareDirectoryOfSwitch() throws {
            let network = try TestNetwork()
            let vde = network.folder.file("vde"), stream = vde + "/stream", dgram = vde + "/dgram"
            func start() throws -> VMNetDaemon {
                try VMNetDaemon(
                    in: network.host, ["--uplink", "none", "--switch", vde, "--stream", stream, "--dgram", dgram],
                    folder: network.folder)
            }
            let killed = try start()
            killed.program.signal(Signal.kill)
            _ = try killed.program.waitForEnd()
            #expect(try Files.entries(vde).sorted() == ["ctl", "dgram", "stream"])
            let daemon = try start()
            _ = try StreamClient(streamAt: stream)
            try daemon.program.wait(for: "stream \(stream), process \(CurrentProcess.identifier) of root has joined")
            #expect(try daemon.stop() == .exited(0))
            #expect(!Files.exists(vde))
        }

        @Test(arguments: [true, false])
        func inheritedDescriptorIsPortUntilClosed(isStream: Bool) throws {
            let fixture = try ListenerFixture()
            let output = try DescriptorPair.pipe()
            var daemon: ChildProcess?
            let ours = try StreamClient(isStream: isStream) { end in
                daemon = try ChildProcess(
                    fixture.host.prefix + [
                        TestHost.product("vde_vmnet"), "--fd", "0", "--state-dir", fixture.folder.file("state2"),
                    ], input: end, output: output.second.raw, error: 2)
            }
            var facts = ""
            try eventually("the line of JSON") {
                if output.first.wait(for: .readable, until: BootClock.now + .seconds(1)).contains(
                    .readable)
                {
                    facts += String(decoding: try output.first.read(limit: 4096), as: UTF8.self)
                }
                return facts.hasSuffix("\n")
            }
            #expect(facts.hasPrefix("{\"vmnet_mac_address\":\"") && facts.hasSuffix("}\n"))
            #expect(
                facts.contains(
                    "\"vmnet_start_address\":\"192.168.106.1\",\"vmnet_end_address\":\"192.168.106.254\",\"vmnet_subnet_mask\":\"255.255.255.0\""
                ))
            #expect(facts.contains("\"vmnet_mtu\":1500,\"vmnet_max_packet_size\":1514"))
            // Who has the gateway?
            let source = MACAddress(0x0200_0000_0001)
            try ours.send(ARPPacket.probe(for: IPv4Address("192.168.106.1")!, from: source).frame(to: .broadcast))
            try eventually("an answer") { ours.received().contains { $0.starts(with: source.bytes) } }
            ours.close()
            try eventually("its end") { daemon?.poll() == .exited(0) }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"))
        func guestsShareDatagramListenerAndReconnect() throws {
            let fixture = try ListenerFixture(internet: true)
            let one = try fixture.vm("one", fixture.dgramNetdev("one"), 1)
            var two = try fixture.vm("two", fixture.dgramNetdev("two"), 2)
            var addresses: [String] = []
            for guest in [one, two] {
                try guest.waitUntilBooted()
                addresses.append(VirtualMachine.address(in: try guest.lease()))
            }
            #expect(addresses == ["192.168.105.2", "192.168.105.3"])
            #expect(try one.run("ping -c 1 -W 5 \(addresses[1])").status == 0)
            #expect(try two.run("wget -q -O - http://\(TestNetwork.internetName)/").output == "Hello from the Internet")
            two.kill()
            try fixture.daemon.program.wait(for: "/two of root has left")
            // With the same name, after its first socket.
            try Files.remove(fixture.folder.file("two"))
            two = try fixture.vm("two", fixture.dgramNetdev("two"), 2)
            try two.waitUntilBooted()
            #expect(VirtualMachine.address(in: try two.lease()) == addresses[1])
            #expect(try one.run("ping -c 1 -W 5 \(addresses[1])").status == 0)
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// As vfkit and krunkit do: bind, connect, greet; the system then lets through to them what comes from the
        /// listener's socket only.
        @Test func connectedClientsAreAnsweredByListenerSocket() throws {
            let fixture = try ListenerFixture()
            let clients = try (1...3).map { number in
                let client = try DatagramClient(fixture.folder.file("client-\(number)"), to: fixture.dgram)
                if number != 2 { try client.send(Array("VFKT".utf8)) }
                return client
            }
            for (number, client) in clients.enumerated() {
                let source = MACAddress(0x0200_0000_0001 + UInt64(number))
                // The first frame of the one that has not greeted is not lost either.
                try client.send(ARPPacket.probe(for: IPv4Address(gateway)!, from: source).frame(to: .broadcast))
                try eventually("an answer for client \(number)") {
                    client.received().contains { $0.starts(with: source.bytes) }
                }
            }
            // One is started again with its name, greets, and is answered though its first socket was never seen to go.
            clients[0].close()
            try Files.remove(fixture.folder.file("client-1"))
            let again = try DatagramClient(fixture.folder.file("client-1"), to: fixture.dgram)
            try again.send(Array("VFKT".utf8))
            try fixture.daemon.program.wait(for: "client-1 of root has left")
            // The switch takes frames for those of the first socket until it has removed that one's port.
            let source = MACAddress(0x0200_0000_0001)
            let probe = ARPPacket.probe(for: IPv4Address(gateway)!, from: source).frame(to: .broadcast)
            try eventually("an answer for the new one") {
                try again.send(probe)
                return again.received().contains { $0.starts(with: source.bytes) }
            }
            // They receive each other's frames.
            let word = clients[1].address.bytes + [2, 0, 0, 0, 0, 1, 0x88, 0xb5] + [UInt8](repeating: 3, count: 50)
            clients[1].close()
            try fixture.daemon.program.wait(for: "client-2 of root has left")
            try again.send(MACAddress.broadcast.bytes + word.dropFirst(6))
            try eventually("a broadcast") {
                clients[2].received().contains(MACAddress.broadcast.bytes + word.dropFirst(6))
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"))
        func packetsTooLongForUplinkAreAnswered() throws {
            let fixture = try ListenerFixture()
            let guest = try fixture.vm("guest", fixture.streamNetdev, 1)
            try guest.waitUntilBooted()
            _ = try guest.lease()
            try guest.run("ip link set eth0 mtu 3000")
            #expect(try guest.run("ping -c 1 -W 5 -s 2500 \(gateway)").status == 0)
            // The first is answered: too long, 1500. From then on the guest cuts them up itself.
            let first = try guest.run("ping -c 1 -W 2 -s 2500 \(TestNetwork.internetAddress)")
            #expect(first.status != 0, "\(first.output)")
            let second = try guest.run("ping -c 1 -W 5 -s 2500 \(TestNetwork.internetAddress)")
            #expect(second.status == 0, "\(second.output)")
        }
    }
}
