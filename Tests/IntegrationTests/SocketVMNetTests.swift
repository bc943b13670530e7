// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// As Lima and Colima start, watch and stop socket_vmnet.
    @Suite struct SocketVMNet {
        /// Our program under another name, as `make install-compat` puts it there.
        private func install(_ name: String, in folder: TemporaryFolder, _ product: String = "vde_vmnet") throws -> String {
            let path = folder.file(name)
            let result = try ChildProcess.run(["cp", Machine.product(product), path])
            #expect(result.succeeded)
            return path
        }

        @Test(.enabled(if: GuestMachine.canRunQEMU, "\(GuestMachine.qemuReason)"))
        func limaStartsAndStopsIt() throws {
            let network = try TestNetwork()
            let folder = network.folder
            let socket = folder.file("socket_vmnet.shared"), pidfile = folder.file("shared_socket_vmnet.pid")
            let command = [
                try install("socket_vmnet", in: folder), "--pidfile=\(pidfile)", "--socket-group=nogroup", "--vmnet-mode=shared", "--vmnet-gateway=192.168.105.1",
                "--vmnet-dhcp-end=192.168.105.254", "--vmnet-mask=255.255.255.0", socket,
            ]
            let daemon = try network.host.start(command, environment: ["SUDO_UID": nil, "SUDO_GID": nil])
            // Nobody waits for it to say that it is ready.
            try eventually("the socket") { Files.exists(socket) }
            try eventually("its group") { (try? Files.status(socket))?.group == Accounts.group(named: "nogroup") }
            let status = try Files.status(socket)
            #expect(status.mode == 0o770 && status.owner == 0)
            let guest = try GuestMachine.qemu(
                "guest", netdev: "socket,id=net0,fd=3", mac: "52:54:00:00:00:01", in: network.host, folder: folder,
                wrapper: [try install("socket_vmnet_client", in: folder), socket])
            try guest.waitUntilBooted()
            #expect(GuestMachine.address(in: try guest.lease()) == "192.168.105.2")
            #expect(try network.host.pings("192.168.105.2"))
            // Colima looks whether it is there; a second one is turned away and harms nobody.
            #expect(try network.host.attempt(["pkill", "-0", "-F", pidfile]).succeeded)
            let second = try network.host.attempt(command)
            #expect(second.termination == .exited(1) && second.error.contains("is held by process"))
            #expect(try network.host.pings("192.168.105.2"))
            // Lima gives up after 5 s.
            #expect(try network.host.attempt(["pkill", "-F", pidfile]).succeeded)
            try eventually("the end", within: 4) { !Files.exists(pidfile) && !Files.exists(socket) }
            #expect(try daemon.waitForEnd() == .exited(1), "as socket_vmnet")
        }

        @Test func exitStatusesAreThoseOfSocketVMNet() throws {
            let folder = try TemporaryFolder()
            let daemon = try install("socket_vmnet", in: folder), client = try install("socket_vmnet_client", in: folder)
            func status(_ arguments: String...) throws -> ChildProcess.Termination { try ChildProcess.run(arguments).termination }
            #expect(try status(daemon, "--help") == .exited(0))
            #expect(try status(daemon, "-v") == .exited(0))
            #expect(try status(daemon) == .exited(1))
            #expect(try status(daemon, "--vmnet-mode=bridged", "/tmp/s") == .exited(1))
            #expect(try status(daemon, "--socket-group=no-such-group", "/tmp/s") == .exited(1))
            #expect(try status(daemon, "--vmnet-dhcp-end=192.168.105.9", "/tmp/s") == .exited(1))
            #expect(try status(client) == .exited(1))
            #expect(try status(client, "/nowhere", "true") == .exited(1))
        }

        /// vmnet takes its time, or does not answer at all.
        @Test(arguments: ["start_delay=30000", "start_silent=1", "stop_silent=1"])
        func theSocketIsThereBeforeVmnetIsAndTheEndIsQuick(fault: String) throws {
            let network = try TestNetwork()
            let socket = network.folder.file("socket"), pidfile = network.folder.file("pid")
            let daemon = try network.host.start(
                [try install("socket_vmnet", in: network.folder, "vde_vmnet_simulated"), "--vmnet-gateway=192.168.105.1", "--pidfile", pidfile, socket],
                environment: ["VMNET_SIMULATOR": fault])
            try eventually("the socket") { Files.exists(socket) && Files.exists(pidfile) }
            let client = try SocketEnd(streamAt: socket)
            try client.send([UInt8](repeating: 2, count: 60))
            #expect(try network.host.attempt(["pkill", "-F", pidfile]).succeeded)
            #expect(try daemon.waitForEnd(within: 4) == .exited(1))
            #expect(!Files.exists(pidfile) && !Files.exists(socket))
        }
    }
}
