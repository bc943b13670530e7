// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// `vde_vmnet capture` and `--pcap`, with tshark as the reader.
    @Suite struct Captures {
        private static let mac = "52:54:00:00:00:01"
        /// The user without privilege.
        private static let other = "nobody"
        private var otherUser: UInt32 { UserDatabase.user(named: "nobody") ?? 65_534 }

        /// Fields of the frames in a file, as tshark shows them.
        private func frames(_ file: String, _ fields: String...) throws -> [[String]] {
            let result = try ChildProcess.run(
                ["tshark", "-n", "-r", file, "-T", "fields"] + fields.flatMap { ["-e", $0] })
            #expect(result.succeeded, "\(result.error)")
            return result.output.split(separator: "\n").map {
                $0.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
            }
        }

        /// Starts a capture, and waits until the network has begun it.
        private func start(_ fixture: ControlFixture, _ options: String...) throws -> BackgroundProgram {
            let log = fixture.daemon.program
            let before = log.output.utf8.count
            let capture = try fixture.host.start(
                [TestHost.product("vde_vmnet"), "capture", fixture.socket] + options)
            try eventually("the capture") {
                log.output.utf8.count > before && log.output.utf8.dropFirst(before).count > 0
                    && String(decoding: log.output.utf8.dropFirst(before), as: UTF8.self).contains("captures frames")
            }
            return capture
        }

        private func end(_ capture: BackgroundProgram) throws {
            capture.signal(Signal.interrupt)
            #expect(try capture.waitForEnd() == .exited(0), "\(capture.output)")
        }

        private func attempt(
            _ fixture: ControlFixture, _ options: String..., user: String? = nil
        ) throws -> ChildProcess.Output {
            try fixture.host.attempt(
                Namespace.running(as: user) + [
                    "timeout", "20", TestHost.product("vde_vmnet"), "capture", fixture.socket,
                ]
                    + options)
        }

        /// A frame that every port gets, of the type for experiments.
        private func broadcast(_ length: Int = 60, _ value: UInt8 = 1) -> [UInt8] {
            [UInt8](repeating: 0xff, count: 6) + [0x02, 0, 0, 0, 0, 1, 0x88, 0xb5]
                + [UInt8](repeating: value, count: length - 14)
        }

        // MARK: What is captured

        @Test(arguments: ControlFixture.Uplink.allCases)
        func framesAreCapturedWithPortAndDirection(uplink: ControlFixture.Uplink) throws {
            let fixture = try ControlFixture(uplink.rawValue, ["--pcap", ControlFixture.file("all.pcapng")])
            let file = fixture.folder.file("some.pcapng")
            let capture = try start(fixture, "-w", file)
            let guest = try fixture.guest(mac: Captures.mac)
            try guest.lease()
            #expect(try guest.namespace.pings(gateway))
            try end(capture)
            #expect(capture.output.contains(" frames captured"))
            #expect(try fixture.daemon.stop() == .exited(0))
            // The capture of the start has the same frames and more.
            for file in [file, fixture.folder.file("all.pcapng")] {
                let rows = try frames(
                    file, "frame.interface_name", "frame.packet_flags_direction", "icmp.type", "dhcp.option.dhcp")
                let echo = rows.filter { $0[2] == "8" }
                #expect(echo.contains { $0[0].hasPrefix("port ") && $0[1] == "0x00000001" }, "\(rows)")
                #expect(echo.contains { $0[0] == "uplink" && $0[1] == "0x00000002" }, "\(rows)")
                #expect(rows.contains { $0[0] == "uplink" && $0[1] == "0x00000001" && $0[2] == "0" }, "\(rows)")
                #expect(rows.contains { $0[0].hasPrefix("port ") && $0[1] == "0x00000002" && $0[3] == "5" }, "\(rows)")
            }
        }

        @Test func portFilterCountAndLengthSelectFrames() throws {
            let fixture = try ControlFixture("none")
            let sender = try PlugPort(path: fixture.path, description: "sender")
            let receiver = try PlugPort(path: fixture.path, description: "receiver")
            let script = "for p in call('ports')['result']['ports']:\n  if p['description'] == 'sender': "
            let number = try fixture.python(script + "print(p['port'])").output.trimmed
            let file = fixture.folder.file("some.pcapng")
            let capture = try start(
                fixture, "--port", number, "--filter", "ether[14] = 7", "--count", "3", "--snaplen", "64", "-w", file)
            for value: UInt8 in [7, 8, 7, 9, 7, 7, 7] { sender.send(broadcast(500, value)) }
            #expect(try capture.waitForEnd() == .exited(0), "\(capture.output)")
            #expect(capture.output.contains("3 frames captured"))
            let rows = try frames(file, "frame.interface_name", "frame.len", "frame.cap_len", "eth.type", "data.data")
            #expect(rows.count == 3)
            #expect(rows.allSatisfy { $0[0] == "port \(number)" && $0[1] == "500" && $0[2] == "64" }, "\(rows)")
            #expect(receiver.receive { $0.count == 500 && $0[14] == 9 } != nil)
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func guestIsFoundByNameAndAddress() throws {
            let fixture = try ControlFixture()
            let guest = try fixture.guest(mac: Captures.mac)
            try guest.lease("-x", "hostname:web")
            for name in ["web", Captures.mac] {
                let file = fixture.folder.file("guest.pcapng")
                let capture = try start(fixture, "--guest", name, "--filter", "icmp", "--count", "2", "-w", file)
                #expect(try guest.namespace.pings(gateway))
                #expect(try capture.waitForEnd() == .exited(0))
                try fixture.daemon.program.wait(for: "captures frames of \(name) that pass a filter")
                let rows = try frames(file, "frame.interface_name", "frame.interface_description")
                #expect(Set(rows.map { $0[0] }).count == 1 && rows.allSatisfy { $0[1].contains("web 192.168.105.2") })
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func droppedFramesHaveReason() throws {
            let fixture = try ControlFixture("none")
            let sender = try PlugPort(path: fixture.path), receiver = try PlugPort(path: fixture.path)
            receiver.send(broadcast())
            try fixture.run("port", "isolate", "all", "on")
            let file = fixture.folder.file("drops.pcapng")
            let capture = try start(fixture, "-w", file)
            // To the receiver's address, from another one; and from an address that no station has.
            sender.send([0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 9, 0x88, 0xb5] + [UInt8](repeating: 0, count: 46))
            sender.send([0x02, 0, 0, 0, 0, 1] + [UInt8](repeating: 0, count: 54))
            try eventually("both drops") {
                try fixture.python("print(json.dumps(call('ports')['result']))").output.contains("malformed")
            }
            try end(capture)
            #expect(try frames(file, "frame.comment").map { $0[0] } == ["dropped: isolated", "dropped: malformed"])
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func framesOfStreamListenerAreCaptured() throws {
            let fixture = try ControlFixture("none", ["--stream", ControlFixture.file("stream")])
            let file = fixture.folder.file("stream.pcapng")
            let capture = try start(fixture, "--count", "1", "-w", file)
            let client = try fixture.host.start([
                "python3", "-c",
                """
                import socket, struct, sys
                s = socket.socket(socket.AF_UNIX)
                s.connect(sys.argv[1])
                s.sendall(struct.pack(">I", 60) + b"\\xff" * 6 + b"\\x02\\0\\0\\0\\0\\1\\x88\\xb5" + b"\\0" * 46)
                s.recv(1)
                """, fixture.folder.file("stream"),
            ])
            #expect(try capture.waitForEnd() == .exited(0), "\(capture.output)")
            client.kill()
            let row = try #require(try frames(file, "frame.interface_name", "eth.type", "frame.len").first)
            #expect(row[0].hasPrefix("port ") && row[1] == "0x88b5" && row[2] == "60", "\(row)")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func simulatedVmnetIsCaptured() throws {
            let network = try TestNetwork()
            let path = network.folder.file("own"), file = network.folder.file("all.pcapng")
            let daemon = try VMNetDaemon(
                in: network.host, ["--switch", "--vmnet-offload", "--pcap", file, path], folder: network.folder,
                environment: ["VMNET_SIMULATOR": ""], product: SimulatedMac.product)
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            try guest.lease()
            #expect(try guest.namespace.pings("192.168.64.1"))
            #expect(try daemon.stop() == .exited(0))
            let rows = try frames(file, "frame.interface_name", "icmp.type")
            #expect(rows.contains { $0 == ["uplink", "0"] } && rows.contains { $0 == ["uplink", "8"] }, "\(rows)")
        }

        // MARK: Readers

        @Test func pipeIsReadWhileItIsWritten() throws {
            let fixture = try ControlFixture("none")
            let sender = try PlugPort(path: fixture.path)
            let reader = try fixture.host.start([
                "sh", "-c",
                "'\(TestHost.product("vde_vmnet"))' capture '\(fixture.socket)' -w - | tshark -l -n -i - -T fields "
                    + "-e frame.number -e eth.type",
            ])
            try fixture.daemon.program.wait(for: "captures frames")
            try eventually("the first line", within: 30) {
                sender.send(broadcast())
                return reader.output.contains("\t0x88b5")
            }
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = try reader.waitForEnd()
        }

        @Test func captureEndsWithItsReader() throws {
            let fixture = try ControlFixture("none")
            // No frame comes after the header.
            let result = try fixture.host.attempt([
                "timeout", "20", "sh", "-c",
                "'\(TestHost.product("vde_vmnet"))' capture '\(fixture.socket)' -w - | head -c 24 >/dev/null",
            ])
            #expect(result.termination == .exited(0), "\(result.error)")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func slowReaderLosesFramesOfCaptureOnly() throws {
            let fixture = try ControlFixture("none")
            let sender = try PlugPort(path: fixture.path), receiver = try PlugPort(path: fixture.path)
            let file = fixture.folder.file("slow.pcapng")
            let capture = try start(fixture, "-w", file)
            capture.signal(Signal.stop)
            for number in 0..<400 {
                sender.send(broadcast(60_000, UInt8(number & 0x7f)))
                #expect(receiver.receive { $0.count == 60_000 } != nil, "frame \(number) is delivered")
            }
            capture.signal(Signal.resume)
            try end(capture)
            #expect(capture.output.contains(" more were lost, because"), "\(capture.output)")
            let rows = try frames(file, "frame.len")
            #expect((21..<800).contains(rows.count) && rows.allSatisfy { $0[0] == "60000" }, "\(rows.count)")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func fullDiskEndsCaptureOnly() throws {
            let network = try TestNetwork()
            // One for each capture: on a common one, the faster capture leaves no room to the other.
            let disks = ["some", "all"].map { network.folder.file($0) }
            for disk in disks {
                try Files.makeDirectory(disk)
                _ = try ChildProcess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "tmpfs", disk])
            }
            defer { for disk in disks { _ = try? ChildProcess.run(["umount", "-l", disk]) } }
            let files = disks.map { $0 + "/capture.pcapng" }
            let fixture = try ControlFixture("none", ["--pcap", files[1]])
            let sender = try PlugPort(path: fixture.path), receiver = try PlugPort(path: fixture.path)
            let capture = try start(fixture, "-w", files[0])
            for _ in 0..<10 {
                sender.send(broadcast(60_000))
                #expect(receiver.receive { $0.count == 60_000 } != nil)
            }
            #expect(try capture.waitForEnd() == .exited(74), "\(capture.output)")
            #expect(capture.output.contains("No space left on device; make room"), "\(capture.output)")
            try fixture.daemon.program.wait(for: "the capture of --pcap has ended")
            #expect(fixture.daemon.program.output.split(separator: "\n").count { $0.contains("has ended") } == 1)
            // After the last block.
            for file in files {
                let rows = try frames(file, "frame.len")
                #expect(!rows.isEmpty && rows.count < 20, "\(file)")
            }
            sender.send(broadcast(99))
            #expect(receiver.receive { $0.count == 99 } != nil)
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func numberOfCapturesIsBounded() throws {
            let fixture = try ControlFixture("none")
            var captures: [BackgroundProgram] = []
            for number in 0..<4 { captures.append(try start(fixture, "-w", fixture.folder.file("\(number).pcapng"))) }
            let fifth = try attempt(fixture, "-w", "-")
            #expect(fifth.termination == .exited(69) && fifth.error.contains("4 captures"), "\(fifth.error)")
            // The network notices that a client was killed.
            captures[1].kill()
            try eventually("a free place") {
                let again = try fixture.host.start(
                    [TestHost.product("vde_vmnet"), "capture", fixture.socket, "-w", fixture.folder.file("4.pcapng")])
                captures[1] = again
                return again.poll() == nil && (try? again.waitForEnd(within: 0.5)) == nil
            }
            let sender = try PlugPort(path: fixture.path), receiver = try PlugPort(path: fixture.path)
            sender.send(broadcast())
            #expect(receiver.receive { $0.count == 60 } != nil)
            for capture in captures { try end(capture) }
            for name in ["0", "2", "3", "4"] {
                let types = try frames(fixture.folder.file("\(name).pcapng"), "eth.type").map { $0[0] }
                #expect(Set(types) == ["0x88b5"], "\(name)")
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func captureEndsWithNetwork() throws {
            for signal in [Signal.terminate, Signal.kill] {
                let fixture = try ControlFixture("none")
                let sender = try PlugPort(path: fixture.path), receiver = try PlugPort(path: fixture.path)
                let file = fixture.folder.file("end.pcapng")
                let capture = try start(fixture, "-w", file)
                sender.send(broadcast())
                #expect(receiver.receive { $0.count == 60 } != nil)
                try eventually("the frames in the file") { (try? Files.status(file).size) ?? 0 > 300 }
                fixture.daemon.program.signal(signal)
                _ = try fixture.daemon.program.waitForEnd()
                #expect(try capture.waitForEnd() == .exited(signal == Signal.kill ? 69 : 0), "\(capture.output)")
                if signal == Signal.kill {
                    #expect(capture.output.contains("the network has ended without finishing"), "\(capture.output)")
                }
                #expect(try frames(file, "eth.type").count >= 2)
            }
        }

        // MARK: Bad input, rights

        @Test func wrongRequestsAreExplained() throws {
            let fixture = try ControlFixture("none")
            let wrong: [([String], Int32, String)] = [
                (["--filter", "tcp and and"], 64, "--filter 'tcp and and'"), (["--port", "77"], 69, "no port 77"),
                (["--guest", "missing"], 69, "no guest is called 'missing'"),
                (["--guest", "52:54:00:00:00:99"], 69, "52:54:00:00:00:99"), (["--port", "x"], 64, "--port: 'x'"),
                (["--count", "0"], 64, "--count"), (["--snaplen", "63"], 64, "--snaplen"),
                (["--port", "1", "--guest", "x"], 64, "together"), (["-w", "/missing/x"], 73, "open /missing"),
            ]
            for (words, status, text) in wrong {
                let result = try fixture.host.attempt(
                    [TestHost.product("vde_vmnet"), "capture", fixture.socket] + words)
                #expect(
                    result.termination == .exited(status) && result.error.contains(text), "\(words) \(result.error)")
            }
            let terminal = try fixture.host.attempt([
                "script", "-qec", "'\(TestHost.product("vde_vmnet"))' capture '\(fixture.socket)'", "/dev/null",
            ])
            #expect(terminal.termination == .exited(64) && terminal.output.contains("-w FILE"), "\(terminal.output)")
            let python = try fixture.python(
                """
                import base64, struct
                def code(*program):
                    packed = b"".join(struct.pack(">HBBI", *i) for i in program)
                    return base64.b64encode(packed).decode()
                for bad in ["!", "AAAA", code(), code((0x15, 9, 9, 0), (6, 0, 0, 1)), code(*[(6, 0, 0, 1)] * 4097)]:
                    reply = call("capture", filter=bad)
                    assert reply["error"]["code"] in ("parameters", "too_long"), (bad[:20], reply)
                # The longest program passes; a request after it is no request any more.
                s = connect()
                f = s.makefile("rb")
                s.sendall(json.dumps({"id": 1, "method": "capture",
                    "params": {"filter": code(*[(6, 0, 0, 1)] * 4096)}}).encode() + b"\\n" + b"x" * 1000)
                assert json.loads(f.readline())["result"]["format"] == "pcapng"
                s.shutdown(socket.SHUT_WR)
                data = f.read()
                assert data[:4] == b"\\x0a\\x0d\\x0d\\x0a", data
                print("fine")
                """)
            #expect(python.output.trimmed == "fine", "\(python.error)")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test(arguments: [false, true])
        func captureOfRootsNetworkIsGranted(isGranted: Bool) throws {
            let fixture = try ControlFixture(
                "none", ["--control-group", "nogroup"] + (isGranted ? ["--control-allow", "capture"] : []),
                environment: ["SUDO_UID": "\(otherUser)", "SUDO_GID": "\(otherUser)"])
            let result = try fixture.python(
                """
                reply = call("capture")
                print(reply.get("error", {}).get("code"))
                """, user: Self.other)
            #expect(result.output.trimmed == (isGranted ? "None" : "denied"), "\(result.error)")
            if !isGranted {
                let refused = try attempt(fixture, "-w", "-", user: Self.other)
                #expect(
                    refused.termination == .exited(77) && refused.error.contains("--control-allow capture"),
                    "\(refused.error)")
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func fileOfTheStartIsTheCallers() throws {
            let network = try TestNetwork()
            try Files.setMode(network.folder.path, 0o755)
            let place = network.folder.file("place")
            try Files.makeDirectory(place)
            let words = [
                TestHost.product("vde_vmnet"), "--uplink", "none", "--control", "off", "--switch",
                network.folder.file("own"), "--pcap", place + "/all.pcapng",
            ]
            let environment = ["SUDO_UID": "\(otherUser)", "SUDO_GID": "\(otherUser)"]
            let refused = try network.host.attempt(words, environment: environment)
            #expect(refused.termination == .exited(77) && refused.error.contains("--pcap"), "\(refused.error)")
            #expect(!Files.exists(network.folder.file("own")), "nothing was made")
            try Files.setOwner(place, user: otherUser, group: nil)
            let daemon = try network.host.start(words, environment: environment)
            try daemon.wait(for: "vde_vmnet: ready: ")
            #expect(try daemon.stop() == .exited(0))
            let status = try Files.status(place + "/all.pcapng")
            #expect(status.owner == otherUser && status.mode == 0o600 && status.size > 0)
        }

        @Test func hostileNamesAreHarmless() throws {
            let fixture = try ControlFixture()
            let guest = try fixture.guest(mac: Captures.mac)
            // ESC [ 3 1 m, a quote, a line end, a C1 control.
            try guest.lease("-x", "0x0c:1b5b33316d22270a60241b5d9b")
            let plug = try PlugPort(path: fixture.path, description: "\u{1b}]0;title\u{7}\"\n'<b>")
            let file = fixture.folder.file("names.pcapng")
            let capture = try start(fixture, "-w", file)
            plug.send(broadcast())
            #expect(try guest.namespace.pings(gateway))
            try end(capture)
            let bytes = try Files.read(file)
            #expect(!bytes.isEmpty)
            let rows = try frames(file, "frame.interface_name", "frame.interface_description")
            #expect(rows.contains { $0[1].contains("title") } && rows.contains { $0[1].contains("192.168.105.2") })
            for text in rows.joined() { #expect(text.unicodeScalars.allSatisfy { $0.value >= 0x20 }, "\(text)") }
            #expect(try fixture.daemon.stop() == .exited(0))
        }
    }
}
