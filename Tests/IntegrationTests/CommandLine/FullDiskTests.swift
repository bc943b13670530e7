// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// Commands whose text cannot be written, and starts without room for a file or a descriptor.
    @Suite struct FullDisks {
        private static let full = "exec \"$@\" >/dev/full"

        /// A command that has printed nothing has not succeeded.
        @Test(arguments: [
            "version", "version --json", "--version", "-v", "help", "--help", "help list", "status --help",
            "--generate-completion-script bash", "--experimental-dump-help", "interfaces", "list --json", "doctor",
        ])
        func lostOutputIsReported(words: String) throws {
            let network = try TestNetwork()
            let command = [TestHost.product("vde_vmnet")] + words.split(separator: " ").map(String.init)
            let result = try network.host.attempt(["sh", "-c", FullDisks.full, "sh"] + command)
            #expect(result.termination == .exited(74), "\(words): \(result.error)")
            #expect(
                result.error.contains("cannot write to standard output: No space left on device; make room"),
                "\(words): \(result.error)")
        }

        @Test func lostOutputOfRunningNetworkIsReported() throws {
            let fixture = try ControlFixture("user", ["--publish", "8080:192.168.105.2:80"])
            let command = TestHost.product("vde_vmnet")
            let commands = [
                ["status", fixture.socket], ["status", fixture.socket, "--watch"],
                ["status", fixture.socket, "--json"],
                ["publish", "list", "--network", fixture.socket], ["allow", "list", "--network", fixture.socket],
                ["lease", "list", "--network", fixture.socket], ["port", "list", "--network", fixture.socket],
                ["check", fixture.path], ["check", "--json", fixture.path],
            ]
            for words in commands {
                let result = try fixture.host.attempt(["sh", "-c", FullDisks.full, "sh", command] + words)
                #expect(result.termination == .exited(74), "\(words): \(result.error)")
                #expect(result.error.contains("cannot write to standard output"), "\(words): \(result.error)")
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// A network does not depend on its ready line.
        @Test func networkRunsWithoutReadyLine() throws {
            let network = try TestNetwork()
            let path = network.folder.file("vde")
            let daemon = try network.host.start(
                ["sh", "-c", FullDisks.full, "sh", TestHost.product("vde_vmnet"), "--switch", "--uplink", "none", path])
            try eventually("the switch") { Files.exists(path + "/ctl") }
            #expect(try daemon.stop() == .exited(0))
        }

        /// A /run without room: the message names the file, and what to do.
        @Test func fullRuntimeDirectoryIsNamed() throws {
            let network = try TestNetwork()
            let script = """
                mount -t tmpfs -o size=16k,mode=755 none /run && mkdir -m 755 /run/vde_vmnet
                cat /dev/zero >/run/filler 2>/dev/null; exec "$@"
                """
            let result = try network.host.attempt([
                "unshare", "-m", "sh", "-c", script, "sh", TestHost.product("vde_vmnet"), "--uplink", "tap",
                "--control", "off", "--state-dir", network.folder.file("state"), "--switch", network.folder.file("vde"),
            ])
            #expect(result.termination == .exited(73), "\(result.output)\(result.error)")
            #expect(
                result.error.contains("/run/vde_vmnet/") && result.error.contains("No space left on device; make room"),
                "\(result.error)")
        }

        @Test(arguments: ["tap", "user"])
        func tooFewDescriptorsAreReported(uplink: String) throws {
            let network = try TestNetwork()
            let path = network.folder.file("vde")
            func command(_ limit: Int) -> [String] {
                [
                    "sh", "-c", "ulimit -n \(limit); exec \"$@\"", "sh", TestHost.product("vde_vmnet"), "--uplink",
                    uplink, "--state-dir", network.folder.file("state"), "--switch", path,
                ]
            }
            for limit in [20, 95] {
                let result = try network.host.attempt(command(limit))
                #expect(result.termination == .exited(69), "\(limit): \(result.error)")
                #expect(
                    result.error.contains("may open \(limit) files") && result.error.contains("ulimit -n"),
                    "\(result.error)")
            }
            let daemon = try network.host.start(command(96))
            try daemon.wait(for: "vde_vmnet: ready: ", within: 20)
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            #expect(try guest.lease()["ip"] == "192.168.105.2")
            #expect(try daemon.stop() == .exited(0))
        }
    }
}
