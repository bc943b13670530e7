// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// IPv6 addresses of guests on a TAP, beside a kernel that answers and remembers neighbours.
    @Suite struct SourceGuard {
        private let rogue = MACAddress(0x5254_0000_0066), victim = MACAddress(0x5254_0000_0077)
        private static let prefix: UInt64 = 0xfd00_0105 << 32, host = IPv6Address(prefix, 1)
        private static let allNodes = MACAddress(0x3333_0000_0001)

        private struct Place {
            let fixture: OwnSwitchFixture
            let rogue: PlugPort, victim: PlugPort
            let gateway: MACAddress
            /// The host's address of the same scope.
            let host: IPv6Address
            let address: IPv6Address
        }

        /// A victim that uses an address which the host has in its neighbour table.
        private func arrange(isGlobal: Bool) throws -> Place {
            let fixture = try OwnSwitchFixture(["--vmnet-isolation"])
            try fixture.host.ip("-6", "addr", "add", "\(Self.host)/64", "dev", "vmnet0", "nodad")
            let gateway = MACAddress(try fixture.host.run("cat", "/sys/class/net/vmnet0/address").trimmed)!
            let host = isGlobal ? Self.host : IPv6Address(linkLocalFrom: gateway)
            let address = isGlobal ? IPv6Address(Self.prefix, 0x77) : IPv6Address(linkLocalFrom: victim)
            let place = Place(
                fixture: fixture, rogue: try PlugPort(path: fixture.path), victim: try PlugPort(path: fixture.path),
                gateway: gateway, host: host, address: address)
            #expect(echoes(place, place.victim, from: victim, as: address), "the victim speaks with the host")
            return place
        }

        private func echo(
            _ place: Place, from source: MACAddress, as address: IPv6Address, _ payload: [UInt8], hopLimit: UInt8 = 64,
            to target: IPv6Address? = nil
        ) -> [UInt8] {
            let header = IPv6Header(
                source: address, destination: target ?? place.host, nextHeader: IPProtocol.icmpv6, hopLimit: hopLimit)
            return NeighborDiscovery.frame(
                header, from: source, to: place.gateway, type: 128, body: [0, 1, 0, 1] + payload)
        }

        private func claim(_ address: IPv6Address, from source: MACAddress, as sender: IPv6Address) -> [UInt8] {
            let header = IPv6Header(
                source: sender, destination: .allNodes, nextHeader: IPProtocol.icmpv6, hopLimit: 255)
            return NeighborDiscovery.frame(
                header, from: source, to: Self.allNodes, type: ICMPv6Type.neighborAdvertisement,
                body: [0x20, 0, 0, 0] + address.bytes + [2, 1] + source.bytes)
        }

        /// Sends the host an echo request and answers its requests for the address, until the echo comes.
        private func echoes(
            _ place: Place, _ plug: PlugPort, from source: MACAddress, as address: IPv6Address
        ) -> Bool {
            let payload = (0..<16).map { _ in Random.value(UInt8.self) }
            plug.send(echo(place, from: source, as: address, payload))
            return plug.receive(seconds: ampleTime) { frame in
                answer(frame, plug, place, source, address)
                return frame.count >= 78 && frame[54] == 129 && Array(frame[62..<78]) == payload
            } != nil
        }

        /// Answers a question for an address, as a kernel does.
        private func answer(
            _ frame: [UInt8], _ plug: PlugPort, _ place: Place, _ source: MACAddress, _ address: IPv6Address
        ) {
            guard frame.count >= 78, frame[12...13] == [0x86, 0xdd], frame[54] == 135,
                Array(frame[62..<78]) == address.bytes
            else { return }
            let asker = IPv6Address(frame.rawSpan, at: 22)
            plug.send(
                NeighborDiscovery.advertisement(
                    of: address, at: source, to: (asker, MACAddress(frame.rawSpan.big64(at: 6) >> 16)), isRouter: false)
            )
        }

        @Test(arguments: [true, false]) func hostReflectsNothingToOtherGuest(isGlobal: Bool) throws {
            let place = try arrange(isGlobal: isGlobal)
            let own = IPv6Address(linkLocalFrom: rogue)
            let tag = (0..<16).map { _ in Random.value(UInt8.self) }
            var udp = ByteWriter()
            let header = IPv6Header(source: place.address, destination: place.host, nextHeader: IPProtocol.udp)
            EthernetHeader(destination: place.gateway, source: rogue, type: EtherType.ipv6).emit(into: &udp)
            header.emit(into: &udp, payloadLength: 24)
            let start = udp.count
            for field in [1000, 2009, 24, 0] as [UInt16] { udp.put16(field) }
            udp.put(tag)
            udp.patch16(udp.checksum(from: start, adding: header.pseudoHeader(length: 24)).finished, at: start + 6)
            let far = isGlobal ? IPv6Address(0x2001_0db8 << 32, 1) : place.host
            var tagged = echo(place, from: rogue, as: place.address, tag)
            tagged.replaceSubrange(12..<12, with: [0x81, 0, 0, 0])
            for frame in [
                echo(place, from: rogue, as: place.address, tag), udp.bytes,
                echo(place, from: rogue, as: place.address, tag, hopLimit: 1, to: far), tagged,
            ] { place.rogue.send(frame) }
            // Its own are answered, and what it has sent before was looked at by then.
            #expect(echoes(place, place.rogue, from: rogue, as: own))
            let payload = (0..<16).map { _ in Random.value(UInt8.self) }
            place.victim.send(echo(place, from: victim, as: place.address, payload))
            var seen: [[UInt8]] = []
            #expect(
                place.victim.receive(seconds: ampleTime) { frame in
                    answer(frame, place.victim, place, victim, place.address)
                    seen.append(frame)
                    return frame.count >= 78 && frame[54] == 129 && Array(frame[62..<78]) == payload
                } != nil)
            #expect(!seen.contains { !$0.ranges(of: tag).isEmpty }, "the host sends the rogue's bytes to the victim")
            try place.fixture.daemon.program.wait(
                for: "claims an IPv6 address of another guest, which is dropped", within: ampleTime)
            #expect(try place.fixture.daemon.stop() == .exited(0))
        }

        @Test(arguments: [true, false]) func advertisementTakesNoAddressFromOtherGuest(isGlobal: Bool) throws {
            let place = try arrange(isGlobal: isGlobal)
            let own = IPv6Address(linkLocalFrom: rogue)
            func neighbours() throws -> String {
                try place.fixture.host.run("ip", "-6", "neigh", "show", "dev", "vmnet0")
            }
            #expect(try neighbours().contains("\(place.address) lladdr \(victim)"))
            let question = NeighborDiscovery.frame(
                IPv6Header(
                    source: place.address, destination: place.host, nextHeader: IPProtocol.icmpv6, hopLimit: 255),
                from: rogue, to: place.gateway,
                type: ICMPv6Type.neighborSolicitation,
                body: [0, 0, 0, 0] + place.host.bytes + [1, 1] + rogue.bytes)
            for frame in [
                claim(place.address, from: rogue, as: own), claim(place.address, from: rogue, as: place.address),
                question,
            ] {
                place.rogue.send(frame)
                place.rogue.send(frame[0..<12] + [0x88, 0xa8, 0, 0, 0x81, 0, 0, 0] + frame[12...])
            }
            #expect(echoes(place, place.rogue, from: rogue, as: own), "the host has taken what was sent before")
            #expect(
                try neighbours().contains("\(place.address) lladdr \(victim)")
                    && !neighbours().contains("\(place.address) lladdr \(rogue)"))
            #expect(echoes(place, place.victim, from: victim, as: place.address))
            #expect(try place.fixture.daemon.stop() == .exited(0))
        }

        /// Addresses made from router advertisements, temporary ones included, and the same card at another port.
        @Test func ordinaryGuestConfiguresAddressesAndMoves() throws {
            let fixture = try OwnSwitchFixture(["--vmnet-isolation"])
            try fixture.host.ip("-6", "addr", "add", "\(Self.host)/64", "dev", "vmnet0", "nodad")
            let gateway = MACAddress(try fixture.host.run("cat", "/sys/class/net/vmnet0/address").trimmed)!
            let router = try fixture.host.start([
                "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--user=root", "--port=0", "--interface=vmnet0",
                "--bind-interfaces", "--enable-ra", "--dhcp-range=fd00:105::,ra-only,64",
            ])
            try router.wait(for: "router advertisement on fd00:105::", within: ampleTime)
            let hardware = "52:54:00:00:00:31"
            var last: PlugGuest?
            for round in 0..<3 {
                last?.stop()
                // The same guest with its addresses, at once, while the switch may not have noticed that the old port
                // is gone.
                let guest = try PlugGuest("guest\(round)", path: fixture.path, mac: hardware, folder: fixture.folder)
                last = guest
                let namespace = guest.namespace
                // With duplicate address detection, as guests have it.
                try namespace.ip("link", "set", PlugGuest.interface, "down")
                for setting in ["accept_dad=1", "use_tempaddr=2", "accept_ra=2"] {
                    try namespace.run("sysctl", "-qw", "net.ipv6.conf.\(PlugGuest.interface).\(setting)")
                }
                try namespace.run("sysctl", "-qw", "net.ipv6.conf.all.accept_dad=1")
                try namespace.ip("link", "set", PlugGuest.interface, "up")
                func addresses() throws -> [String] {
                    try namespace.run("ip", "-6", "-o", "addr", "show", "dev", PlugGuest.interface, "-tentative").split(
                        separator: "\n"
                    ).map { $0.split(separator: " ")[3].split(separator: "/")[0].description }
                }
                var found: [String] = []
                try eventually("addresses of the guest", within: ampleTime) {
                    found = try addresses()
                    return found.count { $0.hasPrefix("fd00:105:") } >= 2 && found.contains { $0.hasPrefix("fe80:") }
                }
                #expect(found.contains("fd00:105::5054:ff:fe00:31"))
                for address in found where address.hasPrefix("fd00:") {
                    let result = try namespace.attempt([
                        "ping", "-6", "-c", "1", "-W", "10", "-I", address, "\(Self.host)",
                    ])
                    #expect(result.succeeded, "\(round) \(address): \(result.output)")
                }
                let local = try namespace.attempt([
                    "ping", "-6", "-c", "1", "-W", "10",
                    "\(IPv6Address(linkLocalFrom: gateway))%\(PlugGuest.interface)",
                ])
                #expect(local.succeeded, "\(round): \(local.output)")
            }
            #expect(!fixture.daemon.program.output.contains("claims an IPv6 address"))
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// NAT leaves the source alone of what conntrack calls invalid, such as a reset of no connection.
        @Test(arguments: IPv6Way.possible) func packetsOfNoConnectionKeepNoSourceOfTheNetwork(way: IPv6Way) throws {
            let fixture = try way.fixture()
            let guest = try fixture.guest()
            _ = try guest.address6()
            try guest.waitForRouter()
            try guest.lease()
            let monitor = try fixture.network.internet.start([
                "python3", "-c",
                """
                import socket
                s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
                s.bind(("eth0", 3))
                print("up", flush=True)
                inner, lasts = 0, 0
                while lasts < 2:
                    packet = s.recv(2048)
                    inner += packet[12:14] == b"\\xc0\\xa8" if packet[0] >> 4 == 4 else packet[8] == 0xfd
                    lasts += packet.endswith(b"the last one")
                print("inner sources:", inner, flush=True)
                """,
            ])
            try monitor.wait(for: "up", within: 10)
            try guest.namespace.run(
                "python3", "-c",
                """
                import socket, struct
                for family, target in ((socket.AF_INET, "\(TestNetwork.internetAddress)"),
                                       (socket.AF_INET6, "\(IPv6Fixture.outside)")):
                    s = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP)
                    reset = struct.pack("!HHIIBBHHH", 4444, 80, 1, 1, 0x50, 4, 0, 0, 0)
                    for _ in range(3): s.sendto(reset, (target, 0))
                    socket.socket(family, socket.SOCK_DGRAM).sendto(b"the last one", (target, 9))
                """)
            try monitor.wait(for: "inner sources: 0", within: 10)
            #expect(try fixture.daemon.stop() == .exited(0))
        }
    }
}
