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
                "ARCHIVE": archive, "OPTIONS": "--state-dir \(folder.file("state"))", "START": "true",
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

        /// Without an archive, the newest release is downloaded. `curl` is a script here, which serves a folder.
        @Test func newestReleaseIsDownloaded() throws {
            let folder = network.folder
            try Files.makeDirectory(folder.file("bin"), mode: 0o755)
            let curl = """
                #!/bin/sh
                for word; do
                    case ${previous:-} in -o) file=$word ;; esac
                    previous=$word
                done
                case $previous in
                    */latest) printf %s https://github.com/owner/vde_vmnet/releases/tag/v0.1.0 ;;
                    */download/v0.1.0/*) cp "\(folder.path)/served/${previous##*/}" "$file" ;;
                    *) exit 22 ;;
                esac

                """
            try Files.replace(folder.file("bin/curl"), Array(curl.utf8), mode: 0o755)
            let prepared = try ChildProcess.run(
                [
                    "sh", "-ec",
                    """
                    mkdir \(folder.file("served")) && cd \(folder.file("served"))
                    cp \(archive) vde_vmnet-0.1.0-linux-$(uname -m).tar.gz && sha256sum * >SHA256SUMS
                    """,
                ])
            #expect(prepared.succeeded, "\(prepared.error)")
            let path = folder.file("bin") + ":" + (CurrentProcess.environment("PATH") ?? "/usr/bin:/bin")
            let variables = ["ARCHIVE": "", "START": "false", "PATH": path]
            let installed = try setUp(variables)
            #expect(installed.succeeded, "\(installed.output) \(installed.error)")

            let missing = try setUp(variables.merging(["VERSION": "v0.0.9"]) { $1 })
            #expect(!missing.succeeded && missing.output.contains("there is no "), "\(missing.output)")

            let sums = folder.file("served/SHA256SUMS")
            let wrong = String(repeating: "0", count: 64) + (Files.text(sums) ?? "").dropFirst(64)
            try Files.replace(sums, Array(wrong.utf8))
            let damaged = try setUp(variables)
            #expect(!damaged.succeeded && damaged.output.contains("is damaged"), "\(damaged.output)")
        }

        @Test func failuresAreAnnotated() throws {
            for (variables, words) in [
                (["ARCHIVE": "/nowhere"], "does not exist"), (["RUNNER_OS": "Windows"], "not on Windows"),
                (["ARCHIVE": "/etc/passwd"], "is no archive of a release"),
                (["VERSION": "0.1.0"], "leave the input version out"),
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
