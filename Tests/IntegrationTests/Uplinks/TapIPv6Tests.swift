// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

/// Whether this kernel forwards IPv6 that arrives by single interfaces (Linux 6.17).
private let hasForcedForwarding = Files.exists("/proc/sys/net/ipv6/conf/all/force_forwarding")

extension IntegrationTests {
    /// IPv6 on a TAP: addresses by our router advertisements, and the outside by NAT of a host that is no router.
    @Suite struct TapIPv6 {
        @Test(.enabled(if: hasForcedForwarding, "needs net.ipv6.conf.*.force_forwarding"))
        func guestsConfigureIPv6AndReachOutside() throws {
            let fixture = try IPv6Fixture(), host = fixture.network.host
            let guest = try fixture.guest(), other = try fixture.guest("other")
            let address = try guest.address6(), prefix = IPv6Network(containing: address, prefixLength: 64)
            #expect(address.high >> 56 == 0xfd)
            try guest.waitForRouter()
            let gateway = IPv6Address(address.high, 1)
            #expect(try guest.namespace.pings("\(gateway)"))
            #expect(try guest.namespace.pings(IPv6Fixture.outside))
            #expect(try guest.namespace.pings("\(other.address6())"))
            #expect(try host.pings("\(address)"))
            // The Internet has no route to the guests: it sees the host.
            let web = try fixture.network.internet.startWeb("six", folder: fixture.network.folder, address: "[::]:80")
            #expect(try guest.namespace.fetch(IPv6Fixture.outside) == "six")
            // The host is no router for others.
            #expect(try fixture.setting("all/forwarding") == "0" && fixture.setting("wan/force_forwarding") == "1")
            try fixture.network.internet.ip("-6", "route", "add", "\(prefix)", "via", IPv6Fixture.host)
            #expect(try !fixture.network.internet.pings("\(address)", seconds: 1))
            // After a restart it is the same prefix.
            try fixture.restart()
            #expect(try host.run("ip", "-6", "addr", "show", "dev", "vmnet0").contains("\(gateway)/64"))
            #expect(try fixture.daemon.stop() == .exited(0))
            #expect(try fixture.setting("wan/force_forwarding") == "0")
            #expect(try host.run("nft", "list", "ruleset").isEmpty)
            _ = web
        }

        /// Guests do not stall on a router that leads nowhere.
        @Test(.enabled(if: hasForcedForwarding, "needs net.ipv6.conf.*.force_forwarding"))
        func routerFollowsHost() throws {
            let fixture = try IPv6Fixture(hasIPv6: false), host = fixture.network.host
            let guest = try fixture.guest()
            let address = try guest.address6()
            #expect(try guest.namespace.run("ip", "-6", "route", "show", "default").isEmpty)
            #expect(try guest.namespace.pings("\(IPv6Address(address.high, 1))"))
            try IPv6Fixture.giveIPv6(host)
            try guest.waitForRouter()
            #expect(try guest.namespace.pings(IPv6Fixture.outside))
            try host.ip("-6", "addr", "flush", "dev", "wan", "scope", "global")
            try host.ip("-6", "route", "flush", "default")
            try guest.waitForRouter(false)
            try IPv6Fixture.giveIPv6(host)
            try guest.waitForRouter()
            // At its end the router is gone.
            #expect(try fixture.daemon.stop() == .exited(0))
            try guest.waitForRouter(false)
        }

        @Test func prefixCanBeChosenOrLeftOut() throws {
            let fixture = try IPv6Fixture(["--ipv6", "fd12:3456:789a:1::/64"]), host = fixture.network.host
            let guest = try fixture.guest()
            #expect(try guest.address6().high == 0xfd12_3456_789a_0001)
            #expect(try host.pings("\(guest.address6())"))
            // Another network cannot have it.
            let second = try VMNetDaemon.start(
                in: host, ["--switch", fixture.path + "2", "--ipv6", "fd12:3456:789a:1::/64"],
                folder: fixture.network.folder)
            try second.wait(for: "overlaps fd12:3456:789a:1::/64, which this host uses on vmnet0", within: 10)
            try fixture.restart(["--ipv6", "off"])
            #expect(try !host.run("ip", "-6", "addr", "show", "dev", "vmnet0").contains("global"))
            let late = try fixture.guest("late")
            try late.lease()
            #expect(try late.namespace.run("ip", "-6", "addr", "show", "scope", "global").isEmpty)
            #expect(try fixture.daemon.stop() == .exited(0))
        }
    }
}
