// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// `--proxy`: guests' TCP through a proxy on the Internet.
    @Suite struct Proxy {
        private typealias Fixture = NamedEgressFixture
        private static let address = TestNetwork.internetAddress

        /// A proxy of both kinds at port 1080, and at port 2222 a server that sends first. Modes: `open`; `login` needs
        /// user:secret; `refuse`, `garbage`, `close` and `silent` fail.
        private static let program = """
            import base64, socket, sys, threading
            mode = sys.argv[1]
            names = {"site.example": "198.51.100.1"}
            def exactly(s, count): return s.recv(count, socket.MSG_WAITALL)
            def pump(a, b):
                try:
                    while data := a.recv(65536): b.sendall(data)
                    b.shutdown(socket.SHUT_WR)
                except OSError: pass
            def join(s, host, port, answer, failure):
                print("connect", host, port, flush=True)
                if mode == "refuse": return s.sendall(failure)
                try: outside = socket.create_connection((names.get(host, host), port), timeout=5)
                except OSError: return s.sendall(failure)
                outside.settimeout(None)
                # In one segment with what the destination sends first.
                s.sendall(answer + (outside.recv(100) if port == 2222 else b""))
                back = threading.Thread(target=pump, args=(outside, s), daemon=True)
                back.start()
                pump(s, outside)
                back.join()
            def socks(s):
                methods = exactly(s, exactly(s, 1)[0])
                if mode == "login":
                    if 2 not in methods: return s.sendall(b"\\5\\xff")
                    s.sendall(b"\\5\\2")
                    exactly(s, 1)
                    user, password = exactly(s, exactly(s, 1)[0]), exactly(s, exactly(s, 1)[0])
                    if (user, password) != (b"user", b"secret"): return s.sendall(b"\\1\\1")
                    s.sendall(b"\\1\\0")
                else: s.sendall(b"\\5\\0")
                kind = exactly(s, 4)[3]
                if kind == 3: host = exactly(s, exactly(s, 1)[0]).decode()
                elif kind == 1: host = socket.inet_ntop(socket.AF_INET, exactly(s, 4))
                else: host = socket.inet_ntop(socket.AF_INET6, exactly(s, 16))
                rest = b"\\0\\1\\0\\0\\0\\0\\0\\0"
                join(s, host, int.from_bytes(exactly(s, 2), "big"), b"\\5\\0" + rest, b"\\5\\2" + rest)
            def http(s, head):
                while b"\\r\\n\\r\\n" not in head: head += s.recv(4096)
                lines = head.decode().split("\\r\\n")
                method, target, _ = lines[0].split(" ")
                wanted = "Proxy-Authorization: Basic " + base64.b64encode(b"user:secret").decode()
                if mode == "login" and wanted not in lines:
                    return s.sendall(b"HTTP/1.1 407 Login\\r\\nProxy-Authenticate: Basic realm=x\\r\\n\\r\\n")
                host, port = target.rsplit(":", 1)
                join(s, host.strip("[]"), int(port), b"HTTP/1.1 200 OK\\r\\n\\r\\n", b"HTTP/1.1 403 No\\r\\n\\r\\n")
            def serve(s):
                with s:
                    first = s.recv(1)
                    if mode == "garbage":
                        s.sendall(b"\\xff\\xff\\xff\\xff garbage\\r\\n\\r\\n")
                        while s.recv(65536): pass
                    elif mode == "silent": s.recv(1 << 20) and s.recv(1 << 20)
                    elif mode == "close" or not first: return
                    elif first == b"\\5": socks(s)
                    else: http(s, first)
            def speak():
                listener = socket.create_server(("", 2222))
                while True:
                    s = listener.accept()[0]
                    s.sendall(b"SSH-2.0-test\\r\\n")
                    threading.Thread(target=pump, args=(s, s), daemon=True).start()
            threading.Thread(target=speak, daemon=True).start()
            listener = socket.create_server(("", 1080))
            while True: threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
            """

        private static func proxy(_ network: TestNetwork, _ mode: String) throws -> BackgroundProgram {
            let program = try network.internet.start(["python3", "-c", Proxy.program, mode])
            try network.internet.waitForListener(on: 1080)
            return program
        }

        @Test(arguments: ["socks5", "http"]) func guestsConnectThroughTheProxy(kind: String) throws {
            let fixture = try Fixture("user", nil, options: ["--proxy", "\(kind)://\(Self.address):1080/"])
            let guest = try fixture.control.guest(), network = fixture.control.network
            let proxy = try Self.proxy(network, "open")
            try guest.namespace.ip("addr", "add", "192.168.105.77/24", "dev", PlugGuest.interface)
            try guest.namespace.ip("route", "add", "default", "via", gateway)
            #expect(try guest.address6().description.hasPrefix("fd"))
            // Without a name, the address.
            #expect(try fixture.evaluate(guest, "reaches('\(Fixture.site)', 80)") == "True")
            #expect(proxy.output.contains("connect \(Fixture.site) 80"))
            #expect(try fixture.evaluate(guest, "reaches('\(Fixture.site6)', 80)") == "True")
            #expect(proxy.output.contains("connect \(Fixture.site6) 80"))
            // The one name that has led there; of two, none.
            #expect(try fixture.evaluate(guest, "lookup('site.example')") == "(0, ['\(Fixture.site)'])")
            #expect(try fixture.evaluate(guest, "reaches('\(Fixture.site)', 8000)") == "True")
            #expect(proxy.output.contains("connect site.example 8000"))
            _ = try fixture.evaluate(guest, "lookup('forbidden.example'), lookup('alias.site.example')")
            #expect(try fixture.evaluate(guest, "reaches('\(Fixture.forbidden)', 8000)") == "True")
            #expect(proxy.output.contains("connect \(Fixture.forbidden) 8000"))
            // What the destination sends with the proxy's answer, and more than buffers hold.
            let output = try fixture.run(
                guest,
                """
                import threading
                s = open('\(Fixture.site)', 2222)
                got = b""
                def receive():
                    global got
                    while data := s.recv(65536): got += data
                thread = threading.Thread(target=receive)
                thread.start()
                s.sendall(b"x" * 3000000)
                s.shutdown(socket.SHUT_WR)
                thread.join(30)
                print(got[:14], len(got))
                """)
            #expect(output == "b'SSH-2.0-test\\r\\n' 3000014")
            // What it does not carry fails at once.
            let datagram = """
                s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                s.settimeout(20)
                s.connect(('\(Self.address)', 53))
                s.send(b'x')
                try: s.recv(10)
                except OSError as e: print(type(e).__name__, e.errno)
                """
            #expect(try fixture.run(guest, datagram) == "OSError 113")
            #expect(try !guest.namespace.pings(Fixture.site))
            #expect(try guest.namespace.pings(gateway))
            #expect(try fixture.control.daemon.stop() == .exited(0))
        }

        @Test(arguments: ["socks5", "http"]) func failuresAreReported(kind: String) throws {
            let network = try TestNetwork(), path = network.folder.file("own")
            let file = network.folder.file("login"), wrong = network.folder.file("wrong")
            try Files.replace(file, Array("user:secret\n".utf8), mode: 0o600)
            try Files.replace(wrong, Array("user:other\n".utf8), mode: 0o640)
            let web = try network.internet.startWeb("a site", folder: network.folder, address: "80")
            func attempt(
                _ mode: String?, _ options: [String] = [], environment: [String: String?] = [:]
            ) throws -> (reached: Bool, proxy: BackgroundProgram?, VMNetDaemon) {
                let proxy = try mode.map { try Self.proxy(network, $0) }
                let daemon = try VMNetDaemon(
                    in: network.host,
                    ["--switch", "--uplink", "user", "--proxy", "\(kind)://\(Self.address):1080"] + options + [path],
                    folder: network.folder, environment: environment)
                let guest = try PlugGuest("guest", path: path, folder: network.folder)
                try guest.lease()
                let program = NamedEgressFixture.client + "print(reaches('\(Self.address)', 80, wait=5))"
                let reached = try guest.namespace.attempt(["python3", "-c", program]).output.trimmed == "True"
                return (reached, proxy, daemon)
            }
            let expected: [(String?, [String], String)] = [
                (nil, [], "connect: Connection refused; check that it runs"),
                ("refuse", [], kind == "http" ? "HTTP status 403" : "its rules refuse the destination"),
                ("garbage", [], "its answer is not \(kind == "http" ? "HTTP" : "SOCKS5")"),
                ("close", [], "it has closed the connection"),
                ("login", [], "it needs a user and a password; use --proxy-credentials FILE"),
                ("login", ["--proxy-credentials", wrong], "it does not accept the user and the password"),
            ]
            // This takes its time, and is the same for both.
            let silent: (String?, [String], String) = ("silent", [], "no answer in time")
            for (mode, options, text) in expected + (kind == "http" ? [silent] : []) {
                let (reached, proxy, daemon) = try attempt(mode, options)
                let log = daemon.program
                #expect(!reached)
                // A silent proxy has 30 seconds.
                try eventually("a message: \(text)", within: 60) {
                    log.output.contains("the proxy \(kind)://\(Self.address):1080 has not made ")
                        && log.output.contains(text)
                }
                #expect(!log.output.contains("secret") && !log.output.contains("user:other"))
                #expect(log.output.contains("chmod 600 \(wrong)") == (options.last == wrong), "other users may read it")
                #expect(try daemon.stop() == .exited(0))
                _ = try proxy?.stop()
            }
            for (options, environment) in [
                (["--proxy-credentials", file], [:]),
                ([], ["VDE_VMNET_PROXY_USER": "user", "VDE_VMNET_PROXY_PASSWORD": "secret"]),
            ] as [([String], [String: String?])] {
                let (reached, proxy, daemon) = try attempt("login", options, environment: environment)
                #expect(reached)
                #expect(!daemon.program.output.contains("chmod"))
                #expect(try daemon.stop() == .exited(0))
                _ = try proxy?.stop()
            }
            _ = web
        }
    }
}
