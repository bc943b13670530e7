// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// What happens to guests' IPv6 on its way: links with a smaller MTU, temporary addresses, a host whose prefix
    /// changes.
    @Suite struct IPv6Paths {
        /// Answers the datagram `LENGTH` with one of that many bytes.
        private static let answerer = """
            import socket
            s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            s.bind(("::", 7))
            print("up", flush=True)
            while True:
                try:
                    text, sender = s.recvfrom(100)
                    s.sendto(b"x" * int(text), sender)
                except OSError: pass
            """

        /// Sends queries until an answer comes: a datagram that is too long is lost, and its sender learns the MTU by
        /// that.
        private func answer(to guest: PlugGuest, length: Int) throws -> String {
            let script = """
                import socket
                s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
                s.settimeout(0.5)
                for attempt in range(20):
                    s.sendto(b"\(length)", ("\(IPv6Fixture.outside)", 7))
                    try:
                        print(len(s.recv(70000)))
                        break
                    except OSError: pass
                """
            return try guest.namespace.run("python3", "-c", script).trimmed
        }

        @Test(arguments: IPv6Way.possible) func guestLearnsThatItsPacketIsTooBig(way: IPv6Way) throws {
            let fixture = try way.fixture(), guest = try fixture.guest()
            _ = try guest.address6()
            try guest.waitForRouter()
            try fixture.network.host.ip("link", "set", "wan", "mtu", "1400")
            try fixture.network.internet.ip("link", "set", "eth0", "mtu", "1400")
            try eventually("packet too big") {
                let long = try guest.namespace.attempt([
                    "ping", "-6", "-M", "do", "-c", "1", "-W", "1", "-s", "1440", IPv6Fixture.outside,
                ])
                return try long.output.contains("mtu=1400") || long.error.contains("mtu: 1400")
                    || guest.namespace.run("ip", "-6", "route", "get", IPv6Fixture.outside).contains("mtu 1400")
            }
            // The guest's kernel splits the next ones.
            #expect(
                try guest.namespace.attempt(["ping", "-6", "-c", "1", "-W", "5", "-s", "1440", IPv6Fixture.outside])
                    .succeeded)
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test(arguments: IPv6Way.possible) func outsideLearnsThatItsPacketIsTooBig(way: IPv6Way) throws {
            let fixture = try way.fixture(["--vmnet-mtu", "1400"]), internet = fixture.network.internet
            let server = try internet.start(["python3", "-c", Self.answerer])
            try server.wait(for: "up", within: 10)
            let guest = try fixture.guest()
            _ = try guest.address6()
            try guest.waitForRouter()
            #expect(try answer(to: guest, length: 1440) == "1440")
            // The user-mode NAT takes the datagram, and splits it itself.
            #expect(
                try internet.run("ip", "-6", "route", "get", IPv6Fixture.host).contains("mtu 1400") != way.usesNAT)
            #expect(try fixture.daemon.stop() == .exited(0))
            server.kill()
        }

        /// Guests reach a LAN without a router, and do not wait for what is beyond it.
        @Test(arguments: IPv6Way.possible) func networkOnTheHostsLinkIsReached(way: IPv6Way) throws {
            let fixture = try way.fixture { try $0.host.ip("-6", "route", "flush", "default") }
            let guest = try fixture.guest()
            _ = try guest.address6()
            try guest.waitForRouter()
            #expect(try guest.namespace.pings(IPv6Fixture.outside))
            let beyond = try guest.namespace.attempt(["ping", "-6", "-c", "1", "-W", "5", "2001:db8:7::1"])
            #expect(beyond.output.contains("No route"), "\(beyond.output)\(beyond.error)")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// As between a router's advertisement and the answer of DHCPv6.
        @Test(arguments: IPv6Way.possible) func routeWithoutAddressIsNoWayOut(way: IPv6Way) throws {
            let fixture = try way.fixture {
                try $0.host.ip("-6", "addr", "flush", "dev", "wan", "scope", "global")
                try $0.host.ip("-6", "route", "replace", "default", "via", "fe80::1", "dev", "wan")
            }
            let guest = try fixture.guest()
            _ = try guest.address6()
            #expect(try guest.namespace.run("ip", "-6", "route", "show", "default").isEmpty)
            try fixture.network.host.ip("-6", "addr", "add", "\(IPv6Fixture.host)/64", "dev", "wan", "nodad")
            try guest.waitForRouter()
            #expect(try guest.namespace.pings(IPv6Fixture.outside))
            try fixture.network.host.ip("-6", "addr", "del", "\(IPv6Fixture.host)/64", "dev", "wan")
            try guest.waitForRouter(false)
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test(arguments: IPv6Way.possible) func guestUsesTemporaryAddresses(way: IPv6Way) throws {
            let fixture = try way.fixture(), guest = try fixture.guest(), interface = PlugGuest.interface
            let web = try fixture.network.internet.startWeb("six", folder: fixture.network.folder, address: "[::]:80")
            _ = try guest.address6()
            try guest.waitForRouter()
            var used: Set<String> = []
            for round in 1...2 {
                // RFC 8981: preferred to the stable address, and another one after some time.
                try guest.namespace.run("sysctl", "-qw", "net.ipv6.conf.\(interface).use_tempaddr=2")
                try guest.namespace.ip("-6", "addr", "flush", "dev", interface, "scope", "global")
                var address = ""
                try eventually("a temporary address") {
                    _ = try guest.namespace.attempt(["rdisc6", "-1", interface])
                    let words = try guest.namespace.run(
                        "ip", "-6", "-o", "addr", "show", "dev", interface, "temporary", "-tentative"
                    ).split { $0 == " " || $0 == "/" }
                    guard let place = words.firstIndex(of: "inet6"), place + 1 < words.count else { return false }
                    address = String(words[place + 1])
                    return true
                }
                used.insert(address)
                #expect(used.count == round, "\(used)")
                #expect(
                    try guest.namespace.run("ip", "-6", "route", "get", IPv6Fixture.outside).contains("src \(address)"))
                #expect(try guest.namespace.fetch(IPv6Fixture.outside) == "six")
                if way != .user { #expect(try fixture.network.host.pings(address)) }
            }
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = web
        }

        @Test(arguments: IPv6Way.possible) func hostsPrefixChanges(way: IPv6Way) throws {
            let fixture = try way.fixture(), host = fixture.network.host, internet = fixture.network.internet
            let guest = try fixture.guest(), address = try guest.address6()
            try guest.waitForRouter()
            let server = try internet.startAddressEcho(port: 81)
            func client(of server: String) throws -> String {
                try guest.namespace.run("timeout", "10", "bash", "-c", "exec 3<>/dev/tcp/\(server)/81; cat <&3").trimmed
            }
            #expect(try client(of: IPv6Fixture.outside) == IPv6Fixture.host)
            try internet.ip("-6", "addr", "add", "2001:db8:7::1/64", "dev", "eth0", "nodad")
            try host.ip("-6", "route", "flush", "default")
            try host.ip("-6", "addr", "del", "\(IPv6Fixture.host)/64", "dev", "wan")
            try host.ip("-6", "addr", "add", "2001:db8:7::2/64", "dev", "wan", "nodad")
            try host.ip("-6", "route", "add", "default", "via", "2001:db8:7::1")
            try guest.waitForRouter()
            #expect(try client(of: "2001:db8:7::1") == "2001:db8:7::2")
            // Guests keep their prefix.
            #expect(try guest.address6() == address)
            if way == .nat {
                try eventually("the end of the way to the host's new address") {
                    try !guest.namespace.pings("2001:db8:7::2", seconds: 1)
                }
            }
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = server
        }
    }
}
