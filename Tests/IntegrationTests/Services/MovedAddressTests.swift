// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// Another guest uses an address that it has no lease of: what pins have opened stays with the guest before.
    @Suite struct MovedAddresses {
        private typealias Fixture = NamedEgressFixture
        private static let address = "192.168.105.77"

        /// Sends datagrams back to where they came from.
        private static let echo = """
            import socket, threading
            def serve(family, address):
                s = socket.socket(family, socket.SOCK_DGRAM)
                s.bind((address, 7))
                def loop():
                    while True:
                        data, sender = s.recvfrom(2048)
                        s.sendto(data, sender)
                threading.Thread(target=loop).start()
            serve(socket.AF_INET, "\(Fixture.site)")
            serve(socket.AF_INET6, "\(Fixture.site6)")
            print("up", flush=True)
            """

        /// `exchange` returns whether a datagram from a fixed address and port comes back, or is refused. `names` pins
        /// the addresses of the site.
        private static func client(_ address6: IPv6Address) -> String {
            """
            ways = [("\(address)", "\(Fixture.site)"), ("\(address6)", "\(Fixture.site6)")]
            def exchange(way, text):
                s = socket.socket(socket.AF_INET6 if ":" in way[0] else socket.AF_INET, socket.SOCK_DGRAM)
                s.settimeout(1)
                s.bind((way[0], 4000))
                s.connect((way[1], 7))
                try:
                    s.send(text)
                    return "echo" if s.recv(100) == text else "other"
                except TimeoutError: return "silence"
                except OSError: return "refused"
            def names(): return lookup("site.example")[0], lookup("site.example", 28)[0]

            """
        }

        private func take(_ address6: IPv6Address, _ guest: PlugGuest) throws {
            let card = PlugGuest.interface
            try guest.namespace.ip("addr", "add", Self.address + "/24", "dev", card)
            try guest.namespace.ip("route", "add", "default", "via", gateway)
            try guest.namespace.ip("-6", "addr", "add", "\(address6)/64", "dev", card, "nodad")
            try guest.waitForRouter()
            // Its solicitation shows the host which guest has the address. For its router the guest sends none.
            _ = try guest.namespace.attempt([
                "ping", "-c", "1", "-W", "1", "-I", "\(address6)", "\(IPv6Address(address6.high, 1))",
            ])
        }

        @Test(arguments: IPv6Way.possible) func nextGuestDoesNotContinueFlow(way: IPv6Way) throws {
            let fixture = try Fixture(
                way == .user ? "user" : "tap", ["site.example:7"], options: way == .router ? ["--ipv6", "kernel"] : [],
                isOldKernel: way == .router || way == .nat)
            // Another program's rule for conntrack, in the chain that iptables uses, gives all guests one zone.
            _ = try fixture.control.network.host.run(
                "nft",
                "add table ip other; add chain ip other raw { type filter hook prerouting priority raw; }; "
                    + "add rule ip other raw ct original zone set 9")
            let server = try fixture.control.network.internet.start(["python3", "-c", Self.echo])
            try server.wait(for: "up")
            let first = try fixture.control.guest("first"), second = try fixture.control.guest("second")
            let address6 = IPv6Address(try first.address6().high, 0x77), client = Self.client(address6)
            try take(address6, first)
            #expect(
                try fixture.run(first, client + "print(names(), *[exchange(w, b'first') for w in ways])")
                    == "(0, 0) echo echo")
            first.stop()
            try take(address6, second)
            // The address is not the second guest's at once.
            let output = try fixture.run(
                second,
                client + """
                    for way in ways:
                        found = []
                        while len(found) < 60 and found[-1:] != ["refused"]: found.append(exchange(way, b"second"))
                        print(*sorted(set(found) - {"silence"}))
                    print(names(), *[exchange(w, b'second') for w in ways])
                    """)
            #expect(output == "refused\nrefused\n(0, 0) echo echo", "without pins, and with them")
            #expect(try fixture.control.daemon.stop() == .exited(0))
        }

        /// The kernel keeps the connections of a network that has ended, with the labels of its pins. The policy was
        /// made stricter once, so that its labels are those with which the next TAP begins.
        @Test func nextNetworkDoesNotAllowWhatPinsBeforeDid() throws {
            let fixture = try Fixture("tap", ["site.example:7"]), control = fixture.control
            let server = try control.network.internet.start(["python3", "-c", Self.echo])
            try server.wait(for: "up")
            try control.run("allow", "add", "other.example")
            try control.run("allow", "remove", "other.example")
            let first = try control.guest("first", mac: "52:54:00:00:00:01")
            let address6 = IPv6Address(try first.address6().high, 0x77), client = Self.client(address6)
            try take(address6, first)
            let exchanges = "*[exchange(w, b'data') for w in ways]"
            #expect(try fixture.run(first, client + "print(names(), \(exchanges))") == "(0, 0) echo echo")
            first.stop()
            #expect(try control.daemon.stop() == .exited(0))
            let next = try VMNetDaemon(
                in: control.host,
                ["--switch", "--uplink", "tap", "--control", control.socket, "--egress", "deny", "--allow"]
                    + ["forbidden.example", control.path], folder: control.folder)
            let second = try control.guest("second", mac: "52:54:00:00:00:01")
            _ = try second.address6()
            try take(address6, second)
            #expect(try fixture.run(second, client + "print(\(exchanges))") == "refused refused")
            #expect(try next.stop() == .exited(0))
        }

        /// The kernel's connections would go to the next guest with the address.
        @Test func kernelWithoutZonesAllowsNoNames() throws {
            let network = try TestNetwork(), nft = try SeparateNFT(network, refusing: "zone set")
            let socket = network.folder.file("control"), path = network.folder.file("vde")
            let need = "names in the egress policy need a kernel with conntrack labels and zones"
            func start(_ rule: String) throws -> BackgroundProgram {
                try VMNetDaemon.start(
                    in: network.host,
                    ["--switch", "--uplink", "tap", "--control", socket, "--egress", "deny", "--allow", rule, path],
                    folder: network.folder, environment: nft.environment, wrapper: nft.wrapper)
            }
            let refused = try start("site.example")
            try refused.wait(for: need, within: 20)
            #expect(try refused.waitForEnd() == .exited(69))
            let daemon = try start("198.51.100.0/24")
            try daemon.wait(for: "vde_vmnet: ready: ", within: 20)
            func allow(_ words: String...) throws -> ChildProcess.Output {
                try network.host.attempt([TestHost.product("vde_vmnet"), "allow"] + words + ["--network", socket])
            }
            #expect(try allow("add", "site.example").error.contains(need))
            #expect(try allow("add", "203.0.113.0/24").succeeded)
            let list = try allow("list").output
            #expect(list.contains("203.0.113.0/24") && !list.contains("site.example"), "\(list)")
            #expect(try daemon.stop() == .exited(0))
            #expect(try network.host.run("nft", "list", "ruleset").isEmpty)
        }
    }
}
