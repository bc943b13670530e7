// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// The host of a user-mode network loses its own network, changes its address, its route and its resolver: UDP,
    /// pings and names of guests.
    @Suite struct RootlessHostChanges {
        /// Answers with the client's address.
        private static let echo = """
            use IO::Socket::IP; $| = 1;
            my $s = IO::Socket::IP->new(Proto => "udp", LocalPort => 7000,
                LocalHost => "\(TestNetwork.internetAddress)") or die;
            print "listening\\n";
            while (1) { my $from = $s->recv(my $text, 9000); $s->send("answer to " . $s->peerhost, 0, $from) }
            """

        @Test func flowsLiveOrEndAndAllWorksAgain() throws {
            let fixture = try RootlessFixture(["--uplink", "user"], internet: true) {
                try $0.run("sysctl", "-q", "-w", "net.ipv4.ping_group_range=0 2147483647")
            }
            let host = fixture.host, internet = fixture.network.internet
            let echo = try internet.start(["perl", "-e", Self.echo])
            try echo.wait(for: "listening", within: 10)
            let guest = try fixture.guest()
            try guest.lease()
            func resolves(_ name: String, to address: String) throws -> Bool {
                try guest.namespace.attempt([
                    "dig", "+short", "+time=2", "+tries=1", "@\(gateway)", name, "A",
                ]).output.trimmed == address
            }
            let flow = try OutputFollower(portOf: guest.namespace, asking: TestNetwork.internetAddress)
            let pings = OutputFollower(
                try guest.namespace.start(["ping", "-n", "-O", "-i", "0.2", TestNetwork.internetAddress]))
            try flow.expect("answer to \(TestNetwork.hostAddress)\n")
            try pings.expect("bytes from \(TestNetwork.internetAddress)")
            #expect(try resolves(TestNetwork.internetName, to: TestNetwork.internetAddress))

            // Without a network, guests get the answer of a router at once.
            try host.ip("link", "set", "wan", "down")
            try flow.expect("Network is unreachable\n")
            try pings.expect("From \(gateway) icmp_seq")
            let failed = try guest.namespace.attempt([
                "dig", "+time=5", "+tries=1", "@\(gateway)", "other.internet.example", "A",
            ])
            #expect(failed.output.contains("SERVFAIL"), "\(failed.output)")

            // The same port, the same pings, and names, when it is back.
            try host.ip("link", "set", "wan", "up")
            try host.ip("route", "replace", "default", "via", TestNetwork.internetAddress)
            try flow.expect("answer to \(TestNetwork.hostAddress)\n")
            try pings.expect("bytes from \(TestNetwork.internetAddress)")
            try eventually("names", within: 5) {
                try resolves(TestNetwork.internetName, to: TestNetwork.internetAddress)
            }

            // Another address.
            try host.ip("addr", "del", TestNetwork.hostAddress + "/24", "dev", "wan")
            try flow.expect("Network is unreachable\n")
            try host.ip("addr", "add", "203.0.113.77/24", "dev", "wan")
            try host.ip("route", "replace", "default", "via", TestNetwork.internetAddress)
            try flow.expect("answer to 203.0.113.77\n")
            try pings.expect("bytes from \(TestNetwork.internetAddress)")

            // Another way to the same destination, as by a VPN, and another resolver behind it.
            let vpn = try Namespace("vpn")
            try host.connect(to: vpn, by: "tun0", "100.64.0.2/24", "100.64.0.1/24")
            try vpn.ip("addr", "add", TestNetwork.internetAddress + "/32", "dev", "lo")
            let inside = try vpn.start(["perl", "-e", Self.echo])
            try inside.wait(for: "listening", within: 10)
            let resolver = try vpn.start([
                "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root",
                "--bind-interfaces", "--listen-address=100.64.0.1", "--address=/inside.example/198.51.100.77",
            ])
            try vpn.waitForListener(on: 53)
            try host.ip("route", "add", TestNetwork.internetAddress + "/32", "via", "100.64.0.1")
            try host.setResolvers("nameserver 100.64.0.1\n")
            try flow.expect("answer to 100.64.0.2\n")
            try pings.expect("bytes from \(TestNetwork.internetAddress)")
            try eventually("names of the other resolver", within: 5) {
                try resolves("inside.example", to: "198.51.100.77")
            }

            // The tunnel goes, and the route with it.
            try host.ip("link", "del", "tun0")
            try host.setResolvers("nameserver \(TestNetwork.internetAddress)\n")
            try flow.expect("answer to 203.0.113.77\n")
            try pings.expect("bytes from \(TestNetwork.internetAddress)")
            try eventually("names of the first resolver", within: 5) {
                try resolves(TestNetwork.internetName, to: TestNetwork.internetAddress)
            }
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = (echo, inside, resolver)
        }
    }
}
