// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// Pings through the user-mode NAT.
    @Suite struct RootlessPings {
        /// Permits pings to the user of the network.
        private static func permit(_ host: Namespace) throws {
            try host.run("sysctl", "-q", "-w", "net.ipv4.ping_group_range=0 2147483647")
        }

        @Test func pingsOfAnyLengthReachTheOutside() throws {
            let fixture = try RootlessFixture(["--uplink", "user"], internet: true) { try Self.permit($0) }
            let guest = try fixture.guest()
            try guest.lease()
            for length in [0, 56, 1472, 1473, 65_507] {
                let reply = try guest.namespace.run(
                    "ping", "-c", "2", "-i", "0.2", "-W", "5", "-s", "\(length)", TestNetwork.internetAddress)
                #expect(reply.contains("2 received"), "\(length): \(reply)")
                #expect(length != 56 || reply.contains("ttl=63"), "\(reply)")
            }
            #expect(try guest.namespace.pings(gateway))
            let hops = try guest.namespace.run(
                "ping", "-c", "1", "-W", "5", "-s", "30000", gateway)
            #expect(hops.contains("1 received"))
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func tracerouteOfPingsShowsTheGatewayFirst() throws {
            let fixture = try RootlessFixture(["--uplink", "user"], internet: true) { try Self.permit($0) }
            let guest = try fixture.guest()
            try guest.lease()
            let hops = try guest.namespace.run(
                "busybox", "traceroute", "-I", "-n", "-q", "1", "-w", "2", "-m", "4", TestNetwork.internetAddress)
            let lines = hops.split(separator: "\n").dropFirst()
            #expect(lines.first?.contains(gateway) == true, "\(hops)")
            #expect(lines.dropFirst().first?.contains(TestNetwork.internetAddress) == true, "\(hops)")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// A host and a guest with IPv6, and a network behind the Internet.
        private func start6() throws -> (RootlessFixture, PlugGuest, far: Namespace) {
            let fixture = try RootlessFixture(["--uplink", "user"], internet: true) { try Self.permit($0) }
            let internet = fixture.network.internet, far = try Namespace("far")
            try IPv6Fixture.giveIPv6(fixture.host)
            try internet.ip("-6", "addr", "add", IPv6Fixture.outside + "/64", "dev", "eth0", "nodad")
            try internet.connect(to: far, by: "far", "198.51.100.1/24", "198.51.100.2/24")
            try internet.ip("-6", "addr", "add", "2001:db8:5::1/64", "dev", "far", "nodad")
            try far.ip("-6", "addr", "add", "2001:db8:5::2/64", "dev", "eth0", "nodad")
            try far.ip("-6", "route", "add", "default", "via", "2001:db8:5::1")
            for name in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
                try internet.run("sysctl", "-q", "-w", "\(name)=1")
            }
            try internet.ip("-6", "route", "add", "unreachable", "2001:db8:6::/64")
            let guest = try fixture.guest()
            try guest.lease()
            _ = try guest.address6()
            try guest.waitForRouter()
            return (fixture, guest, far)
        }

        /// `ping` itself compares identifier, sequence number and data.
        @Test func pingsByIPv6ReachTheOutside() throws {
            let (fixture, guest, far) = try start6()
            for length in [0, 56, 1452, 1453, 65_507] {
                let reply = try guest.namespace.run(
                    "ping", "-6", "-c", "2", "-i", "0.2", "-W", "5", "-s", "\(length)", IPv6Fixture.outside)
                #expect(reply.contains("2 received"), "\(length): \(reply)")
                #expect(length != 56 || reply.contains("icmp_seq=2 ttl=63"), "\(reply)")
            }
            // Two at a time have different identifiers.
            let both = try guest.namespace.run(
                "sh", "-c",
                """
                ping -6 -q -c 20 -i 0.02 -e 7 \(IPv6Fixture.outside) & ping -6 -q -c 20 -i 0.02 -e 8 2001:db8:5::2; wait
                """)
            #expect(both.matches(of: /20 received, 0% packet loss/).count == 2, "\(both)")
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = far
        }

        @Test func errorsOfPingsByIPv6ReachTheGuest() throws {
            let (fixture, guest, far) = try start6()
            func ping(_ options: String...) throws -> String {
                try guest.namespace.attempt(["ping", "-6", "-n", "-c", "1", "-W", "3"] + options).output
            }
            // The gateway, the Internet's router and the destination.
            let first = try ping("-t", "1", "2001:db8:5::2"), second = try ping("-t", "2", "2001:db8:5::2")
            #expect(first.contains("Time exceeded: Hop limit") && first.contains("From fd"), "\(first)")
            #expect(
                second.contains("From \(IPv6Fixture.outside)") && second.contains("Time exceeded: Hop limit"),
                "\(second)")
            #expect(try ping("-t", "3", "2001:db8:5::2").contains("1 received"))
            let unreachable = try ping("2001:db8:6::9")
            #expect(
                unreachable.contains("From \(IPv6Fixture.outside)") && unreachable.contains("Destination unreachable"),
                "\(unreachable)")
            let hops = try guest.namespace.run(
                "traceroute", "-6", "-I", "-n", "-q", "1", "-w", "2", "-m", "5", "2001:db8:5::2")
            for address in [IPv6Fixture.outside, "2001:db8:5::2"] { #expect(hops.contains(address), "\(hops)") }
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = far
        }

        /// SYNs with a small TTL go out with it.
        @Test func tracerouteOfTCPShowsEachHop() throws {
            let (fixture, guest, far) = try start6()
            try far.ip("route", "add", "default", "via", "198.51.100.1")
            let servers = try ["198.51.100.2:80", "[2001:db8:5::2]:81"].map {
                try far.startWeb("far", folder: fixture.folder, address: $0)
            }
            for (option, port, router, target) in [
                ("-4", "80", TestNetwork.internetAddress, "198.51.100.2"),
                ("-6", "81", IPv6Fixture.outside, "2001:db8:5::2"),
            ] {
                let hops = try guest.namespace.run(
                    "traceroute", option, "-T", "-p", port, "-n", "-q", "1", "-N", "1", "-w", "2", "-m", "5", target)
                let lines = hops.split(separator: "\n").dropFirst().map(String.init)
                #expect(lines.count == 3, "\(hops)")
                #expect(lines.dropFirst().first?.contains(router) == true, "\(hops)")
                #expect(lines.last?.contains(target) == true, "\(hops)")
            }
            #expect(try guest.namespace.fetch("198.51.100.2") == "far")
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = (far, servers)
        }

        @Test func forbiddenPingsAreAnsweredAndReportedOnce() throws {
            let fixture = try RootlessFixture(["--uplink", "user"], internet: true) {
                try $0.run("sysctl", "-q", "-w", "net.ipv4.ping_group_range=1 0")
            }
            let guest = try fixture.guest()
            try guest.lease()
            for _ in 0..<2 {
                let result = try guest.namespace.attempt(
                    ["ping", "-c", "2", "-i", "0.2", "-W", "2", TestNetwork.internetAddress])
                #expect(!result.succeeded && result.output.contains("Packet filtered"), "\(result.output)")
            }
            try fixture.daemon.wait(for: "sudo sysctl -w 'net.ipv4.ping_group_range=0 2147483647'", within: 10)
            #expect(try guest.namespace.pings(gateway), "the gateway answers itself")
            #expect(try fixture.daemon.stop() == .exited(0))
            #expect(fixture.daemon.output.split(separator: "\n").count { $0.contains("guests cannot ping") } == 1)
        }
    }
}
