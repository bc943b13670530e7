// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// As Lima and Colima start, watch and stop socket_vmnet.
    @Suite struct SocketVMNet {
        /// Puts our program there under both names, as users do. Returns their paths.
        private func install(in folder: TemporaryFolder) throws -> (daemon: String, client: String) {
            let build = Files.parent(TestHost.product("vde_vmnet")), prefix = "/opt/socket_vmnet"
            let result = try ChildProcess.run([
                "make", "-s", "-C", TestHost.packageRoot, "install-compat", "DESTDIR=" + folder.path, "BIN=" + build,
            ])
            #expect(result.succeeded, "\(result.error)")
            let programs = ["socket_vmnet", "socket_vmnet_client"].map { "\(folder.path)\(prefix)/bin/\($0)" }
            for program in programs {
                // Lima refuses links, and what others may write to.
                let status = try Files.status(program, followLinks: false),
                    directory = try Files.status(Files.parent(program))
                #expect(
                    status.kind == .regular && status.mode == 0o755 && status.owner == CurrentProcess.effectiveUser
                        && directory.mode == 0o755)
            }
            #expect(
                try Files.entries(Files.parent(programs[0])).sorted() == ["socket_vmnet", "socket_vmnet_client"],
                "nothing else is left")
            return (programs[0], programs[1])
        }

        /// The program of the simulated Mac under socket_vmnet's name.
        private func installSimulated(in folder: TemporaryFolder) throws -> String {
            let path = folder.file("socket_vmnet")
            #expect(try ChildProcess.run(["cp", TestHost.product("vde_vmnet_simulated"), path]).succeeded)
            return path
        }

        @Test func clientGetsConnectionAsDescriptor3() throws {
            let network = try TestNetwork()
            let programs = try install(in: network.folder), socket = network.folder.file("socket")
            let command = Namespace.withoutState + [programs.daemon, "--vmnet-gateway=192.168.105.1", socket]
            let daemon = try network.host.start(command, environment: ["SUDO_UID": nil, "SUDO_GID": nil, "DEBUG": "1"])
            try daemon.wait(for: "ready")
            let client = try ChildProcess.run([
                programs.client, socket, "sh", "-c", "test -S /proc/self/fd/3 && printf '\\0\\0\\0\\0' >&3; exit 7",
            ])
            #expect(client.termination == .exited(7), "\(client.error)")
            try daemon.wait(for: "it announced a frame of 0 bytes")
            // Another version is put in the place of one that runs.
            _ = try install(in: network.folder)
            #expect(daemon.poll() == nil)
            #expect(try daemon.stop(within: 4) == .exited(1))
        }

        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"))
        func limaStartsAndStopsDaemon() throws {
            let network = try TestNetwork()
            let folder = network.folder
            let socket = folder.file("socket_vmnet.shared"), pidfile = folder.file("shared_socket_vmnet.pid")
            let programs = try install(in: folder)
            let command =
                Namespace.withoutState + [
                    programs.daemon, "--pidfile=\(pidfile)", "--socket-group=nogroup", "--vmnet-mode=shared",
                    "--vmnet-gateway=192.168.105.1",
                    "--vmnet-dhcp-end=192.168.105.254", "--vmnet-mask=255.255.255.0", socket,
                ]
            let daemon = try network.host.start(command, environment: ["SUDO_UID": nil, "SUDO_GID": nil])
            // Lima 2.2 waits until the pidfile has a number in it, for 30 s, and connects then.
            try eventually("the number in the pidfile", within: 30) { Int(Files.text(pidfile) ?? "") != nil }
            #expect(Files.text(pidfile) == "\(daemon.identifier)")
            try eventually("its group") { (try? Files.status(socket))?.group == UserDatabase.group(named: "nogroup") }
            let status = try Files.status(socket)
            #expect(status.mode == 0o770 && status.owner == 0)
            let guest = try VirtualMachine.qemu(
                "guest", netdev: "socket,id=net0,fd=3", mac: "52:54:00:00:00:01", in: network.host, folder: folder,
                wrapper: [programs.client, socket])
            try guest.waitUntilBooted()
            #expect(VirtualMachine.address(in: try guest.lease()) == "192.168.105.2")
            #expect(try network.host.pings("192.168.105.2"))
            // Colima checks whether it is there; a second one is rejected and harms no other.
            #expect(try network.host.attempt(["pkill", "-0", "-F", pidfile]).succeeded)
            let second = try network.host.attempt(command)
            #expect(second.termination == .exited(1) && second.error.contains("is held by process"))
            #expect(try network.host.pings("192.168.105.2"))
            // Lima gives up after 5 s.
            #expect(try network.host.attempt(["pkill", "-F", pidfile]).succeeded)
            try eventually("the end", within: 4) { !Files.exists(pidfile) && !Files.exists(socket) }
            #expect(try daemon.waitForEnd() == .exited(1), "as socket_vmnet")
        }

        @Test func exitStatusesMatchSocketVMNet() throws {
            let folder = try TemporaryFolder()
            let (daemon, client) = try install(in: folder)
            func status(_ arguments: String...) throws -> ChildProcess.Termination {
                try ChildProcess.run(arguments).termination
            }
            #expect(try status(daemon, "--help") == .exited(0))
            #expect(try status(daemon, "-v") == .exited(0))
            #expect(try status(daemon) == .exited(1))
            #expect(try status(daemon, "--vmnet-mode=bridged", "/tmp/s") == .exited(1))
            #expect(try status(daemon, "--socket-group=no-such-group", "/tmp/s") == .exited(1))
            #expect(try status(daemon, "--vmnet-dhcp-end=192.168.105.9", "/tmp/s") == .exited(1))
            #expect(try status(client) == .exited(1))
            #expect(try status(client, "/nowhere", "true") == .exited(1))
        }

        /// Lima 2.2 starts the daemon again after 1, 2, 4 and 8 s if it ends before there is a number in the pidfile,
        /// as it may while the service behind vmnet is not registered. This program waits for the service itself.
        @Test func firstStartAtBootSucceeds() throws {
            let network = try TestNetwork()
            let socket = network.folder.file("socket"), pidfile = network.folder.file("pid")
            let daemon = try network.host.start(
                Namespace.withoutState + [
                    try installSimulated(in: network.folder), "--vmnet-gateway=192.168.105.1", "--pidfile", pidfile,
                    socket,
                ],
                environment: ["VMNET_SIMULATOR": "unregistered_starts=2"])
            try daemon.wait(for: "trying again")
            #expect(Files.text(pidfile) == "")
            try eventually("the number in the pidfile", within: 30) { Int(Files.text(pidfile) ?? "") != nil }
            #expect(try network.host.attempt(["pkill", "-F", pidfile]).succeeded)
            #expect(try daemon.waitForEnd(within: 4) == .exited(1))
            #expect(!Files.exists(pidfile) && !Files.exists(socket))
        }

        /// A start that fails never shows a number in the pidfile: Lima would connect to a dead network.
        @Test func failedStartLeavesPidfileEmpty() throws {
            let network = try TestNetwork()
            let socket = network.folder.file("socket"), pidfile = network.folder.file("pid")
            let daemon = try network.host.start(
                Namespace.withoutState + [
                    try installSimulated(in: network.folder), "--vmnet-gateway=192.168.105.1", "--pidfile", pidfile,
                    socket,
                ],
                environment: ["VMNET_SIMULATOR": "start_status=1009,start_delay=1000"])
            try eventually("the pidfile") { Files.exists(pidfile) }
            while daemon.poll() == nil { #expect((Files.text(pidfile) ?? "") == "") }
            #expect(try daemon.waitForEnd() == .exited(1))
            #expect(!Files.exists(pidfile) && !Files.exists(socket))
        }

        /// vmnet takes its time, or does not answer at all.
        @Test(arguments: ["start_delay=30000", "start_silent=1", "stop_silent=1"])
        func socketPrecedesVmnetAndEndIsQuick(fault: String) throws {
            let network = try TestNetwork()
            let socket = network.folder.file("socket"), pidfile = network.folder.file("pid")
            let daemon = try network.host.start(
                Namespace.withoutState + [
                    try installSimulated(in: network.folder), "--vmnet-gateway=192.168.105.1", "--pidfile", pidfile,
                    socket,
                ],
                environment: ["VMNET_SIMULATOR": fault])
            try eventually("the socket") { Files.exists(socket) && Files.exists(pidfile) }
            let client = try StreamClient(streamAt: socket)
            try client.send([UInt8](repeating: 2, count: 60))
            if fault.hasPrefix("stop") {
                try daemon.wait(for: "ready")
                #expect(try network.host.attempt(["pkill", "-F", pidfile]).succeeded)
            } else {
                // The network is not ready, so the pidfile names no process yet.
                #expect(Files.text(pidfile) == "")
                daemon.signal(Signal.terminate)
            }
            #expect(try daemon.waitForEnd(within: 4) == .exited(1))
            #expect(!Files.exists(pidfile) && !Files.exists(socket))
        }
    }
}
