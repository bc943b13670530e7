// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

/// Each kind of event on each uplink on which it can happen, as the command `events` prints it.
extension IntegrationTests.EventKinds {
    // MARK: Guests

    @Test(arguments: EventUplink.ports) func clientsComeAndLeaveOnce(uplink: EventUplink) throws {
        let fixture = try uplink.fixture()
        let client = try fixture.follow("leave,change")
        do {
            let plug = try PlugPort(path: fixture.path, description: "visitor")
            try client.wait("join", "\"description\":\"visitor\"")
            let port = try fixture.port("visitor")
            try fixture.control.run("port", "limit", port, "1mbit")
            try client.wait("change", "port \(port)")
            _ = plug
        }
        try client.wait("leave", "\"description\":\"visitor\"")
        #expect(client.events("join").count == 1 && client.events("leave").count == 1, "\(client.program.output)")
        #expect(client.events("change").count == 1, "\(client.program.output)")
        try fixture.stop()
        // Its ports do not leave with the network.
        try client.program.waitForEnd()
        #expect(client.events("leave").count == 1, "\(client.program.output)")
    }

    @Test(arguments: EventUplink.routed) func leasesAreReported(uplink: EventUplink) throws {
        let fixture = try uplink.fixture()
        let client = try fixture.follow("lease")
        let guest = try fixture.control.guest(mac: "52:54:00:00:00:07")
        let address = try #require(try guest.lease()["ip"])
        try client.wait("lease", "\"address\":\"\(address)\"")
        #expect(client.events("lease", "\"mac\":\"52:54:00:00:00:07\"").count == 1, "\(client.program.output)")
        try fixture.control.run("lease", "release", address)
        try eventually("its end") { client.events("lease", "\"address\":\"\(address)\"").count == 2 }
        try fixture.stop()
    }

    @Test(arguments: EventUplink.routed) func addressInUseIsAConflict(uplink: EventUplink) throws {
        let fixture = try uplink.fixture()
        let client = try fixture.follow("conflict")
        let address = uplink.gateway.dropLast() + "7"
        let squatter = try fixture.control.guest("squatter")
        try squatter.namespace.ip("addr", "add", address + "/24", "dev", PlugGuest.interface)
        let other = try fixture.control.guest("other")
        #expect(try other.lease("-r", String(address))["ip"] != String(address))
        try client.wait("conflict", String(address))
        #expect(client.events("conflict").count == 1, "\(client.program.output)")
        try fixture.stop()
    }

    @Test(arguments: EventUplink.routed) func brokenRulesAreOffences(uplink: EventUplink) throws {
        let fixture = try uplink.fixture()
        let client = try fixture.follow("offence")
        let plug = try PlugPort(path: fixture.path, description: "forger")
        let gateway = Endpoint(MACAddress("52:54:00:00:00:09")!, IPv4Address(uplink.gateway)!)
        try client.wait("offence", "\"offence\":\"gateway\"") {
            plug.send(Frames.arpReply(from: gateway, to: gateway))
        }
        #expect(!client.events("offence", "\"description\":\"forger\"").isEmpty, "\(client.program.output)")
        try fixture.stop()
    }

    @Test(arguments: EventUplink.ports) func limitedFramesAreDrops(uplink: EventUplink) throws {
        let fixture = try uplink.fixture(["--limit", "1mbit"])
        let client = try fixture.follow("drops")
        let plug = try PlugPort(path: fixture.path, description: "sender")
        var frame = [UInt8](repeating: 0xff, count: 1000)
        frame.replaceSubrange(6..<12, with: [0x02, 0, 0, 0, 0, 1])
        try client.wait("drops", "\"description\":\"sender\"") { for _ in 0..<1000 { plug.send(frame) } }
        #expect(client.events("drops")[0].contains("\"limited\":"), "\(client.program.output)")
        try fixture.stop()
    }

    @Test(arguments: EventUplink.ports) func loopsAreReported(uplink: EventUplink) throws {
        let fixture = try uplink.fixture()
        let client = try fixture.follow("loop")
        let other = fixture.control.folder.file("other")
        let second = try fixture.host.start(["vde_switch", "--unix", other])
        try eventually("vde_switch") { Files.exists(other + "/ctl") }
        let plug = try PlugPort(path: fixture.path)
        let cables = try (0..<2).map { _ in
            try fixture.host.start(["dpipe", "vde_plug", fixture.path, "=", "vde_plug", other])
        }
        var frame = [UInt8](repeating: 0xff, count: 100)
        frame.replaceSubrange(6..<12, with: [0x02, 0, 0, 0, 0, 1])
        try client.wait("loop", "\"blocked\":true,\"with\":") { plug.send(frame) }
        for program in cables + [second] { program.kill() }
        try fixture.stop()
    }

    @Test func unreadEventsAreCounted() throws {
        let fixture = try EventUplink.user.fixture()
        let reader = try fixture.host.start(
            [
                "/usr/bin/python3", "-uc",
                """
                import json, socket, sys
                s = socket.socket(socket.AF_UNIX)
                s.connect(sys.argv[1])
                s.sendall(b'{"id":1,"method":"subscribe","params":{"events":["join","leave"]}}\\n')
                f = s.makefile("rb")
                print(f.readline().decode(), flush=True)
                open(sys.argv[2]).read()
                count = 0
                for line in f:
                    event = json.loads(line)
                    if event["event"] == "lost": print("lost", event["data"], "after", count, flush=True)
                    count += 1
                """, fixture.control.socket, fixture.fifo(),
            ])
        try reader.wait(for: "\"result\"")
        // A client that leaves before the network has looked is no event, so each of them stays for a while.
        var clients: [PlugPort] = []
        for _ in 0..<2500 {
            clients.append(try PlugPort(path: fixture.path, description: String(repeating: "x", count: 100)))
            if clients.count > 32 { clients.removeFirst() }
        }
        // A writer lets it read.
        try fixture.host.run("sh", "-c", ": >\(fixture.control.folder.file("go"))")
        try eventually("the count", within: ampleTime) {
            clients = [try PlugPort(path: fixture.path)]
            return reader.output.contains("lost {")
        }
        reader.kill()
        try fixture.stop()
    }

    // MARK: The uplink

    /// The default route moves to another interface, is lost, and comes back.
    @Test(arguments: [EventUplink.tap, .tapWithNAT, .user]) func changedWayOutIsReported(uplink: EventUplink) throws {
        let fixture = try uplink.fixture()
        let host = fixture.host, second = try Namespace("second")
        let client = try fixture.follow("uplink,host")
        func expect(_ interfaces: String, _ body: () throws -> Void) throws {
            let before = client.events("uplink").count
            try body()
            try client.wait("uplink", "{\"connected\":true,\"egress_interfaces\":[\(interfaces)]}")
            #expect(client.events("uplink").count == before + 1, "\(client.program.output)")
        }
        if uplink == .user {
            try host.connect(to: second, by: "lan", "198.51.100.2/24", "198.51.100.1/24")
            #expect(client.events("uplink").isEmpty, "guests still leave by wan")
            try expect("\"lan\"") { try host.ip("route", "replace", "default", "via", "198.51.100.1", "dev", "lan") }
            try expect("") { try host.ip("link", "set", "lan", "down") }
        } else {
            // Each interface with a route is one.
            try expect("\"lan\",\"wan\"") {
                try host.connect(to: second, by: "lan", "198.51.100.2/24", "198.51.100.1/24")
            }
            try expect("\"lan\"") { try host.ip("link", "set", "wan", "down") }
            try expect("") { try host.ip("link", "set", "lan", "down") }
        }
        try expect("\"wan\"") {
            try host.ip("link", "set", "wan", "up")
            if uplink == .user { try host.ip("route", "replace", "default", "via", TestNetwork.internetAddress) }
        }
        #expect(!client.events("host", "{\"what\":\"network\"}").isEmpty)
        try fixture.stop()
    }

    /// vmnet's interface fails, and works again within a fraction of a second.
    @Test func replacedVmnetInterfaceIsReported() throws {
        let fixture = try EventUplink.vmnet.fixture(settings: "vanish_after=40")
        let client = try fixture.follow("uplink,leave")
        let guest = try fixture.control.guest()
        try guest.lease()
        try client.wait("uplink", "\"connected\":true") {
            _ = try guest.namespace.attempt(["ping", "-c", "20", "-i", "0.01", "-W", "1", "192.168.64.1"])
        }
        let states = client.events("uplink").map { $0.contains("\"connected\":true") }
        #expect(states.prefix(2) == [false, true], "\(client.program.output)")
        // The uplink is no client.
        #expect(client.events("join").count == 1 && client.events("leave").isEmpty, "\(client.program.output)")
        try fixture.stop()
    }

    @Test(arguments: [EventUplink.packet, .bridged]) func lostLinkOfBridgedNetworkIsReported(uplink: EventUplink) throws
    {
        let fixture = try uplink.fixture(), network = fixture.control.network
        let client = try fixture.follow("uplink")
        let (interface, place) = uplink == .packet ? ("eth0", network.internet) : ("br0", network.host)
        try place.ip("link", "set", interface, "down")
        try client.wait("uplink", "\"connected\":false")
        #expect(try fixture.control.status("--json").output.contains("\"connected\":false"))
        try place.ip("link", "set", interface, "up")
        try client.wait("uplink", "\"connected\":true")
        #expect(client.events("uplink").count == 2, "\(client.program.output)")
        try fixture.stop()
    }

    /// The host's NIC goes down and up, or the TAP leaves the bridge and comes back: the network goes on.
    @Test(arguments: [
        (EventUplink.packet, ["wan", "down"], ["wan", "up"], "wan is down; set it up: sudo ip link set wan up"),
        (.bridged, ["vmnet0", "nomaster"], ["vmnet0", "master", "br0"], "sudo ip link set vmnet0 master br0"),
        (.bridged, ["br0", "down"], ["br0", "up"], "br0 is down; set it up: sudo ip link set br0 up"),
    ])
    func lostBridgedNetworkComesBack(
        uplink: EventUplink, loss: [String], remedy: [String], message: String
    ) throws {
        let fixture = try uplink.fixture(), host = fixture.host, daemon = fixture.control.daemon.program
        let client = try fixture.follow("uplink")
        let guest = try fixture.control.guest()
        func isReached() throws -> Bool {
            let ping = ["ping", "-c", "1", "-W", "1", TestNetwork.internetAddress]
            return try guest.namespace.attempt(ping).succeeded
        }
        try guest.namespace.ip("addr", "add", "203.0.113.77/24", "dev", PlugGuest.interface)
        try eventually("the network", within: ampleTime) { try isReached() }
        for round in 1...2 {
            #expect(try host.attempt(["ip", "link", "set"] + loss).succeeded)
            try client.wait("uplink", "\"connected\":false")
            try daemon.wait(for: message, within: 10)
            #expect(try !isReached())
            let doctor = try host.attempt([TestHost.product("vde_vmnet"), "doctor", fixture.control.socket])
            #expect(doctor.output.contains("fix: sudo ip link set dev " + remedy.joined(separator: " ")))
            #expect(try host.attempt(["ip", "link", "set"] + remedy).succeeded)
            try client.wait("uplink", "\"connected\":true")
            try eventually("the network again", within: ampleTime) { try isReached() }
            try eventually("the message", within: 10) {
                daemon.output.split(separator: "\n").count { $0.contains("again") } == round
            }
        }
        try host.ip("link", "del", uplink == .packet ? "wan" : "vmnet0")
        #expect(try daemon.waitForEnd() == .exited(69))
        #expect(daemon.output.contains("the uplink of the guests, is gone"), "\(daemon.output)")
    }

    /// A TAP that is a port of a bridge is down until it is not.
    @Test(arguments: [EventUplink.tap, .tapWithNAT]) func closedTAPIsReported(uplink: EventUplink) throws {
        let fixture = try uplink.fixture(), host = fixture.host
        let client = try fixture.follow("uplink")
        try host.ip("link", "add", "br9", "type", "bridge")
        try host.ip("link", "set", "vmnet0", "master", "br9")
        try client.wait("uplink", "\"connected\":false")
        #expect(try fixture.control.status("--json").output.contains("\"connected\":false"))
        try host.ip("link", "set", "vmnet0", "nomaster")
        try client.wait("uplink", "\"connected\":true")
        #expect(client.events("uplink").count == 2, "\(client.program.output)")
        try fixture.stop()
    }

    // MARK: The host

    @Test(arguments: EventUplink.allCases) func changesOfHostAreReportedOnce(uplink: EventUplink) throws {
        let fixture = try uplink.fixture(), host = fixture.host
        let client = try fixture.follow("host")
        func expect(_ text: String, _ body: () throws -> Void) throws {
            let before = client.events("host", text).count
            try body()
            try eventually("the event \(text)", within: ampleTime) { client.events("host", text).count > before }
            #expect(client.events("host", text).count == before + 1, "\(client.program.output)")
        }
        if uplink != .vmnet {
            for change in [
                "route add 198.51.100.0/24 dev wan", "addr add 203.0.113.3/24 dev wan",
                "link add other type veth peer name other2",
                "rule add to 198.51.100.9 lookup 77", "-6 route add 2001:db8:9::/64 dev wan",
            ] {
                try expect("{\"what\":\"network\"}") { try host.run("sh", "-c", "ip \(change)") }
            }
            let other = "table inet other"
            for change in ["add \(other)", "add chain inet other x", "delete \(other)"] {
                try expect("{\"what\":\"firewall\"}") { try host.run("sh", "-c", "nft \(change)") }
            }
        }
        for resolver in ["198.51.100.53", "2001:db8::53"] {
            let text = resolver.contains(":") ? "[\(resolver)]:53" : "\(resolver):53"
            try expect("{\"what\":\"resolvers\",\"resolvers\":[\"\(text)\"],\"domain_resolvers\":[]}") {
                try host.setResolvers("nameserver \(resolver)\n")
            }
        }
        try fixture.stop()
    }

    /// Pins of names and the log of refusals are changes of this network's own tables.
    @Test(arguments: [EventUplink.tap, .tapWithNAT]) func ownRulesAreNoChangeOfHost(uplink: EventUplink) throws {
        let fixture = try uplink.fixture(["--egress", "deny", "--allow", TestNetwork.internetName]) {
            try $0.startInternet()
        }
        let client = try fixture.follow("host")
        let guest = try fixture.control.guest()
        try guest.lease()
        _ = try guest.namespace.run(
            "dig", "+short", "+time=5", "+tries=1", "@\(uplink.gateway)", TestNetwork.internetName, "A")
        #expect(try fixture.host.run("nft", "list", "ruleset").contains(TestNetwork.internetAddress), "the pin")
        _ = try fixture.follow("refusal")
        try fixture.control.run("publish", "add", "8080:192.168.105.9:80")
        // What follows is the first one.
        try fixture.host.run("nft", "add", "table", "inet", "other")
        try client.wait("host", "firewall")
        #expect(client.events("host", "firewall").count == 1, "\(client.program.output)")
        try fixture.stop()
    }
}

/// Resolvers of single domains, as of a VPN.
extension IntegrationTests.SystemdResolvedTests {
    @Test(arguments: [NameServiceFixture.Uplink.tap, .user])
    func resolversOfVPNAreAnEvent(uplink: NameServiceFixture.Uplink) throws {
        let fixture = try SystemdResolvedFixture(.list, settings: "DNSStubListener=no\\n")
        let socket = fixture.network.folder.file("control")
        let daemon = try fixture.startDaemon(uplink, ["--control", socket])
        let events = try fixture.startEvents(socket)
        var client: PlugPort?
        try eventually("the subscription") {
            client = try PlugPort(path: fixture.path)
            return events.output.contains("\"event\":\"join\"")
        }
        withExtendedLifetime(client) {}
        try fixture.connectVPN()
        let text = "\"domain_resolvers\":[\"corp.example=\(SystemdResolvedFixture.inside):53\"]"
        try events.wait(for: text, within: ampleTime)
        events.kill()
        #expect(try daemon.stop() == .exited(0))
    }
}
