// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    @Suite struct Rootless {
        /// All of it, with real guests that run as the user `nobody`.
        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"))
        func unprivilegedNetworkIsComplete() throws {
            let fixture = try RootlessFixture(["--publish", "8080:192.168.105.2:80"], internet: true) {
                try $0.run("sysctl", "-q", "-w", "net.ipv4.ping_group_range=0 65535")
            }
            #expect(fixture.ready.contains("192.168.105.0/24 by user-mode NAT, gateway 192.168.105.1"))
            #expect(fixture.ready.contains("this host does not reach guests at their own addresses"))
            let web = try fixture.host.startWeb(
                "the host's page", folder: fixture.folder, address: "\(TestNetwork.hostAddress):80")
            let guests = try [1, 2].map { try fixture.vm("guest\($0)", $0) }
            var addresses: [String] = []
            for guest in guests {
                try guest.waitUntilBooted()
                addresses.append(VirtualMachine.address(in: try guest.lease()))
            }
            #expect(addresses == ["192.168.105.2", "192.168.105.3"])
            for (number, guest) in guests.enumerated() {
                #expect(try guest.run("ping -c 1 -W 5 \(addresses[1 - number])").status == 0)
                #expect(try guest.run("ping -c 1 -W 5 192.168.105.1").status == 0)
                #expect(
                    try guest.run("ping -c 1 -W 5 \(TestNetwork.internetAddress)").status == 0, "the sysctl allows it")
                #expect(
                    try guest.run("wget -q -O - http://\(TestNetwork.internetName)/").output
                        == "Hello from the Internet")
                #expect(try guest.run("wget -q -O - http://\(TestNetwork.hostAddress)/").output == "the host's page")
                #expect(
                    try guest.run("wget -q -O - http://\(TestNetwork.internetAddress)/cgi-bin/who").output.contains(
                        TestNetwork.hostAddress))
            }
            try guests[0].run("mkdir -p /www && echo 'this is guest1' > /www/index.html && httpd -p 80 -h /www")
            #expect(try fixture.host.fetch("127.0.0.1", port: 8080) == "this is guest1")
            #expect(try fixture.network.internet.fetch(TestNetwork.hostAddress, port: 8080) == "this is guest1")
            let check = try fixture.host.attempt(
                Namespace.running(as: "nobody") + [
                    TestHost.product("vde_vmnet"), "check", fixture.path, "--tcp", "\(TestNetwork.internetAddress):80",
                ])
            #expect(check.succeeded, "\(check.output)")
            #expect(try fixture.daemon.stop() == .exited(0))
            #expect(!Files.exists(fixture.path))
            _ = web
        }

        /// What listens on the host's loopback, and a cloud's metadata server.
        private func startSecrets(_ fixture: RootlessFixture) throws -> [BackgroundProgram] {
            try fixture.host.ip("addr", "add", "169.254.169.254/32", "dev", "lo")
            return [
                try fixture.host.startWeb("secret", folder: fixture.folder, address: "127.0.0.1:99"),
                try fixture.host.startWeb("metadata", folder: fixture.folder, address: "169.254.169.254:81"),
            ]
        }

        private func reaches(_ guest: PlugGuest, _ address: String, _ port: Int) throws -> Bool {
            try guest.namespace.attempt([
                "timeout", "3", "bash", "-c",
                "exec 3<>/dev/tcp/\(address)/\(port); printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; grep -q 200 <&3",
            ]).succeeded
        }

        @Test func hostLoopbackIsClosedByDefault() throws {
            for isOpen in [false, true] {
                let fixture = try RootlessFixture(
                    isOpen ? ["--uplink", "user", "--host-loopback"] : [], internet: true)
                let secrets = try startSecrets(fixture)
                let guest = try fixture.guest()
                try guest.lease()
                #expect(try reaches(guest, gateway, 99) == isOpen)
                #expect(try !reaches(guest, "169.254.169.254", 81))
                #expect(try reaches(guest, TestNetwork.internetAddress, 80))
                #expect(try fixture.daemon.stop() == .exited(0))
                _ = secrets
            }
        }

        @Test(arguments: ["user", "tap"])
        func deniedDestinationIsRefused(uplink: String) throws {
            let options = [
                "--uplink", uplink, "--egress", "deny", "--allow", "\(TestNetwork.internetAddress)/32:80", "--allow",
                "198.51.100.0/24",
            ]
            let network: TestNetwork, path: String, stop: () throws -> ChildProcess.Termination
            if uplink == "user" {
                let fixture = try RootlessFixture(options, internet: true)
                (network, path, stop) = (fixture.network, fixture.path, { try fixture.daemon.stop() })
            } else {
                network = try TestNetwork()
                try network.startInternet()
                path = network.folder.file("own")
                let daemon = try VMNetDaemon(in: network.host, ["--switch"] + options + [path], folder: network.folder)
                stop = { try daemon.stop() }
            }
            let web = try network.internet.startWeb("another port", folder: network.folder, address: "8000")
            let own = try network.host.startWeb("the host's", folder: network.folder, address: "7")
            let guest = try PlugGuest("guest", path: path, folder: network.folder),
                other = try PlugGuest("other", path: path, folder: network.folder)
            try guest.lease()
            let address = try other.lease()["ip"]!
            #expect(try reaches(guest, TestNetwork.internetAddress, 80))
            #expect(try !reaches(guest, TestNetwork.internetAddress, 8000))
            #expect(try !reaches(guest, TestNetwork.hostAddress, 7) && !reaches(guest, gateway, 7))
            #expect(try guest.namespace.pings(gateway) && guest.namespace.pings(address), "guests have their network")
            #expect(
                try guest.namespace.run("busybox", "nslookup", "-type=a", TestNetwork.internetName, gateway).contains(
                    TestNetwork.internetAddress))
            #expect(try stop() == .exited(0))
            _ = (web, own)
        }

        @Test func datagramAndStreamPortsArePublished() throws {
            let fixture = try RootlessFixture(
                ["127.0.0.1:2222:192.168.105.2:80", "6000-6001:192.168.105.2:7000/udp"].flatMap { ["--publish", $0] })
            let guest = try fixture.guest()
            try guest.lease()
            let web = try guest.namespace.startWeb("the guest's page", folder: fixture.folder),
                echo = try guest.namespace.startDatagramEcho(ports: 7000...7001)
            #expect(try fixture.host.fetch("127.0.0.1", port: 2222) == "the guest's page")
            #expect(throws: (any Error).self) {
                try fixture.network.internet.fetch(TestNetwork.hostAddress, port: 2222)
            }
            #expect(try fixture.network.internet.askDatagram(TestNetwork.hostAddress, port: 6000) == "7000 heard hello")
            #expect(try fixture.host.askDatagram("127.0.0.1", port: 6001) == "7001 heard hello")
            // A used port is reported with its owner.
            let second = try VMNetDaemon.start(
                in: fixture.host,
                [
                    "--uplink", "user", "--switch", "--vmnet-gateway", "192.168.106.1", "--publish",
                    "6000:192.168.106.2/udp", fixture.folder.file("second"),
                ], folder: fixture.folder)
            #expect(try second.waitForEnd() == .exited(69))
            #expect(second.output.contains("udp port 6000 is taken by vde_vmnet (process "), "\(second.output)")
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = (web, echo)
        }

        @Test func transfersArriveUnchanged() throws {
            let fixture = try RootlessFixture(["--publish", "7101:192.168.105.2"])
            let guest = try fixture.guest()
            try guest.lease()
            let (file, expected) = try makeFile(fixture, megabytes: 100)
            let source = try serve(file, at: 7100, in: fixture.network.internet)
            #expect(try fetchSum(TestNetwork.internetAddress, 7100, in: guest.namespace) == expected, "down")
            let own = try serve(file, at: 7101, in: guest.namespace)
            #expect(try fetchSum(TestNetwork.hostAddress, 7101, in: fixture.network.internet) == expected, "up")
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = (source, own)
        }

        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"))
        func largestPacketsArriveUnchanged() throws {
            let fixture = try RootlessFixture(["--vmnet-mtu", "65520", "--publish", "7101:192.168.105.2"])
            let guest = try VirtualMachine.qemu(
                "guest", netdev: "vde,id=net0,sock=\(fixture.path)", mac: "52:54:00:00:00:01", in: fixture.host,
                user: "nobody", device: ",host_mtu=65520", folder: fixture.folder)
            try guest.waitUntilBooted()
            _ = try guest.lease()
            #expect(try guest.run("cat /sys/class/net/eth0/mtu").output == "65520")
            let (file, expected) = try makeFile(fixture, megabytes: 64)
            let source = try serve(file, at: 7100, in: fixture.network.internet)
            #expect(
                try guest.run("nc \(TestNetwork.internetAddress) 7100 </dev/null | sha256sum", within: 120).output
                    .prefix(64) == expected, "down")
            try guest.run(
                "(nc \(TestNetwork.internetAddress) 7100 </dev/null | head -c 33554432 >/data; nc -l -p 7101 </data) "
                    + ">/dev/null 2>&1 &"
            )
            try eventually("the guest's server", within: 60) {
                try guest.run("netstat -ltn | grep -q :7101").status == 0
            }
            let half = try ChildProcess.run(["sh", "-c", "head -c 33554432 \(file) | sha256sum"]).output.prefix(64)
            #expect(try fetchSum(TestNetwork.hostAddress, 7101, in: fixture.network.internet) == half, "up")
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = source
        }

        /// A file of random bytes, and its checksum.
        private func makeFile(_ fixture: RootlessFixture, megabytes: Int) throws -> (path: String, sum: Substring) {
            let file = fixture.folder.file("data")
            _ = try ChildProcess.run(["dd", "if=/dev/urandom", "of=" + file, "bs=1M", "count=\(megabytes)"])
            return (file, try ChildProcess.run(["sha256sum", file]).output.prefix(64))
        }

        private func serve(_ file: String, at port: Int, in host: Namespace) throws -> BackgroundProgram {
            let server = try host.start(["busybox", "nc", "-ll", "-p", "\(port)", "-e", "cat", file])
            try host.waitForListener(on: port)
            return server
        }

        private func fetchSum(_ address: String, _ port: Int, in client: Namespace) throws -> Substring {
            try client.run("timeout", "25", "bash", "-c", "sha256sum </dev/tcp/\(address)/\(port)").prefix(64)
        }

        @Test func transfersSurvivePacketLoss() throws {
            let fixture = try RootlessFixture()
            let far = try VDESwitch(in: fixture.host, at: fixture.folder.file("far"))
            // 1 % of the frames lost, and frames overtake each other.
            let cable = try fixture.host.start([
                "dpipe", "vde_plug", fixture.path, "=", "wirefilter", "-l", "1", "-d", "2+1", "=", "vde_plug", far.path,
            ])
            let guest = try PlugGuest("guest", path: far.path, folder: fixture.folder)
            try guest.lease(seconds: 20)
            let (file, expected) = try makeFile(fixture, megabytes: 4)
            let source = try serve(file, at: 7100, in: fixture.network.internet)
            #expect(try fetchSum(TestNetwork.internetAddress, 7100, in: guest.namespace) == expected)
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = (source, cable)
        }

        /// What one guest does to the NAT costs others nothing: forged sources, broken and overlapping packets, floods
        /// of connections and of questions.
        @Test func hostileGuestDisturbsNoOther() throws {
            let fixture = try RootlessFixture(internet: true)
            let guest = try fixture.guest()
            try guest.lease()
            #expect(try guest.namespace.pings(gateway))
            let hostile = try PlugPort(path: fixture.path)
            let own = MACAddress(0x5254_0000_0666), address = IPv4Address("192.168.105.66")!,
                outside = IPv4Address(TestNetwork.internetAddress)!
            let router = try #require(
                try guest.namespace.run("ip", "neigh", "show", gateway).split(separator: " ").compactMap {
                    MACAddress($0)
                }.first)
            func datagram(
                from source: IPv4Address, _ port: UInt16, to destination: IPv4Address, _ destinationPort: UInt16,
                _ payload: [UInt8] = [1]
            ) -> [UInt8] {
                Frames.udp(
                    from: Endpoint(own, source, port: port),
                    to: Endpoint(router, destination, port: destinationPort), payload)
            }
            for victim in ["192.168.105.2", "192.168.105.1", "192.168.105.255", "255.255.255.255", "127.0.0.1"] {
                hostile.send(datagram(from: IPv4Address(victim)!, 1, to: outside, 7))
            }
            try fixture.waitUntilDropped("spoofed")
            let good = datagram(from: address, 5, to: outside, 7, [UInt8](repeating: 7, count: 400))
            for length in stride(from: 14, to: good.count, by: 3) { hostile.send(Array(good.prefix(length))) }
            hostile.send(datagram(from: address, 0, to: outside, 7))
            try fixture.waitUntilDropped("malformed")
            hostile.send(good.dropLast() + [0])
            try fixture.waitUntilDropped("badChecksum")
            var random = SeededGenerator(seed: 5)
            for number in 0..<20_000 {
                let port = UInt16.random(in: 1...65_535, using: &random)
                hostile.send(
                    Frames.tcp(
                        .syn, from: Endpoint(own, address, port: UInt16(number + 1)),
                        to: Endpoint(router, outside, port: port), sequence: 1))
                if number % 5000 == 0 {
                    #expect(try guest.namespace.fetch(TestNetwork.internetAddress) == "Hello from the Internet")
                }
            }
            for number in 0..<5000 {
                // A query for a name that does not exist.
                let question: [UInt8] =
                    [UInt8(number >> 8), UInt8(number & 0xff), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 8]
                    + Array("x\(1_000_000 + number)".utf8) + [0, 0, 1, 0, 1]
                hostile.send(datagram(from: address, UInt16(1024 + number), to: IPv4Address(gateway)!, 53, question))
            }
            try eventually("a name", within: 20) {
                try guest.namespace.attempt(["busybox", "nslookup", "-type=a", TestNetwork.internetName, gateway])
                    .output.contains(TestNetwork.internetAddress)
            }
            #expect(try guest.namespace.fetch(TestNetwork.internetAddress) == "Hello from the Internet")
            // What was refused outside keeps no socket.
            try eventually("its sockets are closed", within: 60) {
                try Files.entries("/proc/\(fixture.daemon.identifier)/fd").count < 200
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }
    }
}
