// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Timing

extension IntegrationTests {
    /// DHCP and names, as real clients see them.
    @Suite struct DHCPServices {
        @Test func guestKeepsAddressAcrossRestart() throws {
            let network = try TestNetwork()
            let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
            for (number, signal) in [Signal.terminate, Signal.kill, Signal.terminate].enumerated() {
                let daemon = try VMNetDaemon(in: network.host, ["--dhcp", "builtin", vde.path], folder: network.folder)
                // Requested in another order each time.
                for last in number == 0 ? [1, 2, 3] : [3, 1, 2] {
                    let guest = try PlugGuest(
                        "guest\(last)", path: vde.path, mac: "52:54:00:00:00:0\(last)", folder: network.folder)
                    #expect(try guest.lease()["ip"] == "192.168.105.\(last + 1)")
                }
                daemon.program.signal(signal)
                _ = try daemon.program.waitForEnd()
            }
        }

        @Test func leaseDescribesTheNetwork() throws {
            let fixture = try DaemonFixture(internet: true)
            let lease = try fixture.guest().lease("-O", "domain", "-O", "broadcast")
            #expect(lease["subnet"] == "255.255.255.0")
            #expect(lease["router"] == gateway && lease["dns"] == gateway && lease["serverid"] == gateway)
            #expect(lease["broadcast"] == "192.168.105.255")
            #expect(lease["mtu"] == "1500")
            #expect(lease["lease"] == "1800")
            #expect(lease["domain"] == "vm.internal")
        }

        @Test func configuredRangeIsUsed() throws {
            let fixture = try DaemonFixture([
                "--dhcp", "builtin", "--vmnet-gateway", "10.77.0.1", "--vmnet-mask", "255.255.0.0", "--vmnet-dhcp-end",
                "10.77.0.3",
            ])
            var guests: [PlugGuest] = []
            for (name, address) in [("a", "10.77.0.2"), ("b", "10.77.0.3")] {
                guests.append(try fixture.guest(name))
                #expect(try guests.last!.lease()["ip"] == address)
            }
            let third = try fixture.guest("c")
            #expect(throws: CommandFailed.self) { try third.lease(seconds: 2) }
            #expect(fixture.daemon.program.output.contains("no address left"))
        }

        @Test func addressInUseIsNotOffered() throws {
            let fixture = try DaemonFixture()
            let squatter = try fixture.guest("squatter")
            try squatter.namespace.ip("addr", "add", "192.168.105.2/24", "dev", PlugGuest.interface)
            #expect(try fixture.guest().lease()["ip"] == "192.168.105.3")
        }

        @Test func existingServerDisablesOwnServer() throws {
            let network = try TestNetwork()
            let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
            // Another network on the same switch: a namespace with dnsmasq.
            let other = try PlugGuest("server", path: vde.path, folder: network.folder)
            try other.namespace.ip("addr", "add", "192.168.50.1/24", "dev", PlugGuest.interface)
            let dnsmasq = try other.namespace.start([
                "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--user=root", "--no-resolv", "--no-hosts",
                "--interface=\(PlugGuest.interface)", "--bind-interfaces",
                "--dhcp-range=192.168.50.10,192.168.50.20", "--dhcp-leasefile=\(network.folder.file("dnsmasq.leases"))",
            ])
            try other.namespace.waitForListener(on: 53)
            let daemon = try VMNetDaemon(in: network.host, [vde.path], folder: network.folder)
            try daemon.program.wait(for: "192.168.50.1 serves DHCP on this network", within: 8)
            let guest = try PlugGuest("guest", path: vde.path, folder: network.folder)
            #expect(try guest.lease(seconds: 10)["serverid"] == "192.168.50.1")
            // The tiny guest of `check` is at home there too.
            let check = try network.host.attempt([TestHost.product("vde_vmnet"), "check", vde.path])
            #expect(check.succeeded, "\(check.output)")
            #expect(check.output.contains("from 192.168.50.1"))
            _ = dnsmasq
        }

        @Test func laterServerDisablesOwnServer() throws {
            let network = try TestNetwork()
            let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
            let daemon = try VMNetDaemon(in: network.host, [vde.path], folder: network.folder)
            try daemon.waitUntilServing()
            let other = try PlugGuest("server", path: vde.path, folder: network.folder)
            try other.namespace.ip("addr", "add", "192.168.50.1/24", "dev", PlugGuest.interface)
            let dnsmasq = try other.namespace.start([
                "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--user=root", "--port=0",
                "--interface=\(PlugGuest.interface)", "--bind-interfaces", "--no-ping",
                "--dhcp-range=192.168.50.10,192.168.50.20", "--dhcp-leasefile=\(network.folder.file("dnsmasq.leases"))",
            ])
            try dnsmasq.wait(for: "DHCP, IP range", within: 10)
            let guest = try PlugGuest("guest", path: vde.path, folder: network.folder)
            _ = try? guest.lease()
            try daemon.program.wait(for: "192.168.50.1 serves DHCP on this network", within: 8)
        }

        @Test(arguments: ["off", "system"])
        func hostReceivesDHCPWithoutOwnServer(who: String) throws {
            let fixture = try DaemonFixture(["--dhcp", who])
            let guest = try fixture.guest()
            if who == "off" { #expect(throws: CommandFailed.self) { try guest.lease(seconds: 2) } }
            let dnsmasq = try fixture.host.start([
                "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--user=root", "--port=0", "--interface=vmnet0",
                "--bind-interfaces", "--no-ping",
                "--dhcp-range=192.168.105.100,192.168.105.110",
                "--dhcp-leasefile=\(fixture.folder.file("dnsmasq.leases"))",
            ])
            try dnsmasq.wait(for: "DHCP, IP range", within: 10)
            #expect(try guest.lease()["ip"]?.hasPrefix("192.168.105.1") == true)
        }

        @Test func hostReceivesNoDHCPBesideOwnServer() throws {
            let fixture = try DaemonFixture()
            let guest = try fixture.guest()
            let listener = try fixture.host.start([
                "tcpdump", "-n", "-l", "-i", "vmnet0", "udp", "port", "67", "or", "udp", "port", "68",
            ])
            try listener.wait(for: "listening on", within: 10)
            try guest.lease()
            // A renewal goes to the gateway's own address by unicast.
            let client = try guest.namespace.start([
                "busybox", "udhcpc", "-i", PlugGuest.interface, "-f", "-s", "/bin/true",
            ])
            try client.wait(for: "obtained", within: 10)
            client.signal(Signal.user1)
            try client.wait(for: "sending renew", within: 5)
            try eventually("the renewal's answer") {
                client.output.split(separator: "\n").count { $0.contains("obtained") } == 2
            }
            #expect(try guest.namespace.pings(gateway))
            listener.signal(Signal.interrupt)
            try listener.wait(for: "packets captured", within: 5)
            #expect(listener.output.contains("\n0 packets captured"), "\(listener.output)")
        }

        // MARK: Names

        @Test func dnsIsForwardedOverUDPAndTCP() throws {
            let fixture = try DaemonFixture(internet: true)
            let guest = try fixture.guest()
            try guest.lease()
            let answer = try guest.namespace.attempt([
                "busybox", "nslookup", "-type=a", TestNetwork.internetName, gateway,
            ])
            #expect(answer.output.contains(TestNetwork.internetAddress), "\(answer.output)")
            #expect(
                try fixture.check("--name", TestNetwork.internetName).output.contains(
                    "is \(TestNetwork.internetAddress) according to \(gateway)"))
            #expect(try DNSClient.askByTCP(fixture, TestNetwork.internetName).contains(TestNetwork.internetAddress))
            #expect(try DNSClient.askByTCP(fixture, "localhost").contains("127.0.0.1"))
            // Only guests are served.
            #expect(
                try fixture.network.internet.attempt([
                    "busybox", "nslookup", "-type=a", "localhost", TestNetwork.hostAddress,
                ]).succeeded == false)
        }

        @Test func changedResolversAreReread() throws {
            let fixture = try DaemonFixture(internet: true)
            // A resolver that is not there, then the right one.
            try fixture.host.setResolvers("nameserver 203.0.113.77\n")
            BootClock.sleep(.milliseconds(1100))
            #expect(try fixture.check("--name", TestNetwork.internetName).succeeded == false)
            try fixture.host.setResolvers("nameserver 203.0.113.77\nnameserver \(TestNetwork.internetAddress)\n")
            BootClock.sleep(.milliseconds(1100))
            let check = try fixture.check("--name", TestNetwork.internetName)
            #expect(check.succeeded, "the second of two is asked when the first is silent: \(check.output)")
        }
    }
}

/// A DNS client over TCP in bash, inside its own guest.
enum DNSClient {
    static func askByTCP(_ fixture: DaemonFixture, _ name: String) throws -> String {
        let guest = try fixture.guest("resolver")
        try guest.lease()
        return try askByTCP(guest, name)
    }

    static func askByTCP(_ guest: PlugGuest, _ name: String) throws -> String {
        // One query: length, id, recursion, one question, name, type A, class IN.
        let labels = name.split(separator: ".").map {
            "\\x" + String($0.utf8.count + 0x100, radix: 16).dropFirst() + $0
        }.joined()
        let length = 12 + name.utf8.count + 2 + 4
        let message =
            "\\x00\\x" + String(length + 0x100, radix: 16).dropFirst()
            + "\\x12\\x34\\x01\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\(labels)\\x00\\x00\\x01\\x00\\x01"
        let script =
            "exec 3<>/dev/tcp/192.168.105.1/53; printf '\(message)' >&3; timeout 5 head -c \(length + 2 + 16) <&3 | "
            + "tail -c 4 | od -An -tu1"
        let bytes = try guest.namespace.run("bash", "-c", script)
        return bytes.split(separator: " ").map { $0.filter(\.isNumber) }.joined(separator: ".")
    }
}
