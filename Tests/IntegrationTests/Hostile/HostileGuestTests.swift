// SPDX-License-Identifier: Apache-2.0
import DHCPService
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// Hostile guests, and the neighbours that they must not disturb.
    @Suite struct HostileGuests {
        private func mac(_ number: Int) -> MACAddress { MACAddress(0x0600_0000_0000 | UInt64(number)) }

        private func discover(_ hardware: MACAddress) -> [UInt8] {
            Frames.dhcp(.discover, from: hardware, transactionID: UInt32(truncatingIfNeeded: hardware.value))
        }

        private func residentKilobytes(_ program: BackgroundProgram) throws -> Int {
            let text = try ChildProcess.run([
                "sh", "-c",
                "for p in \(program.identifier) $(pgrep -P \(program.identifier)); do grep VmRSS /proc/$p/status; done",
            ]).output
            return text.split(separator: "\n").compactMap { Int($0.filter(\.isNumber)) }.max() ?? 0
        }

        @Test func malformedFramesAreDropped() throws {
            let fixture = try DaemonFixture()
            let guest = try fixture.guest()
            try guest.lease()
            let attacker = try PlugPort(path: fixture.vde.path)
            let neighbour = try guest.namespace.start(["ping", "-i", "0.05", "-c", "60", "-W", "2", gateway])
            var random = SeededGenerator(seed: 11)
            for length in [0, 1, 13, 14, 15, 41, 42, 59, 1514, 1518] {
                attacker.send(random.bytes(length))
                // The same as what could be DHCP, ARP, IPv4 and IPv6 with rubbish after.
                for type in [EtherType.ipv4, EtherType.arp, EtherType.ipv6, EtherType.vlan] where length >= 14 {
                    var frame = random.bytes(length)
                    frame.replaceSubrange(0..<12, with: MACAddress.broadcast.bytes + mac(1).bytes)
                    (frame[12], frame[13]) = (UInt8(type >> 8), UInt8(truncatingIfNeeded: type))
                    attacker.send(frame)
                }
            }
            // Bad checksums, and the gateway's own address as a source.
            for offset in [24, 40, 60, 300] {
                var frame = discover(mac(2))
                frame[offset] ^= 0x55
                attacker.send(frame)
            }
            attacker.send(
                Frames.udp(from: Endpoint(mac(3), port: 68), to: Endpoint(.broadcast, .broadcast, port: 67)))
            // 65 KB does not pass a vde_switch; on a cable it does (below).
            #expect(try neighbour.waitForEnd(within: 20) == .exited(0))
            #expect(neighbour.output.contains(" 0% packet loss"), "\(neighbour.output)")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func jumboFramesOnCableAreHandled() throws {
            let network = try TestNetwork()
            let path = network.folder.file("cable")
            let daemon = try VMNetDaemon(in: network.host, ["--dhcp", "builtin", path + "[]"], folder: network.folder)
            let cable = try CablePort(path: path)
            let header = MACAddress.broadcast.bytes + mac(1).bytes + [0x88, 0xb5]
            for length in [1519, 9014, 65_000, 65_553] {
                cable.send(header + [UInt8](repeating: 0, count: length - 14))
            }
            cable.send(discover(mac(1)))
            #expect(
                cable.receive { (try? EthernetView($0.rawSpan).type) == EtherType.ipv4 } != nil,
                "an offer comes all the same")
            // The host's kernel has them all, and supports the type of none.
            try eventually("all of them are taken") {
                daemon.program.signal(Signal.user1)
                return daemon.program.output.contains("in 5 frames")
            }
            #expect(try daemon.stop() == .exited(0))
        }

        @Test func tenThousandDHCPClientsLeaveOthersServed() throws {
            let fixture = try DaemonFixture()
            let guest = try fixture.guest("early", mac: "52:54:00:00:00:01")
            #expect(try guest.lease()["ip"] == "192.168.105.2")
            let attacker = try PlugPort(path: fixture.vde.path)
            let neighbour = try guest.namespace.start(["ping", "-i", "0.05", "-c", "80", "-W", "2", gateway])
            for number in 0..<10_000 { attacker.send(discover(mac(number))) }
            // A guest with an address keeps it, and can renew it during the flood.
            #expect(try guest.lease()["ip"] == "192.168.105.2")
            // A new guest gets one: discovers alone take none.
            let late = try fixture.guest("late")
            try late.lease(seconds: 15)
            #expect(try late.namespace.pings(gateway))
            #expect(try neighbour.waitForEnd(within: 20) == .exited(0))
            #expect(try residentKilobytes(fixture.daemon.program) < 60_000)
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func forgedRequestsChangeNoLease() throws {
            let fixture = try DaemonFixture()
            let guest = try fixture.guest("victim", mac: "52:54:00:00:00:01")
            try guest.lease()
            let attacker = try PlugPort(path: fixture.vde.path)
            let victim = IPv4Address("192.168.105.2")!, server = IPv4Address(gateway)!
            for kind in [DHCPv4Message.Kind.request, .release, .decline] {
                attacker.send(
                    Frames.dhcp(kind, from: mac(1), transactionID: 1) {
                        $0[.clientIdentifier] = [1] + MACAddress("52:54:00:00:00:01")!.bytes
                        $0.set(.serverIdentifier, [server])
                        if kind == .release { $0.clientAddress = victim } else { $0.set(.requestedAddress, [victim]) }
                    })
            }
            let refusal = attacker.receive { frame in
                guard let ip = try? IPv4View(frame.rawSpan.from(14)), let udp = try? UDPView(ip.payload) else {
                    return false
                }
                return (try? DHCPv4Message(parsing: udp.payload))?.kind == .nak
            }
            #expect(refusal != nil)
            #expect(try guest.lease()["ip"] == "192.168.105.2")
            let other = try fixture.guest("other")
            #expect(try other.lease()["ip"] == "192.168.105.3")
        }

        @Test func gatewayImpersonationIsDropped() throws {
            let fixture = try DaemonFixture()
            let guest = try fixture.guest()
            try guest.lease()
            let hardware = MACAddress(try fixture.host.run("cat", "/sys/class/net/vmnet0/address").trimmed)!
            let attacker = try PlugPort(path: fixture.vde.path)
            let claim = ARPPacket(
                operation: .reply, senderHardware: hardware, senderAddress: IPv4Address(gateway)!,
                targetHardware: .broadcast, targetAddress: .any)
            for _ in 0..<20 { attacker.send(claim.frame(to: .broadcast)) }
            try eventually("all of them are counted") {
                fixture.daemon.program.signal(Signal.user1)
                return fixture.daemon.program.output.contains("20 spoofed")
            }
        }

        @Test func neighborImpersonationIsDropped() throws {
            let fixture = try DaemonFixture()
            let guest = try fixture.guest(), other = try fixture.guest("other")
            let address = try #require(try guest.lease()["ip"])
            try other.lease()
            #expect(try other.namespace.pings(gateway))
            try other.namespace.ip("addr", "add", address + "/32", "dev", PlugGuest.interface)
            #expect(
                try !other.namespace.attempt(["ping", "-c", "2", "-i", "0.2", "-W", "2", "-I", address, gateway])
                    .succeeded)
            try eventually("they are counted") {
                fixture.daemon.program.signal(Signal.user1)
                return fixture.daemon.program.output.contains(" spoofed")
            }
            // Each alone, with the output of ping.
            for (end, destination) in [(guest.namespace, gateway), (fixture.host, address)] {
                let ping = try end.attempt(["ping", "-c", "1", "-W", "5", destination])
                #expect(ping.succeeded, "\(destination): \(ping.output)\(ping.error)")
            }
        }

        @Test func fullDiskIsReportedAndSurvived() throws {
            let network = try TestNetwork()
            let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
            // A state directory of 16 KiB, filled to the brim once the daemon runs.
            let state = network.folder.file("state")
            try Files.makeDirectory(state)
            _ = try ChildProcess.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=755", "tmpfs", state])
            defer { _ = try? ChildProcess.run(["umount", state]) }
            let daemon = try VMNetDaemon(in: network.host, ["--dhcp", "builtin", vde.path], folder: network.folder)
            _ = try ChildProcess.run(["sh", "-c", "cat /dev/zero > \(state)/filler"])
            // The file's own page has room for a while.
            let attacker = try PlugPort(path: vde.path)
            try eventually("the complaint", within: 30) {
                for number in 0..<5 {
                    let hardware = mac(Int.random(in: 1000...1_000_000) + number)
                    attacker.send(discover(hardware))
                    guard let address = offeredAddress(attacker) else { continue }
                    attacker.send(
                        Frames.dhcp(.request, from: hardware, transactionID: 1) {
                            $0.set(.requestedAddress, [address])
                            $0.set(.serverIdentifier, [IPv4Address(gateway)!])
                        })
                }
                return daemon.program.output.contains("leases cannot be written")
            }
            let guest = try PlugGuest("guest", path: vde.path, folder: network.folder)
            try guest.lease()
            #expect(try daemon.stop() == .exited(0))
        }

        private func offeredAddress(_ plug: PlugPort) -> IPv4Address? {
            var address: IPv4Address?
            _ = plug.receive(seconds: 1) { frame in
                guard let message = Frames.dhcpMessage(in: frame), message.kind == .offer else { return false }
                address = message.yourAddress
                return true
            }
            return address
        }
    }
}
