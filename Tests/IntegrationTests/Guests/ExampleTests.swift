// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// The scripts in examples/, inside a namespace, with the test's own kernel and root file system.
    @Suite struct Examples {
        /// Runs a script of examples/ as `user`; what follows it is for the virtual guest.
        private func start(
            _ name: String, _ arguments: [String], in network: TestNetwork, user: String?,
            _ environment: [String: String?]
        ) throws -> VirtualMachine {
            let home = network.folder.file("home")
            try network.host.run(
                "sh", "-c", "mkdir -p \(home) && chown \(user ?? "root") \(home) && chmod 755 \(network.folder.path)")
            var all: [String: String?] = [
                "VDE_VMNET": TestHost.product("vde_vmnet"), "SUDO": "", "HOME": home, "XDG_RUNTIME_DIR": home,
                "XDG_STATE_HOME": home + "/state", "TMPDIR": home, "VDE": home + "/vde",
            ]
            all.merge(environment) { $1 }
            let program = try network.host.start(
                Namespace.running(as: user) + [TestHost.packageRoot + "/examples/" + name] + arguments,
                environment: all)
            return VirtualMachine(name, program, network.folder)
        }

        /// The guest boots, gets an address and reaches the outside.
        private func expectNetwork(_ guest: VirtualMachine) throws {
            try guest.waitUntilBooted()
            #expect(VirtualMachine.address(in: try guest.lease()) == "192.168.105.2")
            #expect(
                try guest.run("wget -q -O - http://\(TestNetwork.internetName)/").output == "Hello from the Internet")
        }

        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"))
        func qemuRunsRootless() throws {
            let network = try TestNetwork()
            try network.startInternet()
            let guest = try start(
                "qemu-rootless", try VirtualMachine.qemuOptions(network.folder), in: network, user: "nobody",
                ["NIC": "virtio-net-pci,romfile="])
            try expectNetwork(guest)
            try guest.powerOff()
            #expect(try guest.waitForEnd() == .exited(0))
        }

        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"))
        func qemuRunsWithRoot() throws {
            let network = try TestNetwork()
            try network.startInternet()
            let before = try network.host.snapshot()
            let guest = try start(
                "qemu-root", try VirtualMachine.qemuOptions(network.folder), in: network, user: nil,
                [
                    "NIC": "virtio-net-pci,romfile=",
                    "VDE_VMNET_OPTIONS": "--dhcp builtin --state-dir \(network.folder.file("state"))",
                ])
            try expectNetwork(guest)
            #expect(try network.host.pings("192.168.105.2"))
            try guest.powerOff()
            #expect(try guest.waitForEnd() == .exited(0))
            #expect(try network.host.snapshot() == before)
        }

        @Test(.enabled(if: VirtualMachine.canRunUML, "\(VirtualMachine.umlReason)"))
        func userModeLinuxRunsRootless() throws {
            let network = try TestNetwork()
            try network.startInternet()
            let guest = try start(
                "user-mode-linux",
                try VirtualMachine.umlOptions(network.folder, directory: network.folder.file("home")),
                in: network, user: "nobody", ["LINUX": "linux.uml"])
            try expectNetwork(guest)
            try guest.powerOff()
            #expect(try guest.waitForEnd() == .exited(0))
        }

        /// Runs the script of a program for macOS with the simulated vmnet. A script in the program's place starts QEMU
        /// with the socket from its own arguments.
        /// - Parameters:
        ///   - program: the variable of the example that names the program.
        ///   - command: finds the socket in the arguments, and runs QEMU with those that are left.
        private func runOnSimulatedMac(_ name: String, program: String, _ command: String) throws {
            let network = try TestNetwork(), socket = network.folder.file("net")
            let before = try network.host.snapshot()
            let path = network.folder.file("bin")
            try Files.replace(path, Array("#!/bin/sh\nset -eu\n\(command)\n".utf8), mode: 0o755)
            let guest = try start(
                name, try VirtualMachine.qemuOptions(network.folder), in: network, user: nil,
                [
                    program: path, "VDE_VMNET": TestHost.product("vde_vmnet_simulated"), "SOCKET": socket,
                    "VMNET_SIMULATOR": "tap=bridge100",
                    "VDE_VMNET_OPTIONS": "--state-dir \(network.folder.file("state"))",
                ])
            try guest.waitUntilBooted()
            #expect(VirtualMachine.address(in: try guest.lease()) == "192.168.64.2")
            #expect(try network.host.pings("192.168.64.2"))
            try guest.powerOff()
            // limactl ends before its guest does, and the network stays.
            if program == "LIMACTL" {
                try eventually("the end of limactl") { guest.console.contains("runs until you press Ctrl-C") }
                guest.signal(Signal.interrupt)
            }
            #expect(try guest.waitForEnd() == .exited(program == "LIMACTL" ? 130 : 0))
            try eventually("the end of the network") { !Files.exists(socket) }
            #expect(try network.host.snapshot() == before)
        }

        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"))
        func limaGetsSocketOfItsNetwork() throws {
            try runOnSimulatedMac(
                "lima", program: "LIMACTL",
                """
                [ "$1 $2" = "start --set" ]
                socket=${3#'.networks = [{"socket": "'}
                socket=${socket%'"}]'}
                shift 3
                exec qemu-system-x86_64 "$@" -netdev "stream,id=net0,addr.type=unix,addr.path=$socket" \
                    -device virtio-net-pci,netdev=net0,romfile=
                """)
        }

        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"))
        func vfkitGetsSocketAndAddress() throws {
            try runOnSimulatedMac(
                "vfkit", program: "VFKIT",
                """
                [ "$1" = --device ]
                socket=${2#virtio-net,unixSocketPath=}
                mac=${socket#*,mac=}
                socket=${socket%,mac=*}
                shift 2
                remote="remote.type=unix,remote.path=$socket"
                exec qemu-system-x86_64 "$@" -netdev "dgram,id=net0,local.type=unix,local.path=$HOME/end,$remote" \
                    -device "virtio-net-pci,netdev=net0,romfile=,mac=$mac"
                """)
        }
    }
}
