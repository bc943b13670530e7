// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Testing

@testable import Commands

/// A start reads its options without the argument parser. `OptionTableTests` compare both for every option and pair.
@Suite struct DirectOptionsTests {
    /// An option that `setDefaults` leaves out would end the program when it is read.
    @Test func everyOptionHasDefault() throws {
        let defaults = Join.defaults
        #expect(!String(describing: defaults).contains("*definition*"), "\(defaults)")
        #expect(String(describing: defaults) == String(describing: try Join.parse([])))
    }

    /// Options that the program shows, but for those with a letter only.
    @Test func everyOptionIsRead() throws {
        let values = [
            "--uplink": "none", "--vmnet-mode": "host", "--vmnet-gateway": "10.0.0.1", "--vmnet-dhcp-end": "10.0.0.9",
            "--vmnet-mask": "24", "--vmnet-interface-id": "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
            "--vmnet-network-identifier": "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "--vmnet-nat66-prefix": "fd00:1::",
            "--vde-mode": "0660", "--vde-dirmode": "0750", "--mgmtmode": "0660", "--limit": "50mbit", "--dhcp": "off",
            "--ipv6": "off", "--dhcp-host": "52:54:00:00:00:01,10.0.0.7", "--domain": "off", "--dns-cache": "off",
            "--host-dns": "127.0.0.1:5300", "--dns": "192.0.2.1", "--lease-time": "2h", "--egress": "deny",
            "--deny": "private", "--udp-filtering": "endpoint", "--log-level": "info", "--log-format": "json",
        ]
        let flags = [
            "--switch", "--vmnet-isolation", "--vmnet-disable-dhcp", "--no-router", "--egress-log", "--check-names",
            "--host-loopback", "--vmnet-offload",
        ]
        let names = Join.helpMessage().split { $0 == " " || $0 == "\n" || $0 == "," || $0 == "/" }.filter {
            $0.hasPrefix("--") && $0.count > 2
                && $0.dropFirst(2).allSatisfy { $0.isLowercase || $0.isNumber || $0 == "-" }
        }.map(String.init)
        for name in Set(names) where !["--help", "--version", "--config"].contains(name) {
            for words in [[name, values[name] ?? "1"], [name + "=" + (values[name] ?? "1")]] {
                let words = flags.contains(name) ? [name] : words
                guard let expected = try? Join.parse(words + (name == "--switch" ? [] : ["--switch"])) else { continue }
                let read = Join.reading(words + (name == "--switch" ? [] : ["--switch"]))
                #expect(read.map { String(describing: $0) } == String(describing: expected), "\(words)")
            }
        }
    }

    @Test(arguments: [
        [], ["/tmp/vde"], ["--switch", "/tmp/vde"], ["/tmp/vde", "--switch"], ["--uplink=none", "--switch"],
        ["--switch", "--uplink", "tap", "--uplink", "user"],
        ["--switch", "--stream", "a", "--stream=b", "--dgram", "c"],
        ["--dhcp-option=ntp-server=10.0.0.1", "/tmp/vde"], ["--switch", "--switch", "--trunk", "3", "--trunk", "4"],
    ])
    func commandLineIsReadAsByParser(words: [String]) throws {
        let read = try #require(Join.direct(words))
        #expect(String(describing: read.join) == String(describing: try Join.parse(words)))
    }

    /// The argument parser has the message, or another command.
    @Test(arguments: [
        ["status"], ["vde"], ["--help"], ["-h"], ["--version"], ["-v"], ["-p", "file", "/tmp/vde"], ["-pfile"],
        ["--nonesuch"], ["--nonesuch=1"], ["--uplink"], ["--uplink", "--switch"], ["--uplink", ""], ["--uplink=x"],
        ["--switch=1"], ["/tmp/a", "/tmp/b"], ["--switch", "--", "/tmp/vde"], ["--config", "f"],
        ["--generate-completion-script", "bash"], ["--experimental-dump-help"], ["---completion"], ["-"], ["--"], [""],
        ["--vmnet-mask", "24", "--switch"], ["--UPLINK", "none"], ["--upl", "none"], ["-switch"],
    ])
    func otherCommandLineIsLeftToParser(words: [String]) {
        #expect(Join.direct(words) == nil)
    }

    @Test(arguments: [
        ["--", "true"], ["--uplink", "none", "--", "qemu", "--", "-x"], ["--switch", "/tmp/vde", "--", "sh", "-c", ""],
    ])
    func runIsReadAsByParser(words: [String]) throws {
        let words = try Root.normalized(["run"] + words)
        let read = try #require(Run.direct(words))
        let parsed = try #require(try Root.parseAsRoot(words) as? Run)
        #expect(String(describing: read.run) == String(describing: parsed))
        #expect("\(read.configuration)" == "\(try parsed.makeConfiguration())")
    }

    @Test(arguments: [["run"], ["run", "true"], ["run", "--"], ["run", "-v", "--", "x"], ["run", "--x", "--", "x"]])
    func otherRunIsLeftToParser(words: [String]) throws {
        #expect(Run.direct(try Root.normalized(words)) == nil)
    }
}
