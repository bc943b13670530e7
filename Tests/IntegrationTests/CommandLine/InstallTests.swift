// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Timing
import Wire

extension IntegrationTests {
    /// `make install`, `make uninstall`, and the archive of `make dist`, in other root directories.
    @Suite struct Install {
        private let folder: TemporaryFolder
        private let root: String

        /// Stand-ins for what `make` builds.
        init() throws {
            folder = try TemporaryFolder()
            root = folder.file("root")
            for path in ["bin", "reference/man", "reference/bash", "reference/zsh", "reference/fish"] {
                try Files.makeDirectories(folder.file(path))
            }
            for file in [
                "man/vde_vmnet.1", "man/vde_vmnet-networks.7", "bash/vde_vmnet", "zsh/_vde_vmnet",
                "fish/vde_vmnet.fish",
            ] { try Files.replace(folder.file("reference/" + file), Array("text\n".utf8)) }
            let copy = try ChildProcess.run(["cp", "-L", "/bin/true", folder.file("bin/vde_vmnet")])
            #expect(copy.succeeded, "\(copy.error)")
        }

        private func make(_ words: String..., home: String? = "/root") throws -> ChildProcess.Output {
            try ChildProcess.run(
                [
                    "make", "-s", "-C", TestHost.packageRoot, "BIN=" + folder.file("bin"),
                    "REFERENCE=" + folder.file("reference"),
                ] + words,
                environment: ["HOME": home, "MAKEFLAGS": nil], timeout: .seconds(120))
        }

        private func shell(_ script: String) throws -> String {
            let result = try ChildProcess.run(["sh", "-ec", script])
            #expect(result.succeeded, "\(result.output)\(result.error)")
            return result.output
        }

        /// Make would split the path at a space, the shell would run what follows `&`, and a relative path lies in the
        /// source.
        @Test(arguments: ["install", "uninstall", "install-compat", "dist", "deb"])
        func pathThatWouldNotStayWholeIsRefused(_ target: String) throws {
            let base = folder.file("my")
            try Files.makeDirectories(base)
            let values = [
                ("PREFIX", base + " place"), ("PREFIX", base + "/a&touch " + folder.file("ran")),
                ("PREFIX", base + "/$(touch)"), ("PREFIX", "place"), ("PREFIX", ""), ("PREFIX", base + "/a\nb"),
                ("PREFIX", base + "\n"), ("DESTDIR", base + " place"), ("DESTDIR", "place"),
                ("DOCDIR", base + " docs/vde"), ("ZSHDIR", "zsh"), ("UNITDIR", base + "/%n"), ("USERUNITDIR", "~/x"),
                ("COMPATPREFIX", base + " b"), ("DIST", base + ";b"), ("DIST", "-rf"),
            ]
            for (name, value) in values {
                // Make replaces $$ by $.
                let assignment = name + "=" + value.replacing(text: "$", with: "$$")
                let destination = name == "DESTDIR" ? assignment : "DESTDIR=" + root
                let result = try make(target, destination, assignment)
                #expect(result.termination == .exited(2))
                #expect(
                    result.error.contains("make: \(name) is '\(value)', which ")
                        && result.error.contains("Nothing was changed"), "\(result.error)")
            }
            #expect(try Files.entries(folder.path).sorted() == ["bin", "my", "reference"])
        }

        @Test func everythingIsInstalledAndRemoved() throws {
            for (prefix, home) in [("/usr/local", "/root"), ("/opt/a~b@c+d", nil), ("/home/me/.local", "/home/me/")] {
                let isOwn = home == "/home/me/"
                let places = ["DESTDIR=" + root, "PREFIX=" + prefix]
                let first = try make("install", places[0], places[1], home: home)
                #expect(first.succeeded, "\(first.error)")
                let files = try shell("cd \(root) && find . -type f")
                for file in ["bin/vde_vmnet", "share/man/man7/vde_vmnet-networks.7", "share/doc/vde_vmnet/README.md"] {
                    #expect(files.contains(prefix + "/" + file))
                }
                let user = isOwn ? "/share/systemd/user/" : "/lib/systemd/user/"
                let unit = try Files.read(root + prefix + user + "vde_vmnet@.service")
                #expect(String(decoding: unit, as: UTF8.self).contains("ExecStart=\(prefix)/bin/vde_vmnet "))
                // Only root's prefix has what concerns the system.
                let documents = "share/doc/vde_vmnet/examples/"
                for file in [
                    "lib/systemd/system/vde_vmnet@.service", "lib/tmpfiles.d/vde_vmnet.conf", documents + "lab.conf",
                    documents + "sudoers",
                ] { #expect(files.contains(prefix + "/" + file) == !isOwn, "\(file)") }
                if let sudoers = Files.text(root + prefix + "/" + documents + "sudoers") {
                    #expect(sudoers.contains(": \(prefix)/bin/vde_vmnet --switch /tmp/vde, \(prefix)/bin/vde_vmnet "))
                }

                // Files of others in the same directories stay.
                let note = root + prefix + "/share/doc/vde_vmnet/docs/note"
                try Files.replace(note, [])
                let end = try make("uninstall", places[0], places[1], home: home)
                #expect(end.succeeded, "\(end.error)")
                #expect(try shell("cd \(root) && find . -type f") == ".\(prefix)/share/doc/vde_vmnet/docs/note\n")
                #expect(try Files.entries(Files.parent(note)) == ["note"])
                #expect(try shell("rm -r \(root)").isEmpty)
            }
        }

        /// The program that is there stays whole, and no part of the new one stays beside it.
        @Test(.enabled(if: CurrentProcess.effectiveUser == 0, "needs root: it mounts a small file system"))
        func fullDiskDoesNotDamageInstalledProgram() throws {
            let place = root + "/usr/local/bin"
            try Files.makeDirectories(place)
            let script = """
                mount -t tmpfs -o size=8k full "$1" && echo previous >"$1/vde_vmnet" || exit 99
                place=$1 status=0
                shift
                "$@" || status=$?
                echo "$(ls "$place"): $(cat "$place/vde_vmnet")"
                exit $status
                """
            let result = try ChildProcess.run(
                [
                    "unshare", "-m", "sh", "-uc", script, "sh", place, "make", "-s", "-C", TestHost.packageRoot,
                    "BIN=" + folder.file("bin"), "REFERENCE=" + folder.file("reference"), "install", "DESTDIR=" + root,
                ],
                environment: ["HOME": "/root", "MAKEFLAGS": nil], timeout: .seconds(120))
            #expect(result.termination == .exited(2), "\(result.output)\(result.error)")
            #expect(result.output.hasSuffix("No program was replaced.\nvde_vmnet: previous\n"), "\(result.output)")
        }

        /// The message names the place and what to do, and comes before anything is written or removed.
        @Test(.enabled(if: CurrentProcess.effectiveUser == 0, "needs root: it makes directories of another user"))
        func unwritablePlaceIsRefused() throws {
            let local = root + "/usr/local"
            let program = local + "/bin/vde_vmnet"
            for (target, place, files) in [("install", local, ""), ("uninstall", local + "/bin", program + "\n")] {
                try Files.makeDirectories(place)
                if !files.isEmpty { try Files.replace(program, []) }
                _ = try shell("chown -R 65534:65534 \(root)")
                // Root without capabilities has the rights of any other user.
                let result = try ChildProcess.run(
                    [
                        "setpriv", "--bounding-set", "-all", "make", "-s", "-C", TestHost.packageRoot,
                        "BIN=" + folder.file("bin"), "REFERENCE=" + folder.file("reference"), target, "DESTDIR=" + root,
                    ],
                    environment: ["HOME": "/root", "MAKEFLAGS": nil], timeout: .seconds(120))
                #expect(result.termination == .exited(2))
                #expect(
                    result.error.contains(
                        """
                        make: this user may not write to \(place). Nothing was changed. Use sudo, or a place of yours: \
                        PREFIX=$HOME/.local
                        """), "\(result.error)")
                #expect(try shell("find \(root) -type f") == files)
            }
        }

        /// The command of docs/install.md leaves directories as they are that other programs use too, and its opposite
        /// leaves nothing.
        @Test(.enabled(if: CurrentProcess.effectiveUser == 0, "needs root: it makes files of other groups"))
        func archiveIsUnpackedIntoSharedDirectories() throws {
            let text = String(decoding: try Files.read(TestHost.packageRoot + "/docs/install.md"), as: UTF8.self)
            func command(_ beginning: String) throws -> String {
                let line = try #require(text.split(separator: "\n").first { $0.hasPrefix(beginning) })
                return line.replacing(text: "sudo ", with: "").replacing(text: "/usr/local", with: root + "/local")
                    .replacing(text: "ARCHIVE", with: folder.file("a.tar.gz"))
            }
            _ = try shell(
                """
                cd \(folder.path) && umask 022
                mkdir -p name/bin name/share/man/man1 name/share/doc/vde_vmnet
                touch name/bin/vde_vmnet name/share/man/man1/vde_vmnet.1 name/share/doc/vde_vmnet/README.md
                tar --owner=0 --group=0 -czf a.tar.gz name
                mkdir -p root/local/bin root/local/share root/local/man
                ln -s ../man root/local/share/man
                chgrp 50 root/local root/local/*
                chmod 2775 root/local root/local/*
                """)
            let state = "cd \(root)/local && stat -c '%n %F %a %g' . bin share share/man man"
            let before = try shell(state)
            _ = try shell("umask 077; " + command("sudo tar "))
            #expect(try shell(state) == before)
            #expect(
                try shell("cd \(root)/local && find . -newer bin -o -type f | xargs stat -c '%n %a' | sort").contains(
                    "man/man1/vde_vmnet.1 644"))
            #expect(try shell("stat -c %a \(root)/local/share/doc/vde_vmnet").trimmed == "755")
            _ = try shell(command("tar -tzf"))
            #expect(try shell("cd \(root)/local && find . -type f").isEmpty)
            #expect(try shell(state) == before)
        }
    }
}
