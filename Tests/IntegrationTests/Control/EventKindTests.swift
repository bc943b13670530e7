// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// Each kind of event, as the command `events` prints it.
    @Suite struct EventKinds {
        /// Starts `events --json` about some kinds, and waits until the network sends them.
        private func follow(_ kinds: String, _ socket: String, _ host: Namespace) throws -> BackgroundProgram {
            let events = try host.start([
                TestHost.product("vde_vmnet"), "events", socket, "--json", "--only", kinds + ",change",
            ])
            try eventually("the subscription") {
                _ = try host.attempt([
                    TestHost.product("vde_vmnet"), "port", "isolate", "all", "off", "--network", socket,
                ])
                return events.output.contains("\"event\":\"change\"") || events.poll() != nil
            }
            return events
        }

        private func events(_ program: BackgroundProgram, of kind: String) -> [Substring] {
            program.output.split(separator: "\n").filter { $0.contains("\"event\":\"\(kind)\"") }
        }

        @Test(arguments: IPv6Way.possible) func refusedPacketsAreReportedWithoutLog(way: IPv6Way) throws {
            let fixture = try way.fixture(), host = fixture.network.host
            let guest = try fixture.guest()
            _ = try guest.address6()
            try guest.waitForRouter()
            try guest.lease()
            let ruleset = { try host.run("nft", "list", "ruleset") }
            let policy = try host.attempt([
                TestHost.product("vde_vmnet"), "egress", "deny", "--network", fixture.path,
            ])
            #expect(policy.succeeded, "\(policy.error)")
            // Other events need no rules of the firewall.
            let others = try follow("join", fixture.path, host)
            #expect(try !ruleset().contains("log group"))
            let program = try follow("refusal", fixture.path, host)
            for (destination, transport, command) in [
                ("203.0.113.9", "icmp", "ping -c 1 -W 1 203.0.113.9"),
                ("203.0.113.9", "tcp", "timeout 1 bash -c 'echo >/dev/tcp/203.0.113.9/443'"),
                ("203.0.113.9", "udp", "bash -c 'echo >/dev/udp/203.0.113.9/4000'"),
                (IPv6Fixture.outside, "icmp", "ping -c 1 -W 1 \(IPv6Fixture.outside)"),
                (IPv6Fixture.outside, "tcp", "timeout 1 bash -c 'echo >/dev/tcp/\(IPv6Fixture.outside)/443'"),
            ] {
                try eventually("the refusal of \(transport) to \(destination)", within: 20) {
                    _ = try guest.namespace.attempt(["sh", "-c", command])
                    return events(program, of: "refusal").contains {
                        $0.contains("\"destination\":\"\(destination)\",\"transport\":\"\(transport)\"")
                    }
                }
            }
            #expect(events(others, of: "refusal").isEmpty)
            #expect(!fixture.daemon.output.contains("egress refused"), "there is no log")
            if way != .user { #expect(try ruleset().contains("log group")) }
            program.kill()
            try eventually("the end of the rule") { try !ruleset().contains("log group") }
            others.kill()
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// Events and the log need the same packets, whichever ends first.
        @Test(arguments: ControlFixture.Uplink.allCases) func logOutlivesEvents(uplink: ControlFixture.Uplink) throws {
            let fixture = try ControlFixture(uplink.rawValue, ["--egress", "deny"])
            let guest = try fixture.guest(), daemon = fixture.daemon.program
            try guest.lease()
            let program = try follow("refusal", fixture.socket, fixture.host)
            func send(_ last: Int) throws {
                _ = try guest.namespace.attempt(["ping", "-c1", "-W1", "203.0.113.\(last)"])
            }
            try fixture.run("egress", "--log", "on")
            try eventually("the log's line", within: 20) {
                try send(7)
                return daemon.output.contains("icmp to 203.0.113.7") && program.output.contains("203.0.113.7")
            }
            try fixture.run("egress", "--log", "off")
            try eventually("the event", within: 20) {
                try send(8)
                return program.output.contains("203.0.113.8")
            }
            #expect(!daemon.output.contains("icmp to 203.0.113.8"))
            try fixture.run("egress", "--log", "on")
            program.kill()
            try eventually("the log's line", within: 20) {
                try send(9)
                return daemon.output.contains("icmp to 203.0.113.9")
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func addressOfAnotherHostIsAConflict() throws {
            let fixture = try ControlFixture(
                "user", ["--vmnet-gateway", "192.168.105.1", "--vmnet-dhcp-end", "192.168.105.10"])
            let program = try follow("conflict", fixture.socket, fixture.host)
            let squatter = try fixture.guest("squatter")
            try squatter.namespace.ip("addr", "add", "192.168.105.2/24", "dev", PlugGuest.interface)
            let other = try fixture.guest("other")
            #expect(try other.lease("-r", "192.168.105.2")["ip"] != "192.168.105.2")
            try eventually("the conflict") {
                events(program, of: "conflict").contains { $0.contains("192.168.105.2") }
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func burstsOfDropsHaveReasons() throws {
            let fixture = try ControlFixture("none", ["--limit", "1mbit"])
            let program = try follow("drops", fixture.socket, fixture.host)
            let plug = try PlugPort(path: fixture.path, description: "sender")
            let other = try PlugPort(path: fixture.path, description: "receiver")
            var frame = [UInt8](repeating: 0xff, count: 1000)
            frame.replaceSubrange(6..<12, with: [0x02, 0, 0, 0, 0, 1])
            try eventually("the drops") {
                for _ in 0..<1000 { plug.send(frame) }
                return events(program, of: "drops").contains {
                    $0.contains("\"description\":\"sender\"") && $0.contains("\"total\":{\"limited\":")
                }
            }
            _ = other
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func changesOfHostAreReported() throws {
            let fixture = try ControlFixture("user"), host = fixture.host
            let program = try follow("host", fixture.socket, host)
            func expect(_ text: String, _ body: () throws -> Void) throws {
                try body()
                try eventually("the event \(text)") { events(program, of: "host").contains { $0.contains(text) } }
            }
            try expect("{\"what\":\"network\"}") { try host.ip("route", "add", "198.51.100.0/24", "dev", "wan") }
            try expect("{\"what\":\"firewall\"}") { try host.run("nft", "add", "table", "inet", "other") }
            #expect(try fixture.daemon.stop() == .exited(0))
        }
    }
}
