// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// Guests of a host behind a NAT64 get its prefix, so that they reach IPv4 addresses by it.
    @Suite struct NAT64 {
        /// The host's resolver, a DNS64 if `address` is what it makes of an address of ipv4only.arpa.
        private static func startResolver(_ internet: Namespace, _ address: String?) throws -> BackgroundProgram {
            let server = try internet.start(
                [
                    "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root",
                    "--bind-interfaces", "--interface=eth0", "--local=/arpa/",
                ] + (address.map { ["--host-record=ipv4only.arpa,192.0.0.170,\($0)"] } ?? []))
            try eventually("a name server") { try internet.run("ss", "-Hlun", "sport = :53").contains("2001:db8::1") }
            return server
        }

        @Test(.enabled(if: IPv6Fixture.canForward, "needs net.ipv6.conf.*.force_forwarding"))
        func prefixIsAdvertisedAsLongAsItHolds() throws {
            var server: BackgroundProgram?
            let fixture = try IPv6Fixture {
                server = try Self.startResolver($0.internet, "64:ff9b::192.0.0.170")
                try $0.host.setResolvers("nameserver \(IPv6Fixture.outside)\noptions timeout:1 attempts:2\n")
            }
            let host = fixture.network.host
            try fixture.daemon.wait(for: "guests get the prefix of this host's NAT64, 64:ff9b::/96", within: 10)
            let guest = try fixture.guest()
            _ = try guest.address6()
            let capture = try guest.namespace.start([
                "tshark", "-l", "-n", "-V", "-i", PlugGuest.interface, "-Y", "icmpv6.type == 134",
            ])
            func advertisement(_ words: [String]) throws {
                try eventually("an advertisement with \(words)", within: 20) {
                    let start = capture.output.count
                    _ = try guest.namespace.attempt(["rdisc6", "-1", PlugGuest.interface])
                    let text = String(capture.output.dropFirst(start))
                    return words.allSatisfy(text.contains)
                }
            }
            try advertisement(["PREF64", "64:ff9b::"])
            // The host's network changes: another NAT64, and none.
            server?.kill()
            server = try Self.startResolver(fixture.network.internet, "2001:db8:64::192.0.0.171")
            try host.ip("addr", "add", "198.51.100.1/32", "dev", "wan")
            try fixture.daemon.wait(for: "this host's NAT64, 2001:db8:64::/96", within: 15)
            try advertisement(["PREF64", "2001:db8:64::"])
            server?.kill()
            server = try Self.startResolver(fixture.network.internet, nil)
            try host.ip("addr", "del", "198.51.100.1/32", "dev", "wan")
            try fixture.daemon.wait(for: "not behind a NAT64 any more", within: 15)
            #expect(!capture.output.contains("Malformed"))
            capture.kill()
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = server
        }

        /// Private IPv4 addresses are no more the Internet behind a NAT64 than without one: 192.0.0.170, 198.51.100.7
        /// and 10.1.2.3 after prefixes of two lengths (RFC 6052 section 2.2).
        @Test(
            arguments: IPv6Way.possible,
            [
                (96, ["2001:db8:64::192.0.0.170", "2001:db8:64::c633:6407", "2001:db8:64::a01:203"]),
                (
                    64,
                    [
                        "2001:db8:64:0:c0:0:aa00:0", "2001:db8:64:0:c6:3364:700:0", "2001:db8:64:0:a:102:300:0",
                        // Bits 64 to 71 are not zero.
                        "2001:db8:64:0:1c6:3364:700:0",
                    ]
                ),
            ])
        func privateAddressesBehindItAreClosed(way: IPv6Way, prefix: (length: Int, addresses: [String])) throws {
            var server: BackgroundProgram?
            let fixture = try way.fixture(["--deny", "private"]) {
                server = try Self.startResolver($0.internet, prefix.addresses[0])
                try $0.host.setResolvers("nameserver \(IPv6Fixture.outside)\noptions timeout:1 attempts:2\n")
                for address in prefix.addresses.dropFirst() {
                    try $0.internet.ip("-6", "addr", "add", address + "/128", "dev", "lo", "nodad")
                }
            }
            try fixture.daemon.wait(
                for: "guests get the prefix of this host's NAT64, 2001:db8:64::/\(prefix.length)", within: 10)
            let guest = try fixture.guest()
            _ = try guest.address6()
            try guest.waitForRouter()
            #expect(try guest.namespace.pings(prefix.addresses[1]))
            for closed in prefix.addresses.dropFirst(2) {
                let refused = try guest.namespace.attempt(["ping", "-c", "1", "-W", "5", closed])
                #expect(
                    !refused.succeeded && refused.output.contains("prohibited"), "\(closed): \(refused.output)")
            }
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = server
        }
    }
}
