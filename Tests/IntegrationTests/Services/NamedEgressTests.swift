// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// Egress by name, with sites, a hostile name server, and a hostile guest.
    @Suite struct NamedEgress {
        private typealias Fixture = NamedEgressFixture
        private static func hardware(_ guest: PlugGuest) throws -> String {
            try guest.namespace.run("cat", "/sys/class/net/\(PlugGuest.interface)/address").trimmed
        }

        private static let rules = ["site.example:80", "*.site.example:80", "*.debian.example"]

        @Test(arguments: ["tap", "user"]) func namesOpenTheirAddresses(uplink: String) throws {
            let fixture = try Fixture(uplink, Self.rules)
            let guest = try fixture.guest()
            func check(_ expression: String, _ expected: String, _ comment: Comment? = nil) throws {
                let found = try fixture.evaluate(guest, expression)
                #expect(found == expected, "\(expression): \(comment ?? "")")
            }
            try check("reaches('\(Fixture.site)', 80)", "False", "nothing is pinned")
            try check("lookup('Site.Example')", "(0, ['\(Fixture.site)'])")
            try check("reaches('\(Fixture.site)', 80)", "True")
            try check("reaches('\(Fixture.site)', 8000), reaches('\(Fixture.site)', 443)", "(False, False)")
            try check(
                "lookup('forbidden.example'), lookup('example'), lookup('site.example', 255)",
                "((3, []), (3, []), (5, []))")
            try check("lookup('site.example', 65)", "(0, [])", "no HTTPS record")
            try check("reaches('\(Fixture.forbidden)', 80)", "False")
            try check("lookup('deb.debian.example', stream=True)", "(0, ['\(Fixture.deb)'])", "over TCP")
            try check("[reaches('\(Fixture.deb)', p) for p in (80, 443, 8000)]", "[True, True, True]")
            try check("[reaches('\(Fixture.deb)', p) for p in (53, 853)]", "[False, False]", "DNS and DNS over TLS")
            try check(
                "lookup('site.example', server='\(Fixture.deb)', stream=True, wait=2), "
                    + "lookup('site.example', server='\(TestNetwork.internetAddress)', wait=2)",
                "(('none', []), ('none', []))", "other resolvers")
            let status = try fixture.control.python("print(call('egress.get')['result'])").output
            for text in ["'site.example:80'", "'*.debian.example'", "'names_checked': True", "'pinned': 3"] {
                #expect(status.contains(text), "\(status)")
            }
            #expect(try fixture.control.daemon.stop() == .exited(0))
            #expect(try fixture.control.host.run("nft", "list", "ruleset").isEmpty)
        }

        @Test(arguments: ["tap", "user"]) func hostileNamesOpenNothing(uplink: String) throws {
            let fixture = try Fixture(uplink, Self.rules)
            let guest = try fixture.guest(), other = try fixture.guest("other")
            let secret = try fixture.control.host.startWeb(
                "the host's", folder: fixture.control.folder, address: "8080")
            // The queried name decides: its canonical name need not be allowed, and is not by that.
            #expect(try fixture.evaluate(guest, "lookup('alias.site.example')") == "(0, ['\(Fixture.forbidden)'])")
            #expect(try fixture.evaluate(guest, "reaches('\(Fixture.forbidden)', 80)") == "True")
            #expect(try fixture.evaluate(guest, "lookup('forbidden.example')") == "(3, [])")
            // Another guest's pin.
            #expect(try fixture.evaluate(other, "reaches('\(Fixture.forbidden)', 80)") == "False")
            for name in ["rebind", "lan", "cloud"] {
                #expect(try fixture.evaluate(guest, "lookup('\(name).site.example')") == "(0, [])", "\(name)")
            }
            #expect(try fixture.evaluate(guest, "lookup('cloud.site.example', 28)") == "(0, [])")
            #expect(try fixture.evaluate(guest, "lookup('huge.site.example', stream=True)") == "(2, [])")
            #expect(
                try fixture.evaluate(guest, "[reaches(a, 8080) for a in ('\(gateway)', '\(TestNetwork.hostAddress)')]")
                    == "[False, False]")
            let status = try fixture.control.python("print(call('egress.get')['result'])").output
            #expect(status.contains("'refused_answers': 4") && status.contains("'refused_names': 1"), "\(status)")
            #expect(try fixture.control.daemon.stop() == .exited(0))
            _ = secret
        }

        /// A name with other addresses in each answer pushes its own pins out: an open connection stays.
        @Test(arguments: ["tap", "user"]) func openFlowOutlivesPin(uplink: String) throws {
            let fixture = try Fixture(uplink, ["flux.example:7100"], options: ["--dns-cache", "off"])
            let guest = try fixture.guest()
            // A server that waits for its client however long that takes, which a web server does not.
            let echo = try fixture.control.network.internet.start([
                "busybox", "nc", "-ll", "-p", "7100", "-e", "cat",
            ])
            try fixture.control.network.internet.waitForListener(on: 7100)
            let program = try guest.namespace.start([
                "python3", "-c",
                NamedEgressFixture.client + """
                    def flux():
                        while True:
                            found = lookup('flux.example')[1]
                            if found: return found[0]
                    def echoes(s, text):
                        s.sendall(text)
                        return s.recv(len(text), socket.MSG_WAITALL) == text
                    first = flux()
                    s = open(first, 7100, 20)
                    print(echoes(s, b"one"), echoes(open(first, 7100, 20), b"two"), flush=True)
                    others = {flux() for _ in range(66)} - {first}
                    print(len(others) >= 64, echoes(s, b"three"), open(first, 7100, 20), flush=True)
                    """,
            ])
            try program.wait(for: "True True\nTrue True None\n", within: 120)
            let status = try fixture.control.python("print(call('egress.get')['result'])").output
            #expect(status.contains("'pinned': 64"), "\(status)")
            #expect(try fixture.control.daemon.stop() == .exited(0))
            _ = echo
        }

        /// A response that is kept from another guest's query is pinned for each guest that gets it.
        @Test(arguments: ["tap", "user"]) func keptResponseIsPinnedForEachGuest(uplink: String) throws {
            let fixture = try Fixture(uplink, ["flux.example:80"])
            let first = try fixture.guest(), second = try fixture.guest("second")
            // Each response of the server has another address.
            let program = "a = lookup('flux.example')[1][0]; print(a, reaches(a, 80))"
            let output = try fixture.run(first, program)
            #expect(output.hasSuffix(" True"))
            let address = output.split(separator: " ").first.map(String.init) ?? ""
            #expect(try fixture.evaluate(second, "reaches('\(address)', 80)") == "False", "no pin yet")
            #expect(try fixture.run(second, program) == output)
        }

        @Test(arguments: ["tap", "user"]) func listChangesWhileNetworkRuns(uplink: String) throws {
            let fixture = try Fixture(uplink, ["deb.debian.example:80"])
            let guest = try fixture.guest(), control = fixture.control
            #expect(try fixture.evaluate(guest, "lookup('site.example')") == "(3, [])")
            try control.run("allow", "add", "site.example:80")
            #expect(try control.run("allow", "list").contains("allowed: site.example:80"))
            #expect(try fixture.evaluate(guest, "lookup('site.example')") == "(0, ['\(Fixture.site)'])")
            #expect(try fixture.evaluate(guest, "reaches('\(Fixture.site)', 80)") == "True")
            // A published port is a change of the rules that keeps pins.
            try control.run("publish", "add", "127.0.0.1:8081:192.168.105.2:80")
            #expect(try fixture.evaluate(guest, "reaches('\(Fixture.site)', 80)") == "True")
            try control.run("allow", "remove", "site.example:80")
            #expect(
                try fixture.evaluate(guest, "reaches('\(Fixture.site)', 80), lookup('site.example')")
                    == "(False, (3, []))")
            try control.run("allow", "remove", "deb.debian.example:80")
            #expect(try fixture.evaluate(guest, "lookup('site.example', wait=2)[1]") == "[]", "still no other name")
            #expect(try control.attempt("allow", "add", "nonsense").error.contains("write the whole name"))
            let own = try control.attempt("allow", "add", "x.vm.internal:80")
            #expect(own.termination == .exited(64) && own.error.contains("choose another --domain"), "\(own.error)")
            let ambiguous = try control.attempt("allow", "add", "2001:db8::1:443")
            #expect(ambiguous.error.contains("write [2001:db8::1]:443 for the port"), "\(ambiguous.error)")
            try control.run("egress", "allow")
            #expect(try fixture.evaluate(guest, "lookup('forbidden.example')") == "(0, ['\(Fixture.forbidden)'])")
            #expect(try fixture.evaluate(guest, "reaches('\(Fixture.forbidden)', 8000)") == "True")
            #expect(try control.daemon.stop() == .exited(0))
        }

        @Test(arguments: IPv6Way.possible) func namesOpenIPv6(way: IPv6Way) throws {
            let fixture = try Fixture(
                way == .user ? "user" : "tap", ["site.example:80"],
                options: ["--pcap", ControlFixture.file("all.pcapng")] + (way == .router ? ["--ipv6", "kernel"] : []),
                isOldKernel: way == .router || way == .nat)
            // A DHCP client would remove the address that the kernel makes.
            let guest = try fixture.control.guest(), other = try fixture.control.guest("other")
            for (one, last) in [(guest, 77), (other, 78)] {
                try one.namespace.ip("addr", "add", "192.168.105.\(last)/24", "dev", PlugGuest.interface)
                try one.namespace.ip("route", "add", "default", "via", gateway)
                #expect(try one.address6().description.hasPrefix("fd"))
                try one.waitForRouter()
            }
            func check(_ guest: PlugGuest, _ expression: String, _ expected: String) throws {
                #expect(try fixture.evaluate(guest, expression) == expected, "\(expression)")
            }
            let reach = "[reaches('\(Fixture.site6)', p) for p in (80, 8000)]"
            try check(guest, reach, "[False, False]")
            try check(guest, "lookup('site.example', 28)", "(0, ['\(Fixture.site6)'])")
            try check(guest, reach, "[True, False]")
            // The name's IPv4 address has its own pin, and another guest none.
            try check(guest, "reaches('\(Fixture.site)', 80)", "False")
            try check(
                guest, "lookup('site.example'), reaches('\(Fixture.site)', 80)", "((0, ['\(Fixture.site)']), True)")
            try check(other, "reaches('\(Fixture.site6)', 80), reaches('\(Fixture.site)', 80)", "(False, False)")
            // Each address for TCP and UDP.
            let egress = try fixture.control.python("print(call('egress.get')['result'])").output
            #expect(egress.contains("'pinned': 4"), "\(egress)")
            if way.usesNAT { try expectFlow(of: guest, fixture) }
            try expectUplinks(way, fixture)
            #expect(try fixture.control.daemon.stop() == .exited(0))
            let names = try ChildProcess.run([
                "tshark", "-n", "-r", fixture.control.folder.file("all.pcapng"), "-Y", "ipv6.addr == \(Fixture.site6)",
                "-T", "fields", "-e", "frame.interface_name",
            ]).output.split(separator: "\n")
            #expect(
                Set(names.filter { $0.hasPrefix("uplink") }) == [way == .nat ? "uplink6" : "uplink"], "\(Set(names))")
        }

        /// A guest's connection through the user-mode NAT is shown.
        private func expectFlow(of guest: PlugGuest, _ fixture: Fixture) throws {
            let client = try guest.namespace.start([
                "python3", "-c",
                Fixture.client + "s = open('\(Fixture.site6)', 80); print('open', s, flush=True); time.sleep(60)",
            ])
            try client.wait(for: "open <socket", within: 10)
            let status = try fixture.control.status().output
            #expect(status.contains("[\(Fixture.site6)]:80"), "\(status)")
            let flows = try fixture.control.python("print(call('flows')['result'])").output
            #expect(flows.contains("'\(Fixture.site6)', 'port': 80"), "\(flows)")
            client.kill()
        }

        /// The uplinks have separate names.
        private func expectUplinks(_ way: IPv6Way, _ fixture: Fixture) throws {
            let ports = try fixture.control.run("port", "list").split(separator: "\n")
            let names = ports.map { $0.split(separator: " ").first.map(String.init) ?? "" }
            #expect(
                names.filter { $0.hasPrefix("uplink") } == (way == .nat ? ["uplink", "uplink6"] : ["uplink"]),
                "\(ports)")
        }

        /// `--deny private`: the Internet, and neither the host nor its networks, whose addresses may be public.
        @Test(arguments: ["tap", "user"]) func privateDenialLeavesTheInternet(uplink: String) throws {
            let control = try ControlFixture(uplink, ["--deny", "private"], internet: true) { network in
                try network.internet.ip("addr", "add", "\(Fixture.site)/32", "dev", "lo")
                try network.internet.ip("addr", "add", "10.9.9.9/32", "dev", "lo")
            }
            let own = try control.host.startWeb("the host's", folder: control.folder, address: "7")
            let guest = try control.guest()
            try guest.lease()
            func reaches(_ address: String, _ port: Int = 80) throws -> String {
                let program = Fixture.client + "print(reaches('\(address)', \(port)))"
                return try guest.namespace.attempt(["python3", "-c", program]).output.trimmed
            }
            #expect(try reaches(Fixture.site) == "True" && guest.namespace.pings(gateway))
            let closed = [
                (TestNetwork.internetAddress, 80), ("10.9.9.9", 80), (gateway, 7), (TestNetwork.hostAddress, 7),
            ]
            for (address, port) in closed { #expect(try reaches(address, port) == "False", "\(address)") }
            #expect(
                try guest.namespace.run("busybox", "nslookup", "-type=a", TestNetwork.internetName, gateway).contains(
                    TestNetwork.internetAddress), "names are resolved")
            // The host gets an interface on that network.
            try control.host.ip("addr", "add", "198.51.100.77/24", "dev", "wan")
            try eventually("the new network is refused") { try reaches(Fixture.site) == "False" }
            #expect(try control.daemon.stop() == .exited(0))
            _ = own
        }

        @Test(arguments: ["tap", "user"]) func refusalsAreLogged(uplink: String) throws {
            let fixture = try Fixture(uplink, Self.rules, options: ["--egress-log"])
            let guest = try fixture.control.guest(), other = try fixture.control.guest("other")
            try guest.lease("-x", "hostname:guest")
            try other.lease("-x", "hostname:other")
            let daemon = fixture.control.daemon.program, mac = try Self.hardware(guest)
            let events = try fixture.control.host.start([
                TestHost.product("vde_vmnet"), "events", fixture.control.socket, "--only", "refusal",
            ])
            func logged(_ text: String, _ program: String) throws {
                try eventually("the line: \(text)", within: 20) {
                    _ = try fixture.run(guest, program)
                    return daemon.output.contains("egress refused: \(mac) (guest, 192.168.105.2): \(text)")
                }
            }
            try logged("the name forbidden.example", "lookup('forbidden.example')")
            try logged("the name rebind.site.example, which leads to 127.0.0.1", "lookup('rebind.site.example')")
            try logged("tcp to \(Fixture.forbidden) port 80", "open('\(Fixture.forbidden)', 80)")
            try logged(
                "tcp to \(Fixture.site) port 8000 (site.example)",
                "lookup('site.example')\nopen('\(Fixture.site)', 8000)")
            let socket = "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
            try logged("udp to 203.0.113.1 port 443", "\(socket).sendto(b'x', ('203.0.113.1', 443))")
            try eventually("an event") {
                events.output.contains("mac=\(mac) destination=\(Fixture.forbidden) transport=tcp port=80")
            }
            // A guest that floods neither fills the log nor hides another one.
            _ = try fixture.run(guest, "for i in range(60): lookup(f'n{i}.forbidden.example')")
            _ = try fixture.run(guest, "for i in range(300): \(socket).sendto(b'x', ('203.0.113.1', 9000 + i))")
            try eventually("the other guest's line") {
                _ = try fixture.evaluate(other, "open('\(Fixture.forbidden)', 80)")
                return daemon.output.contains("(other, 192.168.105.3): tcp to \(Fixture.forbidden) port 80")
            }
            // Two windows of a minute may have passed.
            #expect(daemon.output.split(separator: "\n").count { $0.contains("egress refused: \(mac)") } <= 30)
            let status = try fixture.control.python("print(call('egress.get')['result']['refused_packets'] > 300)")
            #expect(status.output == "True\n", "\(status)")
            #expect(try fixture.control.daemon.stop() == .exited(0))
        }

        @Test(arguments: ["tap", "user"]) func logIsSwitchedWhileNetworkRuns(uplink: String) throws {
            let fixture = try Fixture(uplink, Self.rules), control = fixture.control
            let guest = try fixture.guest(), daemon = control.daemon.program
            func logged(_ text: String, _ program: String) throws {
                try eventually("the line: \(text)", within: 20) {
                    _ = try fixture.run(guest, program)
                    return daemon.output.contains(text)
                }
            }
            // Before the log is on, and while it is off.
            _ = try fixture.run(guest, "lookup('before.example')\nopen('\(Fixture.forbidden)', 8000)")
            #expect(try !control.run("egress").contains("logged"))
            #expect(try control.run("egress", "--log", "on").hasSuffix("refusals: logged\n"))
            try control.run("egress", "--log", "on")
            try logged("the name forbidden.example", "lookup('forbidden.example')")
            try logged("tcp to \(Fixture.forbidden) port 80", "open('\(Fixture.forbidden)', 80)")
            // A stricter policy and the log in one command.
            #expect(try !control.run("egress", "deny", "--log", "off").contains("logged"))
            _ = try fixture.run(guest, "lookup('between.example')\nopen('\(Fixture.forbidden)', 853)")
            try control.run("egress", "--log", "on")
            try logged("tcp to \(Fixture.forbidden) port 443", "open('\(Fixture.forbidden)', 443)")
            for text in ["before.example", "between.example", "port 8000", "port 853"] {
                #expect(!daemon.output.contains(text))
            }
            let counted = try control.python(
                """
                before = call("egress.get")["result"]
                after = call("egress.log", log=False)["result"]
                print(before["refusals_logged"], after["refusals_logged"], before["refused_packets"] >= 2)
                print(call("egress.log", log=1)["error"]["code"])
                """)
            #expect(counted.output == "True False True\nparameters\n", "\(counted)")
            let open = try control.run("egress", "allow", "--log", "on")
            #expect(open.contains("refusals: logged, but the policy refuses little") && open.contains("egress deny"))
            try control.run("egress", "deny", "--log", "off")
            if uplink == "tap" {
                #expect(try !control.host.run("nft", "list", "ruleset").contains("log group"))
            }
            #expect(try control.daemon.stop() == .exited(0))
        }

        @Test func refusedNamesAreEvents() throws {
            let fixture = try Fixture("user", ["site.example:80"])
            let guest = try fixture.guest()
            let events = try fixture.control.host.start([
                TestHost.product("vde_vmnet"), "events", fixture.control.socket,
            ])
            try eventually("a refusal event", within: 20) {
                _ = try fixture.evaluate(guest, "lookup('forbidden.example')")
                return events.output.contains("forbidden.example")
            }
            #expect(try fixture.control.daemon.stop() == .exited(0))
        }
    }
}
