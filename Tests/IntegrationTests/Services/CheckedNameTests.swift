// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// `--check-names`: names within connections, by curl and by a hostile guest.
    @Suite struct CheckedNames {
        private typealias Fixture = NamedEgressFixture
        private static let rules = ["site.example:80", "site.example:443", "site.example:8081", "site.example:2222"]

        /// Servers at site.example: `2222` sends first and returns what it gets, `8081` returns the length of a body.
        private static let servers = """
            import socket, threading
            def speak(s):
                s.sendall(b"SSH-2.0-test\\r\\n")
                while data := s.recv(65536): s.sendall(data)
            def count(s):
                text = b""
                while b"\\r\\n\\r\\n" not in text: text += s.recv(1024)
                head, body = text.split(b"\\r\\n\\r\\n", 1)
                length = int(head.lower().split(b"content-length: ")[1].split()[0])
                total = len(body)
                while total < length: total += len(s.recv(20000))
                s.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 8\\r\\n\\r\\n%08d" % total)
            def serve(port, handle):
                listener = socket.create_server(("", port))
                while True: threading.Thread(target=handle, args=(listener.accept()[0],), daemon=True).start()
            threading.Thread(target=serve, args=(2222, speak), daemon=True).start()
            serve(8081, count)
            """

        @Test func otherNamesAtTheSameAddressAreReset() throws {
            let fixture = try Fixture(
                "user", Self.rules, options: ["--check-names", "--egress-log"], securePort: 443)
            let guest = try fixture.guest(), internet = fixture.control.network.internet
            let servers = try internet.start(["python3", "-c", Self.servers])
            try internet.waitForListener(on: 8081)
            func curl(_ words: String...) throws -> Int32 {
                let result = try guest.namespace.attempt(
                    ["curl", "-sk", "-o", "/dev/null", "--noproxy", "*", "--max-time", "10"] + words)
                if case .exited(let status) = result.termination { return status }
                return -1
            }
            func at(_ name: String, _ port: Int) -> String { "\(name):\(port):\(Fixture.site)" }
            func logged(_ text: String) throws {
                try eventually("the line: \(text)") {
                    fixture.control.daemon.program.output.contains(": tcp to \(Fixture.site) port \(text)")
                }
            }
            #expect(try fixture.evaluate(guest, "lookup('site.example')") == "(0, ['\(Fixture.site)'])")
            #expect(try curl("--resolve", at("site.example", 443), "https://site.example/") == 0)
            #expect(try curl("--resolve", at("forbidden.example", 443), "https://forbidden.example/") == 35)
            try logged("443 (forbidden.example): the connection names it")
            #expect(try curl("https://\(Fixture.site)/") == 35)
            try logged("443 (site.example): the connection has no name")
            #expect(try curl("--resolve", at("site.example", 80), "http://site.example/") == 0)
            #expect(
                try curl("--resolve", at("site.example", 80), "-H", "Host: b.example", "http://site.example/") == 56)
            try logged("80 (b.example): the connection names it")
            // Two requests by one connection, in small pieces.
            let program = """
                def talk(port, *pieces):
                    s = open('\(Fixture.site)', port)
                    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    got = b""
                    try:
                        for piece in pieces:
                            if piece is None: got += s.recv(4096)
                            else: s.sendall(piece)
                        s.settimeout(5)
                        while data := s.recv(65536): got += data
                    except ConnectionResetError: return "reset"
                    except TimeoutError: pass
                    return got.decode()
                def request(host, rest="Connection: close\\r\\n"):
                    return f"GET / HTTP/1.1\\r\\nHost: {host}\\r\\n{rest}\\r\\n".encode()

                """
            func talk(_ arguments: String) throws -> String {
                try fixture.run(guest, program + "print(talk(\(arguments)))")
            }
            #expect(try talk("80, *[bytes([b]) for b in request('site.example')]").contains("a site"))
            #expect(try talk("80, request('site.example', '') + request('forbidden.example')") == "reset")
            #expect(try talk("443, b'SSH-2.0-other\\r\\n'") == "reset")
            // A port of a rule for another protocol: the server sends first.
            #expect(try talk("2222, None, b'SSH-2.0-guest\\r\\n', None").contains("SSH-2.0-test\r\nSSH-2.0-guest"))
            #expect(try talk("2222, None, request('forbidden.example')") == "reset")
            // More than all buffers hold.
            let head = "b'POST / HTTP/1.1\\r\\nHost: site.example\\r\\nContent-Length: 5000000\\r\\n\\r\\n'"
            #expect(try talk("8081, \(head), b'x' * 5000000, None").hasSuffix("05000000"))
            let status = try fixture.control.python("print(call('egress.get')['result']['connections_checked'])")
            #expect(status.output == "True\n", "\(status)")
            // The list changes: the names of open connections are checked against the new one.
            try fixture.control.run("allow", "add", "forbidden.example:443")
            #expect(try curl("--resolve", at("forbidden.example", 443), "https://forbidden.example/") == 0)
            #expect(try fixture.control.daemon.stop() == .exited(0))
            _ = servers
        }

        @Test func namesWithinIPv6AreChecked() throws {
            let fixture = try Fixture("user", ["site.example:80"], options: ["--check-names"])
            let guest = try fixture.control.guest()
            try guest.namespace.ip("addr", "add", "192.168.105.77/24", "dev", PlugGuest.interface)
            #expect(try guest.address6().description.hasPrefix("fd"))
            #expect(try fixture.evaluate(guest, "lookup('site.example', 28)") == "(0, ['\(Fixture.site6)'])")
            func curl(_ host: String) throws -> Bool {
                try guest.namespace.attempt([
                    "curl", "-s", "--noproxy", "*", "--max-time", "10", "-H", "Host: \(host)",
                    "http://[\(Fixture.site6)]/",
                ]).output.contains("a site")
            }
            #expect(try curl("site.example"))
            #expect(try !curl("forbidden.example"))
            #expect(try fixture.control.daemon.stop() == .exited(0))
        }
    }
}
