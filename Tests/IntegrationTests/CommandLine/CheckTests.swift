// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// `vde_vmnet check` beyond the basic steps.
    @Suite struct CheckCommands {
        private static let outside6 = "2001:db8::1"

        private func check(_ fixture: ControlFixture, _ options: String...) throws -> ChildProcess.Output {
            try fixture.host.attempt([TestHost.product("vde_vmnet"), "check", fixture.path] + options)
        }

        private func line(_ step: String, of result: ChildProcess.Output) throws -> String {
            let lines = result.output.split(separator: "\n")
            let line = try #require(
                lines.first { $0.split(separator: " ").dropFirst().first == step[...] }, "\(result.output)")
            return String(line)
        }

        @Test(arguments: ControlFixture.Uplink.allCases)
        func wholeNetworkIsChecked(uplink: ControlFixture.Uplink) throws {
            let fixture = try ControlFixture(uplink.rawValue, internet: true) { network in
                try IPv6Fixture.giveIPv6(network.host)
                // Otherwise the user-mode NAT may not send the pings of the path's check.
                try network.host.run("sysctl", "-qw", "net.ipv4.ping_group_range=0 65535")
                try network.internet.ip("-6", "addr", "add", "\(Self.outside6)/64", "dev", "eth0", "nodad")
            }
            let internet = fixture.network.internet
            let sink = try internet.start([
                "/usr/bin/python3", "-c",
                """
                import socket
                s = socket.create_server(("::", 5001), family=socket.AF_INET6, dualstack_ipv6=True)
                while True:
                    c, _ = s.accept()
                    try:
                        while c.recv(65536): pass
                    except OSError: pass
                """,
            ])
            try internet.waitForListener(on: 5001)
            let address = TestNetwork.internetAddress
            let result = try check(
                fixture, "--tcp", "\(address):80", "--tcp6", "[\(Self.outside6)]:5001", "--seconds", "1", "--to",
                "\(address):5001")
            #expect(result.succeeded, "\(result.output)\(result.error)")
            for step in ["mtu", "dns-tcp", "path", "rate"] {
                #expect(try line(step, of: result).hasPrefix("ok "), "\(result.output)")
            }
            #expect(try line("rate", of: result).contains("Mbit/s to \(address)"))
            // On a TAP whose kernel cannot forward IPv6, the NAT beside it carries the same.
            for step in ["ipv6", "ping6", "mtu6", "name6", "tcp6", "path6"] {
                #expect(try line(step, of: result).hasPrefix("ok "), "\(step): \(result.output)")
            }
            let six = try check(fixture, "--seconds", "1", "--to", "[\(Self.outside6)]:5001")
            #expect(six.succeeded && six.output.contains("Mbit/s to \(Self.outside6)"), "\(six.output)")
            let closed = try check(fixture, "--seconds", "1", "--to", "\(address):5002")
            #expect(closed.termination == .exited(1) && closed.output.contains("failed  rate"), "\(closed.output)")
            #expect(try fixture.daemon.stop() == .exited(0))
            sink.kill()
        }

        @Test func shortPathIsFound() throws {
            let fixture = try ControlFixture("tap", ["--vmnet-mtu", "1500"], internet: true)
            try fixture.host.ip("link", "set", "wan", "mtu", "1400")
            let reported = try check(fixture, "--tcp", "\(TestNetwork.internetAddress):80")
            #expect(
                try line("path", of: reported).contains("reports a path MTU of 1400 bytes"), "\(reported.output)")
            // The host's side of the network takes shorter packets than guests send.
            try fixture.host.ip("link", "set", "vmnet0", "mtu", "1300")
            let short = try check(fixture)
            #expect(short.termination == .exited(1), "\(short.output)")
            #expect(try line("mtu", of: short).hasPrefix("failed "), "\(short.output)")
            #expect(short.output.contains("--vmnet-mtu 13"), "\(short.output)")
            _ = try fixture.daemon.stop()
        }

        /// A router or the user-mode NAT reports the MTU of a path, and what is not there.
        @Test(arguments: IPv6Way.possible) func shortPathAndLackOfDestinationAreFoundOverIPv6(way: IPv6Way) throws {
            let fixture = try way.fixture()
            let host = fixture.network.host
            try host.ip("link", "set", "wan", "mtu", "1400")
            func check(_ options: String...) throws -> ChildProcess.Output {
                try host.attempt([TestHost.product("vde_vmnet"), "check", fixture.path] + options)
            }
            let closed = try check("--tcp6", "[\(Self.outside6)]:5001")
            #expect(
                closed.termination == .exited(1) && closed.output.contains("\(Self.outside6) refuses connections"),
                "\(closed.output)")
            #expect(
                try line("path6", of: closed).contains("reports a path MTU of 1400 bytes to \(Self.outside6)"),
                "\(closed.output)")
            try host.ip("-6", "route", "add", "unreachable", "2001:db8:9::/64")
            // The connection to measure has the outcomes of the other one.
            let unrouted = try check("--tcp6", "[2001:db8:9::1]:80", "--seconds", "1", "--to", "[2001:db8:9::1]:80")
            for step in ["tcp6", "rate"] {
                let line = try line(step, of: unrouted)
                #expect(line.contains("2001:db8:9::1 port 80 is unreachable: "), "\(unrouted.output)")
            }
            #expect(unrouted.output.contains("try: "), "\(unrouted.output)")
            let unheard = try check("--seconds", "1", "--to", "[\(Self.outside6)]:5001")
            #expect(try line("rate", of: unheard).contains("refuses connections"), "\(unheard.output)")
            #expect(unheard.output.contains("TCP6-LISTEN:5001"), "\(unheard.output)")
            // Of the guests' prefix, and of the link.
            let own = try line("ipv6", of: unheard).split(separator: " ").first { $0.contains(":") }
            let prefix = try #require(own.flatMap { IPv6Address($0) }).high
            for absent in [IPv6Address(prefix, 0x99), IPv6Address(0xfe80 << 48, 0x99)] {
                let alone = try check("--tcp6", "[\(absent)]:443", "--seconds", "1", "--to", "[\(absent)]:443")
                #expect(alone.termination == .exited(1), "\(alone.output)")
                for step in ["tcp6", "rate"] {
                    let line = try line(step, of: alone)
                    #expect(line.hasPrefix("failed ") && line.contains("no station answers"), "\(alone.output)")
                }
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// The host's side of the network takes shorter packets than guests send.
        @Test func shortLinkIsFoundOverIPv6() throws {
            let fixture = try ControlFixture("tap")
            try fixture.host.ip("link", "set", "vmnet0", "mtu", "1300")
            let short = try check(fixture)
            #expect(try line("mtu6", of: short).hasPrefix("failed "), "\(short.output)")
            _ = try fixture.daemon.stop()
        }

        @Test func requestedStepOfIPv6FailsWithoutIPv6() throws {
            let fixture = try ControlFixture("user", ["--ipv6", "off"])
            let plain = try check(fixture)
            #expect(plain.succeeded, "\(plain.output)")
            let target = "[\(Self.outside6)]:443"
            let requested = try check(fixture, "--tcp6", target, "--seconds", "1", "--to", target)
            #expect(requested.termination == .exited(1), "\(requested.output)")
            for step in ["tcp6", "rate"] {
                let line = try line(step, of: requested)
                #expect(line.hasPrefix("failed ") && line.contains("no IPv6: "), "\(requested.output)")
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func impossibleOptionsAreRefused() throws {
            let wrong: [[String]] = [
                ["--seconds", "5"], ["--to", "203.0.113.1:5001"], ["--seconds", "0", "--to", "203.0.113.1:5001"],
                ["--seconds", "3601", "--to", "203.0.113.1:5001"], ["--tcp6", "2001:db8::1:80"], ["--tcp6", "[::1]"],
                ["--tcp6", "[::1]:0"], ["--tcp6", "[1.2.3.4]:80"], ["--to", "[::1]:80", "--seconds", "1"],
                ["--tcp6", "[::]:80"], ["--tcp6", "[ff02::1]:80"], ["--tcp6", "[::1]:80"], ["--tcp", "127.0.0.1:80"],
                ["--tcp", "0.0.0.0:80"], ["--tcp", "224.0.0.1:80"], ["--to", "127.0.0.1:80", "--seconds", "1"],
                ["--to", "[2001:db8::1]", "--seconds", "1"],
                ["--tcp6", "[::ffff:198.18.0.1]:443"], ["--to", "[::ffff:c612:1]:443", "--seconds", "1"],
                ["--to", "2001:db8::1:80", "--seconds", "1"],
            ]
            for options in wrong {
                let result = try ChildProcess.run([TestHost.product("vde_vmnet"), "check", "/tmp/x"] + options)
                #expect(result.termination == .exited(64), "\(options): \(result.error)")
                #expect(result.error.contains(options[0]), "\(options): \(result.error)")
            }
        }
    }
}
