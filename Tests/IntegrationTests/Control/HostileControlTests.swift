// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// Clients of the control socket that are hostile, or have no rights; names; places.
    @Suite struct HostileControl {
        /// The user without privilege.
        private static let other = "nobody"
        private var otherUser: UInt32 { UserDatabase.user(named: "nobody") ?? 65_534 }

        @Test func hostileClientsDoNotDisturbNetwork() throws {
            let fixture = try ControlFixture()
            let before = try fixture.python(
                "print(open('/proc/%d/status' % call('status')['result']['process']).read())")
            func memory(_ text: String) -> Int {
                let line = text.split(separator: "\n").first { $0.hasPrefix("VmRSS:") } ?? ""
                return Int(line.split(separator: " ").dropFirst().first ?? "") ?? 0
            }
            #expect(memory(before.output) > 0, "\(before.error)")
            let result = try fixture.python(
                """
                # Garbage, lines of other JSON, and what follows is still served.
                s = connect(); f = s.makefile("rb")
                for line in [b"garbage", b"[]", b"{}", b"\\xff\\xfe", b"{\\"id\\":{},\\"method\\":1}", b"[" * 5000]:
                    s.sendall(line + b"\\n")
                    reply = json.loads(f.readline())
                    assert reply["error"]["code"] in ("parse", "request"), reply
                s.sendall(b'{"id":1,"method":"subscribe","params":{"events":"join"}}\\n')
                assert "not a list" in json.loads(f.readline())["error"]["message"]
                s.sendall(b'{"id":1,"method":"nothing"}\\n{"id":"x","method":"hello"}\\n\\r\\n')
                assert json.loads(f.readline())["error"]["code"] == "method"
                assert json.loads(f.readline())["id"] == "x"
                # A line of 100 MB.
                s = connect(); f = s.makefile("rb")
                try:
                    for _ in range(1600): s.sendall(b"x" * 65536)
                except OSError: pass
                try: assert json.loads(f.readline())["error"]["code"] == "too_long"
                except ConnectionResetError: pass
                # Half a line, and nothing more.
                half = connect(); half.sendall(b'{"id":1,"meth')
                # A client that never reads.
                deaf = connect(); deaf.settimeout(0.2); sent = 0
                try:
                    for _ in range(100000):
                        deaf.sendall(b'{"id":1,"method":"status"}\\n'); sent += 1
                except OSError: pass
                assert sent < 100000, "it is not read without limit"
                # 1,000 connections.
                many = []
                for _ in range(1000):
                    s = socket.socket(socket.AF_UNIX); s.connect(path); s.settimeout(5); many.append(s)
                refused = 0
                for s in many[500:]:
                    try: refused += b"busy" in s.recv(1000)
                    except OSError: pass
                assert refused > 400, refused
                for s in many: s.close()
                deaf.close()
                for _ in range(100):
                    try:
                        assert "result" in call("status"); break
                    except (KeyError, ValueError, OSError, AssertionError): time.sleep(0.1)
                else: raise SystemExit("no client is served afterwards")
                # The half line's connection ends by itself.
                assert half.recv(10) == b""
                print(open('/proc/%d/status' % call('status')['result']['process']).read())
                """)
            #expect(result.succeeded, "\(result.error)")
            #expect(memory(result.output) < memory(before.output) + 32_000, "memory is bounded")
            #expect(try fixture.guest().lease()["ip"] == "192.168.105.2")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// A socket that something else serves is no network that has ended, and no text reaches a terminal as it is.
        @Test func errorsNameOtherSocketsAndKeepTerminal() throws {
            let fixture = try ControlFixture("none", ["--stream", ControlFixture.file("stream")])
            let program = TestHost.product("vde_vmnet")
            let cases: [(words: [String], status: Int32, text: String)] = [
                (["status", fixture.folder.file("stream")], 69, "it is no control socket"),
                (["status", fixture.folder.file("a\u{1b}[31m\nb")], 69, "a?[31m?b: No such file"),
                (["status", "--\u{1b}[31m"], 64, "--?[31m"),
                (["--switch", "--control", fixture.folder.file("no\u{1b}/x"), "x"], 73, "no?: No such file"),
            ]
            for one in cases {
                let result = try fixture.host.attempt([program] + one.words)
                #expect(result.termination == .exited(one.status), "\(result.termination) \(result.error)")
                #expect(result.error.contains(one.text) && !result.error.contains("\u{1b}"), "\(result.error)")
            }
            let path = fixture.folder.file("odd\u{1b}[31m\nswitch")
            let odd = try fixture.host.start([program, "--switch", "--uplink", "none", "--control", "off", path])
            try odd.wait(for: "odd?[31m?switch")
            #expect(try odd.stop() == .exited(0))
        }

        /// Networks that never reply delay the list once, not each after the other: these reply when all have a
        /// request.
        @Test func listAsksAllNetworksAtOnce() throws {
            let fixture = try ControlFixture("none")
            let script = """
                import os, signal, socket, subprocess, sys
                os.mkdir("/run/vde_vmnet", 0o755)
                servers = []
                for n in range(20):
                    s = socket.socket(socket.AF_UNIX); s.bind(f"/run/vde_vmnet/n{n}"); s.listen(); servers.append(s)
                if os.fork() == 0:
                    signal.alarm(60)
                    clients = [s.accept()[0] for s in servers]
                    for c in clients: c.recv(1000)
                    for c in clients: c.sendall(b'{"id":1,"result":{"owner":"somewhere"}}\\n')
                    os._exit(0)
                for s in servers: s.detach()
                print(subprocess.run([sys.argv[1], "list"], capture_output=True, text=True).stdout)
                """
            let result = try fixture.host.attempt([
                "unshare", "-m", "sh", "-c", "mount -t tmpfs none /run && exec python3 -c \"$0\" \"$1\"", script,
                TestHost.product("vde_vmnet"),
            ])
            let rows = result.output.split(separator: "\n").count { $0.contains(" somewhere ") }
            #expect(rows == 20, "\(result.output) \(result.error)")
        }

        /// A network without names needs no resolver of the host.
        @Test func networkWithoutNamesNeedsNoResolver() throws {
            let fixture = try ControlFixture("none") { try $0.host.setResolvers("nameserver 127.0.0.53\n") }
            #expect(try !fixture.status().output.contains("127.0.0.53"))
            let doctor = try fixture.host.attempt([TestHost.product("vde_vmnet"), "doctor", fixture.socket])
            #expect(doctor.output.contains("ok      resolvers  not needed"), "\(doctor.output)")
        }

        /// Requests beyond the rate wait, as docs/control.md promises, for as long as it takes. Empty lines count.
        @Test func requestsBeyondRateWait() throws {
            let fixture = try ControlFixture("none")
            let result = try fixture.python(
                """
                s = connect(); f = s.makefile("rb"); s.settimeout(40)
                # More than ten seconds of them, which is the time for one request.
                s.sendall(b'{"id":1,"method":"hello"}\\n' * 650)
                for number in range(650):
                    assert b"result" in f.readline(), number
                idle = connect(); idle.settimeout(0.5); sent = 0
                try:
                    for _ in range(100):
                        idle.sendall(b"\\n" * 65536); sent += 1
                except OSError: pass
                assert sent < 100, "empty lines are not read without limit"
                print("fine")
                """)
            #expect(result.output == "fine\n", "\(result.error)")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func guestsNamesAreHarmless() throws {
            let fixture = try ControlFixture()
            let guest = try fixture.guest(mac: "52:54:00:00:00:01")
            // ESC [ 3 1 m, a quote, a line end, a C1 control.
            try guest.lease("-x", "0x0c:1b5b33316d22270a60241b5d9b")
            let plug = try PlugPort(path: fixture.path, description: "\u{1b}]0;title\u{7}\"\n'<b>")
            for result in [
                try fixture.status(), try fixture.attempt("port", "list"), try fixture.attempt("lease", "list"),
                try fixture.status("--json"), try fixture.attempt("port", "list", "--json"),
            ] {
                #expect(result.succeeded, "\(result.error)")
                for scalar in result.output.unicodeScalars where scalar != "\n" {
                    #expect(scalar.value >= 0x20 && !(0x7f...0x9f).contains(scalar.value), "\(result.output)")
                }
            }
            #expect(try fixture.python("call('ports'); call('leases'); print('fine')").output.trimmed == "fine")
            _ = consume plug
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test(arguments: [false, true])
        func ownerGainsNothingThatStartDidNotGrant(isGranted: Bool) throws {
            let fixture = try ControlFixture(
                "user",
                [
                    "--egress", "deny", "--allow", "203.0.113.0/24", "--egress-log", "--publish",
                    "127.0.0.1:8080:192.168.105.2:80",
                ]
                    + (isGranted ? ["--control-allow", "publish,egress"] : []),
                environment: ["SUDO_UID": "\(otherUser)", "SUDO_GID": "\(otherUser)"])
            let refused: ChildProcess.Termination = isGranted ? .exited(0) : .exited(77)
            func attempt(_ words: String...) throws -> ChildProcess.Termination {
                try fixture.attempt(words, user: "nobody").termination
            }
            #expect(try attempt("publish", "add", "127.0.0.1:8081:192.168.105.2:80") == .exited(0))
            #expect(try attempt("publish", "add", "127.0.0.1:81:192.168.105.2:80") == refused)
            #expect(try attempt("publish", "add", "8082:192.168.105.2:80") == refused)
            #expect(try attempt("allow", "remove", "203.0.113.0/24") == .exited(0))
            #expect(try attempt("allow", "add", "203.0.113.0/24") == .exited(0), "the start has granted it")
            #expect(try attempt("allow", "add", "198.51.100.0/24") == refused)
            #expect(try attempt("egress", "--log", "off") == refused)
            #expect(try attempt("egress", "--log", "on") == .exited(0))
            #expect(try attempt("egress", "allow") == refused)
            #expect(try attempt("port", "isolate", "all", "on") == .exited(0))
            #expect(try attempt("port", "isolate", "all", "off") == .exited(0), "the start did not isolate")
            #expect(
                try fixture.python("print('egress' in call('hello')['result']['rights'])", user: "nobody").output
                    .trimmed == (isGranted ? "True" : "False"))
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func groupReadsCountersOnlyAndOthersNothing() throws {
            let fixture = try ControlFixture("user", ["--control-group", "nogroup"])
            try fixture.guest(mac: "52:54:00:00:00:01").lease("-x", "hostname:secret")
            // Its primary group is nogroup.
            let result = try fixture.python(
                """
                assert call("hello")["result"]["rights"] == ["counters"]
                text = json.dumps([call("status"), call("ports")])
                assert "frames_in" in text
                for word in ["secret", "52:54", "192.168.105.2\\"", "vde_plug2tap"]:
                    assert word not in text, (word, text)
                for method in ["leases", "flows", "subscribe", "stop", "publish.add", "egress.set", "port.limit"]:
                    assert call(method)["error"]["code"] == "denied", method
                print("fine")
                """, user: Self.other)
            #expect(result.output.trimmed == "fine", "\(result.error)")
            #expect(try fixture.status(user: Self.other).succeeded)
            let refused = try fixture.attempt("lease", "list", user: Self.other)
            #expect(refused.termination == .exited(77))
            #expect(refused.error.contains("this user may only read counters"), "\(refused.error)")
            // What the user may not see is unknown, not off.
            let ports = try fixture.attempt("port", "list", user: Self.other)
            #expect(ports.output.contains("uplink") && !ports.output.contains(" no "), "\(ports.output)")
            // The uplink is not isolated.
            try fixture.run("port", "isolate", "all", "on")
            let rows = try fixture.run("port", "list").split(separator: "\n")
            let uplink = try #require(rows.first { $0.hasPrefix("uplink") })
            #expect(uplink.split(separator: " ").contains("no"), "\(rows)")
            let other = try fixture.host.attempt([
                "setpriv", "--reuid", "1", "--regid", "1", "--clear-groups", "--", TestHost.product("vde_vmnet"),
                "status", fixture.socket,
            ])
            #expect(other.termination == .exited(77), "\(other.error)")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func readersOfCountersLeaveRoomForOwner() throws {
            let fixture = try ControlFixture("none", ["--control-group", "nogroup"])
            let result = try fixture.python(
                """
                import os
                held = []
                for user in range(6001, 6007):
                    os.setegid(\(UserDatabase.group(named: "nogroup") ?? 65_534)); os.seteuid(user)
                    for _ in range(16):
                        s = connect(); held.append(s)
                        # One that the network refuses may be closed already, with the reason in it.
                        try: s.sendall(b'{"id":1,"method":"hello"}\\n')
                        except BrokenPipeError: pass
                    os.seteuid(0); os.setegid(0)
                served = sum(b"result" in s.recv(65536) for s in held)
                assert served == 32, served
                assert "result" in call("status")
                print("fine")
                """)
            #expect(result.output.trimmed == "fine", "\(result.error)")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func refusalIsReportedInAnyOrder() throws {
            let fixture = try ControlFixture("none", ["--control-group", "nogroup"])
            // The network refuses this user at once, before or after the client has sent its request.
            for _ in 0..<12 {
                let result = try fixture.host.attempt([
                    "setpriv", "--reuid", "1", "--regid", "1", "--groups",
                    "\(UserDatabase.group(named: "nogroup") ?? 65_534)", "--", TestHost.product("vde_vmnet"), "status",
                    fixture.socket,
                ])
                #expect(result.termination == .exited(77), "\(result.error)")
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func requestOfClientThatHasGoneIsNotCarriedOut() throws {
            let fixture = try ControlFixture("none")
            let result = try fixture.python(
                """
                import os, signal
                process = call("status")["result"]["process"]
                os.kill(process, signal.SIGSTOP)
                s = connect(); s.sendall(b'{"id":1,"method":"stop"}\\n'); s.close()
                os.kill(process, signal.SIGCONT)
                assert "result" in call("status")
                # A client that sends no more still waits.
                s = connect(); s.sendall(b'{"id":1,"method":"hello"}\\n'); s.shutdown(socket.SHUT_WR)
                assert b"result" in s.recv(65536)
                # The text of a request is not returned as a whole.
                assert len(call("publish.add", port="x" * 60000)["error"]["message"]) < 1100
                print("fine")
                """)
            #expect(result.output.trimmed == "fine", "\(result.error)")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        // MARK: Names and places

        /// A user's network without an uplink, with the name that it gets.
        private func start(
            _ network: TestNetwork, _ place: String?, _ options: String..., directory: String
        ) throws -> BackgroundProgram {
            try network.host.start(
                Namespace.running(as: "nobody") + [
                    TestHost.product("vde_vmnet"), "--uplink", "none", "--switch",
                ] + options + [directory],
                environment: ["XDG_RUNTIME_DIR": place, "HOME": place])
        }

        private func runtime(_ network: TestNetwork) throws -> String {
            let path = network.folder.file("user")
            try Files.makeDirectory(path, mode: 0o700)
            try Files.setOwner(path, user: otherUser, group: nil)
            try Files.setMode(network.folder.path, 0o755)
            return path
        }

        @Test func namesBelongToOneNetwork() throws {
            let network = try TestNetwork()
            let place = try runtime(network), first = place + "/a/vde", second = place + "/b/vde"
            for parent in ["/a", "/b"] {
                try Files.makeDirectory(place + parent)
                try Files.setOwner(place + parent, user: otherUser, group: nil)
            }
            let one = try start(network, place, directory: first)
            try one.wait(for: "vde_vmnet: ready: ")
            let two = try start(network, place, directory: second)
            try two.wait(for: "vde_vmnet: ready: ")
            func list() throws -> String {
                try network.host.attempt(
                    Namespace.running(as: "nobody") + [TestHost.product("vde_vmnet"), "list"],
                    environment: ["XDG_RUNTIME_DIR": place]
                ).output
            }
            let both = try list()
            #expect(both.contains("\nvde ") && both.contains("\nvde-2 "), "\(both)")
            let taken = try start(network, place, "--name", "vde-2", directory: place + "/c")
            #expect(try taken.waitForEnd() == .exited(75))
            #expect(taken.output.contains("vde-2") && taken.output.contains("another --name"), "\(taken.output)")
            // The socket of a killed network is replaced.
            one.signal(Signal.kill)
            _ = try one.waitForEnd()
            #expect(try !list().contains("\nvde "))
            let again = try start(network, place, "--name", "vde", directory: first)
            try again.wait(for: "vde_vmnet: ready: ")
            #expect(try list().contains("\nvde "))
            // The next start removes it, whatever its name is.
            again.signal(Signal.kill)
            _ = try again.waitForEnd()
            let other = try start(network, place, "--name", "other", directory: first)
            try other.wait(for: "vde_vmnet: ready: ")
            #expect(try Files.entries(place + "/vde_vmnet").sorted() == ["control.lock", "other", "vde-2"])
            for program in [two, other] { #expect(try program.stop() == .exited(0)) }
            #expect(try Files.entries(place + "/vde_vmnet") == ["control.lock"])
        }

        @Test func startNeedsNoPlaceUnlessOneIsGiven() throws {
            let network = try TestNetwork()
            let place = try runtime(network)
            let plain = try start(network, "/usr/share", directory: place + "/vde")
            try plain.wait(for: "vde_vmnet: ready: ")
            #expect(plain.output.split(separator: "\n").count { $0.contains("no control socket") } == 1)
            #expect(
                plain.output.contains("XDG_RUNTIME_DIR is /usr/share; set it to a directory that you own"),
                "\(plain.output)")
            #expect(try plain.stop() == .exited(0))
            let off = try start(network, "/usr/share", "--control", "off", directory: place + "/vde")
            try off.wait(for: "vde_vmnet: ready: ")
            #expect(!off.output.contains("control socket"), "\(off.output)")
            #expect(try off.stop() == .exited(0))
            for options in [["--name", "net"], ["--control", place + "/missing/socket"]] {
                let refused = try start(network, "/usr/share", options[0], options[1], directory: place + "/vde")
                #expect(try refused.waitForEnd() == .exited(73), "\(refused.output)")
                #expect(!Files.exists(place + "/vde"), "nothing was made")
            }
        }
    }
}
