// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// What `status` shows of a network.
    @Suite struct StatusReports {
        private static let mac = "52:54:00:00:00:01"

        private func text(_ fixture: ControlFixture) throws -> String {
            let result = try fixture.status()
            #expect(result.succeeded, "\(result.error)")
            return result.output
        }

        @Test(arguments: ControlFixture.Uplink.allCases) func refusalsAreCountedWithoutLog(
            uplink: ControlFixture.Uplink
        ) throws {
            let fixture = try ControlFixture(uplink.rawValue)
            let guest = try fixture.guest(mac: Self.mac)
            try guest.lease()
            #expect(try !text(fixture).contains("refused "), "no policy refuses anything")
            try fixture.run("egress", "deny")
            let status = try text(fixture)
            #expect(status.contains("refused       0 packets, 0 names, 0 answers; 0 pins; the log is off"), "\(status)")
            func count() throws -> Int {
                let result = try fixture.python("print(call('status')['result']['egress']['refused_packets'])")
                return try #require(Int(result.output.trimmed), "\(result)")
            }
            try eventually("a refused packet") {
                _ = try guest.namespace.attempt(["ping", "-c", "1", "-W", "1", "203.0.113.9"])
                return try count() > 0
            }
            // A change of the rules keeps the number.
            let before = try count()
            try fixture.run("egress", "--log", "on")
            #expect(try count() >= before)
            #expect(try text(fixture).contains("; the log is on"))
            if uplink == .tap {
                let rules = try fixture.host.run("nft", "list", "ruleset")
                #expect(rules.contains("counter name \"refused\""), "\(rules)")
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func flowsOfUDPAreShown() throws {
            let fixture = try ControlFixture("user", internet: true)
            let guest = try fixture.guest(mac: Self.mac)
            try guest.lease()
            let address = TestNetwork.internetAddress
            let talk = try guest.namespace.start([
                "bash", "-c", "exec 3<>/dev/udp/\(address)/5000 4<>/dev/tcp/\(address)/80; echo >&3; sleep 60",
            ])
            try eventually("the flow") {
                let status = try text(fixture)
                return status.contains("NAT           1 TCP connection, 1 UDP flow, 0 retransmissions")
                    && status.contains("\(address):5000")
            }
            let flows = try fixture.python(
                """
                flows = call("flows")["result"]["flows"]
                print(sorted((f["transport"], f["guest"]["address"], f["remote"]["port"]) for f in flows))
                print(len(call("flows", limit=1)["result"]["flows"]))
                print(call("status")["result"]["uplink"]["counters"]["udp_flows"])
                """)
            #expect(
                flows.output == "[('tcp', '192.168.105.2', 80), ('udp', '192.168.105.2', 5000)]\n1\n1\n",
                "\(flows.output)\(flows.error)")
            talk.kill()
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// A guest that the daemon has given an address has no lease.
        @Test(arguments: ControlFixture.Uplink.allCases) func configuredNamespaceHasItsAddress(
            uplink: ControlFixture.Uplink
        ) throws {
            let guest = try Namespace("guest-s")
            let fixture = try ControlFixture(
                uplink.rawValue, ["--netns", "\(guest.name),net0,configure", "--egress", "deny", "--egress-log"])
            try eventually("the log's line") {
                _ = try guest.attempt(["ping", "-c", "1", "-W", "1", "203.0.113.9"])
                return fixture.daemon.program.output.contains(" (192.168.105.2): icmp to 203.0.113.9")
            }
            let ports = try fixture.python(
                "print([g['address'] for p in call('ports')['result']['ports'] for g in p['guests']])")
            #expect(ports.output.contains("'192.168.105.2'"), "\(ports.output)\(ports.error)")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test(arguments: [[], ["--outbound", "wan"], ["--outbound", TestNetwork.hostAddress]])
        func interfacesOfUserModeAreShown(options: [String]) throws {
            let fixture = try ControlFixture("user", options)
            #expect(try text(fixture).contains("leaves by     wan\n"))
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test(arguments: ControlFixture.Uplink.allCases) func addressesOfIPv6AreShown(
            uplink: ControlFixture.Uplink
        ) throws {
            let fixture = try ControlFixture(uplink.rawValue, ["--ipv6", "fd12:3456:789a:1::/64"])
            let guest = try fixture.guest(mac: Self.mac)
            let address = try guest.address6()
            #expect(try guest.namespace.pings("fd12:3456:789a:1::1"))
            try eventually("the guest's address") { try text(fixture).contains("\(address)  \(Self.mac)") }
            #expect(try text(fixture).contains("IPv6 gateway  fd12:3456:789a:1::1 on fd12:3456:789a:1::/64\n"))
            let found = try fixture.python(
                """
                print(call("status")["result"]["gateway6"])
                print([g["addresses6"] for p in call("ports")["result"]["ports"] for g in p["guests"]])
                """)
            #expect(
                found.output.hasPrefix("fd12:3456:789a:1::1\n") && found.output.contains("'\(address)'"), "\(found)")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func choiceOfUplinkIsTheUsers() throws {
            for (options, uplink, reason) in [
                ([], "user", "--uplink user"),
                (["--proxy", "http://127.0.0.1:9"], "auto", "auto: options that no other"),
                ([], "auto", "auto: a TAP is possible"),
                (
                    ["--vmnet-mode", "bridged", "--vmnet-interface", "br0"], "auto",
                    "--vmnet-mode bridged --vmnet-interface br0)"
                ),
                (
                    ["--vmnet-mode", "bridged", "--vmnet-interface", "br0"], "tap",
                    "--uplink tap --vmnet-mode bridged --vmnet-interface br0)"
                ),
            ] {
                let fixture = try ControlFixture(uplink, options) {
                    try $0.host.ip("link", "add", "br0", "type", "bridge")
                    try $0.host.ip("link", "set", "br0", "up")
                }
                let status = try text(fixture)
                #expect(status.contains("(\(reason)"), "\(options): \(status)")
                #expect(try fixture.daemon.stop() == .exited(0))
            }
        }

        @Test func removedTAPIsNamed() throws {
            let fixture = try ControlFixture("tap")
            try fixture.host.ip("link", "del", "vmnet0")
            #expect(try fixture.daemon.program.waitForEnd() == .exited(69))
            #expect(fixture.daemon.program.output.contains("vmnet0, the uplink of the guests, is gone: "))
        }

        @Test func longWordsAreCutInErrors() throws {
            let fixture = try ControlFixture("user", ["--egress", "deny"])
            let result = try fixture.python(
                """
                for method, name in ("publish.add", "port"), ("allow.add", "destination"):
                    message = call(method, **{name: "a" * 60000})["error"]["message"]
                    assert "60000 bytes" in message and len(message) < 200, message
                assert len(call("a" * 60000)["error"]["message"]) < 200
                print("fine")
                """)
            #expect(result.output.trimmed == "fine", "\(result.error)")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        // MARK: Terminals

        /// Runs `status` on a terminal of 24 rows and 80 columns.
        private func terminal(
            _ fixture: ControlFixture, _ options: String, _ setting: String = ""
        ) throws
            -> BackgroundProgram
        {
            let command =
                "stty rows 24 cols 80; \(setting) exec '\(TestHost.product("vde_vmnet"))' status '\(fixture.socket)' "
                + options
            return try fixture.host.start(["script", "-qec", command, "/dev/null"], environment: ["TERM": "xterm"])
        }

        @Test func coloursAreForTerminalsOnly() throws {
            let fixture = try ControlFixture("user")
            for (setting, isColoured) in [("", true), ("NO_COLOR=1", false)] {
                let program = try terminal(fixture, "", setting)
                #expect(try program.waitForEnd() == .exited(0))
                #expect(program.output.contains("192.168.105.1 on 192.168.105.0/24"), "\(program.output)")
                #expect(program.output.contains("\u{1b}[1m") == isColoured, "\(setting): \(program.output)")
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test(arguments: ["", "NO_COLOR=1"]) func watchFitsTheTerminal(setting: String) throws {
            let fixture = try ControlFixture("user")
            let ports = try (0..<30).map { try PlugPort(path: fixture.path, description: "client \($0)") }
            let program = try terminal(fixture, "--watch", setting)
            try eventually("three screens") { program.output.split(separator: "\u{1b}[H").count >= 4 }
            program.signal(Signal.interrupt)
            try program.waitForEnd()
            let screens = program.output.split(separator: "\u{1b}[H").dropFirst(1).dropLast()
            for screen in screens {
                // The terminal ends lines by CR LF.
                let lines = screen.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
                #expect(lines.count <= 24, "\(lines.count) lines")
                #expect(lines.allSatisfy { $0.contains("\u{1b}[2K") }, "\(screen)")
                #expect(screen.contains("\u{1b}[J"))
                #expect(screen.contains("\u{1b}[1m") == setting.isEmpty)
            }
            #expect(!screens.isEmpty)
            withExtendedLifetime(ports) {}
            #expect(try fixture.daemon.stop() == .exited(0))
        }
    }
}
