// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// `--outbound`: the outbound path of user mode, on a host with two uplinks.
    @Suite struct RootlessOutbound {
        private typealias Host = TwoUplinksFixture

        private func expectWay(_ fixture: TwoUplinksFixture, _ way: String, _ four: String, _ six: String) throws {
            for type in ["tcp", "udp"] {
                #expect(try fixture.ask(type, Host.server) == "\(way) \(four)", "\(type)")
                #expect(try fixture.ask(type, Host.server6) == "\(way) \(six)", "\(type)")
            }
            #expect(try fixture.guest.namespace.pings(Host.server) == (way == "lan"))
            #expect(try fixture.guest.namespace.pings(Host.server6) == (way == "lan"))
        }

        @Test func withoutTheOptionRoutesDecide() throws {
            let fixture = try TwoUplinksFixture()
            try fixture.start(["--uplink", "user"])
            try fixture.guest.waitForRouter()
            try expectWay(fixture, "wan", TestNetwork.hostAddress, "2001:db8:1::2")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func everythingLeavesByTheInterface() throws {
            let fixture = try TwoUplinksFixture()
            try fixture.start([
                "--outbound", "lan", "--host-loopback", "--publish", "203.0.113.2:7100:192.168.105.2:7100",
            ])
            try fixture.guest.waitForRouter()
            try expectWay(fixture, "lan", Host.lanAddress, Host.lanAddress6)
            // The host itself is reached as without the option, at the gateway and at its own addresses.
            let service = try fixture.network.host.start(["perl", "-e", TwoUplinksFixture.echoForHost])
            try service.wait(for: "listening", within: 10)
            for address in [gateway, TestNetwork.hostAddress, Host.lanAddress] {
                #expect(try fixture.ask("udp", address, port: 7001) == "host", "\(address)")
                #expect(try fixture.ask("tcp", address, port: 7001) == "host", "\(address)")
            }
            // The host's own resolver is reached by the host's routes.
            #expect(try fixture.resolve("way.example") == "192.0.2.10")
            // A published port is served where it was published.
            let server = try fixture.guest.namespace.startWeb(
                "guest", folder: fixture.network.folder, address: "192.168.105.2:7100")
            #expect(try fixture.network.internet.fetch("203.0.113.2", port: 7100) == "guest")
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = (service, server)
        }

        @Test func chosenResolversAreReachedByTheInterface() throws {
            let fixture = try TwoUplinksFixture(hasIPv6: false)
            try fixture.start(["--outbound", "lan", "--dns", Host.server])
            #expect(try fixture.resolve("way.example") == "192.0.2.11")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func everythingLeavesFromTheAddresses() throws {
            let fixture = try TwoUplinksFixture()
            try fixture.addSourceRoutes()
            try fixture.start(["--outbound", Host.lanAddress, "--outbound", Host.lanAddress6])
            try fixture.guest.waitForRouter()
            try expectWay(fixture, "lan", Host.lanAddress, Host.lanAddress6)
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func anAddressOfOneVersionClosesTheOther() throws {
            let fixture = try TwoUplinksFixture()
            try fixture.addSourceRoutes()
            try fixture.start(["--outbound", Host.lanAddress])
            #expect(try fixture.ask("udp", Host.server) == "lan \(Host.lanAddress)")
            let six = try fixture.guest.address6()
            #expect(six.high >> 56 == 0xfd)
            // No router is advertised; a guest that has the route anyway gets "unreachable".
            #expect(try fixture.guest.namespace.run("ip", "-6", "route", "show", "default").isEmpty)
            try fixture.guest.namespace.ip(
                "-6", "route", "add", "default", "via", "fe80::1", "dev", PlugGuest.interface)
            for type in ["tcp", "udp"] {
                #expect(try fixture.ask(type, Host.server6).contains("Network is unreachable"), "\(type)")
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func anAddressOfIPv6ClosesIPv4() throws {
            let fixture = try TwoUplinksFixture()
            try fixture.addSourceRoutes()
            try fixture.start(["--outbound", Host.lanAddress6])
            try fixture.guest.waitForRouter()
            for type in ["tcp", "udp"] {
                #expect(try fixture.ask(type, Host.server6) == "lan \(Host.lanAddress6)", "\(type)")
                #expect(try fixture.ask(type, Host.server).contains("Network is unreachable"), "\(type)")
            }
            #expect(try fixture.guest.namespace.pings(Host.server6))
            #expect(try !fixture.guest.namespace.pings(Host.server, seconds: 1))
            // Names are resolved by the host's routes.
            #expect(try fixture.resolve("way.example") == "192.0.2.10")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// Nothing of the guest leaves.
        private func expectUnreachable(_ fixture: TwoUplinksFixture, _ flow: OutputFollower) throws {
            try flow.expect("Network is unreachable\n")
            for type in ["tcp", "udp"] {
                #expect(try fixture.ask(type, Host.server).contains("Network is unreachable"), "\(type)")
            }
            #expect(try !fixture.guest.namespace.pings(Host.server, seconds: 1))
        }

        /// A link that is down keeps its index; an interface with another name is another one.
        @Test(arguments: ["down", "renamed"]) func interfaceThatChangesIsUsedAgain(change: String) throws {
            let fixture = try TwoUplinksFixture(hasIPv6: false), host = fixture.network.host
            try fixture.start(["--outbound", "lan"])
            let flow = try OutputFollower(portOf: fixture.guest.namespace, asking: Host.server)
            try flow.expect("lan \(Host.lanAddress)\n")
            try host.ip("link", "set", "lan", "down")
            if change == "renamed" {
                try host.ip("link", "set", "lan", "name", "lan2")
                try host.ip("link", "set", "lan2", "up")
                try host.ip("route", "add", "default", "via", "198.51.100.1", "metric", "200")
                try fixture.daemon.wait(for: "--outbound: this host has lost lan", within: 10)
            }
            try expectUnreachable(fixture, flow)
            if change == "renamed" {
                try host.ip("link", "set", "lan2", "down")
                try host.ip("link", "set", "lan2", "name", "lan")
            }
            try host.ip("link", "set", "lan", "up")
            try host.ip("route", "add", "default", "via", "198.51.100.1", "metric", "200")
            try flow.expect("lan \(Host.lanAddress)\n", within: 5)
            try eventually("pings and TCP are back", within: 5) {
                try fixture.guest.namespace.pings(Host.server, seconds: 1)
                    && fixture.ask("tcp", Host.server) == "lan \(Host.lanAddress)"
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// A device that is removed and made again has another index.
        @Test(arguments: ["interface", "address"]) func whatIsLostIsRefusedUntilItIsBack(kind: String) throws {
            let fixture = try TwoUplinksFixture(hasIPv6: false), host = fixture.network.host
            try fixture.addSourceRoutes()
            try fixture.start(["--outbound", kind == "interface" ? "lan" : Host.lanAddress])
            // One port of the guest, before, meanwhile and after.
            let flow = try OutputFollower(portOf: fixture.guest.namespace, asking: Host.server)
            try flow.expect("lan \(Host.lanAddress)\n")
            if kind == "interface" {
                try host.ip("link", "del", "lan")
            } else {
                try host.ip("addr", "del", Host.lanAddress + "/24", "dev", "lan")
            }
            try fixture.daemon.wait(for: "--outbound: this host has lost", within: 10)
            try expectUnreachable(fixture, flow)
            if kind == "interface" {
                try host.connect(to: fixture.second, by: "lan", Host.lanAddress + "/24", "198.51.100.1/24")
                try host.ip("route", "add", "default", "via", "198.51.100.1", "metric", "200")
            } else {
                try host.ip("addr", "add", Host.lanAddress + "/24", "dev", "lan")
            }
            try host.ip("route", "replace", "default", "via", "198.51.100.1", "table", "100")
            try flow.expect("lan \(Host.lanAddress)\n", within: 5)
            try eventually("pings and TCP are back", within: 5) {
                try fixture.guest.namespace.pings(Host.server, seconds: 1)
                    && fixture.ask("tcp", Host.server) == "lan \(Host.lanAddress)"
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }
    }
}
