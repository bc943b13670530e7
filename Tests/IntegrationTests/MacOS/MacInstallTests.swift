// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// install.sh and uninstall.sh, on another root directory.
    @Suite struct MacInstall {
        private let folder: TemporaryFolder
        private let archive: String
        private let root: String

        init() throws {
            folder = try TemporaryFolder()
            root = folder.file("root")
            let result = try ChildProcess.run([
                TestHost.packageRoot + "/ci/macos-archive", TestHost.product("vde_vmnet"), "0.1.0", folder.file("out"),
            ])
            #expect(result.succeeded, "\(result.error)")
            archive = result.output.split(separator: "\n").last.map(String.init) ?? ""
            // What a Mac has and Linux lacks.
            try Files.makeDirectory(folder.file("bin"), mode: 0o755)
            for (name, body) in [("sw_vers", "echo ${MACOS:-15.6}"), ("codesign", "echo \"$@\" >>\"$SIGNED\"")] {
                try Files.replace(folder.file("bin/" + name), Array("#!/bin/sh\n\(body)\n".utf8), mode: 0o755)
            }
        }

        private func run(_ script: String, _ arguments: [String], macOS: String = "15.6") throws -> ChildProcess.Output
        {
            try ChildProcess.run(
                ["sh", script] + arguments,
                environment: [
                    "DESTDIR": root, "MACOS": macOS, "SIGNED": folder.file("signed"), "TMPDIR": folder.path,
                    "PATH": folder.file("bin") + ":" + (CurrentProcess.environment("PATH") ?? ""),
                ])
        }

        private func install(_ arguments: [String], macOS: String = "15.6") throws -> ChildProcess.Output {
            try run(TestHost.packageRoot + "/packaging/macos/install.sh", arguments, macOS: macOS)
        }

        /// The regular files below the root, without its path.
        private func installed() throws -> [String] {
            try ChildProcess.run(["find", root, "-type", "f", "-printf", "%P\n"]).output
                .split(separator: "\n").map(String.init).sorted()
        }

        @Test func everythingIsInstalledAndRemoved() throws {
            let first = try install(["--archive", archive, "--sudoers", "--service", "ondemand"])
            #expect(first.succeeded, "\(first.error)")
            #expect(first.output.contains("sudo /opt/vde_vmnet/bin/vde_vmnet"))
            let files = try installed()
            for file in [
                "opt/vde_vmnet/bin/vde_vmnet", "opt/vde_vmnet/share/uninstall.sh", "etc/sudoers.d/vde_vmnet",
                "Library/LaunchDaemons/io.github.vde_vmnet.ondemand.plist",
            ] { #expect(files.contains(file), "\(file)") }
            let program = root + "/opt/vde_vmnet/bin/vde_vmnet"
            #expect(try Files.status(program).mode == 0o755)
            #expect(try Files.status(root + "/etc/sudoers.d/vde_vmnet").mode == 0o440)
            #expect(try ChildProcess.run([program, "--version"]).succeeded)
            let writable = try ChildProcess.run(["find", root + "/opt", "-perm", "/022"])
            #expect(writable.output.isEmpty, "files that other users may write to")
            #expect(!Files.exists(folder.file("signed")), "macOS 15 needs no signature")

            // Again, while the program may run: the same files, and nothing beside them.
            #expect(try install(["--archive", archive]).succeeded)
            #expect(try installed() == files)

            let end = try run(root + "/opt/vde_vmnet/share/uninstall.sh", [])
            #expect(end.succeeded, "\(end.error)")
            #expect(try installed().isEmpty)
            #expect(!Files.exists(root + "/opt/vde_vmnet"))
        }

        @Test func macOS26GetsSignature() throws {
            let result = try install(["--archive", archive], macOS: "26.1")
            #expect(result.succeeded && !result.output.contains("sudo /opt"), "\(result.error)")
            #expect(Files.text(folder.file("signed"))?.contains("vde_vmnet.entitlements") == true)
        }

        @Test func badArchivesAreRefused() throws {
            func refusal(_ path: String) throws -> String {
                let result = try install(["--archive", path])
                #expect(!result.succeeded)
                #expect(!Files.exists(root + "/opt/vde_vmnet"))
                #expect(try Files.entries(folder.path).allSatisfy { !$0.hasPrefix("vde_vmnet.") }, "nothing is left")
                return result.error
            }
            #expect(try refusal(folder.file("missing")).contains("does not exist"))
            let text = folder.file("text.tar.gz")
            try Files.replace(text, Array("no archive".utf8))
            #expect(try refusal(text).contains("no archive of a release"))
            let link = folder.file("link")
            try Files.makeDirectory(link, mode: 0o755)
            let shell = """
                cd \(link) && tar -xzf \(archive) && cd vde_vmnet-* && rm share/sudoers &&
                ln -s /etc/passwd share/sudoers && cd .. && tar -czf ../link.tar.gz vde_vmnet-*
                """
            #expect(try ChildProcess.run(["sh", "-c", shell]).succeeded)
            #expect(try refusal(folder.file("link.tar.gz")).contains("contains links"))
            // A checksum that does not match, then one that does.
            let sums = folder.file("out/SHA256SUMS")
            let name = String(archive.split(separator: "/").last ?? "")
            try Files.replace(sums, Array((String(repeating: "0", count: 64) + "  " + name + "\n").utf8))
            #expect(try refusal(archive).contains("is damaged"))
            try Files.replace(sums, Array("\n".utf8))
            #expect(try refusal(archive).contains("does not list"))
            #expect(
                try ChildProcess.run(["sh", "-c", "cd \(folder.file("out")) && sha256sum \(name) >SHA256SUMS"])
                    .succeeded)
            #expect(try install(["--archive", archive]).succeeded)
        }

        @Test(arguments: [["--service", "other"], ["--archive"], ["--colour"]])
        func wrongOptionsAreRefused(arguments: [String]) throws {
            let result = try install(arguments)
            #expect(result.termination == .exited(64))
            #expect(result.error.contains(arguments[0] == "--service" ? "other" : arguments[0]))
        }
    }
}
