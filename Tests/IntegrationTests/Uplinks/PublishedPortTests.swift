// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// Ports of the host that lead to guests.
    @Suite struct PublishedPorts {
        @Test func publishedPortsReachGuests() throws {
            let network = try TestNetwork()
            let before = try network.host.snapshot()
            let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
            let ports = [
                "8080:192.168.105.2:80", "127.0.0.1:2222:192.168.105.2:80", "6000-6001:192.168.105.2:7000/udp",
                "90:192.168.105.2:80",
            ]
            let daemon = try VMNetDaemon(
                in: network.host, ["--dhcp", "builtin"] + ports.flatMap { ["--publish", $0] } + [vde.path],
                folder: network.folder)
            let host = network.host, internet = network.internet
            let guest = try PlugGuest("guest", path: vde.path, folder: network.folder)
            #expect(try guest.lease()["ip"] == "192.168.105.2")
            let web = try guest.namespace.startWeb("the guest's page", folder: network.folder)
            let echo = try guest.namespace.startDatagramEcho(ports: 7000...7001)

            for address in ["127.0.0.1", TestNetwork.hostAddress, gateway] {
                #expect(try host.fetch(address, port: 8080) == "the guest's page", "from the host at \(address)")
            }
            #expect(try internet.fetch(TestNetwork.hostAddress, port: 8080) == "the guest's page")
            #expect(try internet.fetch(TestNetwork.hostAddress, port: 90) == "the guest's page")
            #expect(try host.fetch("127.0.0.1", port: 2222) == "the guest's page")
            #expect(throws: (any Error).self, "bound to the loopback address only") {
                try internet.fetch(TestNetwork.hostAddress, port: 2222)
            }
            // Each port of a range leads to its own.
            #expect(try internet.askDatagram(TestNetwork.hostAddress, port: 6000) == "7000 heard hello")
            #expect(try internet.askDatagram(TestNetwork.hostAddress, port: 6001) == "7001 heard hello")
            #expect(try host.askDatagram("127.0.0.1", port: 6001) == "7001 heard hello")

            // Another guest by way of the host, and not to what listens on the host's loopback only.
            let other = try PlugGuest("other", path: vde.path, folder: network.folder)
            try other.lease()
            #expect(try other.namespace.fetch(gateway, port: 8080) == "the guest's page")
            let secret = try host.startWeb("secret", folder: network.folder, address: "127.0.0.1:99")
            // The guest's own kernel is made to send 127.0.0.1 to us.
            try other.namespace.run(
                "sh", "-ec",
                "ip route add table 100 127.0.0.1/32 via \(gateway) dev eth0; ip rule add pref 1 to 127.0.0.1 table "
                    + "100; ip rule add pref 2 table local; ip rule del pref 0; sysctl -q -w "
                    + "net.ipv4.conf.all.route_localnet=1"
            )
            let attack = ["timeout", "2", "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/99"]
            let arrivals = try host.start(["tcpdump", "-n", "-l", "-i", "vmnet0", "dst port 99"])
            try arrivals.wait(for: "listening on", within: 10)
            #expect(try !other.namespace.attempt(attack).succeeded)
            try arrivals.wait(for: "> 127.0.0.1.99: Flags [S]", within: 5)
            // Nor when another program removes the rules that keep it out.
            #expect(try !host.attempt(["nft", "flush", "chain", "inet", "vde_vmnet_vmnet0", "ingress"]).succeeded)
            #expect(try !other.namespace.attempt(attack).succeeded)
            #expect(try daemon.stop() == .exited(0))
            #expect(try host.snapshot() == before)
            _ = (web, echo, secret)
        }

        /// A guest that is known by its hardware address is found where its lease is, and another that gets that
        /// address later is not.
        @Test(arguments: ["tap", "user"]) func publishedHardwareAddressIsFollowed(uplink: String) throws {
            let network = try TestNetwork(), host = network.host, path = network.folder.file("vde"),
                mac = "52:54:00:00:00:01"
            func start(_ options: [String]) throws -> VMNetDaemon {
                try VMNetDaemon(in: host, ["--switch", "--uplink", uplink] + options + [path], folder: network.folder)
            }
            let publish =
                ["--publish", "127.0.0.1:2222:\(mac):80"]
                + (uplink == "tap" ? ["--publish", "6000:\(mac):7000/udp"] : [])
            let daemon = try start(publish)
            try daemon.program.wait(
                for: "--publish 127.0.0.1:2222:\(mac):80/tcp leads nowhere until that guest has a lease")
            let other = try PlugGuest("other", path: path, mac: "52:54:00:00:00:02", folder: network.folder)
            #expect(try other.lease()["ip"] == "192.168.105.2")
            #expect(throws: (any Error).self) { try host.fetch("127.0.0.1", port: 2222) }
            var guest: PlugGuest? = try PlugGuest("guest", path: path, mac: mac, folder: network.folder)
            #expect(try guest!.lease()["ip"] == "192.168.105.3")
            try daemon.program.wait(for: "--publish 127.0.0.1:2222:\(mac):80/tcp leads to 192.168.105.3")
            let web = try guest!.namespace.startWeb("the guest's page", folder: network.folder)
            #expect(try host.fetch("127.0.0.1", port: 2222) == "the guest's page")
            if uplink == "tap" {
                let echo = try guest!.namespace.startDatagramEcho(ports: 7000...7000)
                #expect(try network.internet.askDatagram(TestNetwork.hostAddress, port: 6000) == "7000 heard hello")
                _ = echo
            }
            web.kill()
            guest = nil
            #expect(try daemon.stop() == .exited(0))

            // Another address for it.
            let again = try start(publish + ["--dhcp-host", "\(mac),192.168.105.9"])
            let moved = try PlugGuest("moved", path: path, mac: mac, folder: network.folder)
            #expect(try moved.lease()["ip"] == "192.168.105.9")
            try again.program.wait(for: "--publish 127.0.0.1:2222:\(mac):80/tcp leads to 192.168.105.9")
            let second = try moved.namespace.startWeb("the moved page", folder: network.folder)
            #expect(try host.fetch("127.0.0.1", port: 2222) == "the moved page")
            #expect(try again.stop() == .exited(0))
            _ = second
        }

        /// A port that is published to a host name leads to the first guest that takes the name with its lease, and to
        /// no other as long as that lease runs, over a restart too.
        @Test(arguments: ["tap", "user"]) func hostNameIsFollowed(uplink: String) throws {
            let network = try TestNetwork(), host = network.host, path = network.folder.file("vde")
            func start() throws -> VMNetDaemon {
                try VMNetDaemon(
                    in: host,
                    ["--switch", "--uplink", uplink, "--publish", "127.0.0.1:2222:Web:80"]
                        + (uplink == "tap" ? ["--publish", "6000:web:7000/udp"] : []) + [path], folder: network.folder)
            }
            func guest(_ number: Int) throws -> PlugGuest {
                try PlugGuest("guest\(number)", path: path, mac: "52:54:00:00:00:0\(number)", folder: network.folder)
            }
            let port = "--publish 127.0.0.1:2222:web:80/tcp leads"
            let daemon = try start()
            try daemon.program.wait(for: "\(port) nowhere until that guest has a lease")
            var one: PlugGuest? = try guest(1), two: PlugGuest? = try guest(2)
            // A name that no guest may have, and none, lead nowhere.
            #expect(try one!.lease("-x", "hostname:localhost")["ip"] == "192.168.105.2")
            #expect(try two!.lease()["ip"] == "192.168.105.3")
            #expect(throws: (any Error).self) { try host.fetch("127.0.0.1", port: 2222) }
            try one!.lease("-x", "hostname:WEB")
            try daemon.program.wait(for: "\(port) to 192.168.105.2")
            let first = try one!.namespace.startWeb("the page of 1", folder: network.folder)
            let second = try two!.namespace.startWeb("the page of 2", folder: network.folder)
            #expect(try host.fetch("127.0.0.1", port: 2222) == "the page of 1")
            if uplink == "tap" {
                let echo = try one!.namespace.startDatagramEcho(ports: 7000...7000)
                #expect(try network.internet.askDatagram(TestNetwork.hostAddress, port: 6000) == "7000 heard hello")
                echo.kill()
            }

            // A second guest of that name does not get the port.
            try two!.lease("-x", "hostname:web")
            try daemon.program.wait(for: "52:54:00:00:00:02 calls itself web as well")
            #expect(try host.fetch("127.0.0.1", port: 2222) == "the page of 1")
            // It does when the first one has another name. busybox's -F is the FQDN option.
            try one!.lease("-x", "hostname:db")
            try daemon.program.wait(for: "\(port) nowhere until that guest has a lease again")
            #expect(throws: (any Error).self) { try host.fetch("127.0.0.1", port: 2222) }
            try two!.lease("-F", "web.example.org")
            try daemon.program.wait(for: "\(port) to 192.168.105.3")
            #expect(try host.fetch("127.0.0.1", port: 2222) == "the page of 2")
            first.kill()
            second.kill()
            (one, two) = (nil, nil)
            #expect(try daemon.stop() == .exited(0))

            // The lease is remembered with the name: the first guest does not get it back.
            let again = try start()
            try again.program.wait(for: "\(port) to 192.168.105.3")
            let third = try guest(1), plug = try guest(2)
            #expect(try third.lease("-x", "hostname:web")["ip"] == "192.168.105.2")
            try again.program.wait(for: "52:54:00:00:00:01 calls itself web as well")
            #expect(try plug.lease()["ip"] == "192.168.105.3")
            let page = try plug.namespace.startWeb("the same page of 2", folder: network.folder)
            let other = try third.namespace.startWeb("the other page", folder: network.folder)
            #expect(try host.fetch("127.0.0.1", port: 2222) == "the same page of 2")
            // Until that guest releases its lease, with a client that does so; the address is configured already.
            let files = network.folder, configuration = files.file("dhclient.conf")
            try Files.replace(configuration, Array("timeout 10;\nsend host-name \"web\";\n".utf8))
            func dhclient(_ options: [String]) throws {
                let words =
                    options + [
                        "-sf", "/bin/true", "-cf", configuration, "-lf", files.file("dhclient.leases"), "-pf",
                        files.file("dhclient.pid"), PlugGuest.interface,
                    ]
                let result = try plug.namespace.attempt(["dhclient"] + words)
                if !result.succeeded { throw CommandFailed(description: "dhclient: \(result.output)\(result.error)") }
            }
            try dhclient(["-1"])
            try dhclient(["-r"])
            try again.program.wait(for: "released 192.168.105.3")
            try third.lease("-x", "hostname:web")
            try again.program.wait(for: "\(port) to 192.168.105.2")
            #expect(try host.fetch("127.0.0.1", port: 2222) == "the other page")
            #expect(try again.stop() == .exited(0))
            _ = (page, other)
        }

        @Test func usedPortIsReportedWithOwner() throws {
            let network = try TestNetwork()
            let before = try network.host.snapshot()
            let web = try network.host.startWeb("mine", folder: network.folder, address: "8080")
            let program = try VMNetDaemon.start(
                in: network.host, ["--switch", "--publish", "8079-8081:192.168.105.2", network.folder.file("vde")],
                folder: network.folder)
            #expect(try program.waitForEnd() == .exited(69))
            #expect(program.output.contains("tcp port 8080 is taken by busybox (process "), "\(program.output)")
            #expect(try network.host.snapshot() == before)
            web.kill()
            let foreign = try VMNetDaemon.start(
                in: network.host, ["--switch", "--publish", "8.8.8.8:80:192.168.105.2", network.folder.file("vde")],
                folder: network.folder)
            #expect(try foreign.waitForEnd() == .exited(69))
            #expect(foreign.output.contains("8.8.8.8 is not an address of this host"), "\(foreign.output)")
            // Two of our instances cannot have one port either.
            let first = try VMNetDaemon(
                in: network.host, ["--switch", "--publish", "53:192.168.105.2/udp", network.folder.file("vde")],
                folder: network.folder)
            let second = try VMNetDaemon.start(
                in: network.host, ["--switch", "--publish", "53:192.168.106.2/udp", network.folder.file("vde2")],
                folder: network.folder)
            #expect(try second.waitForEnd() == .exited(69))
            #expect(second.output.contains("udp port 53 is taken by vde_vmnet (process "), "\(second.output)")
            #expect(try first.stop() == .exited(0))
        }
    }
}

extension Namespace {
    /// A web server with one page.
    /// - Parameter address: what busybox's httpd takes for `-p`.
    func startWeb(_ page: String, folder: TemporaryFolder, address: String = "80") throws -> BackgroundProgram {
        let pages = folder.file("www-\(name)")
        try Files.makeDirectories(pages)
        try Files.replace(pages + "/index.html", Array((page + "\n").utf8))
        let server = try start(["busybox", "httpd", "-f", "-p", address, "-h", pages])
        try waitForListener(on: Int(address.split(separator: ":").last ?? "") ?? 80)
        return server
    }

    /// Answers every datagram with the port that it came to and what was in it.
    func startDatagramEcho(ports: ClosedRange<Int>, address: String = "0.0.0.0") throws -> BackgroundProgram {
        let script = """
            my %s = map { $_ => IO::Socket::IP->new(Proto => "udp", LocalHost => "\(address)", LocalPort => $_) } \
            \(ports.lowerBound)..\(ports.upperBound);
            $| = 1; print "listening\\n";
            my $select = IO::Select->new(values %s);
            while (1) { for my $s ($select->can_read) { my $from = $s->recv(my $text, 65535); $s->send($s->sockport . \
            " heard $text", 0, $from) } }
            """
        let server = try start(["perl", "-MIO::Socket::IP", "-MIO::Select", "-e", script])
        try server.wait(for: "listening", within: 10)
        return server
    }

    /// The answer to the datagram `hello`.
    func askDatagram(_ address: String, port: Int) throws -> String {
        let script = """
            my $s = IO::Socket::IP->new(Proto => "udp", PeerHost => "\(address)", PeerPort => \(port)) or die; my \
            $select = IO::Select->new($s);
            for (1..5) { $s->send("hello"); if ($select->can_read(1)) { $s->recv(my $answer, 65535); print $answer; \
            exit 0 } } exit 1
            """
        return try run("perl", "-MIO::Socket::IP", "-MIO::Select", "-e", script)
    }
}
