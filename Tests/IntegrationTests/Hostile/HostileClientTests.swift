// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Timing
import Wire

/// A client of a switch's control socket that sends any bytes.
private final class RawClient {
    let control: Descriptor

    init(_ path: String) throws {
        control = try Socket.unixStream()
        // The queue of the listening socket may be full for a moment.
        try eventually("a connection") { (try? control.connect(to: UnixPath(path + "/ctl"))) != nil }
    }

    func send(_ bytes: [UInt8]) { _ = try? control.send(bytes) }

    /// What comes within `seconds`; empty for the end of the connection, nil for nothing at all.
    func receive(seconds: Double = ampleTime) -> [UInt8]? {
        guard control.wait(for: .readable, until: BootClock.now + .fractionalSeconds(seconds)).contains(.readable)
        else {
            return nil
        }
        return (try? control.receive(limit: 4096)) ?? []
    }
}

extension IntegrationTests {
    /// Clients of vde_vmnet's own switch that do what none should, and those beside them who must not notice.
    @Suite struct HostileClients {
        private func start(_ options: [String] = []) throws -> (TestNetwork, String, BackgroundProgram) {
            let network = try TestNetwork()
            let path = network.folder.file("own")
            let program = try network.host.start(
                [TestHost.product("vde_vmnet"), "--switch", "--uplink", "none", "--mgmt", network.folder.file("mgmt")]
                    + options + [path])
            try program.wait(for: "ready")
            return (network, path, program)
        }

        private func request(_ path: String, port: Int = 0, description: String = "a client") -> [UInt8] {
            VDERequest(kind: .newControl(port: port), path: Array(path.utf8), description: description).encode()!
        }

        /// Two clients that are connected, as the neighbours.
        private func reaches(_ one: PlugPort, _ other: PlugPort) -> Bool {
            let frame =
                MACAddress.broadcast.bytes + [6, 0, 0, 0, 0, 9, 0x88, 0xb6]
                + Random.value(UInt64.self).littleEndianBytes + [UInt8](repeating: 0, count: 40)
            one.send(frame)
            return other.receive(seconds: ampleTime) { $0 == frame } != nil
        }

        /// A flood through one worker does not affect the ports of others, and the daemon ends as one.
        @Test func severalWorkersFormOneSwitch() throws {
            let (network, path, program) = try start(["--workers", "3"])
            try eventually("three workers") {
                let tasks = try Files.entries("/proc/\(program.identifier)/task")
                return Set(tasks.compactMap { Files.text("/proc/\(program.identifier)/task/\($0)/comm") }).isSuperset(
                    of: ["forwarder", "forwarder 2", "forwarder 3"])
            }
            let plugs = try (0..<6).map { _ in try PlugPort(path: path) }
            func frame(to target: Int, from sender: Int, _ number: Int) -> [UInt8] {
                [
                    6, 0, 0, 0, 0, UInt8(target), 6, 0, 0, 0, 0, UInt8(sender), 0x88, 0xb6, UInt8(number >> 8),
                    UInt8(number & 0xff),
                ] + [UInt8](repeating: 0, count: 1400)
            }
            // Each address is learned.
            for (index, plug) in plugs.enumerated() {
                plug.send(MACAddress.broadcast.bytes + frame(to: 0, from: index, 0)[6...])
            }
            #expect(reaches(plugs[5], plugs[0]))
            // Two that keep workers busy, so that ports are handed over, while two others talk.
            let deadline = BootClock.now + .seconds(1)
            while BootClock.now < deadline {
                for sender in 0..<2 {
                    for number in 0..<200 { plugs[sender].send(frame(to: 2 + sender, from: sender, number)) }
                }
                for receiver in 2..<4 {
                    for number in 0..<200 {
                        let expected = frame(to: receiver, from: receiver - 2, number)
                        #expect(
                            plugs[receiver].receive(seconds: ampleTime) { $0.count > 1000 && $0[0] == 6 } == expected)
                    }
                }
                #expect(reaches(plugs[4], plugs[5]))
            }
            for plug in plugs.dropFirst() { #expect(reaches(plugs[0], plug)) }
            program.signal(Signal.terminate)
            #expect(try program.waitForEnd() == .exited(0))
            #expect(!Files.exists(path))
            _ = network
        }

        @Test func malformedRequestsAreClosed() throws {
            let (network, path, program) = try start()
            let one = try PlugPort(path: path), other = try PlugPort(path: path)
            let socket = try Socket.unixDatagram()
            let own = network.folder.file("client")
            try socket.bind(to: UnixPath(own))
            var wrongMagic = request(own), wrongVersion = request(own), wrongType = request(own),
                wrongFamily = request(own)
            (wrongMagic[0], wrongVersion[4], wrongType[8], wrongFamily[12]) = (0, 9, 7, 2)
            try Files.replace(network.folder.file("plain"), [])
            let wrong = [
                (wrongMagic, "not a VDE request"), (wrongVersion, "unknown version"), (wrongType, "not a VDE request"),
                (wrongFamily, "not a VDE request"),
                (request(network.folder.file("missing")), "No such file"),
                (request(network.folder.file("plain")), "no socket"),
                (request(own, port: 5000), "the last one is 1000"),
                (request(own) + [UInt8](repeating: 0x41, count: 5000), "more than"),
            ]
            for (bytes, reason) in wrong {
                let before = program.output.count
                let client = try RawClient(path)
                client.send(bytes)
                #expect(client.receive() == [], "\(reason)")
                try program.wait(for: reason, after: before, within: ampleTime)
                #expect(reaches(one, other))
            }
            // Half of one, then the end; half of one, then the rest.
            let half = try RawClient(path)
            half.send(Array(request(own).prefix(60)))
            #expect(half.receive(seconds: 0.1) == nil)
            half.send(Array(request(own).dropFirst(60)))
            #expect(half.receive()?.count == UnixAddressLayout.native.length)
            #expect(reaches(one, other))
            #expect(try program.stop() == .exited(0))
        }

        @Test func foreignSocketIsNotWrittenTo() throws {
            let (network, path, program) = try start(["--vde-mode", "0666", "--vde-dirmode", "0777"])
            let victim = network.folder.file("victim")
            let socket = try Socket.unixDatagram()
            try socket.bind(to: UnixPath(victim))
            try Files.setMode(victim, 0o777)
            // A stranger names root's socket as his own.
            let script = """
                use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0); connect(S, sockaddr_un("\(path)/ctl")) or die \
                "connect: $!";
                send(S, pack("LLLSa108", 0xfeedface, 3, 0, 1, "\(victim)") . "stranger", 0); alarm 5;
                recv(S, $answer, 200, 0); print length($answer);
                """
            let result = try network.host.attempt(Namespace.running(as: "nobody") + ["perl", "-e", script])
            #expect(result.output.trimmed == "0", "\(result.output)\(result.error)")
            try program.wait(for: "belongs to another user")
        }

        @Test func tenThousandSilentClientsBlockNoOther() throws {
            let (network, path, program) = try start()
            let one = try PlugPort(path: path), other = try PlugPort(path: path)
            var silent: [RawClient] = []
            for number in 0..<10_000 {
                silent.append(try RawClient(path))
                // As many as we may hold ourselves.
                if silent.count > 400 { silent.removeFirst(200) }
                if number % 2500 == 0 { #expect(reaches(one, other)) }
            }
            let late = try PlugPort(path: path)
            #expect(reaches(late, one) && reaches(one, late))
            let open = try Files.entries("/proc/\(program.identifier)/fd").count
            #expect(open < 300, "\(open) descriptors")
            #expect(try program.stop() == .exited(0))
            withExtendedLifetime(network) {}
        }

        @Test func requestsBeyondPortLimitAreRefused() throws {
            let network = try TestNetwork()
            let vde = try VDESwitch(
                in: network.host, at: network.folder.file("vde"), options: ["-n", "2"], command: VDESwitch.ours)
            let one = try PlugPort(path: vde.path), other = try PlugPort(path: vde.path)
            #expect(throws: (any Error).self) { try PlugPort(path: vde.path) }
            try vde.program.wait(for: "all 2 ports are in use")
            #expect(reaches(one, other))
        }

        @Test func framesOfEverySizeAreHandled() throws {
            let (network, path, program) = try start()
            let one = try PlugPort(path: path), other = try PlugPort(path: path),
                attacker = try PlugPort(path: path)
            var random = SeededGenerator(seed: 5)
            for length in [
                0, 1, 13, 14, 15, 17, 18, 60, 1514, 1518, 1519, 9018, 65_535, 65_536, 65_553, 65_554, 66_000, 100_000,
            ] {
                for type in [0x0800, 0x0806, 0x8100, 0x88b5, 0x86dd] as [UInt16] {
                    var frame = random.bytes(length)
                    if length >= 14 {
                        frame.replaceSubrange(
                            0..<14,
                            with: MACAddress.broadcast.bytes + [6, 0, 0, 0, 0, 1, UInt8(type >> 8), UInt8(type & 0xff)])
                    }
                    attacker.send(frame)
                }
                #expect(reaches(one, other), "after \(length)")
            }
            // The longest that there is comes through whole.
            let longest = MACAddress.broadcast.bytes + [6, 0, 0, 0, 0, 1, 0x88, 0xb6] + random.bytes(65_553 - 14)
            attacker.send(longest)
            #expect(other.receive(seconds: ampleTime) { $0 == longest } != nil)
            #expect(try program.stop() == .exited(0))
            withExtendedLifetime(network) {}
        }

        @Test func zeroAddressIsHandled() throws {
            let (network, path, program) = try start()
            let one = try PlugPort(path: path), other = try PlugPort(path: path),
                attacker = try PlugPort(path: path)
            let zero = [UInt8](repeating: 0, count: 6), own: [UInt8] = [6, 0, 0, 0, 0, 1]
            for _ in 0..<100 {
                for (destination, source) in [
                    (MACAddress.broadcast.bytes, own), (MACAddress.broadcast.bytes, zero), (zero, own), (zero, zero),
                ] {
                    attacker.send(destination + source + [0x88, 0xb6] + [UInt8](repeating: 0, count: 46))
                }
            }
            #expect(reaches(one, other))
            #expect(try program.stop() == .exited(0))
            withExtendedLifetime(network) {}
        }

        @Test func clientDescriptionStaysOnOneLine() throws {
            let (network, path, program) = try start()
            let client = try RawClient(path)
            client.send(request("/tmp/x\nvde_vmnet: error: forged \u{1b}[31mline"))
            #expect(client.receive() == [])
            try program.wait(for: "/tmp/x?vde_vmnet: error: forged ?[31mline")
            #expect(!program.output.contains("\nvde_vmnet: error"))
            withExtendedLifetime(network) {}
        }

        @Test func addressFloodCostsOnlyItsSender() throws {
            let (network, path, program) = try start()
            let one = try PlugPort(path: path), other = try PlugPort(path: path),
                attacker = try PlugPort(path: path), listener = try PlugPort(path: path)
            let first: [UInt8] = [6, 0, 0, 0, 1, 1], second: [UInt8] = [6, 0, 0, 0, 1, 2]
            func frame(_ destination: [UInt8], _ source: [UInt8], _ mark: UInt8) -> [UInt8] {
                destination + source + [0x88, 0xb6, mark] + [UInt8](repeating: 0, count: 50)
            }
            one.send(frame(second, first, 0))
            other.send(frame(first, second, 0))
            #expect(one.receive { $0.starts(with: first) } != nil)
            for number in 0..<50_000 {
                attacker.send(
                    frame(
                        [6, 0, 0, 0, 9, 9],
                        [2, 1, UInt8(number >> 16), UInt8(number >> 8 & 0xff), UInt8(number & 0xff), 1], 0))
                if number % 32 == 0 {
                    for end in [one, other, listener] { _ = end.receive(seconds: 0) { _ in false } }
                }
            }
            // Until each has read everything: while what waits for it fills its queue, it loses what comes.
            for end in [one, other, listener] {
                try eventually("the last of the flood", within: ampleTime) {
                    attacker.send(frame([0xff, 0xff, 0xff, 0xff, 0xff, 0xff], [6, 0, 0, 0, 9, 8], 99))
                    return end.receive(seconds: 0.2) { $0[14] == 99 } != nil
                }
            }
            // The others are still known: their frames are not flooded.
            one.send(frame(second, first, 77))
            #expect(other.receive { $0.starts(with: second) && $0[14] == 77 } != nil)
            #expect(listener.receive(seconds: 0.2) { $0.starts(with: second) && $0[14] == 77 } == nil)
            let console = try Console(network.folder.file("mgmt"))
            #expect(try console.ask("hash/print").contains("06:00:00:00:01:02"))
            #expect(try program.stop() == .exited(0))
        }

        @Test func consoleSurvivesAnyInput() throws {
            let (network, path, program) = try start()
            let mgmt = network.folder.file("mgmt")
            let one = try PlugPort(path: path), other = try PlugPort(path: path)
            let console = try Console(mgmt)
            try console.send([UInt8](repeating: 0x61, count: 1 << 20))
            #expect(try console.ask("").contains("1090 Message too long"))
            var random = SeededGenerator(seed: 7)
            try console.send(random.bytes(100_000).map { $0 == 0x0a ? 0x20 : $0 } + [0x0a])
            _ = try console.ask("port/showinfo")
            // A client that sends commands and never reads is disconnected, or waits; it delays no other.
            let greedy = try Console(mgmt)
            _ = try? greedy.send(Array(String(repeating: "help\n", count: 20_000).utf8))
            #expect(try Console(mgmt).ask("port/print").contains("1000 Success"))
            #expect(reaches(one, other))
            // More terminals than there may be are turned away.
            var terminals: [Console] = []
            while terminals.count < 100, let another = try? Console(mgmt) { terminals.append(another) }
            #expect(terminals.count < 40)
            #expect(reaches(one, other))
            #expect(try program.stop() == .exited(0))
        }

        @Test func fullDiskOrMissingDirectoryIsReported() throws {
            let network = try TestNetwork()
            let disk = network.folder.file("disk")
            try Files.makeDirectory(disk)
            // Room for nothing but the root: five inodes.
            _ = try network.host.run("mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=3", "none", disk, inside: false)
            defer { _ = try? ChildProcess.run(["umount", disk]) }
            let program = try network.host.start([
                TestHost.product("vde_vmnet"), "--switch", "--uplink", "none", disk + "/vde",
            ])
            try program.wait(for: "ready")
            // The directory and ctl took what there was: a client's port has no room.
            let socket = try Socket.unixDatagram()
            try socket.bind(to: UnixPath(network.folder.file("client")))
            let client = try RawClient(disk + "/vde")
            client.send(request(network.folder.file("client")))
            #expect(client.receive() == [])
            try program.wait(for: "No space left on device")
            #expect(try program.stop() == .exited(0))
        }
    }
}

extension UInt64 {
    fileprivate var littleEndianBytes: [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: self >> (8 * UInt64($0))) } }
}
