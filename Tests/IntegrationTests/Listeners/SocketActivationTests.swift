// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// Started by the first guest, as systemd does it (sd_listen_fds(3)), ended when there is none.
    @Suite struct SocketActivation {
        /// Starts the daemon with `socket` as the service manager would, once a client has connected.
        private func start(
            _ network: TestNetwork, _ socket: borrowing Descriptor, _ options: [String]
        ) throws -> ChildProcess {
            try start(network, socket.raw, options)
        }

        private func start(_ network: TestNetwork, _ socket: Int32, _ options: [String]) throws -> ChildProcess {
            let words =
                [TestHost.product("vde_vmnet"), "--state-dir", network.folder.file("state"), "--idle-exit", "1"]
                + options
            return try GuestProgram.start(
                network.host.prefix + ["sh", "-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"", "sh"] + words,
                descriptor: socket, user: nil, environment: [:])
        }

        @Test func activatedStreamSocketBecomesListener() throws {
            let network = try TestNetwork()
            let path = network.folder.file("socket")
            let listener = try Socket.unixStream()
            try listener.bind(to: UnixPath(path))
            try listener.listen()
            for _ in 0..<2 {
                // The guest comes first, and waits.
                let vm = try StreamClient(streamAt: path), source = MACAddress(0x0200_0000_0001)
                try vm.send(ARPPacket.probe(for: IPv4Address(gateway)!, from: source).frame(to: .broadcast))
                let daemon = try start(network, listener, [])
                try eventually("an answer", within: 20) {
                    vm.received().contains { $0.starts(with: source.bytes) }
                }
                #expect(daemon.poll() == nil)
                vm.close()
                try eventually("its end") { daemon.poll() == .exited(0) }
                #expect(Files.exists(path), "the socket is the service manager's")
            }
        }

        @Test func activatedDatagramSocketBecomesListener() throws {
            let network = try TestNetwork()
            let path = network.folder.file("socket")
            let listener = try Socket.unixDatagram()
            try listener.bind(to: UnixPath(path))
            // PassCredentials=yes
            listener.reportSenders()
            let vm = try DatagramClient(network.folder.file("machine"), to: path),
                source = MACAddress(0x0200_0000_0001)
            try vm.send(ARPPacket.probe(for: IPv4Address(gateway)!, from: source).frame(to: .broadcast))
            let daemon = try start(network, listener, [])
            try eventually("an answer", within: 20) { vm.received().contains { $0.starts(with: source.bytes) } }
            vm.close()
            try eventually("its end") { daemon.poll() == .exited(0) }
            #expect(Files.exists(path))
        }

        @Test func connectionNamedByFdIsOneGuest() throws {
            let network = try TestNetwork()
            var daemon: ChildProcess?
            let vm = try StreamClient(isStream: true) { daemon = try start(network, $0, ["--fd", "3"]) },
                source = MACAddress(0x0200_0000_0001)
            for _ in 0..<5 {
                try vm.send(ARPPacket.probe(for: IPv4Address(gateway)!, from: source).frame(to: .broadcast))
                try eventually("an answer", within: 20) {
                    vm.received().contains { $0.starts(with: source.bytes) }
                }
            }
            vm.close()
            try eventually("its end") { daemon!.poll() == .exited(0) }
        }

        @Test func guestOnVDESocketPreventsIdleExit() throws {
            let fixture = try ListenerFixture(vde: true, ["--idle-exit", "1"])
            let guest = try PlugGuest("guest", path: fixture.vde, folder: fixture.folder)
            let stream = try StreamClient(streamAt: fixture.stream)
            try fixture.daemon.program.wait(for: "has joined")
            stream.close()
            try fixture.daemon.program.wait(for: "has left")
            // Longer than the daemon waits without clients.
            try guest.lease()
            #expect(try guest.namespace.run("ping", "-c", "3", "-W", "5", gateway).contains(" 0% packet loss"))
            #expect(fixture.daemon.program.poll() == nil)
            guest.stop()
            #expect(try fixture.daemon.program.waitForEnd() == .exited(0))
        }

        @Test func nonSocketDescriptorIsReported() throws {
            let network = try TestNetwork()
            let result = try network.host.attempt([
                "sh", "-c",
                "LISTEN_PID=$$ LISTEN_FDS=1 exec \(TestHost.product("vde_vmnet")) --uplink none 3</dev/null",
            ])
            #expect(
                result.termination == .exited(64) && result.error.contains("descriptor 3, which is not a unix socket"))
            let idle = try network.host.attempt([
                TestHost.product("vde_vmnet"), "--idle-exit", "5", network.folder.file("vde"),
            ])
            #expect(
                idle.termination == .exited(64) && idle.error.contains("--idle-exit does not go with a switch to join"))
        }
    }
}
