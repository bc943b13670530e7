// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// IPv6 on a TAP: addresses by our router advertisements, and the outside by NAT of a host that is no router.
    @Suite struct TapIPv6 {
        @Test(.enabled(if: IPv6Fixture.canForward, "needs net.ipv6.conf.*.force_forwarding"))
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
        @Test(.enabled(if: IPv6Fixture.canForward, "needs net.ipv6.conf.*.force_forwarding"))
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

        /// A guest that probes its router keeps it: the answer has the router flag (RFC 4861 section 7.2.5).
        @Test(.enabled(if: IPv6Fixture.canForward, "needs net.ipv6.conf.*.force_forwarding"))
        func probeOfRouterKeepsIt() throws {
            let fixture = try IPv6Fixture()
            let guest = try fixture.guest(), namespace = guest.namespace
            _ = try guest.address6()
            try guest.waitForRouter()
            let router = "\(try guest.router())"
            let hardware = try fixture.network.host.run("cat", "/sys/class/net/vmnet0/address").trimmed
            func neighbor() throws -> String {
                try namespace.run("ip", "-6", "neigh", "show", router, "dev", PlugGuest.interface)
            }
            try namespace.ip(
                "-6", "neigh", "replace", router, "lladdr", hardware, "dev", PlugGuest.interface, "nud", "probe",
                "router")
            try eventually("the answer to the probe") { try neighbor().contains("REACHABLE") }
            #expect(try neighbor().contains("router"))
            #expect(try namespace.run("ip", "-6", "route", "show", "default").contains(router))
            #expect(try namespace.pings(IPv6Fixture.outside))
            #expect(try fixture.daemon.stop() == .exited(0))
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

        @Test func oldKernelBecomesRouterForGuestsOnly() throws {
            let fixture = try IPv6Fixture(["--ipv6", "kernel"], isOldKernel: true), host = fixture.network.host
            let other = try Namespace("other")
            try host.connect(to: other, by: "lan", "10.9.0.1/24", "10.9.0.2/24")
            try host.ip("-6", "addr", "add", "2001:db8:9::1/64", "dev", "lan", "nodad")
            try other.ip("-6", "addr", "add", "2001:db8:9::2/64", "dev", "eth0", "nodad")
            try other.ip("-6", "route", "add", "default", "via", "2001:db8:9::1")
            try fixture.network.internet.ip("-6", "route", "add", "2001:db8:9::/64", "via", IPv6Fixture.host)
            let guest = try fixture.guest()
            _ = try guest.address6()
            try guest.waitForRouter()
            #expect(try guest.namespace.pings(IPv6Fixture.outside))
            #expect(try guest.namespace.pings("2001:db8:9::2"))
            #expect(try fixture.setting("all/forwarding") == "1" && fixture.setting("wan/accept_ra") == "2")
            #expect(try other.pings("2001:db8:9::1") && !other.pings(IPv6Fixture.outside, seconds: 1))
            #expect(try fixture.daemon.stop() == .exited(0))
            #expect(try fixture.setting("all/forwarding") == "0" && fixture.setting("wan/accept_ra") == "1")
            #expect(try host.run("nft", "list", "ruleset").isEmpty)
        }

        /// Killed, an instance leaves its record; the next one undoes it.
        @Test func nextStartUndoesRouterOfKilledInstance() throws {
            let fixture = try IPv6Fixture(["--ipv6", "kernel"], isOldKernel: true)
            #expect(try fixture.setting("all/forwarding") == "1")
            fixture.daemon.kill()
            let next = try VMNetDaemon(
                in: fixture.network.host, ["--switch", fixture.path + "2", "--ipv6", "off"],
                folder: fixture.network.folder)
            #expect(try fixture.setting("all/forwarding") == "0" && fixture.setting("wan/accept_ra") == "1")
            #expect(try next.stop() == .exited(0))
        }

        /// The host stays a router until the last instance that needs it has ended, however the first one ends. An
        /// instance that does not need that leaves it to the other.
        @Test(arguments: [true, false], [["--ipv6", "kernel"], []])
        func secondNetworkOutlivesFirstRouter(killed: Bool, options: [String]) throws {
            let fixture = try IPv6Fixture(["--ipv6", "kernel"], isOldKernel: true)
            if options.isEmpty { try IPv6Fixture.permitPings(fixture.network.host) }
            let second = try fixture.startSecond(options)
            let guest = try PlugGuest("late", path: fixture.path + "2", folder: fixture.network.folder)
            _ = try guest.address6()
            try guest.waitForRouter()
            if killed {
                fixture.daemon.kill()
                let third = try fixture.startSecond(["--ipv6", "off"], at: "3")
                #expect(try third.stop() == .exited(0))
            } else {
                #expect(try fixture.daemon.stop() == .exited(0))
            }
            try eventually("the way of the second network") { try guest.namespace.pings(IPv6Fixture.outside) }
            try guest.waitForRouter()
            let router = try fixture.setting("all/forwarding"), advertisements = try fixture.setting("wan/accept_ra")
            #expect((router, advertisements) == (options.isEmpty ? ("0", "1") : ("1", "2")))
            #expect(try second.stop() == .exited(0))
            #expect(try fixture.setting("all/forwarding") == "0" && fixture.setting("wan/accept_ra") == "1")
        }

        @Test func gatewayAnswersNamesByIPv6() throws {
            let fixture = try IPv6Fixture(internet: true)
            let guest = try fixture.guest(), address = try guest.address6()
            let gateway = "\(IPv6Address(address.high, 1))"
            for option in ["+notcp", "+tcp"] {
                let answer = try guest.namespace.run(
                    "dig", option, "+short", "+time=5", "@\(gateway)", TestNetwork.internetName, "A")
                #expect(answer.trimmed == TestNetwork.internetAddress, "\(option)")
            }
            let check = try fixture.network.host.attempt([TestHost.product("vde_vmnet"), "check", fixture.path])
            for step in ["ipv6", "ping6", "name6"] {
                #expect(check.output.split(separator: "\n").contains { $0.hasPrefix("ok ") && $0.contains(step) })
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func routerAdvertisementHasNames() throws {
            let fixture = try IPv6Fixture(["--ipv6", "fd12:3456:789a:1::/64", "--domain", "lab.example"])
            let guest = try fixture.guest()
            _ = try guest.address6()
            let found = try guest.namespace.run("rdisc6", "-1", PlugGuest.interface)
            for line in [
                "Router lifetime           :         1800", "Prefix                   : fd12:3456:789a:1::/64",
                "Recursive DNS server     : fd12:3456:789a:1::1", "DNS search list          : lab.example",
                "MTU                      :         1500", "Stateful address conf.    :           No",
                "Stateful other conf.      :          Yes",
            ] {
                #expect(found.contains(line), "\(line)")
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// As in leases of IPv4, in place of the guests' domain and the host's.
        @Test func chosenSearchListIsAdvertised() throws {
            let fixture = try IPv6Fixture(["--dhcp-option", "domain-search=lab.example,b.lab.example"])
            let guest = try fixture.guest()
            _ = try guest.address6()
            let found = try guest.namespace.run("rdisc6", "-1", PlugGuest.interface)
            #expect(found.contains("DNS search list          : lab.example b.lab.example"), "\(found)")
            #expect(!found.contains("vm.internal"), "\(found)")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test(arguments: ["dhclient", "dhcpcd"]) func reservedAddressComesByDHCPv6(client: String) throws {
            let fixture = try IPv6Fixture([
                "--ipv6", "fd12:3456:789a:1::/64", "--dhcp-host", "52:54:00:00:00:01,192.168.105.10,::10",
            ])
            let guest = try fixture.guest(mac: "52:54:00:00:00:01"), interface = PlugGuest.interface
            _ = try guest.address6()
            let files = fixture.network.folder
            let program: BackgroundProgram
            if client == "dhclient" {
                let script = files.file("script")
                try Files.replace(
                    script,
                    Array(
                        """
                        #!/bin/sh
                        [ -z "$new_ip6_address" ] || ip -6 addr replace "$new_ip6_address/128" dev "$interface"
                        [ -z "$new_dhcp6_name_servers" ] || echo "names $new_dhcp6_name_servers"

                        """.utf8), mode: 0o755)
                program = try guest.namespace.start([
                    "dhclient", "-6", "-1", "-d", "-sf", script, "-cf", "/dev/null", "-lf", files.file("leases"), "-pf",
                    files.file("pid"), interface,
                ])
            } else {
                program = try guest.namespace.start([
                    "sh", "-c", "mount -t tmpfs none /var/lib/dhcpcd && exec dhcpcd \"$@\"", "sh", "--ipv6only",
                    "--nobackground", "--nohook", "resolv.conf", interface,
                ])
            }
            try eventually("the reserved address", within: 25) {
                try guest.namespace.run("ip", "-6", "-o", "addr", "show", interface).contains(
                    " fd12:3456:789a:1::10/128")
            }
            #expect(try guest.namespace.pings("fd12:3456:789a:1::1"))
            #expect(try fixture.network.host.pings("fd12:3456:789a:1::10"))
            program.kill()
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func hostNetworkHasAddressesAndNoRouter() throws {
            let fixture = try IPv6Fixture(["--vmnet-mode", "host"]), host = fixture.network.host
            let guest = try fixture.guest(), address = try guest.address6()
            #expect(try guest.namespace.pings("\(IPv6Address(address.high, 1))"))
            #expect(try host.pings("\(address)"))
            #expect(try guest.namespace.run("ip", "-6", "route", "show", "default").isEmpty)
            let router = IPv6Address(address.high, 1)
            try guest.namespace.ip("-6", "route", "add", "default", "via", "\(router)", "metric", "1")
            #expect(try !guest.namespace.pings(IPv6Fixture.outside, seconds: 1))
            #expect(try !guest.namespace.run("rdisc6", "-1", PlugGuest.interface).contains("Recursive DNS"))
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test(
            .enabled(if: IPv6Fixture.canForward, "needs net.ipv6.conf.*.force_forwarding"),
            arguments: ["ip6tables-nft", "ip6tables-legacy", "nftables"])
        func foreignDropOfIPv6IsReportedWithRemedy(kind: String) throws {
            // Changes of the legacy rules are not reported to programs: the start finds them.
            let isLegacy = kind == "ip6tables-legacy"
            let fixture = try IPv6Fixture { if isLegacy { try $0.host.run(kind, "-P", "FORWARD", "DROP") } }
            let host = fixture.network.host
            let guest = try fixture.guest()
            _ = try guest.address6()
            try guest.waitForRouter()
            if kind == "nftables" {
                try host.run(
                    "nft",
                    "add table ip6 a; add chain ip6 a forward { type filter hook forward priority 0; policy drop; }"
                )
            } else if !isLegacy {
                try host.run(kind, "-P", "FORWARD", "DROP")
            }
            #expect(try !guest.namespace.pings(IPv6Fixture.outside, seconds: 1))
            try fixture.daemon.wait(for: "drops what guests send to the outside over IPv6; let it through", within: 10)
            let doctor = try host.attempt([TestHost.product("vde_vmnet"), "doctor", fixture.path])
            #expect(doctor.output.contains("drops what guests send to the outside over IPv6"), "\(doctor.output)")
            let commands = try fixture.daemon.proposedCommands()
            #expect(commands.count == 2, "\(commands)")
            for command in commands {
                // Which of the two the word means is the system's choice.
                try host.run("sh", "-ec", command.replacing("ip6tables ", with: kind + " "))
            }
            #expect(try guest.namespace.pings(IPv6Fixture.outside))
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// `--egress deny` and `--allow` apply to IPv6, towards the host as well.
        @Test(arguments: IPv6Way.possible.filter { $0 != .user })
        func egressPolicyHoldsForIPv6(way: IPv6Way) throws {
            let fixture = try way.fixture(["--egress", "deny", "--allow", "[2001:db8::1]:80"])
            let guest = try fixture.guest(), address = try guest.address6(), folder = fixture.network.folder
            try guest.waitForRouter()
            let servers = [
                try fixture.network.internet.startWeb("a page", folder: folder, address: "[::]:80"),
                try fixture.network.internet.startWeb("a page", folder: folder, address: "[::]:81"),
                try fixture.network.host.startWeb("a page", folder: folder, address: "[::]:80"),
            ]
            #expect(try guest.namespace.fetch(IPv6Fixture.outside) == "a page")
            let gateway = "\(IPv6Address(address.high, 1))"
            for (target, port) in [(IPv6Fixture.outside, 81), (gateway, 80), (IPv6Fixture.host, 80)] {
                #expect(throws: CommandFailed.self) { try guest.namespace.fetch(target, port: port) }
            }
            #expect(try guest.namespace.pings(gateway))
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = servers
        }

        /// The kernel removes addresses when a link goes down.
        @Test func addressesComeBack() throws {
            let fixture = try IPv6Fixture(), host = fixture.network.host
            let guest = try fixture.guest(), address = try guest.address6(), router = IPv6Address(address.high, 1)
            try host.ip("link", "set", "vmnet0", "down")
            try eventually("the gateway again") { try guest.namespace.pings("\(router)", seconds: 1) }
            try host.ip("-6", "addr", "flush", "dev", "vmnet0")
            try eventually("the gateway once more") { try guest.namespace.pings("\(router)", seconds: 1) }
            try fixture.daemon.wait(for: "was removed from vmnet0", within: 5)
            if IPv6Fixture.canForward {
                try host.run("sysctl", "-qw", "net.ipv6.conf.vmnet0.force_forwarding=0")
                try guest.waitForRouter()
                try eventually("the outside again") { try guest.namespace.pings(IPv6Fixture.outside, seconds: 1) }
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// A VPN's rule for all destinations precedes the main table, which has the guests' route.
        @Test func routingRuleKeepsGuestsReachable() throws {
            let fixture = try IPv6Fixture(["--ipv6", "fd12:3456:789a:1::/64"]), host = fixture.network.host
            let guest = try fixture.guest(), address = try guest.address6()
            #expect(try host.pings("\(address)"))
            try host.ip("-6", "route", "add", "unreachable", "default", "table", "77", "metric", "1")
            try host.ip("-6", "rule", "add", "preference", "500", "table", "77")
            try eventually("the guest again") { try host.pings("\(address)", seconds: 1) }
            #expect(try host.run("ip", "-6", "rule").contains("499:\tfrom all to fd12:3456:789a:1::/64 lookup main"))
            try host.ip("-6", "rule", "del", "preference", "500")
            try eventually("the rule's end") { try !host.run("ip", "-6", "rule").contains("fd12:") }
            try host.ip("-6", "rule", "add", "preference", "500", "table", "77")
            try eventually("the rule again") { try host.run("ip", "-6", "rule").contains("fd12:") }
            #expect(try fixture.daemon.stop() == .exited(0))
            #expect(try !host.run("ip", "-6", "rule").contains("fd12:"))
        }
    }
}
