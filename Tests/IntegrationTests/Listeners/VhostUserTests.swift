// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Timing
import Wire

extension IntegrationTests {
    /// Front ends that share the memory of their guest.
    @Suite struct VhostUser {
        /// Files each way between a guest and the host: a million bytes and more, so that GSO frames are used.
        private func transfer(_ guest: VirtualMachine, _ fixture: ListenerFixture, address: String) throws {
            try guest.run("head -c 3000000 /dev/urandom > /tmp/file && mkdir -p /www && cp /tmp/file /www/")
            let sum = try guest.run("md5sum < /tmp/file").output
            try guest.run("httpd -p 8080 -h /www")
            let path = fixture.folder.file("copy")
            try fixture.host.run("busybox", "wget", "-q", "-O", path, "http://\(address):8080/file")
            #expect(try fixture.host.run("md5sum", "-z", path).hasPrefix(sum.prefix(32)), "from the guest")
            let server = try fixture.host.start([
                "busybox", "httpd", "-f", "-p", "8081", "-h", fixture.folder.path,
            ])
            try fixture.host.waitForListener(on: 8081)
            #expect(
                try guest.run("wget -q -O - http://\(gateway):8081/copy | md5sum").output == sum, "to the guest")
            server.kill()
        }

        /// Kills the daemon, and starts it again. Returns when the guest reaches it.
        private func killDaemon(of fixture: ListenerFixture, awaiting guest: VirtualMachine) throws {
            fixture.daemon.program.signal(Signal.kill)
            _ = try fixture.daemon.program.waitForEnd()
            try fixture.restart()
            try eventually("the guest is back", within: ampleTime) {
                try guest.run("ping -c 1 -W 1 \(gateway)").status == 0
            }
        }

        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"))
        func guestSharesMemory() throws {
            let fixture = try ListenerFixture(vde: true, vhostUser: true, internet: true)
            #expect(fixture.daemon.readyLine.contains("vhost-user at \(fixture.vhostUser)"))
            let guest = try fixture.vhostVM("guest", 1), other = try fixture.vhostVM("other", 2)
            let third = try fixture.vm("vde", "vde,id=net0,sock=\(fixture.vde)", 3)
            var addresses: [String] = []
            for one in [guest, other, third] {
                try one.waitUntilBooted()
                addresses.append(VirtualMachine.address(in: try one.lease()))
            }
            #expect(addresses == ["192.168.105.2", "192.168.105.3", "192.168.105.4"])
            #expect(try guest.run("ping -c 1 -W 5 \(gateway)").status == 0)
            #expect(try guest.run("ping -c 1 -W 5 \(addresses[1])").status == 0, "by vhost-user")
            #expect(try guest.run("ping -c 1 -W 5 \(addresses[2])").status == 0, "by VDE")
            #expect(
                try guest.run("wget -q -O - http://\(TestNetwork.internetName)/").output == "Hello from the Internet")
            try transfer(guest, fixture, address: addresses[0])
            // Between guests, with GSO frames and without.
            let sum = try guest.run("md5sum < /tmp/file").output
            for one in [other, third] {
                #expect(
                    try one.run("wget -q -O - http://\(addresses[0]):8080/file | md5sum").output == sum,
                    "\(one.name)")
            }
            // A front end that dies costs itself alone.
            other.kill()
            try fixture.daemon.program.wait(for: "has left")
            #expect(try guest.run("ping -c 1 -W 5 \(gateway)").status == 0)
            // The daemon is killed, and the guest goes on.
            try killDaemon(of: fixture, awaiting: guest)
            try transfer(guest, fixture, address: addresses[0])
            #expect(try fixture.daemon.stop() == .exited(0))
            #expect(!Files.exists(fixture.vhostUser))
        }

        /// A guest with packed rings, and an MTU of its network card. It goes on after the daemon was killed, although
        /// QEMU then gives the positions of its start.
        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"))
        func guestHasPackedRings() throws {
            let fixture = try ListenerFixture(vhostUser: true)
            let guest = try fixture.vhostVM("guest", 1, device: ",packed=on,host_mtu=1400")
            try guest.waitUntilBooted()
            // Bit 34 of the features that the driver has negotiated, and the MTU.
            #expect(try guest.run("cut -c35 /sys/class/net/eth0/device/features").output.trimmed == "1")
            #expect(try guest.run("cat /sys/class/net/eth0/mtu").output.trimmed == "1400")
            let address = VirtualMachine.address(in: try guest.lease())
            try transfer(guest, fixture, address: address)
            for _ in 0..<3 {
                try killDaemon(of: fixture, awaiting: guest)
                try transfer(guest, fixture, address: address)
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// A running guest moves to another QEMU while it downloads a file: what arrived in its memory goes with it.
        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"), arguments: ["off", "on"])
        func runningGuestMigrates(packed: String) throws {
            let fixture = try ListenerFixture(vhostUser: true)
            let monitor = fixture.folder.file("monitor"), way = fixture.folder.file("migration")
            let device = ",packed=" + packed
            let source = try fixture.vhostVM(
                "source", 1, device: device, options: ["-monitor", "unix:\(monitor),server=on,wait=off"])
            try source.waitUntilBooted()
            let address = VirtualMachine.address(in: try source.lease())
            let path = fixture.folder.file("file")
            try fixture.host.run("busybox", "dd", "if=/dev/urandom", "of=" + path, "bs=1M", "count=32")
            let sum = try fixture.host.run("md5sum", "-z", path).prefix(32)
            let server = try fixture.host.start([
                "busybox", "httpd", "-f", "-p", "8081", "-h", fixture.folder.path,
            ])
            try fixture.host.waitForListener(on: 8081)
            try source.run("wget -q -O - http://\(gateway):8081/file | md5sum > /tmp/sum &")
            let target = try fixture.vhostVM("target", 1, device: device, options: ["-incoming", "unix:" + way])
            try eventually("the other QEMU listens") { Files.exists(way) }
            let socket = try Socket.unixStream()
            try socket.connect(to: UnixPath(monitor))
            let command = "migrate unix:\(way)\ninfo migrate\nquit\n"
            #expect(try socket.send(Array(command.utf8)) == command.utf8.count)
            var answer: [UInt8] = []
            try eventually("the migration has ended", within: ampleTime) {
                guard let part = try? socket.receive(limit: 4096) else { return false }
                answer += part
                return part.isEmpty
            }
            #expect(String(decoding: answer, as: UTF8.self).contains("Migration status: completed"))
            #expect(try source.waitForEnd() == .exited(0))
            try eventually("the file has arrived", within: ampleTime) {
                try target.run("cat /tmp/sum").output.hasPrefix(sum)
            }
            try transfer(target, fixture, address: address)
            server.kill()
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// A guest with two processors and a queue pair for each.
        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"))
        func guestHasSeveralQueuePairs() throws {
            let fixture = try ListenerFixture(vhostUser: true)
            let guest = try fixture.vhostVM("guest", 1, pairs: 2)
            try guest.waitUntilBooted()
            let address = VirtualMachine.address(in: try guest.lease())
            #expect(try guest.run("ls -d /sys/class/net/eth0/queues/tx-*").output.contains("tx-1"))
            // From each processor, so that both pairs carry frames.
            for processor in 0..<2 {
                #expect(try guest.run("taskset \(1 << processor) ping -c 3 -i 0.2 -W 5 \(gateway)").status == 0)
            }
            try transfer(guest, fixture, address: address)
            // The daemon is killed: all pairs go on where they were.
            try killDaemon(of: fixture, awaiting: guest)
            try transfer(guest, fixture, address: address)
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// A front end that breaks the protocol, dies, or shortens its memory is disconnected, and costs no other.
        @Test func badFrontEndsCostThemselvesAlone() throws {
            let fixture = try ListenerFixture(vhostUser: true)
            let address = MACAddress(0x0200_0000_0001)
            let probe = ARPPacket.probe(for: IPv4Address(IntegrationTests.gateway)!, from: address)
                .frame(to: .broadcast)
            let neighbour = try VhostGuest()
            try neighbour.connect(to: fixture.vhostUser)
            neighbour.fillReceiveRing()
            try neighbour.start(features: 1 << 32 | 1 << 15)
            func expectAnswer() throws {
                neighbour.send(probe)
                neighbour.kick(1)
                try eventually("an answer", within: ampleTime) {
                    while let frame = neighbour.receive() {
                        neighbour.kick(0)
                        if frame.dropFirst(12).starts(with: address.bytes) { return true }
                    }
                    return false
                }
            }
            func expectDisconnected(_ guest: VhostGuest) {
                // The guest has values that expectations cannot show.
                let isDisconnected = guest.isDisconnected()
                #expect(isDisconnected)
            }
            try expectAnswer()
            var random = SeededGenerator(seed: 3)
            for round in 0..<12 {
                let bad = try VhostGuest()
                try bad.connect(to: fixture.vhostUser)
                if round % 4 == 0 {
                    try bad.send(raw: random.bytes(100))
                    expectDisconnected(bad)
                    continue
                }
                bad.fillReceiveRing()
                try bad.start(features: 1 << 32 | 1 << 15 | 1 << 28 | 1 << 29)
                switch round % 4 {
                case 1:
                    bad.write(random.bytes(0x6000), at: 0)
                    bad.kick(1)
                    expectDisconnected(bad)
                case 2:
                    // Forbidden by a seal where the file takes seals.
                    if (try? bad.file.truncate(to: 0)) == nil { break }
                    bad.kick(1)
                    expectDisconnected(bad)
                default: bad.disconnect()
                }
                try expectAnswer()
            }
            try expectAnswer()
            #expect(try fixture.daemon.stop() == .exited(0))
        }
    }
}
