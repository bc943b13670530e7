// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NetworkConfiguration
import Lifecycle
import Platform
import TestSupport
import Testing

@testable import Commands

@Suite struct OptionsFileTests {
    private func expand(_ text: String, _ before: [String] = [], _ after: [String] = []) throws -> [String] {
        try expand(Array(text.utf8), before, after)
    }

    private func expand(_ bytes: [UInt8], _ before: [String] = [], _ after: [String] = []) throws -> [String] {
        let folder = try TemporaryFolder()
        let path = folder.file("lab.conf")
        try Files.replace(path, bytes)
        var origins = OptionOrigins()
        return try OptionsFile.expanded(before + ["--config", path] + after, &origins)
    }

    /// The message with which the file is refused, after the name of the file.
    private func refusal(_ text: String) throws -> String? { try refusal(Array(text.utf8)) }

    private func refusal(_ bytes: [UInt8]) throws -> String? {
        do {
            _ = try expand(bytes)
            return nil
        } catch let error as ExitError {
            #expect(error.status == .usage)
            return error.description.split(separator: "lab.conf", maxSplits: 1).last.map(String.init)
        }
    }

    @Test func lineIsOneArgument() throws {
        let words = try expand(
            "# lab\n\n  --switch  \n/run/vde/lab net\n--vde-mode\t 0660\r\n--vmnet-mode=host\n"
                + "--dhcp-host 52:54:00:00:00:01,10.0.0.7",
            ["--fd", "3"], ["--vmnet-mode", "shared", "--", "--config", "x"])
        #expect(
            words == [
                "--fd", "3", "--switch", "/run/vde/lab net", "--vde-mode=0660", "--vmnet-mode=host",
                "--dhcp-host=52:54:00:00:00:01,10.0.0.7", "--vmnet-mode", "shared", "--", "--config", "x",
            ])
    }

    @Test func valueIsNotSplitOrExpanded() throws {
        #expect(try expand("--stream /run/a b $HOME 'c' # d\n") == ["--stream=/run/a b $HOME 'c' # d"])
        #expect(try expand("--trunk -1") == ["--trunk=-1"])
        #expect(try expand("--stream =x") == ["--stream=x"])
        #expect(try expand("") == [])
        #expect(try expand("\u{feff}--switch\n") == ["--switch"])
    }

    @Test func laterOptionTakesPrecedence() throws {
        let folder = try TemporaryFolder()
        try Files.replace(folder.file("c"), Array("--switch\n--vmnet-mode host\n--dhcp off\n".utf8))
        let words = try Root.normalized(["--config=" + folder.file("c"), "--dhcp", "builtin", "/tmp/vde"])
        let join = try Join.parse(words)
        #expect(join.own.isSwitch && join.vmnetMode == .host && join.addresses.dhcp == .builtin)
    }

    @Test func programOfRunKeepsItsArguments() throws {
        let folder = try TemporaryFolder()
        try Files.replace(folder.file("c"), Array("--uplink none\n".utf8))
        let words = try Root.normalized(["run", "--config", folder.file("c"), "--", "vm", "--config", "own"])
        #expect(words == ["run", "--with-program", "--uplink=none", "--", "vm", "--config", "own"])
    }

    @Test func lineThatIsNoOptionIsNamed() throws {
        #expect(try refusal("--switch\nvmnet-mode host\n")?.contains(", line 2: 'vmnet-mode host' is neither") == true)
        #expect(try refusal("-p /run/x.pid")?.contains(", line 1: '-p' is not an option in full") == true)
        #expect(try refusal("--")?.contains(", line 1: '--' is not an option in full") == true)
        for option in ["--help", "--version", "--help-hidden", "--generate-completion-script zsh"] {
            #expect(try refusal("--switch\n" + option)?.contains(", line 2: --") == true)
            #expect(try refusal("--switch\n" + option)?.contains(" starts no network; ") == true)
        }
        #expect(try refusal("status")?.contains(", line 1: 'status' is neither") == true)
        #expect(try refusal("--config /etc/other")?.contains("--config names another file") == true)
        #expect(try refusal("--stream a\u{1}b")?.contains("control character") == true)
        #expect(
            try refusal(Array("--switch\n--stream /tmp/caf".utf8) + [0xe9])?.contains(
                ", line 2: it is not text in UTF-8")
                == true)
        #expect(
            try refusal(String(repeating: "#\n", count: OptionsFile.maximumSize))?.contains("is longer than") == true)
    }

    /// The lines that an error is about.
    @Test func errorNamesLines() throws {
        let folder = try TemporaryFolder()
        let file = folder.file("lab.conf")
        try Files.replace(
            file,
            Array("# lab\n--frobnicate\n--vmnet-mode nat\n--publish 1:2\n--publish 3:4\n/run/a b\n--switch\n".utf8))
        var origins = OptionOrigins()
        _ = try Root.normalized(["--config", file], &origins)
        func lines(_ message: String) -> [Int] { origins.lines(in: message).map(\.number) }
        #expect(lines("Unknown option '--frobnicate'") == [2])
        #expect(lines("Unknown option '--frob'. Did you mean '--frobnicate'?") == [])
        #expect(lines("The value 'nat' is invalid for '--vmnet-mode <mode>'") == [3])
        #expect(lines("--publish: '3:4' names no guest") == [5])
        #expect(lines("--publish needs an uplink") == [4, 5])
        #expect(lines("Unexpected argument '/run/a b'") == [6])
        #expect(lines("--switch-x and --vmnet-mode-x") == [])
        #expect(origins.notes(on: "--vmnet-mode: no") == ["vde_vmnet: \(file), line 3: --vmnet-mode nat"])
        #expect(origins.notes(on: "no") == ["vde_vmnet: with the options in \(file)"])
        #expect(OptionOrigins().notes(on: "--vmnet-mode: no") == [])
        let message = Root.usageMessage("Error: Unknown option '--frobnicate'\nUsage: x", ["--config", file], origins)
        #expect(
            message.split(separator: "\n").prefix(2) == [
                "vde_vmnet: error: Unknown option '--frobnicate'", "vde_vmnet: \(file), line 2: --frobnicate",
            ])
    }

    /// Options name files that are written, so only trusted users may write them.
    @Test func fileThatOthersCanWriteIsRefused() throws {
        let folder = try TemporaryFolder()
        try Files.makeDirectory(folder.file("d"))
        let file = folder.file("d/lab.conf"), link = folder.file("link.conf")
        try Files.replace(file, Array("--uplink none\n".utf8))
        #expect(try ChildProcess.run(["ln", "-s", file, link]).succeeded)
        func refusal(_ path: String) -> ExitError? {
            do {
                _ = try Root.normalized(["--config", path])
                return nil
            } catch { return error as? ExitError }
        }
        for path in [file, link] { #expect(refusal(path) == nil) }
        try Files.setMode(file, 0o646)
        for path in [file, link] {
            #expect(refusal(path)?.status == .noPermission)
            #expect(refusal(path)?.description.contains("is writable for other users") == true)
        }
        try Files.setMode(file, 0o644)
        try Files.setMode(folder.file("d"), 0o757)
        for path in [file, link] { #expect(refusal(path)?.description.contains("/d belongs to another user") == true) }
        // In a sticky directory the file is safe.
        try Files.setMode(folder.file("d"), 0o1777)
        #expect(refusal(file) == nil)
        guard CurrentProcess.effectiveUser == 0 else { return }
        try Files.setOwner(file, user: 65_534, group: nil)
        #expect(refusal(file)?.description.contains("belongs to nobody") == true)
        try Files.setOwner(file, user: 0, group: 65_533)
        try Files.setMode(file, 0o664)
        #expect(refusal(file)?.description.contains("is writable for other users") == true)
    }

    @Test func missingFileIsNoInput() {
        for path in ["/nonexistent/lab.conf", "/"] {
            var origins = OptionOrigins()
            let error = #expect(throws: ExitError.self) { try OptionsFile.expanded(["--config", path], &origins) }
            #expect(error?.status == .noInput && error?.description.contains(path) == true)
        }
    }

    @Test func missingNameIsReported() {
        #expect(throws: (any Error).self) { try Join.parse(try Root.normalized(["--config"])) }
        let error = #expect(throws: (any Error).self) { try Join.parse(try Root.normalized(["--config="])) }
        #expect(error.map { Join.message(for: $0).contains("--config: '' is not the path of a file") } == true)
    }

    @Test func randomLineIsOneArgumentOrRefused() {
        fuzz(Array("--vmnet-gateway 10.0.0.1".utf8), rounds: 5_000) { bytes in
            let line = String(decoding: bytes, as: UTF8.self)
            guard let argument = try? OptionsFile.argument(in: line) else { return }
            #expect(argument.hasPrefix("--") && argument.count > 2 || argument.contains("/"))
        }
    }
}
