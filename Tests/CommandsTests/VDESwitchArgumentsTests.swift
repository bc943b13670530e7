// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
@testable import Commands
import NetworkConfiguration
import Lifecycle
import Platform
import Sessions
import Testing
import VDESwitch

/// The switch that a line for vde_switch describes.
private func configured(_ words: String...) throws -> (own: SwitchConfiguration, whole: Configuration) {
    let configuration = try Switch.parse(try VDESwitchArguments.normalized(words)).makeConfiguration()
    guard case .server(let own) = configuration.role else { fatalError("no switch") }
    return (own, configuration)
}

@Suite struct SwitchWordsTests {
    @Test(arguments: ["-s", "--sock", "-sock", "--unix", "-unix", "--vdesock", "--uni"])
    func directoryOptionHasSeveralNames(word: String) throws {
        #expect(try configured(word, "/tmp/vde").own.path == "/tmp/vde")
    }

    @Test(arguments: ["-workers", "--work", "--workers"]) func workersOptionIsParsed(word: String) throws {
        #expect(try configured(word, "2", "-s", "/tmp/vde").whole.workers == 2)
    }

    @Test func allOptionsAreParsed() throws {
        let (own, whole) = try configured(
            "-x", "-n", "64", "-tap", "tap0", "-tap", "tap1", "-s", "/tmp/vde", "-m", "660", "--dirmode=0750", "-g",
            "root", "-daemon", "-p", "/tmp/pid", "-M", "/tmp/mgmt", "-mgmtmode",
            "0666", "--mgmtgroup", "root", "-f", "/tmp/rc")
        #expect(own.isHub && own.portLimit == 64 && own.taps == ["tap0", "tap1"] && own.path == "/tmp/vde")
        #expect(own.access.mode == 0o660 && own.access.directoryMode == 0o750 && own.access.group == 0)
        #expect(own.console == SwitchConfiguration.Console(path: "/tmp/mgmt", mode: 0o666, group: 0))
        #expect(own.commandFile == "/tmp/rc" && !own.readsStandardInput)
        #expect(whole.pidfile == "/tmp/pid" && whole.uplink == .none)
    }

    @Test func defaultsAreThoseOfVDESwitch() throws {
        let (own, _) = try configured()
        #expect(
            own.path == SwitchConfiguration.defaultPath && own.portLimit == 32 && own.readsStandardInput
                && own.console == nil)
        #expect(try !configured("--nostdin").own.readsStandardInput)
    }

    @Test func optionLikeValuesStayValues() throws {
        #expect(try VDESwitchArguments.normalized(["-p", "-hub", "-hub"]) == ["-p", "-hub", "--hub"])
        #expect(try VDESwitchArguments.normalized(["--", "-hub"]) == ["--", "-hub"])
        #expect(try VDESwitchArguments.normalized(["-mgmt=/x", "-d", "/y"]) == ["--mgmt=/x", "-d", "/y"])
        #expect(try VDESwitchArguments.normalized(["-v"]) == ["--version"])
        #expect(
            try VDESwitchArguments.normalized(["-s/tmp/x", "-n8", "-xd", "-xM", "/y", "-p/z"]) == [
                "-s", "/tmp/x", "-n", "8", "-x", "-d", "-x", "-M", "/y", "-p", "/z",
            ])
    }

    @Test(arguments: ["-F", "--fstp", "--macaddr", "-priority", "--hashsize", "-D"])
    func unsupportedOptionsAreReported(word: String) {
        let error = #expect(throws: ExitError.self) { try VDESwitchArguments.normalized([word, "1"]) }
        #expect(error?.status == .usage)
        #expect(error?.description.contains("leave it out") == true)
    }

    @Test(arguments: [
        ["-n", "0"], ["-n", "5000"], ["-m", "9"], ["--mgmtmode", "0600"], ["-g", "no such group"], ["-nosuch"],
        ["extra"], ["-s", ""],
    ])
    func invalidOptionsAreRefused(words: [String]) {
        #expect(throws: (any Error).self) { try Switch.parse(try VDESwitchArguments.normalized(words)) }
    }
}
