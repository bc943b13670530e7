// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// A policy of names with real clients, and a guest that tries to get around it over IPv6 and by fragments.
    @Suite struct HostileEgress {
        private typealias Fixture = NamedEgressFixture

        /// curl, a package manager's fetch and git resolve by themselves.
        @Test(arguments: ["tap", "user"]) func clientsReachAllowedNamesOnly(uplink: String) throws {
            let fixture = try Fixture(uplink, ["site.example:80", "*.debian.example"])
            let pages = fixture.control.folder.file("www"), internet = fixture.control.network.internet
            for command in [
                "git init -q --bare \(pages)/tool.git", "git -C \(pages)/tool.git update-server-info",
                "mkdir -p \(pages)/debian/dists/stable", "echo Suite: stable > \(pages)/debian/dists/stable/InRelease",
            ] { try internet.run("sh", "-c", command) }
            let guest = try fixture.guest()
            try guest.namespace.setResolvers("nameserver \(gateway)\n")
            func attempt(_ words: String) throws -> ChildProcess.Output {
                try guest.namespace.attempt(
                    words.split(separator: " ").map(String.init),
                    environment: ["http_proxy": nil, "https_proxy": nil, "all_proxy": nil, "HOME": pages])
            }
            #expect(try attempt("curl -s --max-time 10 http://site.example/").output == "a site\n")
            #expect(
                try attempt("busybox wget -q -O - http://deb.debian.example/debian/dists/stable/InRelease").output
                    == "Suite: stable\n")
            #expect(
                try attempt("git clone -q http://site.example/tool.git \(fixture.control.folder.file("clone"))")
                    .succeeded)
            // 6: the name cannot be resolved.
            let forbidden = try attempt("curl -s --max-time 10 http://forbidden.example/")
            #expect(forbidden.termination == .exited(6), "\(forbidden)")
            #expect(try !attempt("git ls-remote http://forbidden.example/tool.git").succeeded)
            #expect(try !attempt("curl -s --max-time 5 http://\(Fixture.forbidden)/").succeeded)
            #expect(try fixture.control.daemon.stop() == .exited(0))
        }

        /// The host routes a prefix to the TAP, as its administrator may.
        @Test func namesOpenIPv6OnATAP() throws {
            let fixture = try Fixture("tap", ["site.example:80"], options: ["--egress-log"])
            let host = fixture.control.host, internet = fixture.control.network.internet
            try host.ip("-6", "addr", "add", "2001:db8:9::1/64", "dev", "vmnet0", "nodad")
            try host.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
            try internet.ip("-6", "route", "add", "2001:db8:9::/64", "via", "2001:db8::2")
            func guest(_ name: String, _ last: Int) throws -> PlugGuest {
                let guest = try fixture.guest(name)
                try guest.namespace.ip(
                    "-6", "addr", "add", "2001:db8:9::\(last)/64", "dev", PlugGuest.interface, "nodad")
                try guest.namespace.ip("-6", "route", "replace", "default", "via", "2001:db8:9::1")
                return guest
            }
            let one = try guest("guest", 11), other = try guest("other", 12)
            #expect(try fixture.evaluate(one, "reaches('\(Fixture.site6)', 80)") == "False", "nothing is pinned")
            #expect(try fixture.evaluate(one, "lookup('site.example', 28)") == "(0, ['\(Fixture.site6)'])")
            #expect(try fixture.evaluate(one, "reaches('\(Fixture.site6)', 80)") == "True")
            #expect(try fixture.evaluate(one, "reaches('\(Fixture.site6)', 8000)") == "False")
            #expect(try fixture.evaluate(one, "reaches('2001:db8::1', 80)") == "False", "another address")
            #expect(try fixture.evaluate(other, "reaches('\(Fixture.site6)', 80)") == "False", "another guest's pin")
            #expect(try !one.namespace.pings(Fixture.site6, seconds: 2))
            try eventually("a line with the name") {
                fixture.control.daemon.program.output.contains(
                    "tcp to \(Fixture.site6) port 8000 (site.example)")
            }
            try fixture.control.run("allow", "add", "[2001:db8::]/64:80")
            #expect(try fixture.evaluate(other, "reaches('2001:db8::1', 80)") == "True")
            #expect(try fixture.control.daemon.stop() == .exited(0))
        }

        /// Datagrams in fragments reach what whole ones reach, whatever the fragments overlap.
        @Test(arguments: ["tap", "user"]) func fragmentsOpenNothing(uplink: String) throws {
            let fixture = try Fixture(uplink, ["site.example:80"])
            let guest = try fixture.guest()
            let sink = try fixture.control.network.internet.start([
                "python3", "-c",
                """
                import select, socket
                sockets = {}
                for port in (80, 8000):
                    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    s.bind(("", port))
                    sockets[s] = port
                print("up", flush=True)
                while True:
                    for s in select.select(list(sockets), [], [])[0]:
                        data = s.recv(65536)
                        print(sockets[s], len(data), data[:4].decode(), flush=True)
                """,
            ])
            try sink.wait(for: "up", within: 10)
            let program = """
                def send(address, port, mark, length=3000):
                    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    s.setsockopt(socket.IPPROTO_IP, 10, 0)
                    try: s.sendto((mark * length)[:length], (address, port))
                    except OSError: pass
                def pieces(address, mark, *parts):
                    # Raw fragments of one datagram: offset, further ones follow, bytes.
                    number = random.randrange(65536)
                    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
                    for offset, more, data in parts:
                        head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(data), number,
                            (0x2000 if more else 0) | offset // 8, 64, 17, 0, socket.inet_aton("192.168.105.2"),
                            socket.inet_aton(address))
                        try: raw.sendto(head + data, (address, 0))
                        except OSError: pass
                def udp(port, length): return struct.pack(">HHHH", 4000, port, 8 + length, 0)

                """
            func run(_ text: String) throws { _ = try fixture.run(guest, program + text) }
            try run("send('\(Fixture.site)', 80, b'none')")
            #expect(try fixture.evaluate(guest, "lookup('site.example')") == "(0, ['\(Fixture.site)'])")
            try run("send('\(Fixture.site)', 8000, b'port')\nsend('\(Fixture.forbidden)', 80, b'addr')")
            // The second fragment would rewrite the port; the header comes last; it is spread over two.
            try run(
                """
                site = '\(Fixture.site)'
                pieces(site, b'over', (0, True, udp(80, 16) + b'over' * 2), (0, True, udp(8000, 16) + b'over' * 2),
                    (16, False, b'over' * 2))
                pieces(site, b'last', (16, False, b'last' * 2), (0, True, udp(8000, 16) + b'last' * 2))
                pieces('\(Fixture.forbidden)', b'tiny', (0, True, udp(80, 16)), (8, False, b'tiny' * 4))
                """)
            try run("send('\(Fixture.site)', 80, b'good')")
            try sink.wait(for: "80 3000 good", within: 10)
            #expect(!sink.output.contains("8000 ") && !sink.output.contains("addr") && !sink.output.contains("none"))
            #expect(!sink.output.contains("tiny") && !sink.output.contains("last"))
            #expect(try fixture.control.daemon.stop() == .exited(0))
        }
    }
}
