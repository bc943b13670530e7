// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// ICMP errors of guests on a TAP count for connections that pass this TAP, and for no other.
    @Suite struct ForgedErrors {
        private static let refused = "Connection refused"

        /// The addresses of one version of IP.
        private struct Addresses {
            let outside, host, gateway, guest: String
        }

        /// Gives the guest its addresses of both versions. Its packets to the outside leave by the gateway at the TAP,
        /// whatever its default router is.
        /// - Parameters:
        ///   - network: the first bytes of the network's addresses.
        ///   - suffix: the last byte of the guest's address.
        private func addresses(
            _ guest: PlugGuest, network: String = "192.168.105", suffix: Int = 2
        ) throws -> [Addresses] {
            let own6 = try guest.address6(), own = "\(network).\(suffix)"
            let gateway = "\(network).1", gateway6 = "\(IPv6Address(own6.high, 1))"
            try guest.namespace.ip("addr", "add", own + "/24", "dev", PlugGuest.interface)
            try guest.namespace.ip("route", "replace", "203.0.113.0/24", "via", gateway)
            try guest.namespace.ip("-6", "route", "replace", "2001:db8::/64", "via", gateway6)
            return [
                Addresses(
                    outside: TestNetwork.internetAddress, host: TestNetwork.hostAddress, gateway: gateway, guest: own),
                Addresses(
                    outside: IPv6Fixture.outside, host: IPv6Fixture.host, gateway: gateway6, guest: "\(own6)"),
            ]
        }

        /// Sends a line and waits for the answer, which shows that an error before it was not believed.
        private func expectAnswer(_ client: BackgroundProgram, _ text: String, _ comment: String) throws {
            try client.type(text + "\n")
            try client.wait(for: text, within: 10)
            #expect(!client.output.contains(Self.refused), "\(comment): \(client.output)")
        }

        @Test(arguments: [[], ["--egress", "deny"], ["--vmnet-mode", "host"]] as [[String]])
        func errorsAboutTheHostsConnectionsAreDropped(options: [String]) throws {
            let fixture = try IPv6Fixture(["--uplink", "tap"] + options)
            let host = fixture.network.host, guest = try fixture.guest()
            let echo = try ErrorForger.startEcho(in: fixture.network.internet, port: 6000)
            for (number, own) in try addresses(guest).enumerated() {
                let port = 5000 + number, destination = (own.outside, 6000)
                let client = try ErrorForger.startClient(in: host, port: port, to: own.outside, port: 6000)
                try expectAnswer(client, "first", "\(own)")
                // Conntrack relates an error to the sender's address to the connection, and one to another address not.
                for (index, target) in [own.host, own.gateway].enumerated() {
                    for kind in ["port", "1300"] {
                        try ErrorForger.send(
                            kind, from: guest, to: target, quoting: (own.host, port), to: destination,
                            gateway: own.gateway)
                        try expectAnswer(client, "after \(kind) \(index)", "\(options) \(kind) to \(target)")
                    }
                    #expect(try !ErrorForger.knowsPathMTU(host, own.outside, 1300), "\(options) to \(target)")
                }
            }
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = echo
        }

        @Test func errorsAboutConnectionsOfAnotherTapAreDropped() throws {
            let fixture = try IPv6Fixture(["--uplink", "tap"])
            let second = try fixture.startSecond(["--uplink", "tap"])
            let host = fixture.network.host, guest = try fixture.guest()
            let other = try PlugGuest("other", path: fixture.path + "2", folder: fixture.network.folder)
            let echo = try ErrorForger.startEcho(in: guest.namespace, port: 6000)
            let others = try addresses(other, network: "192.168.106")
            for (number, own) in try addresses(guest).enumerated() {
                let client = try ErrorForger.startClient(in: host, port: 5000 + number, to: own.guest, port: 6000)
                try expectAnswer(client, "first", "\(own)")
                try other.namespace.ip(
                    number == 0 ? "-4" : "-6", "route", "replace", own.gateway, "via", others[number].gateway)
                try ErrorForger.send(
                    "port", from: other, to: own.gateway, quoting: (own.gateway, 5000 + number),
                    to: (own.guest, 6000), gateway: others[number].gateway)
                try expectAnswer(client, "second", "\(own)")
            }
            #expect(try second.stop() == .exited(0))
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = echo
        }

        @Test(arguments: [[], ["--egress", "deny"], ["--vmnet-mode", "host"]] as [[String]])
        func errorsAboutConnectionsToGuestsCount(options: [String]) throws {
            let fixture = try IPv6Fixture(["--uplink", "tap"] + options)
            let host = fixture.network.host, hardware = "52:54:00:00:00:07"
            var guest = try fixture.guest(mac: hardware)
            var clients: [BackgroundProgram] = []
            for (number, own) in try addresses(guest).enumerated() {
                let client = try ErrorForger.startClient(in: host, port: 5000 + number, to: own.guest, port: 6000)
                // Conntrack calls the connection established from its first answer on.
                let echo = try ErrorForger.startEcho(in: guest.namespace, port: 6000)
                try expectAnswer(client, "first", "\(own)")
                echo.kill()
                try client.type("to a closed port\n")
                try client.wait(for: Self.refused, within: 10)
                try ErrorForger.send(
                    "1300", from: guest, to: own.gateway, quoting: (own.gateway, 5000 + number),
                    to: (own.guest, 6000), gateway: own.gateway)
                #expect(try ErrorForger.knowsPathMTU(host, own.guest, 1300), "\(own)")
                clients.append(client)
            }
            // The TAP has another index, and the connections are older than its rules.
            guest.stop()
            try fixture.restart(["--uplink", "tap"] + options)
            guest = try fixture.guest(mac: hardware)
            _ = try addresses(guest)
            for client in clients {
                let offset = client.output.count
                try eventually("an error of the guest") {
                    try client.type("again\n")
                    return (try? client.wait(for: Self.refused, after: offset, within: 1)) != nil
                }
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// A router behind the TAP reports for a network that the host routes to it.
        @Test func routersBehindGuestsReport() throws {
            let fixture = try IPv6Fixture(["--uplink", "tap"])
            let host = fixture.network.host, guest = try fixture.guest(), inner = try Namespace("inner")
            let own = try addresses(guest)
            try guest.namespace.connect(to: inner, by: "inner", "10.9.0.1/24", "10.9.0.2/24")
            try guest.namespace.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
            try guest.namespace.ip("-6", "addr", "add", "2001:db8:9::1/64", "dev", "inner", "nodad")
            try inner.ip("-6", "addr", "add", "2001:db8:9::2/64", "dev", "eth0", "nodad")
            try inner.ip("route", "add", "default", "via", "10.9.0.1")
            try inner.ip("-6", "route", "add", "default", "via", "2001:db8:9::1")
            try guest.namespace.ip("link", "set", "inner", "mtu", "1300")
            try host.ip("route", "add", "10.9.0.0/24", "via", own[0].guest)
            try host.ip("-6", "route", "add", "2001:db8:9::/64", "via", own[1].guest)
            for (number, address) in ["10.9.0.2", "2001:db8:9::2"].enumerated() {
                let client = try ErrorForger.startClient(in: host, port: 5000 + number, to: address, port: 6000)
                try client.type("to a closed port\n")
                try client.wait(for: Self.refused, within: 10)
                try client.type(String(repeating: "x", count: 1400) + "\n")
                try eventually("the MTU of the path to \(address)") {
                    try ErrorForger.knowsPathMTU(host, address, 1300)
                }
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test(.enabled(if: IPv6Fixture.canForward, "needs net.ipv6.conf.*.force_forwarding"))
        func clientsOfPublishedPortsGetErrors() throws {
            let fixture = try IPv6Fixture([
                "--uplink", "tap", "--publish", "6000:192.168.105.10:6100/udp", "--publish", "6000:[::10]:6100/udp",
            ])
            let internet = fixture.network.internet, host = fixture.network.host
            let guest = try fixture.guest()
            let own = try addresses(guest, suffix: 10)
            let guest6 = "\(IPv6Address(try guest.address6().high, 0x10))"
            try guest.namespace.ip("-6", "addr", "add", guest6 + "/64", "dev", PlugGuest.interface, "nodad")
            for (number, target) in ["192.168.105.10", guest6].enumerated() {
                let own = own[number], port = 5000 + number
                for (namespace, source) in [(internet, own.outside), (host, own.host)] {
                    let client = try ErrorForger.startClient(in: namespace, port: port, to: own.host, port: 6000)
                    try client.type("to a closed port\n")
                    try client.wait(for: Self.refused, within: 10)
                    guard namespace === internet else { continue }
                    try ErrorForger.send(
                        "1300", from: guest, to: source, quoting: (source, port), to: (target, 6100),
                        gateway: own.gateway)
                    try eventually("the MTU of the path of \(own.outside)") {
                        try ErrorForger.knowsPathMTU(internet, own.host, 1300)
                    }
                }
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }
    }
}
