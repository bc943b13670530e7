// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// The control socket, with this program's commands and with plain Python as clients.
    @Suite struct Control {
        private static let mac = "52:54:00:00:00:01"

        // MARK: Reading

        @Test(arguments: ControlFixture.Uplink.allCases)
        func statusShowsGuestsLeasesAndUplink(uplink: ControlFixture.Uplink) throws {
            let fixture = try ControlFixture(uplink.rawValue, ["--publish", "8080:192.168.105.2:80"], internet: true)
            let guest = try fixture.guest(mac: Control.mac)
            try guest.lease("-x", "hostname:web")
            #expect(try guest.namespace.fetch(TestNetwork.internetAddress).contains("Hello"))
            let text = try fixture.status()
            #expect(text.succeeded, "\(text.error)")
            for word in [
                "uplink        \(uplink.rawValue)", gateway, "192.168.105.2", Control.mac, "web",
                "8080:192.168.105.2:80",
                TestNetwork.internetAddress,
            ] {
                #expect(text.output.contains(word), "\(word) in \(text.output)")
            }
            #expect(!text.output.contains("\u{1b}"), "no colours in a pipe")
            let result = try fixture.python(
                """
                hello = call("hello", protocol=1)["result"]
                assert hello["protocol"] == 1 and "status" in hello["methods"] and "publish" in hello["rights"], hello
                assert call("hello", protocol=2)["error"]["code"] == "unsupported"
                status = call("status")["result"]
                assert status["gateway"] == "\(gateway)" and status["uplink"]["kind"] == "\(uplink.rawValue)", status
                ports = call("ports")["result"]["ports"]
                guest = [p for p in ports if any(g["address"] == "192.168.105.2" for g in p["guests"])][0]
                assert guest["frames_in"] > 0 and guest["user"] == "root" and guest["process"] > 0, guest
                assert guest["guests"][0]["name"] == "web" and guest["guests"][0]["mac"] == "\(Control.mac)", guest
                lease = call("leases")["result"]["leases"][0]
                assert lease["seconds_left"] > 0 and lease["port"] == guest["port"], lease
                first = call("ports", limit=1)["result"]
                assert len(first["ports"]) == 1 and first["next"] is not None, first
                print("fine")
                """)
            #expect(result.output.trimmed == "fine", "\(result.error)")
            if uplink == .user {
                let talk = try guest.namespace.start([
                    "bash", "-c", "exec 3<>/dev/tcp/\(TestNetwork.internetAddress)/80; sleep 60",
                ])
                try eventually("the guest's connection") {
                    try fixture.status().output.contains("\(TestNetwork.internetAddress):80")
                }
                talk.kill()
            }
            // One object for programs.
            let json = try fixture.host.attempt([
                "sh", "-c",
                "'\(TestHost.product("vde_vmnet"))' status '\(fixture.socket)' --json | python3 -c 'import json,sys; "
                    + "s = json.load(sys.stdin); print(s[\"ports\"][0][\"bits_per_second_in\"] >= 0)'",
            ])
            #expect(json.output.trimmed == "True", "\(json.error)")
            #expect(try fixture.daemon.stop() == .exited(0))
            #expect(!Files.exists(fixture.socket))
        }

        @Test func messagesAreObjectsWithJSONFormat() throws {
            let fixture = try ControlFixture("user", ["--log-format", "json"])
            try fixture.guest(mac: Control.mac).lease()
            #expect(try fixture.daemon.stop() == .exited(0))
            let lines = fixture.daemon.program.output.split(separator: "\n").filter {
                !$0.hasPrefix("vde_vmnet: ready: ")
            }
            #expect(lines.contains { $0.contains("user-mode NAT for up to ") })
            for line in lines {
                #expect(
                    line.hasPrefix("{\"time\":") && line.contains("\"level\":\"") && line.hasSuffix("\"}"), "\(line)")
            }
        }

        @Test(arguments: ["text", "json"])
        func repeatedMessagesAreCounted(format: String) throws {
            let network = try TestNetwork()
            let socket = network.folder.file("control")
            let daemon = try VMNetDaemon(
                in: network.host,
                [
                    "--switch", "--uplink", "user", "--control", socket, "--log-format", format,
                    network.folder.file("own"),
                ], folder: network.folder, level: "info")
            // One client, because the message has its process.
            let client = try network.host.attempt([
                "/usr/bin/python3", "-c",
                """
                import socket, sys
                s = socket.socket(socket.AF_UNIX)
                s.connect(sys.argv[1])
                replies = s.makefile("rb")
                for _ in range(3):
                    s.sendall(b'{"id":1,"method":"egress.set","params":{"policy":"deny"}}\\n')
                    assert b"result" in replies.readline()
                """, socket,
            ])
            #expect(client.succeeded, "\(client.error)")
            // What is requested is not suppressed.
            for number in 1...2 {
                daemon.program.signal(Signal.user1)
                try eventually("the counters") {
                    daemon.program.output.split(separator: "\n").count { $0.contains("services' port: ") } == number
                }
            }
            #expect(try daemon.stop() == .exited(0))
            let lines = daemon.program.output.split(separator: "\n").filter {
                $0.contains("sets the egress policy to deny")
            }
            #expect(lines.count == 2, "\(lines)")
            #expect(lines.last?.contains("(2 times more)") == true, "\(lines)")
        }

        @Test func watchRefreshesUntilNetworkEnds() throws {
            let fixture = try ControlFixture()
            let watch = try fixture.host.start([
                TestHost.product("vde_vmnet"), "status", fixture.socket, "--watch", "--json",
            ])
            try eventually("several samples") { watch.output.split(separator: "\n").count >= 2 }
            for line in watch.output.split(separator: "\n").prefix(2) {
                #expect(line.hasPrefix("{") && line.hasSuffix("}"))
            }
            #expect(try fixture.daemon.stop() == .exited(0))
            #expect(try watch.waitForEnd() == .exited(69))
        }

        @Test func stopEndsNetwork() throws {
            let fixture = try ControlFixture()
            let result = try fixture.host.attempt([TestHost.product("vde_vmnet"), "stop", fixture.socket])
            #expect(result.succeeded, "\(result.error)")
            #expect(try fixture.daemon.program.waitForEnd() == .exited(0))
            let again = try fixture.host.attempt([TestHost.product("vde_vmnet"), "stop", fixture.socket])
            #expect(again.termination == .exited(69) && again.error.contains(fixture.socket), "\(again.error)")
        }

        @Test func eventsAreSentAsTheyHappen() throws {
            let fixture = try ControlFixture("user", ["--egress", "deny"])
            let events = try fixture.host.start([TestHost.product("vde_vmnet"), "events", fixture.socket, "--json"])
            try eventually("the subscription") {
                // Changes are reported to clients that have subscribed only.
                _ = try fixture.attempt("egress", "deny")
                return events.output.contains("\"event\":\"change\"")
            }
            let guest = try fixture.guest(mac: Control.mac)
            try guest.lease()
            try events.wait(for: "\"event\":\"join\"")
            try events.wait(for: "\"event\":\"lease\"")
            _ = try guest.namespace.attempt(["ping", "-c", "1", "-W", "1", "203.0.113.9"])
            try events.wait(for: "\"destination\":\"203.0.113.9\"")
            guest.stop()
            try events.wait(for: "\"event\":\"leave\"")
            for line in events.output.split(separator: "\n") { #expect(line.hasPrefix("{") && line.hasSuffix("}")) }
            #expect(try fixture.daemon.stop() == .exited(0))
            #expect(try events.waitForEnd() == .exited(0))
        }

        /// A client that breaks a rule with its first frame has come before.
        @Test func arrivalIsReportedBeforeOffence() throws {
            let fixture = try ControlFixture("user")
            let events = try fixture.host.start([TestHost.product("vde_vmnet"), "events", fixture.socket, "--json"])
            try eventually("the subscription") {
                _ = try fixture.attempt("port", "isolate", "all", "off")
                return events.output.contains("\"event\":\"change\"")
            }
            let guest = try PlugPort(path: fixture.path)
            let gateway = Endpoint(MACAddress("52:54:00:00:00:09")!, IPv4Address("192.168.105.1")!)
            guest.send(Frames.arpReply(from: gateway, to: gateway))
            try events.wait(for: "\"offence\":\"gateway\"")
            let kinds = events.output.split(separator: "\n").compactMap { line in
                ["join", "offence"].first { line.contains("\"event\":\"\($0)\"") }
            }
            #expect(kinds == ["join", "offence"], "\(events.output)")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        // MARK: Changing

        @Test(arguments: ControlFixture.Uplink.allCases)
        func publishedPortsChangeWhileNetworkRuns(uplink: ControlFixture.Uplink) throws {
            let fixture = try ControlFixture(uplink.rawValue)
            let guest = try fixture.guest(mac: Control.mac)
            try guest.lease("-x", "hostname:web")
            let web = try guest.namespace.startWeb("the guest's page", folder: fixture.folder)
            try fixture.run("publish", "add", "8080:192.168.105.2:80")
            #expect(try fixture.host.fetch("127.0.0.1", port: 8080) == "the guest's page")
            // Another one follows the guest's name.
            try fixture.run("publish", "add", "8081:web:80")
            #expect(try fixture.host.fetch("127.0.0.1", port: 8081) == "the guest's page")
            let twice = try fixture.attempt("publish", "add", "8080:192.168.105.3:80")
            #expect(twice.termination == .exited(75) && twice.error.contains("same port"), "\(twice.error)")
            // A port that another program has: refused, and nothing else changes.
            let other = try fixture.host.start(["busybox", "httpd", "-f", "-p", "8082"])
            try fixture.host.waitForListener(on: 8082)
            let taken = try fixture.attempt("publish", "add", "8082:192.168.105.2:80")
            #expect(taken.termination == .exited(75) && taken.error.contains("8082 is taken"), "\(taken.error)")
            other.kill()
            #expect(try fixture.run("publish", "list").contains("8081:web:80/tcp"))
            try fixture.run("publish", "remove", "8080:192.168.105.2:80")
            #expect(throws: (any Error).self) { try fixture.host.fetch("127.0.0.1", port: 8080) }
            #expect(try fixture.host.fetch("127.0.0.1", port: 8081) == "the guest's page")
            let missing = try fixture.attempt("publish", "remove", "8080:192.168.105.2:80")
            #expect(missing.termination == .exited(69), "\(missing.error)")
            #expect(try fixture.daemon.stop() == .exited(0))
            web.kill()
        }

        @Test(arguments: ControlFixture.Uplink.allCases)
        func egressPolicyChangesWhileNetworkRuns(uplink: ControlFixture.Uplink) throws {
            let fixture = try ControlFixture(uplink.rawValue, internet: true)
            let guest = try fixture.guest(mac: Control.mac)
            try guest.lease()
            let address = TestNetwork.internetAddress
            #expect(try guest.namespace.fetch(address).contains("Hello"))
            try fixture.run("egress", "deny")
            #expect(throws: (any Error).self) { try guest.namespace.fetch(address) }
            try fixture.run("allow", "add", "\(address)/32:80")
            #expect(try guest.namespace.fetch(address).contains("Hello"))
            #expect(try fixture.run("allow", "list").contains("allowed: \(address)/32:80"))
            let twice = try fixture.attempt("allow", "add", "\(address)/32:80")
            #expect(twice.termination == .exited(75), "\(twice.error)")
            try fixture.run("allow", "remove", "\(address)/32:80")
            #expect(throws: (any Error).self) { try guest.namespace.fetch(address) }
            try fixture.run("allow", "add", "\(address)/32:80")
            try fixture.run("egress", "allow")
            #expect(try guest.namespace.fetch(address).contains("Hello"))
            try fixture.run("egress", "deny")
            #expect(try fixture.run("allow", "list").contains("allowed: \(address)/32:80"), "the list is kept")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// Guests resolve each other's names, whatever the list has, and all names once everything is allowed.
        @Test(arguments: ControlFixture.Uplink.allCases)
        func emptyListLeavesGuestsTheirNames(uplink: ControlFixture.Uplink) throws {
            let fixture = try ControlFixture(uplink.rawValue, ["--egress", "deny"], internet: true)
            let guest = try fixture.guest(mac: Control.mac)
            #expect(try guest.lease("-x", "hostname:web")["dns"] == IntegrationTests.gateway)
            func status(_ name: String) throws -> String {
                let output = try guest.namespace.run(
                    "dig", "+time=2", "+tries=1", "+noedns", "@" + IntegrationTests.gateway, name)
                return String(output.split(separator: "status: ").last?.prefix { $0 != "," } ?? "")
            }
            func check(_ outside: String, _ why: String) throws {
                #expect(try status("web.vm.internal") == "NOERROR", "\(why)")
                #expect(try status(TestNetwork.internetName) == outside, "\(why)")
            }
            try check("NXDOMAIN", "started with an empty list")
            try fixture.run("allow", "add", "203.0.113.0/24")
            try check("NOERROR", "addresses only")
            try fixture.run("allow", "remove", "203.0.113.0/24")
            try check("NXDOMAIN", "an empty list again")
            try fixture.run("egress", "allow")
            try check("NOERROR", "everything is allowed")
            try fixture.run("egress", "deny")
            try check("NXDOMAIN", "denied again")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test(arguments: ControlFixture.Uplink.allCases)
        func isolationHoldsWhileItIsOn(uplink: ControlFixture.Uplink) throws {
            let fixture = try ControlFixture(uplink.rawValue)
            let one = try fixture.guest("one", mac: Control.mac)
            try one.lease()
            let two = try fixture.guest("two", mac: "52:54:00:00:00:02")
            let address = try #require(try two.lease()["ip"])
            #expect(try one.namespace.pings(address))
            let ports = try fixture.python(
                """
                for p in call("ports")["result"]["ports"]:
                    if any(g["mac"] == "\(Control.mac)" for g in p["guests"]): print(p["port"])
                """)
            let port = ports.output.trimmed
            for subject in [port, "all"] {
                try fixture.run("port", "isolate", subject, "on")
                #expect(try fixture.run("port", "list").contains("yes"))
                // What the neighbour table has must not hide it.
                #expect(try !one.namespace.pings(address, seconds: 1))
                #expect(try one.namespace.pings(gateway), "the gateway stays")
                try fixture.run("port", "isolate", subject, "off")
                try eventually("guests reach each other again") { try one.namespace.pings(address, seconds: 1) }
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func portsAreLimitedAndDisconnected() throws {
            let fixture = try ControlFixture("none")
            let plug = try PlugPort(path: fixture.path, description: "sender")
            let other = try PlugPort(path: fixture.path, description: "receiver")
            let script = "for p in call('ports')['result']['ports']:\n  if p['description'] == 'sender': "
            let number = try fixture.python(script + "print(p['port'])").output.trimmed
            try fixture.run("port", "limit", number, "1mbit")
            #expect(try fixture.run("port", "list").contains("1mbit"))
            var frame = [UInt8](repeating: 0xff, count: 1000)
            frame.replaceSubrange(6..<12, with: [0x02, 0, 0, 0, 0, 1])
            for _ in 0..<2000 { plug.send(frame) }
            try eventually("frames beyond the limit are dropped") {
                let drops = try fixture.python(script + "print(p['drops'].get('limited', 0))").output.trimmed
                return (Int(drops) ?? 0) > 0
            }
            #expect(other.receive { $0.count == 1000 } != nil, "those within it pass")
            for rate in ["0mbit", "fast", "999kbit"] {
                #expect(try fixture.attempt("port", "limit", number, rate).termination == .exited(64))
            }
            try fixture.run("port", "limit", number, "off")
            try fixture.run("port", "disconnect", number)
            try eventually("the port is free") { try !fixture.run("port", "list").contains("sender") }
            #expect(try fixture.attempt("port", "disconnect", number).termination == .exited(69))
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func uplinkKeepsItsPort() throws {
            let fixture = try ControlFixture("tap")
            for words in [
                ["vlan", "1", "5"], ["isolate", "1", "on"], ["limit", "1", "5mbit"], ["vlan", "2", "4094"],
            ] {
                let result = try fixture.attempt(["port"] + words)
                #expect(result.termination == .exited(64) || words[1] == "2", "\(words): \(result.error)")
                #expect(!result.succeeded && (result.error.contains("uplink") || result.error.contains("4093")))
            }
            let limit = try fixture.python("print(call('port.limit', port=1)['error']['code'])")
            #expect(limit.output.trimmed == "parameters", "a missing rate does not lift a limit")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func networkIsFoundByItsSwitch() throws {
            let fixture = try ControlFixture()
            let own = ["--name", "sought", fixture.folder.file("other")]
            let daemon = try VMNetDaemon(
                in: fixture.host, ["--switch", "--uplink", "none"] + own, folder: fixture.folder,
                environment: ["XDG_RUNTIME_DIR": fixture.folder.path])
            let result = try fixture.host.attempt([TestHost.product("vde_vmnet"), "status", own[2]])
            #expect(result.succeeded && result.output.contains("sought"), "\(result.error)")
            let none = try fixture.host.attempt([TestHost.product("vde_vmnet"), "status", fixture.folder.path])
            #expect(none.termination == .exited(69) && none.error.contains("no network that runs"), "\(none.error)")
            #expect(try daemon.stop() == .exited(0))
        }

        @Test func leasesAreReleasedAndReserved() throws {
            let fixture = try ControlFixture()
            try fixture.run("lease", "reserve", Control.mac, "192.168.105.77")
            let guest = try fixture.guest(mac: Control.mac)
            #expect(try guest.lease()["ip"] == "192.168.105.77")
            #expect(try fixture.run("lease", "list").contains("192.168.105.77"))
            let other = try fixture.attempt("lease", "reserve", "52:54:00:00:00:02", "192.168.105.77")
            #expect(other.termination == .exited(75), "\(other.error)")
            try fixture.run("lease", "release", "192.168.105.77")
            #expect(try fixture.attempt("lease", "release", "192.168.105.77").termination == .exited(69))
            #expect(try fixture.run("lease", "list").contains("reserved"), "also without a lease")
            try fixture.run("lease", "unreserve", Control.mac)
            #expect(try !fixture.run("lease", "list").contains("reserved"))
            #expect(try fixture.attempt("lease", "unreserve", Control.mac).termination == .exited(69))
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func switchWithoutUplinkRefusesWhatNeedsOne() throws {
            let fixture = try ControlFixture("none")
            for words in [["publish", "add", "8080:192.168.105.2:80"], ["egress", "deny"], ["lease", "list"]] {
                let result = try fixture.attempt(words)
                #expect(result.termination == .exited(64), "\(words): \(result.output)\(result.error)")
                #expect(result.error.contains("uplink") || result.error.contains("leases no addresses"))
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }
    }
}
