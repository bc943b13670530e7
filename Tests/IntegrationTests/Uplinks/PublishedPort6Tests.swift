// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// Ports of the host's IPv6 addresses that lead to guests.
    @Suite struct PublishedIPv6Ports {
        private static let prefix = "fd12:3456:789a:1"
        private static let network = ["--ipv6", prefix + "::/64"]
        private static let guestAddress = prefix + "::2"
        private static let gateway6 = prefix + "::1"

        /// A guest that has sent nothing from its address yet.
        private func addAddress(_ guest: PlugGuest, _ host: Int = 2) throws {
            try guest.namespace.ip(
                "-6", "addr", "add", "\(Self.prefix)::\(host)/64", "dev", PlugGuest.interface, "nodad")
        }

        /// The first words of a server that answers each client with its address.
        private func ask(_ namespace: Namespace, _ address: String, _ port: Int) throws -> String {
            try namespace.run("timeout", "10", "bash", "-c", "exec 3<>/dev/tcp/\(address)/\(port); cat <&3").trimmed
        }

        private func isRefused(_ namespace: Namespace, _ address: String, _ port: Int) throws -> Bool {
            try namespace.attempt(["timeout", "10", "bash", "-c", "exec 3<>/dev/tcp/\(address)/\(port)"]).error
                .contains("Connection refused")
        }

        @Test(.enabled(if: IPv6Fixture.canForward, "needs net.ipv6.conf.*.force_forwarding"), arguments: [false, true])
        func portsOfATapLeadToGuests(isDenying: Bool) throws {
            let ports = [
                "8080:[::2]:80", "[\(IPv6Fixture.host)]:90:[\(Self.guestAddress)]:80", "6000-6001:[::2]:7000/udp",
            ]
            // The policy concerns what guests open; isolation leaves them the published ports.
            let fixture = try IPv6Fixture(
                Self.network + ports.flatMap { ["--publish", $0] }
                    + (isDenying ? ["--egress", "deny", "--vmnet-isolation"] : []))
            let host = fixture.network.host, internet = fixture.network.internet
            let guest = try fixture.guest(), other = try fixture.guest("other")
            try addAddress(guest)
            try addAddress(other, 3)
            try guest.waitForRouter()
            try other.waitForRouter()
            let server = try guest.namespace.startAddressEcho(port: 80)
            let echo = try guest.namespace.startDatagramEcho(ports: 7000...7001, address: Self.guestAddress)
            for port in [8080, 90] {
                #expect(
                    try ask(internet, IPv6Fixture.host, port) == IPv6Fixture.outside, "the client keeps its address")
                #expect(try ask(host, IPv6Fixture.host, port) == IPv6Fixture.host)
            }
            #expect(try ask(host, Self.gateway6, 8080) == Self.gateway6)
            #expect(try isRefused(host, Self.gateway6, 90), "bound to another address")
            // The kernel has no route_localnet for IPv6: a client is not left waiting.
            #expect(try isRefused(host, "::1", 8080))
            // Another guest by way of the host.
            #expect(try ask(other.namespace, Self.gateway6, 8080) == Self.gateway6)
            #expect(try internet.askDatagram(IPv6Fixture.host, port: 6000) == "7000 heard hello")
            #expect(try host.askDatagram(IPv6Fixture.host, port: 6001) == "7001 heard hello")
            #expect(try other.namespace.askDatagram(Self.gateway6, port: 6001) == "7001 heard hello")
            #expect(try fixture.daemon.stop() == .exited(0))
            #expect(try host.run("nft", "list", "ruleset").isEmpty)
            _ = (server, echo)
        }

        @Test func portsOfAUserNATLeadToGuests() throws {
            let ports = ["8080:[::2]:80", "[::1]:2222:[\(Self.guestAddress)]:80", "6000-6001:[::2]:7000/udp"]
            let fixture = try RootlessFixture(
                ["--uplink", "user"] + Self.network + ports.flatMap { ["--publish", $0] })
            let host = fixture.host, internet = fixture.network.internet
            try internet.ip("-6", "addr", "add", "\(IPv6Fixture.outside)/64", "dev", "eth0", "nodad")
            try IPv6Fixture.giveIPv6(host)
            let guest = try fixture.guest()
            try addAddress(guest)
            try guest.waitForRouter()
            let server = try guest.namespace.startAddressEcho(port: 80)
            let echo = try guest.namespace.startDatagramEcho(ports: 7000...7001, address: Self.guestAddress)
            // The gateway requests the hardware address of a guest that it has not stored.
            #expect(try ask(host, "::1", 8080) == Self.gateway6)
            #expect(try ask(internet, IPv6Fixture.host, 8080) == IPv6Fixture.outside)
            #expect(try ask(host, IPv6Fixture.host, 8080) == IPv6Fixture.host)
            #expect(try ask(host, "::1", 2222) == Self.gateway6)
            #expect(try isRefused(internet, IPv6Fixture.host, 2222), "bound to the loopback address only")
            #expect(try internet.askDatagram(IPv6Fixture.host, port: 6000) == "7000 heard hello")
            #expect(try host.askDatagram("::1", port: 6001) == "7001 heard hello")
            // IPv4 is not published with it.
            #expect(try isRefused(host, "127.0.0.1", 8080))
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = (server, echo)
        }

        @Test(arguments: ControlFixture.Uplink.allCases)
        func portsChangeWhileTheNetworkRuns(uplink: ControlFixture.Uplink) throws {
            guard uplink == .user || IPv6Fixture.canForward else { return }
            let fixture = try ControlFixture(uplink.rawValue, Self.network)
            let guest = try fixture.guest(), target = uplink == .user ? "::1" : Self.gateway6
            try addAddress(guest)
            let server = try guest.namespace.startAddressEcho(port: 80)
            let echo = try guest.namespace.startDatagramEcho(ports: 7000...7000, address: Self.guestAddress)
            try fixture.run("publish", "add", "8080:[::2]:80")
            try fixture.run("publish", "add", "6000:[::2]:7000/udp")
            #expect(try ask(fixture.host, target, 8080) == Self.gateway6)
            #expect(try fixture.host.askDatagram(target, port: 6000) == "7000 heard hello")
            let list = try fixture.run("publish", "list")
            #expect(list.contains("8080:[::2]:80/tcp") && list.contains(Self.guestAddress), "\(list)")
            // The same port of IPv4 is another one.
            try fixture.run("publish", "add", "8080:192.168.105.2:80")
            for (words, reason) in [
                ("[::1]:8080:[::3]", "same port"), ("81:[fd99::2]", "write [::10]"), ("81:[::1:2:3:4:5]", "is not in"),
                ("81:[\(Self.gateway6)]", "gateway"),
            ] {
                let refused = try fixture.attempt("publish", "add", words)
                #expect(!refused.succeeded && refused.error.contains(reason), "\(words): \(refused.error)")
            }
            let loopback = try fixture.attempt("publish", "add", "[::1]:8081:[::2]:80")
            #expect(loopback.succeeded == (uplink == .user), "\(loopback.error)")
            if uplink == .tap { #expect(loopback.error.contains("from ::1 out to guests"), "\(loopback.error)") }
            try fixture.run("publish", "remove", "8080:[::2]:80")
            try fixture.run("publish", "remove", "6000:[::2]:7000/udp")
            #expect(try isRefused(fixture.host, target, 8080))
            let answer = try? fixture.host.askDatagram(target, port: 6000)
            #expect(answer?.isEmpty ?? true)
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = (server, echo)
        }

        /// The NAT beside the TAP publishes, because the kernel would forward between all interfaces.
        @Test func portsOfATapOnAnOldKernelLeadToGuests() throws {
            let ports = ["8080:[::2]:80", "[::1]:2222:[\(Self.guestAddress)]:80", "6000-6001:[::2]:7000/udp"]
            let fixture = try IPv6Way.nat.fixture(Self.network + ports.flatMap { ["--publish", $0] })
            let host = fixture.network.host, internet = fixture.network.internet
            let guest = try fixture.guest()
            try addAddress(guest)
            try guest.waitForRouter()
            let server = try guest.namespace.startAddressEcho(port: 80)
            let echo = try guest.namespace.startDatagramEcho(ports: 7000...7001, address: Self.guestAddress)
            let router = try guest.router()
            // A client that guests cannot answer by the router appears as the router.
            #expect(try ask(host, "::1", 8080) == "\(IPv6Address(IPv6Address(Self.gateway6)!.high, router.low))")
            #expect(try ask(internet, IPv6Fixture.host, 8080) == IPv6Fixture.outside)
            #expect(try ask(host, IPv6Fixture.host, 8080) == IPv6Fixture.host)
            #expect(try isRefused(internet, IPv6Fixture.host, 2222), "bound to the loopback address only")
            #expect(try internet.askDatagram(IPv6Fixture.host, port: 6000) == "7000 heard hello")
            #expect(try host.askDatagram("::1", port: 6001) == "7001 heard hello")
            // Changed while the network runs, beside ports of IPv4.
            func change(_ words: String...) throws {
                let result = try host.attempt(
                    [TestHost.product("vde_vmnet"), "publish"] + words + ["--network", fixture.path])
                #expect(result.succeeded, "\(words): \(result.error)")
            }
            try change("add", "8081:[::2]:80")
            try change("add", "8081:192.168.105.2:80")
            #expect(try ask(internet, IPv6Fixture.host, 8081) == IPv6Fixture.outside)
            try change("remove", "8081:[::2]:80")
            #expect(try isRefused(internet, IPv6Fixture.host, 8081))
            #expect(try fixture.daemon.stop() == .exited(0))
            #expect(try host.run("nft", "list", "ruleset").isEmpty)
            _ = (server, echo)
        }
    }
}

extension Namespace {
    /// Answers each TCP client with the client's address, by both versions of IP.
    func startAddressEcho(port: Int) throws -> BackgroundProgram {
        let script = """
            my $s = IO::Socket::IP->new(Listen => 5, LocalHost => "::", V6Only => 0, LocalPort => \(port), \
            ReuseAddr => 1) or die; $| = 1; print "listening\\n"; while (my $c = $s->accept) { print $c $c->peerhost, \
            "\\n"; close $c }
            """
        let server = try start(["perl", "-MIO::Socket::IP", "-e", script])
        try server.wait(for: "listening", within: 10)
        return server
    }
}
