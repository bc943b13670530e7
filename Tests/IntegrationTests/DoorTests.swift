// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

/// A host with a daemon of ours that machines enter by several doors.
final class DoorScene {
    let network: TestNetwork
    var daemon: VMNetDaemon
    let vde: String
    let stream: String

    /// - Parameter options: what is asked for besides the way in.
    init(vde hasVDE: Bool = false, _ options: [String] = [], internet: Bool = false) throws {
        network = try TestNetwork()
        if internet { try network.startInternet() }
        vde = network.folder.file("vde")
        stream = network.folder.file("stream")
        daemon = try VMNetDaemon(in: network.host, (hasVDE ? ["--switch", vde] : []) + ["--stream", stream] + options, folder: network.folder)
    }

    var host: Namespace { network.host }
    var folder: TemporaryFolder { network.folder }

    var streamNetdev: String { "stream,id=net0,server=off,addr.type=unix,addr.path=\(stream)" }

    func machine(_ name: String, _ netdev: String, _ number: Int) throws -> GuestMachine {
        try GuestMachine.qemu(name, netdev: netdev, mac: "52:54:00:00:00:0\(number)", in: host, folder: folder)
    }
}

/// The machine's end of a pair of sockets.
final class SocketEnd {
    private let isStream: Bool
    private var socket: Descriptor?
    private var rest: [UInt8] = []

    /// - Parameter give: hands the other end over to somebody, before it is closed here.
    init(isStream: Bool, _ give: (Int32) throws -> Void) throws {
        self.isStream = isStream
        let pair = try isStream ? DescriptorPair.streamSockets() : DescriptorPair.datagramSockets()
        try give(pair.second.raw)
        socket = try pair.first.duplicate()
    }

    /// Connected to a stream door.
    init(streamAt path: String) throws {
        isStream = true
        let connection = try UnixSocket.stream()
        try connection.connect(to: UnixPath(path))
        socket = consume connection
    }

    func send(_ frame: [UInt8]) throws { try send(raw: (isStream ? (0..<4).map { UInt8(truncatingIfNeeded: frame.count >> (24 - 8 * $0)) } : []) + frame) }

    func send(raw bytes: [UInt8]) throws { _ = try socket!.send(bytes) }

    /// The frames that have arrived.
    func received() -> [[UInt8]] {
        var frames: [[UInt8]] = []
        while let bytes = try? socket!.receive(limit: 70_000), !bytes.isEmpty {
            if isStream { rest += bytes } else { frames.append(bytes) }
        }
        while rest.count >= 4 {
            let length = rest[..<4].reduce(0) { $0 << 8 | Int($1) }
            guard rest.count >= 4 + length else { break }
            frames.append(Array(rest[4..<4 + length]))
            rest.removeFirst(4 + length)
        }
        return frames
    }

    /// Whether the other end has closed the stream.
    var isOver: Bool { (try? socket!.receive(limit: 70_000))?.isEmpty ?? false }

    func close() { socket = nil }
}

extension IntegrationTests {
    /// Ways in besides VDE.
    @Suite struct Doors {
        @Test(.enabled(if: GuestMachine.canRunQEMU, "\(GuestMachine.qemuReason)"))
        func aMachineComesInByAStreamWithoutAnyVDE() throws {
            let scene = try DoorScene(internet: true)
            #expect(scene.daemon.readyLine.hasSuffix("gateway 192.168.105.1, stream at \(scene.stream)"))
            let guest = try scene.machine("guest", scene.streamNetdev, 1)
            try guest.waitUntilBooted()
            #expect(GuestMachine.address(in: try guest.lease()) == "192.168.105.2")
            #expect(try guest.run("wget -q -O - http://\(TestNetwork.internetName)/").output == "Hello from the Internet")
            #expect(try scene.host.pings("192.168.105.2"))
            #expect(try scene.daemon.stop() == .exited(0))
            #expect(!Files.exists(scene.stream))
        }

        @Test(.enabled(if: GuestMachine.canRunQEMU, "\(GuestMachine.qemuReason)"))
        func machinesOfTwoDoorsReachEachOther() throws {
            let scene = try DoorScene(vde: true)
            let one = try scene.machine("stream", scene.streamNetdev, 1), two = try scene.machine("vde", "vde,id=net0,sock=\(scene.vde)", 2)
            var addresses: [String] = []
            for guest in [one, two] {
                try guest.waitUntilBooted()
                addresses.append(GuestMachine.address(in: try guest.lease()))
            }
            #expect(addresses == ["192.168.105.2", "192.168.105.3"])
            #expect(try one.run("ping -c 1 -W 5 \(addresses[1])").status == 0)
            #expect(try two.run("ping -c 1 -W 5 \(addresses[0])").status == 0)
            one.kill()
            try scene.daemon.program.wait(for: "has gone")
            let again = try scene.machine("again", scene.streamNetdev, 1)
            try again.waitUntilBooted()
            #expect(GuestMachine.address(in: try again.lease()) == addresses[0], "a machine that was restarted has its address")
            #expect(try two.run("ping -c 1 -W 5 \(addresses[0])").status == 0)
            #expect(try scene.daemon.stop() == .exited(0))
        }

        @Test(.enabled(if: GuestMachine.canRunQEMU, "\(GuestMachine.qemuReason)"))
        func aClientProgramHandsTheStreamToQEMU() throws {
            let scene = try DoorScene()
            let guest = try GuestMachine.qemu(
                "guest", netdev: "socket,id=net0,fd=3", mac: "52:54:00:00:00:01", in: scene.host, folder: scene.folder,
                wrapper: [Machine.product("vde_vmnet"), "client", scene.stream])
            try guest.waitUntilBooted()
            #expect(GuestMachine.address(in: try guest.lease()) == "192.168.105.2")
            #expect(try guest.run("ping -c 1 -W 5 \(gateway)").status == 0)
        }

        @Test(.enabled(if: GuestMachine.canRunQEMU, "\(GuestMachine.qemuReason)"), arguments: ["dgram,id=net0,local.type=fd,local.str=3", "socket,id=net0,fd=3"])
        func aNetworkAndAMachineComeAndGoTogether(netdev: String) throws {
            let network = try TestNetwork()
            let guest = try GuestMachine.qemu(
                "guest", netdev: netdev, mac: "52:54:00:00:00:01", in: network.host, folder: network.folder,
                wrapper: [Machine.product("vde_vmnet"), "run", "--state-dir", network.folder.file("state"), "--"])
            try guest.waitUntilBooted()
            #expect(GuestMachine.address(in: try guest.lease()) == "192.168.105.2")
            #expect(try guest.run("ping -c 1 -W 5 \(gateway)").status == 0)
            #expect(try network.host.pings("192.168.105.2"))
            // QEMU ends on SIGTERM with 0, and we with it.
            guest.signal(Signal.terminate)
            #expect(try guest.waitForEnd() == .exited(0))
            #expect(try network.host.run("ip", "-o", "link").contains(" vmnet0:") == false, "the network has gone")
        }

        @Test func theEndOfAProgramIsOurs() throws {
            let host = try Namespace("host")
            func run(_ script: String, _ environment: [String: String?] = [:]) throws -> ChildProcess.Output {
                try host.attempt([Machine.product("vde_vmnet"), "run", "--uplink", "none", "--", "sh", "-c", script], environment: environment)
            }
            #expect(try run("exit 7").termination == .exited(7))
            #expect(try run("kill -9 $$").termination == .exited(137))
            #expect(try run("echo word; test -S /proc/self/fd/3").output == "word\n", "standard output is the program's alone")
            #expect(try run("id -u; id -g; echo $USER", ["SUDO_UID": "65534", "SUDO_GID": "65534"]).output == "65534\n65534\nnobody\n")
            let missing = try host.attempt([Machine.product("vde_vmnet"), "run", "--uplink", "none", "--", "/nowhere/program"])
            #expect(missing.termination == .exited(69) && missing.error.contains("/nowhere/program: No such file"))
            let nothing = try host.attempt([Machine.product("vde_vmnet"), "run", "--uplink", "none"])
            #expect(nothing.termination == .exited(64))
            let alone = try host.attempt([Machine.product("vde_vmnet"), "client", "/nowhere/socket", "true"])
            #expect(alone.termination == .exited(69) && alone.error.contains("is vde_vmnet --stream /nowhere/socket running"))
        }

        @Test(arguments: [true, false])
        func anInheritedDescriptorIsAPortUntilItEnds(isStream: Bool) throws {
            let scene = try DoorScene()
            let output = try DescriptorPair.pipe()
            var daemon: ChildProcess?
            let ours = try SocketEnd(isStream: isStream) { end in
                daemon = try ChildProcess(
                    scene.host.prefix + [Machine.product("vde_vmnet"), "--fd", "0", "--state-dir", scene.folder.file("state2")], input: end, output: output.second.raw, error: 2)
            }
            var facts = ""
            try eventually("the line of JSON") {
                if output.first.wait(for: .readable, until: MonotonicClock.now + MonotonicClock.second).contains(.readable) {
                    facts += String(decoding: try output.first.read(limit: 4096), as: UTF8.self)
                }
                return facts.hasSuffix("\n")
            }
            #expect(facts.hasPrefix("{\"vmnet_mac_address\":\"") && facts.hasSuffix("}\n"))
            #expect(facts.contains("\"vmnet_start_address\":\"192.168.106.1\",\"vmnet_end_address\":\"192.168.106.254\",\"vmnet_subnet_mask\":\"255.255.255.0\""))
            #expect(facts.contains("\"vmnet_mtu\":1500,\"vmnet_max_packet_size\":1514"))
            // Who has the gateway?
            let source = MACAddress(0x0200_0000_0001)
            try ours.send(ARPPacket.probe(for: IPv4Address("192.168.106.1")!, from: source).frame(to: .broadcast))
            try eventually("an answer") { ours.received().contains { $0.starts(with: source.bytes) } }
            ours.close()
            try eventually("its end") { daemon?.poll() == .exited(0) }
            #expect(try scene.daemon.stop() == .exited(0))
        }
    }
}
