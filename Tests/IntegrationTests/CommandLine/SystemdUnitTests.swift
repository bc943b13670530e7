// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Timing

extension IntegrationTests {
    /// The units of packaging/systemd, without a running systemd: PackageLife starts them for real.
    @Suite struct SystemdUnits {
        private static let folder = TestHost.packageRoot + "/packaging/systemd"

        private func lines(_ unit: String) throws -> [String] {
            String(decoding: try Files.read(SystemdUnits.folder + "/" + unit), as: UTF8.self)
                .split(separator: "\n").map(String.init)
        }

        /// An upgrade applies these modes while networks run: those that the program itself gives.
        @Test func directoriesKeepTheirModes() throws {
            let modes = try lines("tmpfiles.conf").filter { $0.hasPrefix("d ") }
            #expect(
                modes == [
                    "d /etc/vde_vmnet - - - -", "d /run/vde 0755 root root -",
                    "d /run/vde_vmnet 0755 root root -",
                ])
        }

        /// Of the system's unit: how much of the host it could reach, from 0 to 10.
        @Test func systemUnitIsConfined() throws {
            let folder = try TemporaryFolder()
            let text = try lines("system/vde_vmnet@.service.in").map { $0.replacing("@PREFIX@", with: "/usr") }
            let unit = folder.file("vde_vmnet@.service")
            try Files.replace(unit, Array((text.joined(separator: "\n") + "\n").utf8))
            let result = try ChildProcess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", unit])
            let line = try #require(result.output.split(separator: "\n").last { $0.contains("exposure level") })
            let number = line.split(separator: ":").last?.split(separator: " ").first.flatMap { Double($0) }
            #expect(try #require(number) < 4, "\(line)")
        }

        /// The names of system calls that a unit permits, `SystemCallFilter=` read as systemd.exec(5) describes.
        private func permitted(_ unit: String) throws -> Set<String> {
            var permitted = try calls(in: "@default")
            for line in try lines(unit) where line.hasPrefix("SystemCallFilter=") {
                var words = line.dropFirst("SystemCallFilter=".count)
                let isDenial = words.first == "~"
                if isDenial { words = words.dropFirst() }
                for word in words.split(separator: " ") {
                    let names = word.hasPrefix("@") ? try calls(in: String(word)) : [String(word)]
                    if isDenial { permitted.subtract(names) } else { permitted.formUnion(names) }
                }
            }
            return permitted
        }

        private func calls(in set: String) throws -> Set<String> {
            let result = try ChildProcess.run(["systemd-analyze", "syscall-filter", "--no-pager", set])
            try #require(result.succeeded, "\(set): \(result.error)")
            var names: Set<String> = []
            for line in result.output.split(separator: "\n").dropFirst() {
                let word = line.split(separator: " ").first ?? "#"
                if word.hasPrefix("@") { names.formUnion(try calls(in: String(word))) }
                if !word.hasPrefix("@"), word != "#" { names.insert(String(word)) }
            }
            return names
        }

        /// Every system call of the program and of what it starts passes the filters of both units.
        @Test(arguments: [
            [
                "--switch", "VDE", "--mgmt", "MGMT", "--stream", "STREAM", "--dgram", "DGRAM", "--publish",
                "2222:192.168.105.2:22", "--egress", "deny",
            ],
            ["--switch", "VDE", "--uplink", "user", "--stream", "STREAM", "--publish", "2222:192.168.105.2:22"],
            ["--switch", "VDE", "--vmnet-mode", "bridged", "--vmnet-interface", "wan"],
            ["--switch", "VDE", "--vmnet-mode", "host", "--workers", "4", "--stats-interval", "1"],
        ])
        func systemCallsPassFilter(_ options: [String]) throws {
            let network = try TestNetwork()
            try network.startInternet()
            let folder = network.folder
            let paths = ["VDE", "MGMT", "STREAM", "DGRAM"]
            let options = options.map { paths.contains($0) ? folder.file($0) : $0 }
            let pidfile = folder.file("pid"), trace = folder.file("trace")
            let program = try network.host.start(
                ["strace", "-f", "-qq", "-o", trace, TestHost.product("vde_vmnet"), "--pidfile", pidfile]
                    + ["--state-dir", folder.file("state"), "--dhcp", options.contains("bridged") ? "off" : "builtin"]
                    + options)
            try program.wait(for: "vde_vmnet: ready: ", within: 60)
            let check = try network.host.attempt([
                "timeout", "60", TestHost.product("vde_vmnet"), "check", folder.file("VDE"), "--name",
                TestNetwork.internetName, "--tcp", TestNetwork.internetAddress + ":80",
            ])
            #expect(check.output.contains("ok      join"))
            let process = try #require(Files.text(pidfile).flatMap { Int32($0) })
            ProcessTable.signal(process, Signal.interrupt)
            #expect(try program.waitForEnd(within: 60) == .exited(0))

            var calls: Set<String> = []
            for line in String(decoding: try Files.read(trace), as: UTF8.self).split(separator: "\n") {
                // PROCESS NAME(...
                let words = line.split(separator: " ", maxSplits: 1)
                guard words.count == 2, let end = words[1].firstIndex(of: "(") else { continue }
                calls.insert(String(words[1][..<end]))
            }
            #expect(calls.count > 40)
            let isUser = options.contains("user")
            for unit in ["system/vde_vmnet@.service.in"] + (isUser ? ["user/vde_vmnet@.service.in"] : []) {
                let denied = calls.subtracting(try permitted(unit)).filter {
                    $0.allSatisfy { $0.isLetter || $0.isNumber || $0 == "_" }
                }
                #expect(denied.isEmpty, "\(unit) denies \(denied.sorted())")
            }
        }

        /// The start of `vde_vmnet@NAME.service`: options in a file, and READY=1 when guests can connect.
        @Test func networkOfOptionsFileReportsReadiness() throws {
            let network = try TestNetwork()
            let vde = network.folder.file("vde"), file = network.folder.file("lab.conf")
            try Files.replace(file, Array("# A network.\n--switch\n\(vde)\n\n--vmnet-gateway 192.168.120.1\n".utf8))
            let notify = try Socket.unixDatagram()
            try notify.bind(to: UnixPath(network.folder.file("notify")))
            let program = try network.host.start(
                [TestHost.product("vde_vmnet"), "--config", file, "--state-dir", network.folder.file("state")],
                environment: ["NOTIFY_SOCKET": network.folder.file("notify")])
            #expect(
                notify.wait(for: .readable, until: BootClock.now + .fractionalSeconds(ampleTime)).contains(.readable))
            #expect(String(decoding: try notify.receive(limit: 1000), as: UTF8.self).hasPrefix("READY=1\n"))
            #expect(Files.exists(vde + "/ctl"))
            try program.wait(for: "vde_vmnet: ready: 192.168.120.0/24 on vmnet0")
            let check = try network.host.attempt([TestHost.product("vde_vmnet"), "check", vde])
            #expect(check.output.contains("192.168.120.1 answers"), "\(check.output)")
            #expect(try program.stop() == .exited(0))
        }

        /// A member of the group joins the network of lab.conf by libvdeplug, and cannot replace the sockets of others.
        @Test func memberCannotReplaceSockets() throws {
            let network = try TestNetwork()
            let vde = network.folder.file("vde"), file = network.folder.file("lab.conf")
            let text = try Files.read(TestHost.packageRoot + "/packaging/linux/lab.conf")
            try Files.replace(
                file,
                Array(
                    String(decoding: text, as: UTF8.self).replacing("/run/vde/lab\n--", with: vde + "\n--")
                        .replacing("--vde-group vde_vmnet", with: "--vde-group nogroup").utf8))
            let program = try network.host.start([
                TestHost.product("vde_vmnet"), "--config", file, "--state-dir", network.folder.file("state"),
            ])
            try program.wait(for: "vde_vmnet: ready: ")
            #expect(try Files.status(vde).mode & 0o1777 == 0o1770)
            let member = Namespace.running(as: "daemon")
            let check = try network.host.attempt(member + [TestHost.product("vde_vmnet"), "check", vde])
            #expect(check.succeeded, "\(check.output)")
            let client = try network.host.start(member + ["dpipe", "vde_plug", vde, "=", "sleep", "600"])
            try eventually("libvdeplug's socket") { try Files.entries(vde).count > 1 }
            let others = try network.host.attempt(
                Namespace.running(as: "nobody") + ["sh", "-c", "rm -f \(vde)/*; mv \(vde)/ctl \(vde)/old"])
            #expect(!others.succeeded && others.error.contains("not permitted"), "\(others.error)")
            #expect(try Files.entries(vde).contains("ctl") && Files.entries(vde).count > 1)
            client.signal(Signal.terminate)
            #expect(try program.stop() == .exited(0))
            #expect(!Files.exists(vde))
        }

        /// A message about a line must not disclose a file that the user who called sudo cannot read.
        @Test func optionsFileIsReadWithRightsOfCaller() throws {
            let network = try TestNetwork()
            let file = network.folder.file("secret")
            try Files.replace(file, Array("hunter2\n".utf8), mode: 0o600)
            let words = [TestHost.product("vde_vmnet"), "--config", file]
            let caller = try network.host.attempt(words, environment: ["SUDO_UID": "65534", "SUDO_GID": "65534"])
            #expect(caller.termination == .exited(66) && !caller.error.contains("hunter2"), "\(caller.error)")
            let root = try network.host.attempt(words)
            #expect(root.termination == .exited(64) && root.error.contains("line 1: 'hunter2' is neither"))
        }

        /// A wrong line must not be tried again and again: RestartPreventExitStatus= of the units.
        @Test func wrongOptionsFileIsNotRetried() throws {
            let network = try TestNetwork()
            let file = network.folder.file("lab.conf")
            try Files.replace(file, Array("--switch\n--vmnet-mode nat\n".utf8))
            let wrong = try network.host.attempt([TestHost.product("vde_vmnet"), "--config", file])
            #expect(wrong.termination == .exited(64) && wrong.error.contains("'nat' is invalid"))
            #expect(wrong.error.contains("\nvde_vmnet: \(file), line 2: --vmnet-mode nat\n"), "\(wrong.error)")
            for (line, status, cause) in [
                ("--frobnicate", Int32(64), "Unknown option"), ("--help", 64, "starts no network"),
                ("--version", 64, "starts no network"), ("status", 64, "is neither"),
                ("--switch x", 64, "--switch"), ("--pidfile \"/run/x.pid\"", 73, "pidfile"),
            ] {
                try Files.replace(file, Array("# A comment.\n--uplink none\n--stream \(file).sock\n\(line)\n".utf8))
                let result = try network.host.attempt([TestHost.product("vde_vmnet"), "--config", file])
                #expect(
                    result.termination == .exited(status) && result.error.contains(cause)
                        && result.error.contains("\(file), line 4: "), "\(line): \(result.error)")
            }
            // Without a switch to join, this is worth another try.
            try Files.replace(file, [])
            let empty = try network.host.attempt([TestHost.product("vde_vmnet"), "--config", file])
            #expect(empty.termination == .exited(69) && empty.error.contains("with the options in \(file)"))
            let missing = try network.host.attempt([TestHost.product("vde_vmnet"), "--config", file + ".gone"])
            #expect(missing.termination == .exited(66) && missing.error.contains(file + ".gone"))
            for unit in ["system/vde_vmnet@.service.in", "user/vde_vmnet@.service.in"] {
                #expect(try lines(unit).contains("RestartPreventExitStatus=64 66 73 77"))
            }
        }
    }
}
