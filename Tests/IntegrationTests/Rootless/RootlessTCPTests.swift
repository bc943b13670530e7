// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests.Rootless {
    /// Connects in Python, and prints "TEXT: ERRNO" or "TEXT: connected", then runs `body` with the socket `s`.
    private func connect(to address: String, _ port: Int, _ text: String, timeout: Int, _ body: String) -> [String] {
        let program = """
            import socket, errno
            def name(x): return errno.errorcode.get(x.errno, str(x)) if x.errno else 'timeout'
            result = 'ENOTCONN'
            # Linux may lose an ICMP error: then connect() succeeds, and the socket is not connected.
            while result == 'ENOTCONN':
                s = socket.socket()
                s.settimeout(\(timeout))
                try:
                    s.connect(('\(address)', \(port)))
                    s.getpeername()
                    result = 'connected'
                except OSError as x:
                    result = name(x)
            print('\(text):', result, flush=True)
            """
        return ["python3", "-c", program + "\n" + body]
    }

    private static let receive = """
        try: print('received', s.recv(10))
        except OSError as x: print('receive:', name(x), flush=True)
        """

    @Test func absentGuestOfPublishedPortRefusesClients() throws {
        let fixture = try RootlessFixture(["--publish", "8099:192.168.105.99:80", "--publish", "8002:192.168.105.2:80"])
        let result = try fixture.host.attempt(
            connect(to: "127.0.0.1", 8099, "client", timeout: 60, Self.receive))
        // By connect() or recv(): the reset may come before the client is scheduled.
        #expect(result.output.contains("ECONNRESET"), "\(result.output)")
        try fixture.daemon.wait(
            for: "a client of the published port for 192.168.105.99:80/tcp was refused: no guest answers", within: 5)
        // A guest with a lease that has gone is as absent, one that refuses or rejects answers itself.
        var guest: PlugGuest? = try fixture.guest()
        #expect(try guest!.lease()["ip"] == "192.168.105.2")
        let refused = try fixture.host.attempt(connect(to: "127.0.0.1", 8002, "client", timeout: 60, Self.receive))
        #expect(refused.output.contains("ECONNRESET"), "\(refused.output)")
        let output = fixture.daemon.output
        #expect(!output.contains("192.168.105.2:80/tcp was refused"), "a refusal is the guest's")
        guest = nil
        let gone = try fixture.host.attempt(connect(to: "127.0.0.1", 8002, "client", timeout: 60, Self.receive))
        #expect(gone.output.contains("ECONNRESET"), "\(gone.output)")
        try fixture.daemon.wait(for: "192.168.105.2:80/tcp was refused: no guest answers", within: 5)
        #expect(try fixture.daemon.stop() == .exited(0))
    }

    /// A guest's keep-alive finds out that the outside is gone, in the guest's own time.
    @Test func keepAliveOfGuestProbesTheOutside() throws {
        let fixture = try RootlessFixture(internet: true)
        let guest = try fixture.guest()
        try guest.lease()
        let internet = fixture.network.internet
        let server = try internet.start([
            "python3", "-c",
            """
            import socket, time
            l = socket.create_server(('', 9000))
            s = l.accept()
            print('served', flush=True)
            time.sleep(600)
            """,
        ])
        try internet.waitForListener(on: 9000)
        let probes = try fixture.host.start(["tcpdump", "-n", "-l", "-i", "wan", "tcp and dst port 9000"])
        try probes.wait(for: "listening on", within: 10)
        let client = try guest.namespace.start(
            connect(
                to: TestNetwork.internetAddress, 9000, "client", timeout: 300,
                """
                s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2)
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
                print('waiting', flush=True)
                """ + "\n" + Self.receive))
        try client.wait(for: "waiting", within: 20)
        try server.wait(for: "served", within: 20)
        // Segments of the handshake, then probes.
        try eventually("three probes", within: 60) { probes.output.split(separator: "\n").count >= 6 }
        #expect(!client.output.contains("receive"), "\(client.output)")
        try internet.run(
            "nft", "add table inet t; add chain inet t i { type filter hook input priority 0; policy drop; }")
        try client.wait(for: "receive: ETIMEDOUT", within: 120)
        #expect(try fixture.daemon.stop() == .exited(0))
    }

    /// What a router would have sent in the host's place.
    @Test func routesOfTheHostAreReportedAsARouterReportsThem() throws {
        let fixture = try RootlessFixture { host in
            for (type, address) in [
                ("prohibit", "198.51.100.1"), ("unreachable", "198.51.100.2"), ("blackhole", "198.51.100.3"),
            ] {
                try host.ip("route", "add", type, address)
            }
        }
        let guest = try fixture.guest()
        try guest.lease()
        let messages = try guest.namespace.start([
            "tcpdump", "-n", "-l", "-i", "eth0", "icmp or tcp[tcpflags] & tcp-rst != 0",
        ])
        try messages.wait(for: "listening on", within: 10)
        for (address, expected) in [
            ("198.51.100.1", "EHOSTUNREACH"), ("198.51.100.2", "EHOSTUNREACH"), ("198.51.100.3", "timeout"),
        ] {
            let result = try guest.namespace.attempt(connect(to: address, 80, address, timeout: 3, ""))
            #expect(result.output.contains("\(address): \(expected)"), "\(result.output)")
        }
        try messages.wait(for: "admin prohibited", within: 10)
        try messages.wait(for: "198.51.100.2 unreachable", within: 10)
        #expect(!messages.output.contains("Flags [R"), "\(messages.output)")
        #expect(try fixture.daemon.stop() == .exited(0))
    }
}
