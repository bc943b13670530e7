// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// Options that cannot do anything on this host are refused by name, and not ignored.
    @Suite struct RefusedOptions {
        private func run(
            _ host: Namespace, _ options: String...
        ) throws -> (status: ChildProcess.Termination, message: String) {
            let result = try host.attempt(["timeout", "20", TestHost.product("vde_vmnet"), "--switch"] + options)
            return (result.termination, result.error)
        }

        @Test func unbridgeableInterfaceIsRefused() throws {
            let network = try TestNetwork(), host = network.host
            let first = try VMNetDaemon(
                in: host, ["--switch", "--tap-name", "first0", network.folder.file("first")], folder: network.folder)
            try host.ip("tuntap", "add", "tunnel0", "mode", "tun")
            for (interface, reason) in [
                ("lo", "loopback"), ("first0", "another vde_vmnet"), ("tunnel0", "no Ethernet frames"),
            ] {
                let (status, message) = try run(
                    host, "--vmnet-mode", "bridged", "--vmnet-interface", interface, network.folder.file("second"))
                #expect(
                    status == .exited(64) && message.contains("--vmnet-interface \(interface)")
                        && message.contains(reason), "\(message)")
                #expect(!(try host.run(TestHost.product("vde_vmnet"), "interfaces").contains(interface)))
            }
            #expect(
                try run(host, "--vmnet-mode", "bridged", "--vmnet-interface", "nowhere0", network.folder.file("second"))
                    .message.contains("one of: wan"))
            #expect(try first.stop() == .exited(0))
        }

        @Test func nicExcludesTapAndHelperOptions() throws {
            let network = try TestNetwork()
            for option in [
                ["--tap-name", "t0"], ["--bridge-helper", "/bin/true"],
                ["--vmnet-interface-id", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"],
            ] {
                let result = try network.host.attempt(
                    [
                        "timeout", "20", TestHost.product("vde_vmnet"), "--switch", "--vmnet-mode", "bridged",
                        "--vmnet-interface", "wan",
                    ] + option + [network.folder.file("vde")])
                #expect(
                    result.termination == .exited(64)
                        && result.error.contains("\(option[0]) does not go with --vmnet-interface wan"),
                    "\(result.error)")
            }
        }

        /// A user-mode NAT has no TAP, so that a name for one keeps `auto` from falling back to it.
        @Test func autoSkipsUplinksThatIgnoreAnOption() throws {
            let network = try TestNetwork(), directory = network.folder.file("user")
            try network.host.run(
                "sh", "-c", "mkdir \(directory) && chown nobody \(directory) && chmod 755 \(network.folder.path)")
            let result = try network.host.attempt(
                ["timeout", "20"] + Namespace.running(as: "nobody") + [
                    TestHost.product("vde_vmnet"), "--switch", "--tap-name", "t0", directory + "/vde",
                ],
                environment: ["HOME": directory, "XDG_RUNTIME_DIR": directory])
            #expect(
                result.termination == .exited(77) && result.error.contains("no permission to create a TAP"),
                "\(result.error)")
        }

        @Test func unprivilegedHostModeUsesUserUplink() throws {
            let fixture = try RootlessFixture(["--vmnet-mode", "host"])
            #expect(fixture.ready.contains("by user-mode NAT"))
            let lease = try fixture.guest().lease()
            #expect(lease["ip"] == "192.168.105.2" && lease["router"] == nil)
            #expect(try fixture.daemon.stop() == .exited(0))
        }
    }
}
