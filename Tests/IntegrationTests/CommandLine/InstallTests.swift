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
        @Test(arguments: ["install", "uninstall", "install-compat", "uninstall-compat", "dist", "deb"])
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
            for (prefix, home) in [
                ("/usr/local", "/root"), ("/opt/a~b@c+d", nil), ("/home/me/.local", "/home/me/"),
                ("/home/me", "/home/me"),
            ] {
                let isOwn = home?.hasPrefix("/home/me") == true
                let places = ["DESTDIR=" + root, "PREFIX=" + prefix]
                let first = try make("install", places[0], places[1], home: home)
                #expect(first.succeeded, "\(first.error)")
                let command = isOwn ? prefix + "/bin/vde_vmnet" : "sudo vde_vmnet"
                #expect(first.output.hasSuffix("starts with: \(command) --switch /tmp/vde\n"), "\(first.output)")
                let files = try shell("cd \(root) && find . -type f")
                for file in ["bin/vde_vmnet", "share/man/man7/vde_vmnet-networks.7", "share/doc/vde_vmnet/README.md"] {
                    #expect(files.contains(prefix + "/" + file))
                }
                let user = isOwn ? "/home/me/.local/share/systemd/user/" : prefix + "/lib/systemd/user/"
                let unit = try Files.read(root + user + "vde_vmnet@.service")
                #expect(String(decoding: unit, as: UTF8.self).contains("ExecStart=\(prefix)/bin/vde_vmnet "))
                // Only root's prefix has what concerns the system.
                let documents = "share/doc/vde_vmnet/examples/"
                for file in [
                    "lib/systemd/system/vde_vmnet@.service", "lib/tmpfiles.d/vde_vmnet.conf", documents + "lab.conf",
                    documents + "sudoers",
                ] { #expect(files.contains(prefix + "/" + file) == !isOwn, "\(file)") }
                if let sudoers = Files.text(root + prefix + "/" + documents + "sudoers") {
                    #expect(
                        sudoers.contains(
                            ": \(prefix)/bin/vde_vmnet --switch /tmp/vde, \\\n    \(prefix)/bin/vde_vmnet "))
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

        /// A link is replaced, whatever it leads to: that of a unit that was masked leads to /dev/null.
        @Test func linksAreNotFollowed() throws {
            let target = folder.file("target"), local = root + "/usr/local/"
            try Files.replace(target, Array("other\n".utf8), mode: 0o600)
            let links = [
                "lib/systemd/system/vde_vmnet@.service", "lib/systemd/system/vde_vmnet@.socket",
                "lib/systemd/user/vde_vmnet@.service", "share/doc/vde_vmnet/examples/sudoers",
                "share/man/man1/vde_vmnet.1", "bin/vde_vmnet",
            ]
            for link in links {
                try Files.makeDirectories(Files.parent(local + link))
                _ = try shell("ln -s '\(target)' '\(local + link)'")
            }
            let result = try make("install", "DESTDIR=" + root)
            #expect(result.succeeded, "\(result.error)")
            #expect(Files.text(target) == "other")
            #expect(try Files.status(target).mode == 0o600)
            for link in links {
                #expect(try Files.status(local + link, followLinks: false).kind == .regular, "\(link)")
            }
        }

        /// The program would be moved into it.
        @Test func directoryInPlaceOfProgramIsRefused() throws {
            for (target, program) in [
                ("install", "/usr/local/bin/vde_vmnet"),
                ("install-compat", "/opt/socket_vmnet/bin/socket_vmnet_client"),
            ] {
                try Files.makeDirectories(root + program)
                let result = try make(target, "DESTDIR=" + root)
                #expect(result.termination == .exited(2))
                #expect(
                    result.error.contains(
                        "make: \(root + program) is a directory, where the program belongs. Nothing was changed."),
                    "\(result.error)")
                #expect(try shell("find \(root) -type f").isEmpty)
            }
        }

        @Test func namesOfOtherProgramAreInstalledAndRemoved() throws {
            #expect(try make("install-compat", "DESTDIR=" + root).succeeded)
            let bin = root + "/opt/socket_vmnet/bin"
            #expect(try Files.entries(bin).sorted() == ["socket_vmnet", "socket_vmnet_client"])
            try Files.replace(bin + "/other", [])
            #expect(try make("uninstall-compat", "DESTDIR=" + root).succeeded)
            #expect(try Files.entries(bin) == ["other"])
            try Files.remove(bin + "/other")
            #expect(try make("uninstall-compat", "DESTDIR=" + root).succeeded)
            #expect(try Files.entries(root + "/opt").isEmpty)
        }

        /// What an editor leaves between the documents, such as `README.md~`.
        @Test func filesThatGitDoesNotKnowAreNotInstalled() throws {
            let copy = folder.file("copy")
            _ = try shell(
                """
                mkdir \(copy) && cd \(TestHost.packageRoot)
                cp -R Makefile *.md LICENSE docs examples ci packaging \(copy)
                cd \(copy) && git init -q && git add . && touch docs/tap.md~ examples/.run.swp
                """)
            let result = try make("install", "-C", copy, "DESTDIR=" + root)
            #expect(result.succeeded, "\(result.error)")
            let documents = try shell("cd \(root)/usr/local/share/doc/vde_vmnet && find . -type f")
            #expect(documents.contains("./docs/install.md\n") && documents.contains("./examples/qemu-root\n"))
            #expect(!documents.contains("~") && !documents.contains(".swp"), "\(documents)")
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
