// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// Clients of `--seqpacket`.
    @Suite(.enabled(if: Socket.hasSequencedPackets)) struct SequencedPackets {
        private let source = MACAddress(0x0200_0000_0001)

        private var probe: [UInt8] {
            ARPPacket.probe(for: IPv4Address(gateway)!, from: source).frame(to: .broadcast)
        }

        /// Probes the gateway's address, and receives a reply.
        private func expectReply(_ client: PacketClient) throws {
            try client.send(probe)
            try eventually("a reply", within: ampleTime) {
                client.received().contains { $0.starts(with: source.bytes) }
            }
        }

        @Test(.enabled(if: VirtualMachine.canRunUML, "\(VirtualMachine.umlReason)"))
        func userModeLinuxReachesGuestsHostAndOutside() throws {
            let fixture = try ListenerFixture(packets: true, internet: true)
            #expect(fixture.daemon.readyLine.hasSuffix(", seqpacket at \(fixture.packets)"))
            let guests = try (1...2).map {
                try VirtualMachine.userModeLinux(
                    "uml\($0)", packets: fixture.packets, mac: "52:54:00:00:00:0\($0)", in: fixture.host,
                    folder: fixture.folder)
            }
            var addresses: [String] = []
            for guest in guests {
                addresses.append(VirtualMachine.address(in: try guest.lease()))
                try guest.run(
                    "mkdir -p /www && dd if=/dev/urandom of=/www/big bs=4096 count=512 2>/dev/null "
                        + "&& httpd -p 80 -h /www"
                )
            }
            #expect(addresses == ["192.168.105.2", "192.168.105.3"])
            for (number, guest) in guests.enumerated() {
                #expect(
                    try guest.run("wget -q -O - http://\(TestNetwork.internetName)/").output
                        == "Hello from the Internet")
                let other = guests[1 - number]
                let sum = try guest.run("wget -q -O - http://\(addresses[1 - number])/big | md5sum").output
                #expect(try other.run("md5sum < /www/big").output == sum)
                #expect(try fixture.host.pings(addresses[number]))
            }
            guests[0].kill()
            try fixture.daemon.program.wait(for: "has left")
            #expect(try guests[1].run("ping -c 1 -W 5 \(gateway)").status == 0)
            #expect(try fixture.daemon.stop() == .exited(0))
            #expect(!Files.exists(fixture.packets))
        }

        @Test func clientsHavePortsWithTheirNames() throws {
            let name = "packets-\(CurrentProcess.identifier)"
            let fixture = try ListenerFixture(packets: true, ["--vde-mode", "0620", "--name", name])
            #expect(try Files.status(fixture.packets).mode == 0o620)
            let client = try PacketClient(at: fixture.packets), stream = try StreamClient(streamAt: fixture.stream)
            try expectReply(client)
            try fixture.daemon.program.wait(
                for: "seqpacket \(fixture.packets), process \(CurrentProcess.identifier) of root has joined")
            let list = try fixture.host.run(TestHost.product("vde_vmnet"), "port", "list", "--network", name)
            #expect(list.contains("seqpacket \(fixture.packets)"), "\(list)")
            let word = MACAddress.broadcast.bytes + source.bytes + [0x88, 0xb5] + [UInt8](repeating: 5, count: 50)
            try client.send(word)
            try eventually("the other client's copy") { stream.received().contains(word) }
            client.close()
            try fixture.daemon.program.wait(for: "of root has left")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func socketOfKilledDaemonIsReplaced() throws {
            let fixture = try ListenerFixture(packets: true)
            let before = try PacketClient(at: fixture.packets)
            try expectReply(before)
            fixture.daemon.program.signal(Signal.kill)
            _ = try fixture.daemon.program.waitForEnd()
            try eventually("the end of the connection") { before.isOver }
            #expect(Files.exists(fixture.packets), "the socket of the killed daemon is still there")
            try fixture.restart()
            try expectReply(try PacketClient(at: fixture.packets))
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func activatedSocketBecomesListener() throws {
            let network = try TestNetwork()
            let path = network.folder.file("socket")
            let listener = try Socket.unixSequencedPacket()
            try listener.bind(to: UnixPath(path))
            try listener.listen()
            let client = try PacketClient(at: path)
            try client.send(probe)
            let daemon = try GuestProgram.start(
                network.host.prefix + [
                    "sh", "-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"", "sh", TestHost.product("vde_vmnet"),
                    "--state-dir", network.folder.file("state"), "--idle-exit", "1",
                ], descriptor: listener.raw, user: nil, environment: [:])
            try eventually("a reply", within: 20) { client.received().contains { $0.starts(with: source.bytes) } }
            client.close()
            try eventually("its end") { daemon.poll() == .exited(0) }
            #expect(Files.exists(path), "the socket is the service manager's")
        }

        @Test func inheritedSocketIsOneGuest() throws {
            let network = try TestNetwork()
            var daemon: ChildProcess?
            let client = try PacketClient {
                daemon = try GuestProgram.start(
                    network.host.prefix + [
                        TestHost.product("vde_vmnet"), "--state-dir", network.folder.file("state"), "--fd", "3",
                    ], descriptor: $0, user: nil, environment: [:])
            }
            for _ in 0..<3 { try expectReply(client) }
            client.close()
            try eventually("its end") { daemon!.poll() == .exited(0) }
        }

        @Test func hostileClientsHarmOnlyThemselves() throws {
            let fixture = try ListenerFixture(packets: true)
            let good = try PacketClient(at: fixture.packets)
            try expectReply(good)
            // Too short, too long, empty, and a flood of empty packets.
            let bad = try PacketClient(at: fixture.packets)
            for length in [0, 1, 13, FrameBatch.maximumFrameLength + 1] {
                try bad.send([UInt8](repeating: 1, count: length))
            }
            try expectReply(bad)
            for _ in 0..<1000 { try? bad.send([]) }
            try expectReply(good)
            // A thousand that connect and leave.
            for number in 0..<1000 {
                let guest = try PacketClient(at: fixture.packets)
                if number % 3 == 0 { try? guest.send([1, 2, 3]) }
                if number % 7 == 0 { try? guest.send([UInt8](repeating: 2, count: 60)) }
                guest.close()
            }
            try expectReply(good)
            // One that never reads, while thousands of broadcasts come.
            let stalled = try PacketClient(at: fixture.packets)
            let word = MACAddress.broadcast.bytes + source.bytes + [0x88, 0xb5] + [UInt8](repeating: 0, count: 1400)
            var sent = 0
            try eventually("three thousand broadcasts", within: ampleTime) {
                while sent < 3000, (try? good.send(word)) != nil { sent += 1 }
                return sent == 3000
            }
            try expectReply(good)
            try eventually("its drops are counted") {
                fixture.daemon.program.signal(Signal.user1)
                return fixture.daemon.program.output.contains("queueFull")
            }
            stalled.close()
            #expect(try fixture.daemon.stop() == .exited(0))
        }
    }
}
