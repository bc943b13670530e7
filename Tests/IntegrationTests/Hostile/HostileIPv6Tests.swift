// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// A guest that misuses IPv6 against the others and the gateway, on a TAP and behind the user-mode NAT.
    @Suite struct HostileIPv6 {
        private static let page = "a page over IPv6"

        private func start(_ way: IPv6Way, workers: Int) throws -> (IPv6Fixture, web: BackgroundProgram) {
            let fixture = try way.fixture(["--workers", "\(workers)"])
            let web = try fixture.network.internet.startWeb(
                Self.page, folder: fixture.network.folder, address: "[::]:80")
            return (fixture, web)
        }

        /// Forged advertisements of a router and of the gateway, solicitations and duplicate address detection for the
        /// address of another, from more addresses than a guest may have.
        @Test(arguments: IPv6Way.possible, [1, 3])
        func floodDoesNotDisturbOthers(way: IPv6Way, workers: Int) throws {
            let (fixture, web) = try start(way, workers: workers)
            let guest = try fixture.guest(), address = try guest.address6()
            try guest.waitForRouter()
            // An address is the guest's that uses it first. The namespace does not look for duplicates.
            #expect(try guest.namespace.fetch(IPv6Fixture.outside) == Self.page)
            let rogue = try PlugPort(path: fixture.path), gateway = IPv6Address(address.high, 1)
            let all = (IPv6Address.allNodes, MACAddress(ofGroup: .allNodes))
            for number in 0..<4096 {
                let hardware = MACAddress(0x0200_0000_0000 | UInt64(number)), own = IPv6Address(linkLocalFrom: hardware)
                var forged = RouterAdvertisement(hardware: hardware)
                forged.routerLifetime = 9000
                forged.prefix = 0xfd66 << 48
                forged.validLifetime = 9000
                forged.preferredLifetime = 9000
                rogue.send(forged.frame(from: own, to: all))
                for claimed in [gateway, .customaryGateway, address] {
                    rogue.send(NeighborDiscovery.advertisement(of: claimed, at: hardware, to: all, isRouter: true))
                }
                rogue.send(
                    NeighborDiscovery.solicitation(
                        for: address, from: (.unspecified, hardware), to: MACAddress(ofGroup: address.solicitedNode)))
                let solicitation = IPv6Header(
                    source: own, destination: .allRouters, nextHeader: IPProtocol.icmpv6, hopLimit: 255)
                rogue.send(
                    NeighborDiscovery.frame(
                        solicitation, from: hardware, to: MACAddress(ofGroup: .allRouters),
                        type: ICMPv6Type.routerSolicitation, body: [0, 0, 0, 0]))
                // What comes back is not of interest, and must not fill the socket.
                while rogue.receive(seconds: 0, { _ in true }) != nil {}
            }
            #expect(try guest.namespace.pings("\(gateway)"))
            #expect(try guest.namespace.fetch(IPv6Fixture.outside) == Self.page)
            if way != .user { #expect(try fixture.network.host.pings("\(address)")) }
            let routes = try guest.namespace.run("ip", "-6", "route")
            #expect(!routes.contains("fd66::") && routes.split(separator: "\n").count { $0.hasPrefix("default") } == 1)
            let late = try fixture.guest("late")
            _ = try late.address6()
            try late.waitForRouter()
            #expect(try late.namespace.fetch(IPv6Fixture.outside) == Self.page)
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = web
        }

        /// A datagram whose fragments overlap is dropped (RFC 5722), and so is one after endless extension headers, or
        /// with its header in the second fragment (RFC 7112). On
        /// a TAP, what is well-formed gets through; the user-mode NAT takes neither fragments nor extension headers.
        @Test(arguments: IPv6Way.possible, [1, 3])
        func overlappingFragmentsAndLongChainsArriveNowhere(way: IPv6Way, workers: Int) throws {
            let (fixture, web) = try start(way, workers: workers)
            let guest = try fixture.guest(), address = try guest.address6()
            try guest.waitForRouter()
            let sink = try fixture.network.internet.start([
                "python3", "-c",
                """
                import socket
                s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
                s.bind(("::", 7))
                print("up", flush=True)
                while True: print(s.recv(65536)[:4].decode(), flush=True)
                """,
            ])
            try sink.wait(for: "up", within: 10)
            let sender = """
                import socket, struct
                addresses = "\(address)", "\(IPv6Fixture.outside)"
                source, target = (socket.inet_pton(socket.AF_INET6, a) for a in addresses)
                raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
                def datagram(mark, length):
                    data = (mark * length)[:length]
                    head = struct.pack(">HHHH", 4000, 7, 8 + length, 0)
                    text = source + target + struct.pack(">II", 8 + length, 17) + head + data
                    total = sum(struct.unpack(">%dH" % (len(text) // 2), text))
                    while total >> 16: total = (total & 0xffff) + (total >> 16)
                    return head[:6] + struct.pack(">H", ~total & 0xffff or 0xffff) + data
                def send(following, body):
                    raw.sendto(struct.pack(">IHBB", 6 << 28, len(body), following, 64) + source + target + body,
                        ("\(IPv6Fixture.outside)", 0))
                def pieces(number, *parts, following=17):
                    for offset, more, data in parts:
                        send(44, struct.pack(">BBHI", following, 0, offset | more, number) + data)
                def chained(mark, count):
                    return b"".join(struct.pack(">BBBB4x", 60 if i < count - 1 else 17, 0, 1, 4)
                        for i in range(count)) + datagram(mark, 32)
                whole = datagram(b"frag", 1000)
                pieces(1, (0, 1, whole[:496]), (496, 0, whole[496:]))
                send(60, chained(b"some", 2))
                over = [datagram(mark, 1000) for mark in (b"ovr2", b"ovr3", b"ovr4")]
                pieces(2, (0, 1, over[0][:496]), (488, 0, over[0][488:]))
                pieces(3, (0, 1, over[1][:496]), (0, 1, over[1][:248][::-1]), (496, 0, over[1][496:]))
                pieces(4, (8, 0, over[2][8:]), (0, 1, over[2][:504]))
                send(60, chained(b"many", 100))
                pieces(5, (0, 1, struct.pack(">BBBB4x", 17, 0, 1, 4)), (8, 0, datagram(b"tiny", 32)),
                    following=60)
                send(17, datagram(b"last", 32))
                """
            try guest.namespace.run("python3", "-c", sender)
            try sink.wait(for: "last", within: 10)
            let marks = ["frag", "some", "ovr2", "ovr3", "ovr4", "many", "tiny"]
            let arrived = marks.filter(sink.output.contains)
            // Linux ignores a fragment that lies within another one, so that the bytes of the first arrive.
            #expect(arrived == (way.usesNAT ? ["frag"] : ["frag", "some", "ovr3"]))
            #expect(try guest.namespace.fetch(IPv6Fixture.outside) == Self.page)
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = web
        }
    }
}
