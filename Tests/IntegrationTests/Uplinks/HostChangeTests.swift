// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// The host's network changes under a running daemon, as on a laptop.
    @Suite struct HostChanges {
        /// A host with a web server and a resolver behind its uplink, other ones behind a VPN, and a guest.
        private final class Laptop {
            let network: TestNetwork
            let vpn: Namespace
            let daemon: VMNetDaemon
            let guest: PlugGuest
            private var servers: [BackgroundProgram] = []
            private var position = 0

            var host: Namespace { network.host }

            init() throws {
                network = try TestNetwork()
                try network.startInternet()
                let host = network.host
                vpn = try Namespace("vpn")
                try host.ip("link", "set", "wan", "down")
                let path = network.folder.file("vde")
                daemon = try VMNetDaemon(in: host, ["--switch", path], folder: network.folder)
                guest = try PlugGuest("guest", path: path, folder: network.folder)
                try guest.lease()
                // The other end of the tunnel has the same services at the same addresses, with other answers.
                try vpn.ip("addr", "add", TestNetwork.internetAddress + "/32", "dev", "lo")
                servers = [
                    try vpn.startWeb("Hello from the VPN", folder: network.folder),
                    try vpn.start([
                        "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root",
                        "--bind-interfaces", "--listen-address=\(TestNetwork.internetAddress)",
                        "--address=/inside.example/198.51.100.77",
                    ]),
                ]
                try vpn.waitForListener(on: 53)
            }

            /// Waits for a message since the last one that was waited for.
            func waitForMessage(_ text: String) throws {
                position += try daemon.program.wait(for: text, after: position, within: 10).count
            }

            func page() throws -> String { try guest.namespace.fetch(TestNetwork.internetAddress) }

            func reachesGateway() throws -> Bool {
                try guest.namespace.pings(gateway, seconds: 1) && host.pings("192.168.105.2", seconds: 1)
            }

            func resolves(_ name: String) throws -> Bool {
                try guest.namespace.attempt(["timeout", "5", "busybox", "nslookup", "-type=a", name, gateway]).succeeded
            }

            func connect() throws {
                try host.ip("link", "set", "wan", "up")
                try host.ip("route", "replace", "default", "via", TestNetwork.internetAddress)
            }

            /// As Tailscale's exit nodes have it: all that is not for the host itself by table 52.
            func startVPN() throws {
                try host.ip("link", "add", "tun0", "type", "veth", "peer", "name", "eth0", "netns", vpn.name)
                try vpn.ip("addr", "add", "100.64.0.1/24", "dev", "eth0")
                try vpn.ip("link", "set", "eth0", "up")
                try host.ip("addr", "add", "100.64.0.2/24", "dev", "tun0")
                try host.ip("link", "set", "tun0", "mtu", "1280", "up")
                try host.ip("route", "add", "default", "via", "100.64.0.1", "dev", "tun0", "table", "52")
                try host.ip("route", "add", "blackhole", "default", "metric", "4278198272", "table", "52")
                try host.ip("rule", "add", "pref", "5270", "lookup", "52")
            }
        }

        @Test func hostChangesUplinkVPNAndResolver() throws {
            let laptop = try Laptop()
            let host = laptop.host, guest = laptop.guest.namespace
            #expect(try laptop.reachesGateway())
            #expect(try !guest.pings(TestNetwork.internetAddress, seconds: 1), "offline")
            // From now on, a probe checks all the time whether the guest reaches the host.
            let pings = try guest.start(["ping", "-i", "0.2", "-O", "-D", gateway])
            try pings.wait(for: "icmp_seq=1 ", within: 5)

            try laptop.connect()
            try laptop.waitForMessage("forwarding for guests through wan")
            #expect(try laptop.page() == "Hello from the Internet")
            try eventually("names are resolved") { try laptop.resolves(TestNetwork.internetName) }

            try laptop.startVPN()
            try laptop.waitForMessage(
                "routing rule 5270 looks up table 52 before the main table; a rule at 5269 keeps 192.168.105.0/24 "
                    + "reachable"
            )
            try eventually("guests go by the VPN") { try laptop.page() == "Hello from the VPN" }
            #expect(try laptop.reachesGateway())
            try host.setResolvers("nameserver \(TestNetwork.internetAddress)\nsearch inside.example\n")
            try eventually("names of the VPN") { try laptop.resolves("inside.example") }

            try host.run("nft", "flush", "ruleset")
            #expect(try laptop.page() == "Hello from the VPN")

            // What some VPN clients write, and `sysctl --system` with a file of the distribution's.
            try host.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
            try host.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
            try laptop.waitForMessage("forwarding was set to 0 by another program; it is repaired")
            try eventually("forwarding is back") { try laptop.page() == "Hello from the VPN" }

            try host.ip("addr", "flush", "dev", "vmnet0")
            try laptop.waitForMessage(
                "the address 192.168.105.1/24 was removed from vmnet0 by another program; it is repaired")
            try host.ip("link", "set", "vmnet0", "down")
            try laptop.waitForMessage("vmnet0 was taken down by another program; it is repaired")
            try host.ip("route", "del", "192.168.105.0/24", "dev", "vmnet0")
            try laptop.waitForMessage(
                "the route to 192.168.105.0/24 by vmnet0 was removed by another program; it is repaired")
            try eventually("the TAP is as it was") {
                try laptop.reachesGateway() && laptop.page() == "Hello from the VPN"
            }

            try host.ip("link", "add", "br9", "type", "bridge")
            try host.ip("link", "set", "br9", "up")
            try host.ip("link", "set", "vmnet0", "master", "br9")
            try laptop.waitForMessage(
                "vmnet0 is a port of br9, where the rules for its guests have no effect; it stays down until it is "
                    + "removed from the bridge; fix it with: sudo ip link set vmnet0 nomaster"
            )
            try host.ip("link", "set", "vmnet0", "nomaster")
            try laptop.waitForMessage("resolved: vmnet0 is a port of br9")
            try host.ip("route", "add", "192.168.105.0/28", "dev", "br9")
            try laptop.waitForMessage(
                "the route to 192.168.105.0/28 by br9 diverts packets from guests of 192.168.105.0/24; fix it with: "
                    + "sudo ip route del 192.168.105.0/28 dev br9"
            )
            try host.ip("route", "del", "192.168.105.0/28", "dev", "br9")
            try laptop.waitForMessage("resolved: the route to 192.168.105.0/28")
            let own = try host.run("ip", "-6", "route", "show", "dev", "vmnet0", "proto", "kernel").split(
                separator: " ")
            let prefix = String(try #require(own.first { $0.hasPrefix("fd") }))
            try host.ip("-6", "route", "add", prefix, "dev", "br9", "metric", "10")
            try laptop.waitForMessage(
                "the route to \(prefix) by br9 diverts packets from guests of \(prefix); fix it with: "
                    + "sudo ip -6 route del \(prefix) dev br9")
            try host.ip("-6", "route", "del", prefix, "dev", "br9")
            try laptop.waitForMessage("resolved: the route to \(prefix) by br9")

            // The kill switch: the tunnel is gone, the rule and its last route are not. Nothing of the guest's takes
            // another way.
            try host.ip("link", "del", "tun0")
            try eventually("the VPN is gone") { try !guest.pings(TestNetwork.internetAddress, seconds: 1) }
            #expect(throws: (any Error).self) { try laptop.page() }
            try host.ip("rule", "del", "pref", "5270")
            try laptop.waitForMessage("the routing rule 5269 for 192.168.105.0/24 is no longer needed; it is removed")
            try eventually("guests go by the uplink again") { try laptop.page() == "Hello from the Internet" }

            // Asleep, and awake.
            laptop.daemon.program.signal(19)
            #expect(try !guest.pings(gateway, seconds: 1))
            laptop.daemon.program.signal(18)
            #expect(try guest.pings(gateway) && laptop.page() == "Hello from the Internet")

            #expect(try laptop.daemon.stop() == .exited(0))
            #expect(try !host.run("ip", "rule").contains("192.168.105.0/24"))
            let lost = pings.output.split(separator: "\n").count { $0.contains("no answer yet") },
                answered = pings.output.split(separator: "\n").count { $0.contains("time=") }
            print("a guest's pings to the host during the day: \(answered) answered, \(lost) lost")
            pings.kill()
        }

        /// Leases follow the host: its search domains, and the MTU of the uplink unless one was chosen.
        @Test func leasesFollowHostSettings() throws {
            let network = try TestNetwork()
            let host = network.host
            try host.setResolvers("nameserver \(TestNetwork.internetAddress)\nsearch corp.example lab.example\n")
            let path = network.folder.file("vde")
            let daemon = try VMNetDaemon(in: host, ["--switch", path], folder: network.folder)
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            var lease = try guest.lease("-O", "search")
            #expect(lease["mtu"] == "1500" && lease["search"] == "vm.internal corp.example lab.example", "\(lease)")
            try host.setResolvers("nameserver \(TestNetwork.internetAddress)\nsearch vpn.example\n")
            try host.ip("link", "set", "wan", "mtu", "1280")
            try eventually("a lease that follows") {
                lease = try guest.lease("-O", "search")
                return lease["mtu"] == "1280" && lease["search"] == "vm.internal vpn.example"
            }
            #expect(try daemon.stop() == .exited(0))
            let fixed = try VMNetDaemon(
                in: host, ["--switch", path, "--vmnet-mtu", "1400", "--domain", "off"], folder: network.folder)
            let other = try PlugGuest("other", path: path, folder: network.folder)
            lease = try other.lease("-O", "search")
            #expect(lease["mtu"] == "1400" && lease["search"] == "vpn.example" && lease["domain"] == "vpn.example")
            #expect(try fixed.stop() == .exited(0))
        }

        /// A rule of a killed instance goes with the next start.
        @Test func ruleOfKilledInstanceIsRemoved() throws {
            let network = try TestNetwork()
            let host = network.host
            try host.ip("rule", "add", "pref", "100", "lookup", "77")
            let before = try host.run("ip", "rule")
            let first = try VMNetDaemon(in: host, ["--switch", network.folder.file("vde")], folder: network.folder)
            #expect(
                try host.run("ip", "rule").contains(
                    "99:\tfrom all to 192.168.105.0/24 lookup main suppress_prefixlength 0"))
            first.program.kill()
            let second = try VMNetDaemon(
                in: host, ["--switch", network.folder.file("vde2"), "--vmnet-gateway", "10.77.0.1"],
                folder: network.folder)
            let rules = try host.run("ip", "rule")
            #expect(!rules.contains("192.168.105.0/24") && rules.contains("10.77.0.0/24"))
            #expect(try second.stop() == .exited(0))
            #expect(try host.run("ip", "rule") == before)
        }

        private static let lossy = """
            table inet lossy {
              chain outward {
                type filter hook output priority 0; policy accept;
                icmp type destination-unreachable drop
                icmpv6 type packet-too-big drop
              }
            }

            """

        /// A tunnel with a smaller MTU on a path where ICMP is lost: TCP gets through, as that of the host itself does.
        @Test(arguments: ["4", "6"]) func segmentsFitUplinkMTU(version: String) throws {
            let network = try TestNetwork()
            let host = network.host, internet = network.internet
            let isIPv6 = version == "6"
            try host.ip("link", "set", "wan", "mtu", "1280")
            try internet.run("nft", "-f", "-", input: Self.lossy)
            try host.run("nft", "-f", "-", input: Self.lossy)
            let path = network.folder.file("vde")
            let daemon = try VMNetDaemon(in: host, ["--switch", path], folder: network.folder)
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            try guest.lease()
            var address = TestNetwork.internetAddress
            if isIPv6 {
                address = "2001:db8::1"
                try host.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
                try host.ip("-6", "addr", "add", "2001:db8::2/64", "dev", "wan", "nodad")
                try internet.ip("-6", "addr", "add", "\(address)/64", "dev", "eth0", "nodad")
                try internet.ip("-6", "route", "add", "fd00:105::/64", "via", "2001:db8::2")
                try host.ip("-6", "addr", "add", "fd00:105::1/64", "dev", "vmnet0", "nodad")
                try guest.namespace.ip("-6", "addr", "add", "fd00:105::2/64", "dev", PlugGuest.interface, "nodad")
                try guest.namespace.ip("-6", "route", "add", "default", "via", "fd00:105::1", "metric", "1")
            }
            let page = String(repeating: "x", count: 300_000)
            let web = try internet.startWeb(page, folder: network.folder, address: isIPv6 ? "[::]:80" : "80")
            #expect(try guest.namespace.fetch(address) == page)
            #expect(try daemon.stop() == .exited(0))
            _ = web
        }
    }
}
