// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// The GitHub action setup-vde_vmnet: its step, with a local archive, as a runner calls it.
    @Suite struct SetupAction {
        private let network: TestNetwork
        private let archive: String

        init() throws {
            network = try TestNetwork()
            archive = network.folder.file("vde_vmnet-0.1.0-linux.tar.gz")
            let shell = """
                cd \(network.folder.path) && mkdir -p vde_vmnet/bin &&
                cp \(TestHost.product("vde_vmnet")) vde_vmnet/bin &&
                tar -czf \(archive) vde_vmnet && rm -r vde_vmnet
                """
            #expect(try ChildProcess.run(["sh", "-c", shell]).succeeded)
            try Files.makeDirectory(network.folder.file("temp"), mode: 0o755)
        }

        private func setUp(_ variables: [String: String] = [:]) throws -> ChildProcess.Output {
            let folder = network.folder
            var environment: [String: String?] = [
                "RUNNER_OS": "Linux", "RUNNER_TEMP": folder.file("temp"), "GITHUB_PATH": folder.file("path"),
                "GITHUB_OUTPUT": folder.file("output"), "REPOSITORY": "owner/vde_vmnet", "VERSION": "",
                "ARCHIVE": archive, "OPTIONS": "", "START": "true", "XDG_STATE_HOME": folder.file("state"),
                "XDG_RUNTIME_DIR": folder.path,
            ]
            for (name, value) in variables { environment[name] = value }
            return try network.host.attempt(
                [TestHost.packageRoot + "/.github/actions/setup-vde_vmnet/setup"], environment: environment)
        }

        /// The processes that the action has left, which a runner ends with the job.
        private func end() throws {
            let program = network.folder.file("temp/vde_vmnet/release")
            _ = try ChildProcess.run(["pkill", "-TERM", "-f", program])
            try eventually("the end of the network") {
                try ChildProcess.run(["pgrep", "-f", program]).output.isEmpty
            }
        }

        @Test func networkServesGuest() throws {
            defer { #expect(throws: Never.self) { try end() } }
            let result = try setUp(["OPTIONS": "--publish 2222:22 --user-network 10.9.8.0/24"])
            #expect(result.termination != .exited(0), "the options of this test are wrong on purpose")
            #expect(result.output.contains("::error title=setup-vde_vmnet::vde_vmnet ended"), "\(result.output)")

            let right = try setUp()
            #expect(right.succeeded, "\(right.output) \(right.error)")
            #expect(right.output.contains("ready: "))
            let values = Dictionary(
                uniqueKeysWithValues: (Files.text(network.folder.file("output")) ?? "").split(separator: "\n").suffix(3)
                    .map { line in
                        let parts = line.split(separator: "=", maxSplits: 1).map(String.init)
                        return (parts[0], parts[1])
                    })
            let program = (Files.text(network.folder.file("path")) ?? "").split(separator: "\n").last.map(String.init)
            let check = try network.host.attempt([(program ?? "") + "/vde_vmnet", "check", values["switch"] ?? ""])
            #expect(check.output.contains("address"), "\(check.output) \(check.error)")
            let stream = try StreamClient(streamAt: values["socket"] ?? "")
            try stream.send([UInt8](repeating: 2, count: 60))
        }

        @Test func failuresAreAnnotated() throws {
            for (variables, words) in [
                (["ARCHIVE": "/nowhere"], "does not exist"), (["RUNNER_OS": "Windows"], "not on Windows"),
                (["ARCHIVE": "/etc/passwd"], "is no archive of a release"),
            ] {
                let result = try setUp(variables)
                #expect(!result.succeeded)
                #expect(result.output.contains("::error") && result.output.contains(words), "\(result.output)")
            }
            let installed = try setUp(["START": "false"])
            #expect(installed.succeeded && !Files.exists(network.folder.file("output")), "\(installed.error)")
        }
    }
}
