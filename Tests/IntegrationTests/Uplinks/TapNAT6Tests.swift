// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// A TAP on a kernel before Linux 6.17, which forwards IPv6 between all interfaces or none: guests reach the
    /// outside by the user-mode NAT beside it, and the host stays as it was.
    @Suite struct TapNAT6 {
        private static let page = "a page over IPv6"

        /// The host's settings of IPv6 that concern other interfaces than the TAP.
        private func settings(_ host: Namespace) throws -> String {
            try host.run(
                "sh", "-c",
                "cd /proc/sys/net/ipv6/conf && grep -rs . all default lo wan | grep -v stable_secret | sort")
        }

        @Test func guestsReachOutsideAndHostStaysAsItWas() throws {
            var before = ""
            let fixture = try IPv6Fixture(isOldKernel: true) {
                try IPv6Fixture.permitPings($0.host)
                before = try settings($0.host)
            }
            let host = fixture.network.host, internet = fixture.network.internet, folder = fixture.network.folder
            try fixture.daemon.wait(for: "IPv6 packets to the outside leave by a user-mode NAT", within: 5)
            let servers = [
                try internet.startWeb(Self.page, folder: folder, address: "[::]:80"),
                try host.startWeb("the host", folder: folder, address: "[::]:80"),
                try internet.startDatagramEcho(ports: 7...7, address: IPv6Fixture.outside),
            ]
            let guest = try fixture.guest(), other = try fixture.guest("other")
            let address = try guest.address6(), gateway = "\(IPv6Address(address.high, 1))"
            try guest.waitForRouter()
            let router = try guest.router()
            #expect(router.isLinkLocal)
            // The outside.
            #expect(try guest.namespace.fetch(IPv6Fixture.outside) == Self.page)
            #expect(try guest.namespace.askDatagram(IPv6Fixture.outside, port: 7) == "7 heard hello")
            #expect(try guest.namespace.pings(IPv6Fixture.outside))
            let hops = try guest.namespace.run(
                "traceroute", "-6", "-n", "-q", "1", "-w", "2", "-m", "4", IPv6Fixture.outside)
            #expect(hops.split(separator: "\n").last?.contains(IPv6Fixture.outside) == true, "\(hops)")
            // The host, by the TAP, as itself and to it.
            #expect(try guest.namespace.pings(gateway))
            #expect(try guest.namespace.fetch(gateway) == "the host")
            #expect(try host.pings("\(address)"))
            #expect(try guest.namespace.pings("\(other.address6())"))
            // The host's sockets do not lead guests to the host: its firewall would take them for the host's own.
            #expect(throws: CommandFailed.self) { try guest.namespace.fetch(IPv6Fixture.host) }
            #expect(try !guest.namespace.pings(IPv6Fixture.host, seconds: 1))
            // IPv4 is the kernel's.
            try guest.lease()
            #expect(try guest.namespace.pings(TestNetwork.internetAddress))
            #expect(try host.run("ip", "-4", "neigh", "show", "dev", "vmnet0").contains("192.168.105."))

            #expect(try settings(host) == before)
            try inspect(fixture, gateway)
            #expect(try fixture.daemon.stop() == .exited(0))
            #expect(try settings(host) == before)
            #expect(try host.run("nft", "list", "ruleset").isEmpty)
            _ = servers
        }

        /// What this program reports about the way to the outside.
        private func inspect(_ fixture: IPv6Fixture, _ gateway: String) throws {
            func command(_ words: String...) throws -> ChildProcess.Output {
                try fixture.network.host.attempt([TestHost.product("vde_vmnet")] + words)
            }
            let status = try command("status", fixture.path)
            #expect(status.output.contains("IPv6 by       user-mode NAT"), "\(status.output)\(status.error)")
            let doctor = try command("doctor", "vde")
            #expect(doctor.output.contains("IPv6 of guests leaves by a user-mode NAT"), "\(doctor.output)")
            let check = try command("check", fixture.path, "--tcp6", "[\(IPv6Fixture.outside)]:80")
            for step in ["ipv6", "ping6", "tcp6"] {
                #expect(check.output.split(separator: "\n").contains { $0.hasPrefix("ok ") && $0.contains(step) })
            }
            let ports = try command("port", "list", "--network", fixture.path)
            #expect(ports.output.contains("user"), "\(ports.output)\(ports.error)")
        }

        @Test func routerFollowsHostAndRestart() throws {
            let fixture = try IPv6Fixture(hasIPv6: false, isOldKernel: true), host = fixture.network.host
            let web = try fixture.network.internet.startWeb(
                Self.page, folder: fixture.network.folder, address: "[::]:80")
            let guest = try fixture.guest(), address = try guest.address6()
            #expect(try guest.namespace.run("ip", "-6", "route", "show", "default").isEmpty)
            try IPv6Fixture.giveIPv6(host)
            try guest.waitForRouter()
            #expect(try guest.namespace.fetch(IPv6Fixture.outside) == Self.page)
            let router = try guest.router()
            try fixture.killAndRestart()
            let late = try fixture.guest("late")
            #expect(try late.address6().high == address.high)
            try late.waitForRouter()
            #expect(try late.router() == router, "the same in every run")
            #expect(try late.namespace.fetch(IPv6Fixture.outside) == Self.page)
            #expect(try host.pings("\(late.address6())"))
            try host.ip("-6", "route", "flush", "default")
            try host.ip("-6", "addr", "flush", "dev", "wan", "scope", "global")
            try late.waitForRouter(false)
            #expect(try fixture.daemon.stop() == .exited(0))
            #expect(try host.run("nft", "list", "ruleset").isEmpty)
            _ = web
        }

        /// The next instance does not take the host for a router that a killed one has made it.
        @Test func killedRouterIsUndoneFirst() throws {
            let fixture = try IPv6Way.router.fixture(), host = fixture.network.host
            #expect(try fixture.setting("all/forwarding") == "1")
            try IPv6Fixture.permitPings(host)
            try fixture.killAndRestart()
            #expect(try fixture.setting("all/forwarding") == "0")
            let guest = try fixture.guest()
            _ = try guest.address6()
            try guest.waitForRouter()
            #expect(try guest.namespace.pings(IPv6Fixture.outside))
            #expect(try fixture.daemon.stop() == .exited(0))
            #expect(try fixture.setting("all/forwarding") == "0" && fixture.setting("wan/accept_ra") == "1")
        }

        /// A guest of another TAP is no destination: the rules of that TAP decide.
        @Test func guestsOfAnotherNetworkAreNotReached() throws {
            let fixture = try IPv6Way.nat.fixture(), guest = try fixture.guest()
            _ = try guest.address6()
            try guest.waitForRouter()
            let second = try VMNetDaemon(
                in: fixture.network.host, ["--switch", fixture.path + "2", "--ipv6", "fd12:3456:789a:9::/64"],
                folder: fixture.network.folder)
            let other = try PlugGuest("other", path: fixture.path + "2", folder: fixture.network.folder)
            let target = "\(try other.address6())"
            #expect(try fixture.network.host.pings(target))
            try eventually("the end of the way to the other network") {
                try !guest.namespace.pings(target, seconds: 1)
            }
            #expect(try second.stop() == .exited(0))
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// A policy that changes while the network runs holds for the NAT as well, and is reported.
        @Test func changedPolicyIsTheNATsToo() throws {
            let fixture = try IPv6Way.nat.fixture(["--egress-log"]), folder = fixture.network.folder
            let web = try fixture.network.internet.startWeb(Self.page, folder: folder, address: "[::]:80")
            let guest = try fixture.guest()
            _ = try guest.address6()
            try guest.waitForRouter()
            func change(_ words: String...) throws {
                let result = try fixture.network.host.attempt(
                    [TestHost.product("vde_vmnet")] + words + ["--network", fixture.path])
                #expect(result.succeeded, "\(words): \(result.error)")
            }
            #expect(try guest.namespace.fetch(IPv6Fixture.outside) == Self.page)
            try change("egress", "deny")
            #expect(throws: CommandFailed.self) { try guest.namespace.fetch(IPv6Fixture.outside) }
            #expect(try !guest.namespace.pings(IPv6Fixture.outside, seconds: 1))
            try fixture.daemon.wait(for: "tcp to \(IPv6Fixture.outside) port 80", within: 10)
            try change("allow", "add", "[\(IPv6Fixture.outside)]:80")
            #expect(try guest.namespace.fetch(IPv6Fixture.outside) == Self.page)
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = web
        }
    }
}
