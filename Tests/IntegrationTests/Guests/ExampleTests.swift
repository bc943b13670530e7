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
    }
}
