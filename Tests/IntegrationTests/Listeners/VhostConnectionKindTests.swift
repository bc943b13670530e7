// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Timing
import Wire

extension IntegrationTests {
    /// Front ends that listen, or whose connection is inherited.
    @Suite struct VhostConnectionKinds {
        private static let address = MACAddress(0x0200_0000_0001)

        /// Negotiates, and waits until the network's gateway has answered.
        private func expectAnswer(_ guest: VhostGuest) throws {
            guest.fillReceiveRing()
            try guest.start(features: 1 << 32 | 1 << 15)
            guest.send(
                ARPPacket.probe(for: IPv4Address(gateway)!, from: Self.address).frame(to: .broadcast))
            guest.kick(1)
            try eventually("an answer", within: ampleTime) {
                while let frame = guest.receive() {
                    guest.kick(0)
                    if frame.dropFirst(12).starts(with: Self.address.bytes) { return true }
                }
                return false
            }
        }

        private func accept(_ listener: borrowing Descriptor) throws -> VhostGuest {
            let guest = try VhostGuest(), deadline = BootClock.now + .fractionalSeconds(ampleTime)
            guard listener.wait(for: .readable, until: deadline).contains(.readable),
                case .client(let socket) = listener.acceptClient()
            else { throw CommandFailed(description: "nothing has connected") }
            guest.adopt(socket)
            return guest
        }

        /// The front end comes second, leaves, and comes back.
        @Test func daemonConnectsToFrontEndThatListens() throws {
            let network = try TestNetwork()
            let path = network.folder.file("front,end")
            let daemon = try VMNetDaemon(
                in: network.host, ["--vhost-user", network.folder.file("front,,end") + ",client"],
                folder: network.folder)
            #expect(daemon.readyLine.contains("vhost-user to \(path)"))
            try daemon.program.wait(for: "no front end listens there yet")
            let listener = try Socket.unixStream()
            try listener.bind(to: UnixPath(path))
            try listener.listen()
            for _ in 0..<2 {
                let guest = try accept(listener)
                try expectAnswer(guest)
                guest.disconnect()
            }
            #expect(try daemon.stop() == .exited(0))
            #expect(Files.exists(path), "the socket is the front end's")
        }

        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"))
        func guestThatListensHasNetwork() throws {
            let network = try TestNetwork()
            let path = network.folder.file("front-end")
            let daemon = try VMNetDaemon(
                in: network.host, ["--vhost-user", "\(path),client"], folder: network.folder)
            let guest = try VirtualMachine.vhostUser(
                "listener", socket: "path=\(path),server=on", mac: "52:54:00:00:00:01", in: network.host,
                folder: network.folder)
            try guest.waitUntilBooted()
            _ = try guest.lease()
            #expect(try guest.run("ping -c 1 -W 5 \(gateway)").status == 0)
            #expect(try daemon.stop() == .exited(0))
        }

        /// Starts the daemon with `socket` as descriptor 3.
        private func start(
            _ network: TestNetwork, _ socket: Int32, environment: String = "", _ options: [String]
        ) throws -> ChildProcess {
            try GuestProgram.start(
                network.host.prefix + ["sh", "-c", "\(environment) exec \"$@\"", "sh", TestHost.product("vde_vmnet")]
                    + ["--state-dir", network.folder.file("state")] + options,
                descriptor: socket, user: nil, environment: [:])
        }

        /// Given by number, or by the service manager with `Accept=yes`.
        @Test(
            arguments: [
                ("", ["--vhost-user-fd", "3"]),
                ("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=vhost-user", ["--idle-exit", "1"]),
            ])
        func inheritedConnectionIsOneFrontEnd(environment: String, options: [String]) throws {
            let network = try TestNetwork()
            let pair = try DescriptorPair.streamSockets()
            let daemon = try start(network, pair.second.raw, environment: environment, options)
            let guest = try VhostGuest()
            guest.adopt(try pair.first.duplicate())
            try expectAnswer(guest)
            #expect(daemon.poll() == nil)
            // Its last copy.
            guest.disconnect()
            _ = consume pair
            try eventually("its end") { daemon.poll() == .exited(0) }
        }

        /// A socket of the service manager with `FileDescriptorName=vhost-user`.
        @Test func activatedSocketTakesFrontEnds() throws {
            let network = try TestNetwork()
            let path = network.folder.file("socket")
            let listener = try Socket.unixStream()
            try listener.bind(to: UnixPath(path))
            try listener.listen()
            let guest = try VhostGuest()
            try guest.connect(to: path)
            let daemon = try start(
                network, listener.raw, environment: "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=vhost-user",
                ["--idle-exit", "1"])
            try expectAnswer(guest)
            guest.disconnect()
            try eventually("its end") { daemon.poll() == .exited(0) }
            #expect(Files.exists(path), "the socket is the service manager's")
        }

        @Test func datagramSocketIsRefused() throws {
            let network = try TestNetwork()
            let pair = try DescriptorPair.datagramSockets()
            for (environment, options) in [
                ("", ["--vhost-user-fd", "3"]),
                ("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=vhost-user", []),
            ] as [(String, [String])] {
                let daemon = try start(network, pair.second.raw, environment: environment, options)
                try eventually("its end") { daemon.poll() == .exited(64) }
            }
        }
    }
}
