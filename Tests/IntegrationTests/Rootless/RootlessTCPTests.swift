// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests.Rootless {
    /// Connects in Python, and prints "TEXT: ERRNO" or "TEXT: connected", then runs `body` with the socket `s`.
    private func connect(to address: String, _ port: Int, _ text: String, timeout: Int, _ body: String) -> [String] {
        let program = """
            import socket, errno
            s = socket.socket()
            s.settimeout(\(timeout))
            def name(x): return errno.errorcode.get(x.errno, str(x)) if x.errno else 'timeout'
            try:
                s.connect(('\(address)', \(port)))
                print('\(text): connected', flush=True)
            except OSError as x:
                print('\(text):', name(x), flush=True)
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
        #expect(result.output.contains("receive: ECONNRESET"), "\(result.output)")
        try fixture.daemon.wait(
            for: "a client of the published port for 192.168.105.99:80/tcp was refused: no guest answers", within: 5)
        // A guest with a lease that has gone is as absent, one that refuses or rejects answers itself.
        var guest: PlugGuest? = try fixture.guest()
        #expect(try guest!.lease()["ip"] == "192.168.105.2")
        let refused = try fixture.host.attempt(connect(to: "127.0.0.1", 8002, "client", timeout: 60, Self.receive))
        #expect(refused.output.contains("receive: ECONNRESET"), "\(refused.output)")
        let output = fixture.daemon.output
        #expect(!output.contains("192.168.105.2:80/tcp was refused"), "a refusal is the guest's")
        guest = nil
        let gone = try fixture.host.attempt(connect(to: "127.0.0.1", 8002, "client", timeout: 60, Self.receive))
        #expect(gone.output.contains("receive: ECONNRESET"), "\(gone.output)")
        try fixture.daemon.wait(for: "192.168.105.2:80/tcp was refused: no guest answers", within: 5)
        #expect(try fixture.daemon.stop() == .exited(0))
    }
}
