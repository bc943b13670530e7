// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// One network entered by every listener at once.
    @Suite struct MixedListeners {
        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"))
        func guestsOfAllListenersReachEachOtherAndOutside() throws {
            let network = try TestNetwork()
            try network.startInternet()
            let folder = network.folder
            let vde = folder.file("vde"), stream = folder.file("stream"), dgram = folder.file("dgram")
            func vm(
                _ name: String, _ netdev: String, _ number: Int, _ wrapper: [String] = []
            ) throws -> VirtualMachine {
                try VirtualMachine.qemu(
                    name, netdev: netdev, mac: "52:54:00:00:00:0\(number)", in: network.host, folder: folder,
                    wrapper: wrapper)
            }
            // The network comes with the first guest, which has inherited its descriptor, and on whose console its
            // messages would be.
            let first = try vm(
                "inherited", "dgram,id=net0,local.type=fd,local.str=3", 1,
                [
                    TestHost.product("vde_vmnet"), "run", "--switch", vde, "--stream", stream, "--dgram", dgram,
                    "--state-dir", folder.file("state"), "--log-level", "error", "--",
                ])
            try eventually("the listeners") { [vde + "/ctl", stream, dgram].allSatisfy { Files.exists($0) } }
            let guests = [
                first,
                try vm("vde", "vde,id=net0,sock=\(vde)", 2),
                try vm("stream", "stream,id=net0,server=off,addr.type=unix,addr.path=\(stream)", 3),
                try vm(
                    "dgram",
                    "dgram,id=net0,local.type=unix,local.path=\(folder.file("own")),remote.type=unix,remote.path=\(dgram)",
                    4),
            ]
            var addresses: [String] = []
            for guest in guests {
                try guest.waitUntilBooted()
                addresses.append(VirtualMachine.address(in: try guest.lease()))
                // A quarter of a megabyte to be fetched, and a server.
                try guest.run(
                    "mkdir -p /www && echo 'this is \(guest.name)' > /www/index.html && dd if=/dev/urandom "
                        + "of=/www/big bs=4096 count=64 2>/dev/null && httpd -p 80 -h /www"
                )
            }
            #expect(Set(addresses).count == 4)
            for (number, guest) in guests.enumerated() {
                #expect(
                    try guest.run("wget -q -O - http://\(TestNetwork.internetName)/").output
                        == "Hello from the Internet", "\(guest.name) and the outside")
                #expect(
                    try network.host.fetch(addresses[number]) == "this is \(guest.name)", "the host and \(guest.name)")
                for (other, address) in addresses.enumerated() where other != number {
                    let sum = try guest.run("wget -q -O - http://\(address)/big | md5sum").output
                    #expect(
                        try guests[other].run("md5sum < /www/big").output == sum,
                        "\(guest.name) fetches from \(guests[other].name)")
                }
            }
            // The network ends with the guest that it was started for.
            first.signal(Signal.terminate)
            #expect(try first.waitForEnd() == .exited(0))
            #expect([vde, stream, dgram].allSatisfy { !Files.exists($0) })
        }

        /// QEMU 8 connects again by itself (`reconnect=`); QEMU 7.2 does not, so this client stands for it.
        @Test func streamClientReconnectsAfterRestart() throws {
            let fixture = try ListenerFixture()
            let source = MACAddress(0x0200_0000_0001)
            func expectAnswer(_ client: StreamClient) throws {
                try client.send(ARPPacket.probe(for: IPv4Address(gateway)!, from: source).frame(to: .broadcast))
                try eventually("an answer") { client.received().contains { $0.starts(with: source.bytes) } }
            }
            let before = try StreamClient(streamAt: fixture.stream)
            try expectAnswer(before)
            fixture.daemon.program.signal(Signal.kill)
            _ = try fixture.daemon.program.waitForEnd()
            try eventually("the end of the stream") { before.isOver }
            #expect(before.isOver && Files.exists(fixture.stream), "the socket of the dead daemon is still there")
            try fixture.restart()
            let after = try StreamClient(streamAt: fixture.stream)
            try expectAnswer(after)
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"))
        func datagramGuestSurvivesRestart() throws {
            let fixture = try ListenerFixture()
            let guest = try fixture.vm("guest", fixture.dgramNetdev("guest"), 1)
            try guest.waitUntilBooted()
            let address = VirtualMachine.address(in: try guest.lease())
            fixture.daemon.program.signal(Signal.kill)
            _ = try fixture.daemon.program.waitForEnd()
            try fixture.restart()
            // It sends to the path, and so reaches the process that serves it.
            #expect(try guest.run("ping -c 1 -W 10 \(gateway)").status == 0)
            #expect(VirtualMachine.address(in: try guest.lease()) == address)
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// A network and a guest with one command and no privilege at all.
        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"))
        func unprivilegedUserRunsGuestWithNetwork() throws {
            let network = try TestNetwork()
            try network.startInternet()
            let directory = network.folder.file("user")
            try network.host.run(
                "sh", "-c", "mkdir \(directory) && chown nobody \(directory) && chmod 755 \(network.folder.path)")
            let guest = try VirtualMachine.qemu(
                "guest", netdev: "dgram,id=net0,local.type=fd,local.str=3", mac: "52:54:00:00:00:01", in: network.host,
                user: "nobody", folder: network.folder,
                wrapper: [
                    "env", "HOME=" + directory, "XDG_RUNTIME_DIR=" + directory, TestHost.product("vde_vmnet"), "run",
                    "--state-dir", directory + "/state", "--log-level", "error", "--",
                ])
            try guest.waitUntilBooted()
            #expect(VirtualMachine.address(in: try guest.lease()).hasPrefix("192.168.105."))
            #expect(
                try guest.run("wget -q -O - http://\(TestNetwork.internetName)/").output == "Hello from the Internet")
            guest.signal(Signal.terminate)
            #expect(try guest.waitForEnd() == .exited(0))
        }
    }
}
