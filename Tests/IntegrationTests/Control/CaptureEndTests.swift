// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// How `vde_vmnet capture` ends at networks that a program of the test plays.
    @Suite struct CaptureEnds {
        /// Its end comes in pieces with pauses, as from a network on a busy host. All of them belong to the capture.
        @Test func slowEndIsAwaited() throws {
            let network = try TestNetwork()
            let socket = network.folder.file("slow"), file = network.folder.file("end.pcapng")
            let script = """
                import json, socket, struct, sys, time
                def block(kind, body):
                    body += bytes(-len(body) % 4)
                    return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)
                packet = block(6, struct.pack("<IIIII", 0, 0, 0, 60, 60) + bytes(60))
                s = socket.socket(socket.AF_UNIX)
                s.bind(sys.argv[1])
                s.listen()
                c = s.accept()[0]
                lines = c.makefile("rb")
                for line in lines:
                    request = json.loads(line)
                    result = {"protocol": 1, "name": "x", "rights": ["counters", "details", "capture"], "methods": []}
                    c.sendall(json.dumps({"id": request["id"], "result": result}).encode() + b"\\n")
                    if request["method"] == "capture": break
                c.sendall(block(0x0a0d0d0a, struct.pack("<IHHq", 0x1a2b3c4d, 1, 0, -1)))
                c.sendall(block(1, struct.pack("<HHI", 1, 0, 262144)) + packet)
                assert lines.read() == b""
                for _ in range(4):
                    time.sleep(2)
                    c.sendall(packet)
                if len(sys.argv) > 2: time.sleep(60)
                c.sendall(block(5, struct.pack("<III", 0, 0, 0) + struct.pack("<HHQHHQHH", 4, 8, 5, 5, 8, 0, 0, 0)))
                """
            for words in [[], ["stops"]] {
                for path in [socket, file] { try? Files.remove(path) }
                let server = try network.host.start(["/usr/bin/python3", "-c", script, socket] + words)
                try eventually("the socket") { Files.exists(socket) }
                let capture = try network.host.start(
                    [TestHost.product("vde_vmnet"), "capture", socket, "-w", file])
                try eventually("the first frame") { (try? Files.status(file).size) ?? 0 >= 100 }
                capture.signal(Signal.interrupt)
                // The deadline is of the silence, not of the whole end.
                let end = try capture.waitForEnd(within: 40)
                #expect(end == .exited(words.isEmpty ? 0 : 69), "\(capture.output)\(server.output)")
                #expect(capture.output.contains("5 frames captured"), "\(capture.output)")
                #expect(capture.output.contains("has sent nothing for 5 s") == !words.isEmpty, "\(capture.output)")
                let rows = try ChildProcess.run(["tshark", "-n", "-r", file, "-T", "fields", "-e", "frame.len"])
                #expect(rows.output.split(separator: "\n").count == 5, "\(rows.error)")
            }
        }

        /// Programs refuse a file that has no interface.
        @Test(arguments: [Signal.terminate, Signal.kill], [true, false])
        func captureWithoutFramesCanBeRead(signal: Int32, hasPort: Bool) throws {
            let fixture = try ControlFixture("none"), file = fixture.folder.file("empty.pcapng")
            let port = hasPort ? try PlugPort(path: fixture.path) : nil
            let capture = try fixture.host.start(
                [TestHost.product("vde_vmnet"), "capture", fixture.socket, "-w", file, "--filter", "port 9"])
            try eventually("an interface in the file") { (try? Files.status(file).size) ?? 0 > 80 }
            fixture.daemon.program.signal(signal)
            _ = try fixture.daemon.program.waitForEnd()
            #expect(try capture.waitForEnd() == .exited(signal == Signal.kill ? 69 : 0), "\(capture.output)")
            for reader in [["tcpdump", "-r", file], ["tshark", "-r", file]] {
                let result = try ChildProcess.run(reader)
                #expect(result.succeeded && result.output.isEmpty, "\(reader): \(result.output)\(result.error)")
            }
            _ = port
        }
    }
}
