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
            // A small program in place of vde_vmnet, whose debug build takes long to pack.
            let result = try ChildProcess.run([
                TestHost.packageRoot + "/ci/macos-archive", "/bin/sleep", "0.1.0", folder.file("out"),
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

        /// A `mv` that does something else the second time: the old version is aside then, the new one not in place.
        private func breakSecondMove(_ action: String) throws {
            let count = folder.file("moves")
            try Files.replace(count, [])
            try Files.replace(
                folder.file("bin/mv"),
                Array(
                    """
                    #!/bin/sh
                    echo >>\(count)
                    [ "$(wc -l <\(count))" -ne 2 ] || { \(action); }
                    exec /bin/mv "$@"

                    """.utf8), mode: 0o755)
        }

        /// Whatever ends it between the two moves, a version of the program stays in place, and nothing beside it.
        @Test(arguments: ["exit 1", "kill -TERM $PPID; exit 1", "kill -HUP $PPID", "kill -INT $PPID; exit 1"])
        func interruptedUpgradeLeavesProgram(_ action: String) throws {
            #expect(try install(["--archive", archive]).succeeded)
            let files = try installed()
            try breakSecondMove(action)
            let second = try install(["--archive", archive])
            #expect(!second.succeeded)
            #expect(try installed() == files, "\(second.error)")
            #expect(try Files.entries(root + "/opt") == ["vde_vmnet"])
            #expect(try Files.entries(folder.path).allSatisfy { !$0.hasPrefix("vde_vmnet.") }, "nothing is left")
            try Files.remove(folder.file("bin/mv"))

            // One that was killed between them is put right by the next one.
            try Files.rename(root + "/opt/vde_vmnet", to: root + "/opt/vde_vmnet.old")
            try breakSecondMove("exit 1")
            #expect(try !install(["--archive", archive]).succeeded)
            #expect(try installed() == files)
        }

        @Test func callersMaskAndLinksHaveNoEffect() throws {
            let target = folder.file("target")
            try Files.replace(target, Array("other\n".utf8), mode: 0o600)
            let plist = root + "/Library/LaunchDaemons/io.github.vde_vmnet.shared.plist"
            let sudoers = root + "/etc/sudoers.d/vde_vmnet"
            for link in [plist, plist + ".new", sudoers, sudoers + ".new"] {
                try Files.makeDirectories(Files.parent(link))
                #expect(try ChildProcess.run(["ln", "-s", target, link]).succeeded)
            }
            let script = TestHost.packageRoot + "/packaging/macos/install.sh"
            let caller = folder.file("caller")
            try Files.replace(caller, Array("umask 077; . \(script)\n".utf8))
            let result = try run(caller, ["--archive", archive, "--sudoers", "--service", "shared"])
            #expect(result.succeeded, "\(result.error)")
            #expect(try Files.status(root + "/opt").mode == 0o755)
            #expect(Files.text(target) == "other")
            #expect(try Files.status(target).mode == 0o600)
            for (file, mode) in [(plist, UInt16(0o644)), (sudoers, 0o440)] {
                let status = try Files.status(file, followLinks: false)
                #expect(status.kind == .regular && status.mode == mode)
                #expect(!Files.exists(file + ".new"))
            }
        }

        /// As `curl ... | sh -s -- --help`.
        @Test func scriptFromPipeHasHelp() throws {
            for script in ["install.sh", "uninstall.sh"] {
                let path = TestHost.packageRoot + "/packaging/macos/" + script
                let result = try ChildProcess.run(["sh", "-s", "--", "--help"], input: Files.text(path) ?? "")
                #expect(result.succeeded && result.output.contains(script), "\(result.error)")
            }
        }

        @Test func uninstallerRefusesWhatItCannotDo() throws {
            #expect(try install(["--archive", archive, "--service", "shared"]).succeeded)
            let uninstall = root + "/opt/vde_vmnet/share/uninstall.sh"
            let files = try installed()
            for arguments in [["--colour"], ["--force", "other"]] {
                let result = try run(uninstall, arguments)
                #expect(result.termination == .exited(64) && result.error.contains(arguments.last!))
            }
            let here = try ChildProcess.run(["sh", uninstall], environment: ["DESTDIR": nil])
            #expect(here.termination == .exited(69) && here.error.contains("on macOS only"))
            #expect(try installed() == files)
        }

        /// A network that was started by PATH is found by the file that it executes.
        @Test(.enabled(if: Files.exists("/usr/bin/lsof"), "needs lsof"))
        func uninstallerFindsNetworkStartedByName() throws {
            #expect(try install(["--archive", archive]).succeeded)
            let resolver = root + "/etc/resolver"
            try Files.makeDirectories(resolver)
            let own = "# vde_vmnet removes this file when its network ends\nnameserver 127.0.0.1\nport 5353\n"
            try Files.replace(resolver + "/vm.internal", Array(own.utf8))
            try Files.replace(resolver + "/corp", Array("nameserver 10.0.0.1\n".utf8))
            // The stand-in for a network: sleep.
            let program = try BackgroundProgram(
                ["sh", "-c", "exec vde_vmnet 600"],
                environment: ["PATH": root + "/opt/vde_vmnet/bin:" + (CurrentProcess.environment("PATH") ?? "")])
            let name = "/proc/\(program.identifier)/comm"
            try eventually("the start of the program") { Files.text(name)?.trimmed == "vde_vmnet" }
            let uninstall = root + "/opt/vde_vmnet/share/uninstall.sh"
            let refused = try run(uninstall, [])
            #expect(refused.termination == .exited(75), "\(refused.error)")
            #expect(refused.error.contains("a network runs as process"))
            #expect(Files.exists(root + "/opt/vde_vmnet/bin/vde_vmnet") && Files.exists(resolver + "/vm.internal"))
            _ = try program.stop()
            #expect(try run(uninstall, []).succeeded)
            #expect(try installed() == ["etc/resolver/corp"])
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

        /// As docs/macos.md describes for the interface of a bridged network.
        @Test func editedServiceStays() throws {
            let plist = "Library/LaunchDaemons/io.github.vde_vmnet.bridged.plist"
            let arguments = ["--archive", archive, "--service", "bridged"]
            #expect(try install(arguments).output.contains("Installed /\(plist)\n"))
            // The same again is no edit, nor is the text of the release that is replaced.
            let share = root + "/opt/vde_vmnet/share/io.github.vde_vmnet.bridged.plist"
            for file in [root + "/" + plist, share] { try Files.replace(file, Array("previous\n".utf8)) }
            #expect(try install(arguments).output.contains("Installed /\(plist)\n"))
            #expect(Files.text(root + "/" + plist) == Files.text(share))
            try Files.replace(root + "/" + plist, Array("edited\n".utf8))
            let result = try install(arguments)
            #expect(
                result.succeeded && result.output.contains("Kept /\(plist), which was edited; "), "\(result.output)")
            #expect(Files.text(root + "/" + plist) == "edited")
        }

        /// A directory in the place of a file is not what the installer made, and does not stop the rest.
        @Test func uninstallerLeavesDirectories() throws {
            #expect(try install(["--archive", archive]).succeeded)
            let places = ["etc/sudoers.d/vde_vmnet", "var/log/vde_vmnet.shared.log"]
            for place in places { try Files.makeDirectories(root + "/" + place) }
            let end = try run(root + "/opt/vde_vmnet/share/uninstall.sh", [])
            #expect(end.succeeded, "\(end.error)")
            #expect(places.allSatisfy { Files.exists(root + "/" + $0) } && !Files.exists(root + "/opt/vde_vmnet"))
        }

        @Test(arguments: [
            ["--service", "other"], ["--archive"], ["--archive", ""], ["--version", ""], ["--service", ""],
            ["--colour"],
            ["--archive", "/nowhere", "--version", "0.1.0"],
        ])
        func wrongOptionsAreRefused(arguments: [String]) throws {
            let result = try install(arguments)
            #expect(result.termination == .exited(64))
            #expect(result.error.contains(arguments == ["--service", "other"] ? "other" : arguments[0]))
        }
    }
}
