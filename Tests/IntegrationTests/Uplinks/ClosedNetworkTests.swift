// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// What is closed stays closed, on hosts that route, beside other networks, and when other programs remove our
    /// rules.
    @Suite struct ClosedNetworks {
        private static let guest6 = "fd00:105::2", host6 = "fd00:105::1", outside6 = "2001:db8::1"

        /// Makes the host a router for both IP versions, as Docker and libvirt do, and gives both of its sides IPv6.
        private func makeRouter(_ network: TestNetwork) throws {
            try network.host.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
            try network.host.ip("-6", "addr", "add", "2001:db8::2/64", "dev", "wan", "nodad")
            try network.internet.ip("-6", "addr", "add", "\(Self.outside6)/64", "dev", "eth0", "nodad")
            try network.internet.ip("-6", "route", "add", "fd00:105::/64", "via", "2001:db8::2")
            try network.internet.ip("route", "add", "192.168.0.0/16", "via", TestNetwork.hostAddress)
        }

        private func giveIPv6(_ guest: PlugGuest, on host: Namespace) throws {
            try host.ip("-6", "addr", "add", "\(Self.host6)/64", "dev", "vmnet0", "nodad")
            try guest.namespace.ip("-6", "addr", "add", "\(Self.guest6)/64", "dev", PlugGuest.interface, "nodad")
            try guest.namespace.ip("-6", "route", "add", "default", "via", Self.host6, "metric", "1")
        }

        @Test(arguments: [false, true]) func hostModeIsClosedOnRouter(isLater: Bool) throws {
            let network = try TestNetwork()
            let host = network.host
            if !isLater { try makeRouter(network) }
            let path = network.folder.file("vde")
            let daemon = try VMNetDaemon(in: host, ["--switch", path, "--vmnet-mode", "host"], folder: network.folder)
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            try guest.lease()
            // An instance beside it leads its own guests out, and not into this network.
            let shared = try VMNetDaemon(in: host, ["--switch", path + "2"], folder: network.folder)
            let other = try PlugGuest("other", path: path + "2", folder: network.folder)
            try other.lease()
            if isLater { try makeRouter(network) }
            try guest.namespace.ip("route", "add", "default", "via", gateway)
            try giveIPv6(guest, on: host)
            #expect(try guest.namespace.pings(gateway) && guest.namespace.pings(Self.host6))
            #expect(try host.pings("192.168.105.2") && host.pings(Self.guest6))
            for address in [TestNetwork.internetAddress, Self.outside6, "192.168.106.2"] {
                #expect(try !guest.namespace.pings(address, seconds: 1), "\(address)")
            }
            #expect(
                try !network.internet.pings("192.168.105.2", seconds: 1)
                    && !network.internet.pings(Self.guest6, seconds: 1))
            #expect(try other.namespace.pings(TestNetwork.internetAddress))
            #expect(try !other.namespace.pings("192.168.105.2", seconds: 1))
            #expect(try daemon.stop() == .exited(0))
            #expect(try shared.stop() == .exited(0))
            #expect(try host.run("nft", "list", "ruleset").isEmpty)
        }

        @Test func tapOfOneNetworkIsNoUplinkOfAnother() throws {
            let network = try TestNetwork()
            let closed = try VMNetDaemon(
                in: network.host, ["--switch", network.folder.file("one"), "--vmnet-mode", "host"],
                folder: network.folder)
            let shared = try VMNetDaemon(
                in: network.host, ["--switch", network.folder.file("two")], folder: network.folder)
            func forwards(_ interface: String) throws -> Bool {
                try network.host.run("cat", "/proc/sys/net/ipv4/conf/\(interface)/forwarding").trimmed == "1"
            }
            #expect(try forwards("wan") && forwards("vmnet1"))
            #expect(try !forwards("vmnet0"))
            #expect(try closed.stop() == .exited(0))
            #expect(try shared.stop() == .exited(0))
        }

        @Test func isolationHoldsAcrossHost() throws {
            let network = try TestNetwork()
            try makeRouter(network)
            let path = network.folder.file("vde")
            let daemon = try VMNetDaemon(
                in: network.host, ["--switch", path, "--vmnet-isolation"], folder: network.folder)
            let guests = try ["one", "two"].map { try PlugGuest($0, path: path, folder: network.folder) }
            for guest in guests { try guest.lease() }
            let hardware = try network.host.run("cat", "/sys/class/net/vmnet0/address").trimmed
            try network.host.ip("-6", "addr", "add", "\(Self.host6)/64", "dev", "vmnet0", "nodad")
            for (number, guest) in guests.enumerated() {
                try guest.namespace.ip(
                    "-6", "addr", "add", "fd00:105::\(2 + number)/128", "dev", PlugGuest.interface, "nodad")
                // To the other's address, at the gateway's hardware address.
                try guest.namespace.ip(
                    "neigh", "replace", "192.168.105.\(3 - number)", "lladdr", hardware, "dev", PlugGuest.interface)
                try guest.namespace.ip("-6", "route", "add", "fd00:105::/64", "dev", PlugGuest.interface)
                try guest.namespace.ip(
                    "-6", "route", "add", "fd00:105::\(3 - number)/128", "via", Self.host6, "dev", PlugGuest.interface)
            }
            #expect(try guests[0].namespace.pings(Self.host6) && network.host.pings("fd00:105::3"))
            #expect(try !guests[0].namespace.pings("192.168.105.3", seconds: 1))
            #expect(try !guests[0].namespace.pings("fd00:105::3", seconds: 1))
            #expect(try guests[0].namespace.pings(TestNetwork.internetAddress))
            #expect(try daemon.stop() == .exited(0))
        }

        /// Docker publishes ports of its containers by a destination NAT; that is no permission for our guests.
        @Test func foreignPublishedPortDoesNotOpenDenial() throws {
            let network = try TestNetwork()
            let host = network.host
            let container = try Namespace("container")
            try host.connect(to: container, by: "docker0", "172.17.0.1/16", "172.17.0.2/16")
            try container.ip("route", "add", "default", "via", "172.17.0.1")
            try host.run(
                "nft", "-f", "-",
                input:
                    "table ip docker { chain pre { type nat hook prerouting priority dstnat; fib daddr type local "
                    + "tcp dport 8080 dnat to 172.17.0.2:80; }; }\n"
            )
            try host.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
            let web = try container.startWeb("a container's page", folder: network.folder)
            let path = network.folder.file("vde")
            let daemon = try VMNetDaemon(
                in: host, ["--switch", path, "--egress", "deny", "--publish", "2222:192.168.105.2:80"],
                folder: network.folder)
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            try guest.lease()
            let page = try guest.namespace.startWeb("the guest's page", folder: network.folder)
            let other = try PlugGuest("other", path: path, folder: network.folder)
            try other.lease()
            #expect(try network.internet.fetch(TestNetwork.hostAddress, port: 8080) == "a container's page")
            #expect(throws: (any Error).self) { try other.namespace.fetch(gateway, port: 8080) }
            #expect(try other.namespace.fetch(gateway, port: 2222) == "the guest's page", "what we publish ourselves")
            #expect(try daemon.stop() == .exited(0))
            _ = (web, page)
        }

        /// Conntrack outlives a daemon, and what it calls established was not permitted by the next one.
        @Test func denialEndsEstablishedConnections() throws {
            let network = try TestNetwork()
            let host = network.host, path = network.folder.file("vde")
            let script =
                "$|=1; my $s = IO::Socket::INET->new(Proto => 'udp', LocalAddr => '\(TestNetwork.internetAddress)', "
                + "LocalPort => 2000); print qq{up\n}; while ($s->recv(my $m, 99)) { print qq{$m\n}; "
                + "$s->send('answer') }"
            let echo = try network.internet.start(["perl", "-MIO::Socket::INET", "-e", script])
            try echo.wait(for: "up", within: 10)
            func ask(_ guest: PlugGuest, _ text: String) throws -> Bool {
                let script =
                    "my $s = IO::Socket::INET->new(Proto => 'udp', LocalPort => 1000, PeerAddr => "
                    + "'\(TestNetwork.internetAddress)', PeerPort => 2000) or die; alarm 2; $s->send('\(text)'); "
                    + "$s->recv(my $m, 99); exit($m ne 'answer')"
                return try guest.namespace.attempt(["perl", "-MIO::Socket::INET", "-e", script]).succeeded
            }
            for (options, isOpen) in [([], true), (["--egress", "deny"], false)] as [([String], Bool)] {
                let daemon = try VMNetDaemon(in: host, ["--switch", path] + options, folder: network.folder)
                let guest = try PlugGuest("guest", path: path, mac: "52:54:00:00:00:07", folder: network.folder)
                try guest.lease()
                #expect(try ask(guest, isOpen ? "before" : "after") == isOpen)
                #expect(try daemon.stop() == .exited(0))
            }
            #expect(echo.output.contains("before") && !echo.output.contains("after"), "\(echo.output)")
        }

        /// An interface that the administrator of a router has closed stays closed, while we run and afterwards.
        @Test func closedForwardingStaysClosed() throws {
            let network = try TestNetwork()
            try makeRouter(network)
            let host = network.host
            let lan = try Namespace("lan")
            try host.connect(to: lan, by: "lan0", "10.97.0.2/24", "10.97.0.1/24")
            try lan.ip("route", "add", "default", "via", "10.97.0.2")
            try network.internet.ip("route", "add", "10.97.0.0/24", "via", TestNetwork.hostAddress)
            try host.run("sysctl", "-qw", "net.ipv4.conf.lan0.forwarding=0")
            #expect(try !lan.pings(TestNetwork.internetAddress, seconds: 1))
            let before = try host.snapshot()
            let daemon = try VMNetDaemon(in: host, ["--switch", network.folder.file("vde")], folder: network.folder)
            try daemon.program.wait(for: "forwarding is off on lan0 of a host that routes", within: 5)
            #expect(try !lan.pings(TestNetwork.internetAddress, seconds: 1))
            #expect(try daemon.stop() == .exited(0))
            #expect(try host.snapshot() == before)
        }

        /// A TAP that is renamed, or made a port of a bridge, is where its rules have no effect: it is down, and back
        /// when that ends.
        @Test func misplacedTapIsSetDown() throws {
            let fixture = try DaemonFixture(["--dhcp", "builtin", "--egress", "deny"])
            let host = fixture.host, program = fixture.daemon.program
            let guest = try fixture.guest()
            try guest.lease()
            try host.ip("link", "set", "vmnet0", "down")
            try host.ip("link", "set", "vmnet0", "name", "guest0")
            try host.ip("link", "set", "guest0", "up")
            try program.wait(
                for:
                    "vmnet0 was renamed to guest0; it stays down until it has its name back; fix it with: sudo ip "
                    + "link set guest0 name vmnet0",
                within: 10)
            #expect(try !guest.namespace.pings(gateway, seconds: 1))
            try host.ip("link", "set", "guest0", "name", "vmnet0")
            try eventually("the TAP is up again") { try guest.namespace.pings(gateway, seconds: 1) }
            try host.ip("link", "set", "vmnet0", "netns", fixture.network.internet.name)
            try program.wait(
                for: "vmnet0 was moved to another network namespace, where its rules have no effect", within: 10)
            #expect(try program.waitForEnd() == .exited(69))
        }

        /// BCP 38, towards the outside and towards the host itself.
        @Test func forgedSourcesAreDropped() throws {
            let network = try TestNetwork()
            try makeRouter(network)
            let host = network.host
            try host.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0")
            let path = network.folder.file("vde")
            let daemon = try VMNetDaemon(in: host, ["--switch", path], folder: network.folder)
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            try guest.lease()
            try giveIPv6(guest, on: host)
            try guest.namespace.ip("addr", "add", "198.51.100.9/32", "dev", PlugGuest.interface)
            try guest.namespace.ip("-6", "addr", "add", "2001:db8:666::1/128", "dev", PlugGuest.interface, "nodad")
            // The guest has the router's hardware address before it forges: it would solicit with the forged source,
            // and the switch drops that.
            try guest.namespace.run("ping", "-c", "1", "-W", "5", "-I", Self.guest6, Self.host6)
            let outside = try network.internet.start(["tcpdump", "-n", "-l", "-i", "eth0", "icmp6 or icmp"])
            let echo = try host.start([
                "perl", "-MIO::Socket::INET", "-e",
                "$|=1; my $s = IO::Socket::INET->new(Proto => 'udp', LocalPort => 7007); print qq{up\\n}; while "
                    + "($s->recv(my $m, 99)) { print 'from ', $s->peerhost, qq{\\n} }",
            ])
            try outside.wait(for: "listening on", within: 10)
            try echo.wait(for: "up", within: 10)
            func send(from source: String) throws {
                let script =
                    "my $s = IO::Socket::INET->new(Proto => 'udp', LocalAddr => '\(source)', PeerAddr => "
                    + "'\(gateway)', PeerPort => 7007) or die; $s->send('x')"
                try guest.namespace.run("perl", "-MIO::Socket::INET", "-e", script)
            }
            try send(from: "198.51.100.9")
            _ = try guest.namespace.attempt(["ping", "-c", "1", "-W", "1", "-I", "2001:db8:666::1", Self.outside6])
            _ = try guest.namespace.attempt([
                "ping", "-c", "1", "-W", "1", "-I", "198.51.100.9", TestNetwork.internetAddress,
            ])
            // What comes after it arrives.
            try guest.namespace.run("ping", "-c", "1", "-W", "5", "-I", Self.guest6, Self.outside6)
            #expect(try guest.namespace.pings(TestNetwork.internetAddress))
            try send(from: "192.168.105.2")
            try echo.wait(for: "from 192.168.105.2", within: 5)
            try outside.wait(for: "ICMP echo request", within: 5)
            #expect(
                !outside.output.contains("198.51.100.9") && !outside.output.contains("2001:db8:666::1"),
                "\(outside.output)")
            #expect(!echo.output.contains("198.51.100.9"))
            #expect(try daemon.stop() == .exited(0))
        }

        // MARK: Rules that other programs remove

        @Test func firewallReloadKeepsOurTable() throws {
            let fixture = try DaemonFixture(["--dhcp", "builtin", "--egress", "deny"])
            let host = fixture.host
            let guest = try fixture.guest()
            try guest.lease()
            for command in ["flush ruleset", "flush table inet vde_vmnet_vmnet0", "delete table inet vde_vmnet_vmnet0"]
            { _ = try host.attempt(["nft", command]) }
            try fixture.daemon.program.wait(for: "vde_vmnet_vmnet0_guards; it is repaired", within: 10)
            #expect(try host.run("nft", "list", "table", "inet", "vde_vmnet_vmnet0_guards").contains("iifname \"wan\""))
            #expect(try host.run("nft", "list", "table", "inet", "vde_vmnet_vmnet0").contains("admin-prohibited"))
            #expect(try !guest.namespace.pings(TestNetwork.internetAddress, seconds: 1))
            #expect(try fixture.daemon.stop() == .exited(0))
            #expect(try host.run("nft", "list", "ruleset").isEmpty)
        }

        /// Before Linux 5.12, or without libnftables, the table has no owner, and any program may remove it.
        @Test func unownedTableIsRestored() throws {
            let network = try TestNetwork()
            let host = network.host, nft = try SeparateNFT(network)
            let path = network.folder.file("vde")
            let program = try host.start(
                nft.wrapper + [
                    TestHost.product("vde_vmnet"), "--state-dir", network.folder.file("state"), "--switch", path,
                    "--egress", "deny",
                ],
                environment: nft.environment)
            try program.wait(for: "ready: ", within: 20)
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            try guest.lease()
            for command in ["delete table inet vde_vmnet_vmnet0", "flush ruleset"] {
                let position = program.output.count
                try host.run("nft", command)
                try program.wait(for: "table vde_vmnet_vmnet0; it is repaired", after: position, within: 10)
                #expect(try host.run("nft", "list", "ruleset").contains("admin-prohibited"))
                try eventually("the TAP is up again") { try guest.namespace.pings(gateway, seconds: 1) }
                #expect(try !guest.namespace.pings(TestNetwork.internetAddress, seconds: 1))
            }
            // No fight with the administrator.
            try host.run("nft", "flush ruleset")
            try program.wait(for: "three times within a minute", within: 10)
            #expect(try !host.run("ip", "-o", "link", "show", "vmnet0").contains("UP"))
            #expect(try host.run("cat", "/proc/sys/net/ipv4/conf/wan/forwarding").trimmed == "0")
            #expect(try host.run("nft", "list", "ruleset").isEmpty)
            #expect(try program.stop() == .exited(0))
        }

        // MARK: In user mode

        @Test func hostModeIsClosedInUserMode() throws {
            let network = try TestNetwork()
            try network.startInternet()
            let path = network.folder.file("vde")
            let daemon = try VMNetDaemon(
                in: network.host, ["--switch", path, "--uplink", "user", "--vmnet-mode", "host"], folder: network.folder
            )
            let guests = try ["one", "two"].map { try PlugGuest($0, path: path, folder: network.folder) }
            // The prefix is announced, and no default router.
            #expect(try guests[0].address6().description.hasPrefix("fd"))
            #expect(try guests[0].namespace.run("ip", "-6", "route", "show", "default").isEmpty)
            let lease = try guests.map { try $0.lease() }
            #expect(lease.allSatisfy { $0["router"] == nil && $0["dns"] == nil }, "\(lease)")
            let guest = guests[0].namespace
            try guest.ip("route", "add", "default", "via", gateway)
            #expect(try guest.pings(lease[1]["ip"]!) && guest.pings(gateway))
            #expect(try !guest.pings(TestNetwork.internetAddress, seconds: 1))
            #expect(throws: (any Error).self) { try guest.fetch(TestNetwork.internetAddress) }
            for server in [gateway, TestNetwork.internetAddress] {
                let answer = try guest.attempt([
                    "timeout", "3", "busybox", "nslookup", TestNetwork.internetName, server,
                ])
                #expect(
                    !answer.output.contains("Address: \(TestNetwork.internetAddress)\n") || !answer.succeeded,
                    "\(answer.output)")
            }
            #expect(try daemon.stop() == .exited(0))
        }
    }
}
