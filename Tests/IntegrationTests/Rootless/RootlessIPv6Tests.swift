// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// IPv6 through the user-mode NAT: addresses by router advertisement, out by the host's own.
    @Suite struct RootlessIPv6 {
        private func reaches(_ guest: PlugGuest, _ address: String, _ port: Int) throws -> Bool {
            try guest.namespace.attempt([
                "timeout", "3", "busybox", "wget", "-q", "-O", "-", "http://[\(address)]:\(port)/",
            ]).succeeded
        }

        @Test func guestsConfigureIPv6AndReachOutside() throws {
            let fixture = try RootlessFixture(["--uplink", "user"])
            try fixture.host.ip("-6", "addr", "add", "2001:db8::2/64", "dev", "wan", "nodad")
            try fixture.network.internet.ip("-6", "addr", "add", "2001:db8::1/64", "dev", "eth0", "nodad")
            let web = try fixture.network.internet.startWeb("six", folder: fixture.folder, address: "[::]:80")
            let secret = try fixture.host.startWeb("secret", folder: fixture.folder, address: "[::1]:81")
            let guest = try fixture.guest()
            var prefix = ""
            try eventually("an address by router advertisement", within: 15) {
                let words = try guest.namespace.run(
                    "ip", "-6", "-o", "addr", "show", "dev", PlugGuest.interface, "scope", "global"
                ).split(separator: " ")
                guard let place = words.firstIndex(of: "inet6"), place + 1 < words.count else { return false }
                prefix = words[place + 1].split(separator: ":").prefix(4).joined(separator: ":")
                return prefix.hasPrefix("fd")
            }
            try guest.waitForRouter()
            #expect(try guest.namespace.run("ip", "-6", "route", "show", "default").contains("via fe80::1"))
            #expect(try guest.namespace.pings("fe80::1%\(PlugGuest.interface)"))
            #expect(
                try guest.namespace.run("busybox", "wget", "-q", "-O", "-", "http://[2001:db8::1]/").trimmed == "six")
            // The guests' own network is not routed.
            #expect(try !reaches(guest, prefix + "::1", 81) && !reaches(guest, prefix + "::9", 81))
            // Longer than the guests' link takes: they come in fragments.
            let socket = "use Socket qw(:all); socket(S, AF_INET6, SOCK_DGRAM, 0) or die;"
            let server = try fixture.network.internet.start([
                "perl", "-e",
                socket
                    + "bind(S, pack_sockaddr_in6(7, inet_pton(AF_INET6, '2001:db8::1'))) or die; while (my $from = "
                    + "recv(S, my $length, 100, 0)) { send(S, 'x' x $length, 0, $from) }",
            ])
            let asking =
                "my $to = pack_sockaddr_in6(7, inet_pton(AF_INET6, '2001:db8::1')); for (1..50) { send(S, LENGTH, 0, "
                + "$to); my $set = ''; vec($set, fileno(S), 1) = 1; "
                + "next unless select($set, undef, undef, 0.2); recv(S, my $answer, 70000, 0) // next; print length "
                + "$answer; exit 0 } exit 1"
            for length in [65_500, 65_527] {
                let received = try guest.namespace.run(
                    "perl", "-e", socket + asking.replacing("LENGTH", with: "\(length)"))
                #expect(received == "\(length)")
            }
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = (web, secret, server)
        }

        @Test func prefixNamesAndRouterFollowOptionsAndHost() throws {
            let fixture = try RootlessFixture(
                [
                    "--uplink", "user", "--ipv6", "fd12:3456:789a:2::/64", "--dhcp-host",
                    "52:54:00:00:00:01,192.168.105.10,::10",
                ], internet: true)
            let guest = try fixture.guest(mac: "52:54:00:00:00:01")
            #expect(try guest.address6().high == 0xfd12_3456_789a_0002)
            // The host has no IPv6 yet.
            #expect(try guest.namespace.run("ip", "-6", "route", "show", "default").isEmpty)
            let found = try guest.namespace.run("rdisc6", "-1", PlugGuest.interface)
            #expect(found.contains("Recursive DNS server     : fd12:3456:789a:2::1"))
            #expect(found.contains("Stateful address conf.    :          Yes"))
            for option in ["+notcp", "+tcp"] {
                let answer = try guest.namespace.run(
                    "dig", option, "+short", "+time=5", "@fd12:3456:789a:2::1", TestNetwork.internetName, "A")
                #expect(answer.trimmed == TestNetwork.internetAddress, "\(option)")
            }
            try IPv6Fixture.giveIPv6(fixture.host)
            try guest.waitForRouter()
            #expect(try fixture.daemon.stop() == .exited(0))
            try guest.waitForRouter(false)
        }

        @Test func guestsHaveNoIPv6IfItIsOff() throws {
            let fixture = try RootlessFixture(["--uplink", "user", "--ipv6", "off"])
            let guest = try fixture.guest()
            try guest.lease()
            #expect(try !guest.namespace.attempt(["rdisc6", "-1", "-r", "1", PlugGuest.interface]).succeeded)
            #expect(try guest.namespace.run("ip", "-6", "addr", "show", "scope", "global").isEmpty)
            #expect(try fixture.daemon.stop() == .exited(0))
        }
    }
}
