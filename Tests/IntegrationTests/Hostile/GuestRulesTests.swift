// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// Guests that act as routers and DHCP servers, beside a real kernel.
    @Suite struct GuestRules {
        private let rogue = MACAddress(0x5254_0000_0066), client = MACAddress(0x5254_0000_0077)
        private let gatewayAddress = IPv4Address(IntegrationTests.gateway)!

        private func advertisement(prefix: UInt64) -> [UInt8] {
            let source = IPv6Address(linkLocalFrom: rogue)
            return NeighborDiscovery.routerAdvertisement(
                from: (source, rogue), to: (.allNodes, MACAddress(0x3333_0000_0001)), prefix: prefix, lifetime: 1800,
                mtu: 1500)
        }

        /// The same after a priority tag, and after a header with destination options.
        private func wrapped(_ frame: [UInt8]) -> [[UInt8]] {
            var extended = frame[0..<54] + [58, 0, 1, 4, 0, 0, 0, 0] + frame[54...]
            extended[20] = 60
            let length = UInt16(extended.count - 54)
            (extended[18], extended[19]) = (UInt8(length >> 8), UInt8(length & 0xff))
            return [
                frame, frame[0..<12] + [0x81, 0, 0, 0] + frame[12...],
                frame[0..<12] + [0x88, 0xa8, 0, 0, 0x81, 0, 0, 0] + frame[12...], Array(extended),
            ]
        }

        private func discover() -> [UInt8] {
            Frames.dhcp(.discover, from: client) { $0.hasBroadcastFlag = true }
        }

        private func offer() -> [UInt8] {
            var message = DHCPv4Message(isReply: true, transactionID: 0x1234_5678, clientHardware: client)
            message.yourAddress = IPv4Address("192.168.105.222")!
            message[.messageType] = [DHCPv4Message.Kind.offer.rawValue]
            let server = Endpoint(rogue, IPv4Address("192.168.105.66")!, port: 67)
            return Frames.udp(from: server, to: Endpoint(.broadcast, .broadcast, port: 68), message.bytes())
        }

        /// Waits until the host has answered, and so has taken what was sent before.
        private func waitForHost(_ plug: PlugPort) {
            plug.send(
                Frames.arpRequest(from: Endpoint(rogue, IPv4Address("192.168.105.66")!), for: gatewayAddress))
            #expect(
                plug.receive(seconds: ampleTime) { $0.count >= 42 && $0[12...13] == [8, 6] && $0[21] == 2 } != nil)
        }

        /// Frames that the other gets, up to one that was sent after them.
        private func received(_ other: PlugPort, from plug: PlugPort) -> [[UInt8]] {
            let mark =
                MACAddress.broadcast.bytes + rogue.bytes + [0x88, 0xb6] + (0..<8).map { _ in Random.value(UInt8.self) }
                + [UInt8](repeating: 0, count: 38)
            plug.send(mark)
            var frames: [[UInt8]] = []
            #expect(
                other.receive(seconds: ampleTime) { frame in
                    frames.append(frame)
                    return frame == mark
                } != nil)
            return frames
        }

        @Test(arguments: [true, false])
        func hostIgnoresGuestRouterAdvertisements(isOwn: Bool) throws {
            let own = isOwn ? try OwnSwitchFixture() : nil, joined = isOwn ? nil : try DaemonFixture()
            let host = own?.host ?? joined!.host, program = (own?.daemon ?? joined!.daemon).program
            try host.run("sh", "-c", "echo 2 > /proc/sys/net/ipv6/conf/vmnet0/accept_ra")
            let path = own?.path ?? joined!.vde.path
            let plug = try PlugPort(path: path), other = try PlugPort(path: path)
            let frames = wrapped(advertisement(prefix: 0x2001_0db8_0bad_0000))
            for frame in frames { plug.send(frame) }
            waitForHost(plug)
            #expect(
                try !host.run("ip", "-6", "route", "show").contains("proto ra")
                    && !host.run("ip", "-6", "addr", "show", "dev", "vmnet0").contains("2001:db8"))
            let seen = received(other, from: plug)
            // vde_switch passes no tags on, but all else.
            for frame in [frames[0], frames[3]] {
                #expect(seen.contains(frame) == !isOwn, "a switch that is not ours is not in our hands")
            }
            try program.wait(for: "\(rogue) at ", within: ampleTime)
            try program.wait(
                for: isOwn
                    ? "sends router advertisements, which is dropped: guests may not be servers here; --allow-server "
                        + "2 or --allow-server \(rogue) allows it"
                    : "sends router advertisements, which is kept from this host", within: ampleTime)
            #expect(program.output.components("sends router advertisements") == 1, "it is said once")
        }

        /// Whatever the uplink, and by whatever listener a guest has come in.
        @Test func guestRulesApplyToEveryUplinkAndListener() throws {
            for uplink in ["tap", "user", "vmnet"] {
                let network = try TestNetwork()
                let path = network.folder.file("own"), stream = network.folder.file("stream"),
                    datagram = network.folder.file("dgram")
                let daemon = try VMNetDaemon(
                    in: network.host, ["--uplink", uplink, "--stream", stream, "--dgram", datagram, "--switch", path],
                    folder: network.folder, environment: ["VMNET_SIMULATOR": ""],
                    product: uplink == "vmnet" ? "vde_vmnet_simulated" : "vde_vmnet")
                let other = try PlugPort(path: path), plug = try PlugPort(path: path)
                let gateway = IPv4Address(uplink == "vmnet" ? "192.168.64.1" : IntegrationTests.gateway)!
                let claim = ARPPacket(
                    operation: .reply, senderHardware: rogue, senderAddress: gateway, targetHardware: client,
                    targetAddress: .any
                ).frame(to: .broadcast)
                let forged =
                    wrapped(advertisement(prefix: 1)) + [
                        offer(), claim, claim[0..<12] + [0x88, 0xa8, 0, 0, 0x81, 0, 0, 0] + claim[12...],
                    ]
                let byStream = try Socket.unixStream(), byDatagram = try Socket.unixDatagram()
                try byStream.connect(to: UnixPath(stream))
                try byDatagram.bind(to: UnixPath(network.folder.file("peer")))
                try byDatagram.connect(to: UnixPath(datagram))
                let ways: [(String, ([UInt8]) throws -> Void)] = [
                    ("VDE", { plug.send($0) }),
                    ("stream", { _ = try byStream.send([0, 0, UInt8($0.count >> 8), UInt8($0.count & 0xff)] + $0) }),
                    ("datagram", { _ = try byDatagram.send($0) }),
                ]
                for (way, send) in ways {
                    for frame in forged { try send(frame) }
                    let mark =
                        MACAddress.broadcast.bytes + rogue.bytes + [0x88, 0xb6]
                        + (0..<8).map { _ in Random.value(UInt8.self) } + [UInt8](repeating: 0, count: 38)
                    try send(mark)
                    var seen: [[UInt8]] = []
                    #expect(
                        other.receive(seconds: ampleTime) { frame in
                            seen.append(frame)
                            return frame == mark
                        } != nil, "\(uplink) \(way)")
                    #expect(!forged.contains { seen.contains($0) }, "\(uplink) \(way)")
                }
                for port in 3...5 { try daemon.program.wait(for: "--allow-server \(port) or", within: ampleTime) }
                #expect(try daemon.stop() == .exited(0))
            }
        }

        @Test func guestServerIsReported() throws {
            for uplink in ["tap", "user"] {
                let fixture = try OwnSwitchFixture(["--uplink", uplink])
                let plug = try PlugPort(path: fixture.path), server = try PlugPort(path: fixture.path)
                plug.send(discover())
                #expect(server.receive(seconds: ampleTime) { $0 == discover() } != nil)
                server.send(offer())
                try fixture.daemon.program.wait(
                    for:
                        "\(rogue) at port 3 (a test) answers DHCP requests, which is dropped: guests may not be "
                        + "servers here; --allow-server 3 or",
                    within: ampleTime)
                #expect(!received(plug, from: server).contains(offer()))
                #expect(try fixture.daemon.stop() == .exited(0))
            }
        }

        @Test(arguments: [["--allow-server", "3"], ["--allow-server", "52:54:00:00:00:66"], ["--dhcp", "off"]])
        func allowedGuestServes(options: [String]) throws {
            let fixture = try OwnSwitchFixture(options)
            #expect(
                fixture.daemon.program.output.contains(
                    options[0] == "--dhcp" ? "any guest may answer DHCP (--dhcp off)" : "guests may serve: "))
            let plug = try PlugPort(path: fixture.path), server = try PlugPort(path: fixture.path)
            // Where its address is known.
            _ = received(plug, from: server)
            for _ in 0..<2 {
                plug.send(discover())
                #expect(server.receive(seconds: ampleTime) { $0 == discover() } != nil)
            }
            server.send(offer())
            #expect(plug.receive(seconds: ampleTime) { $0 == offer() } != nil)
            server.send(advertisement(prefix: 0x2001_0db8_0bad_0000))
            #expect(
                received(plug, from: server).contains(advertisement(prefix: 0x2001_0db8_0bad_0000))
                    == (options[0] != "--dhcp"))
        }

        @Test func laterHostAddressBelongsToGateway() throws {
            let fixture = try OwnSwitchFixture()
            let plug = try PlugPort(path: fixture.path), other = try PlugPort(path: fixture.path)
            let address = IPv6Address(0xfd00_0005 << 32, 0x77)
            let claim = NeighborDiscovery.advertisement(
                of: address, at: rogue, to: (.allNodes, MACAddress(0x3333_0000_0001)), isRouter: false)
            plug.send(claim)
            #expect(received(other, from: plug).contains(claim), "as long as it is nobody's")
            for place in ["all", "vmnet0"] {
                try fixture.host.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/\(place)/accept_dad")
            }
            try fixture.host.ip("-6", "addr", "add", "fd00:5::77/64", "dev", "vmnet0")
            // The kernel probes whether it is free.
            #expect(
                other.receive(seconds: ampleTime) {
                    $0.count >= 78 && $0[12...13] == [0x86, 0xdd] && $0[54] == 135
                        && Array($0[62..<78]) == address.bytes
                } != nil)
            plug.send(claim)
            #expect(!received(other, from: plug).contains(claim))
            let hardware = MACAddress(try fixture.host.run("cat", "/sys/class/net/vmnet0/address").trimmed)!
            let linkLocal = NeighborDiscovery.advertisement(
                of: IPv6Address(linkLocalFrom: hardware), at: rogue, to: (.allNodes, MACAddress(0x3333_0000_0001)),
                isRouter: true)
            plug.send(linkLocal)
            #expect(!received(other, from: plug).contains(linkLocal))
            try fixture.daemon.program.wait(
                for: "claims an address of the gateway, which is dropped", within: ampleTime)
        }

        /// A kernel takes tags of priority out, and so does the NAT in user mode.
        @Test func priorityTaggedGuestReachesGateway() throws {
            for uplink in ["tap", "user"] {
                let fixture = try OwnSwitchFixture(["--uplink", uplink])
                let plug = try PlugPort(path: fixture.path)
                let question = ARPPacket(
                    operation: .request, senderHardware: rogue, senderAddress: IPv4Address("192.168.105.66")!,
                    targetHardware: .zero, targetAddress: gatewayAddress
                ).frame(to: .broadcast)
                plug.send(question[0..<12] + [0x81, 0, 0xa0, 0] + question[12...])
                #expect(
                    plug.receive(seconds: ampleTime) { $0.count >= 42 && $0[12...13] == [8, 6] && $0[21] == 2 }
                        != nil, "\(uplink)")
            }
        }

        @Test func plainSwitchAppliesNoGuestRules() throws {
            let network = try TestNetwork()
            let path = network.folder.file("own")
            let daemon = try VMNetDaemon(
                in: network.host, ["--switch", "--uplink", "none", path], folder: network.folder)
            let plug = try PlugPort(path: path), other = try PlugPort(path: path)
            let nested = [[UInt8]](repeating: [0x88, 0xa8, 0, 7], count: 6).flatMap(\.self)
            let frames = wrapped(advertisement(prefix: 1)) + [offer(), offer()[0..<12] + nested + offer()[12...]]
            for frame in frames { plug.send(frame) }
            let seen = received(other, from: plug)
            #expect(frames.allSatisfy { seen.contains($0) })
            _ = daemon
        }
    }
}

extension String {
    /// How often a text stands in this one.
    fileprivate func components(_ text: String) -> Int { ranges(of: text).count }
}
