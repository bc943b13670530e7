// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing

@testable import Commands

@Suite struct ListenerArgumentTests {
    private func parse(_ text: String, existing: Set<String> = []) throws -> ListenerArgument {
        try ListenerArgument(text, option: "--listener", known: ["client", "offload"], exists: existing.contains)
    }

    @Test func wordsStandBehindCommas() throws {
        #expect(try parse("/tmp/s").path == "/tmp/s" && parse("/tmp/s").words.isEmpty)
        let one = try parse("/tmp/s,client"), both = try parse("/tmp/s,offload,client")
        #expect(one.path == "/tmp/s" && one.words == ["client"])
        #expect(both.path == "/tmp/s" && both.words == ["client", "offload"])
    }

    @Test func twoCommasAreOneOfThePath() throws {
        #expect(try parse("/tmp/a,,b").path == "/tmp/a,b")
        let argument = try parse("/tmp/a,,,client")
        #expect(argument.path == "/tmp/a," && argument.words == ["client"])
    }

    @Test func escapedPathIsReadAsItWas() throws {
        for path in ["/tmp/s", "/tmp/a,b", "/tmp/a,,b,", "/,offload"] {
            let argument = try parse(ListenerArgument.escaped(path))
            #expect(argument.path == path && argument.words.isEmpty)
        }
    }

    @Test func existingPathWithCommaIsAPath() throws {
        let path = "/tmp/s,client"
        let argument = try parse(path, existing: [path])
        #expect(argument.path == path && argument.words.isEmpty)
    }

    @Test(arguments: [
        ("", "needs a path"), (",client", "needs a path"), ("/s,server", "'server' is unknown"),
        ("/s,", "'' is unknown"), ("/s,client,", "'' is unknown"), ("/s,Client", "client, offload"),
    ])
    func wrongValueIsReported(text: String, reason: String) {
        let error = #expect(throws: (any Error).self) { try parse(text) }
        #expect("\(error!)".contains(reason))
    }

    @Test func anyTextIsReadOrRefused() {
        var random = SeededGenerator(seed: 24)
        for _ in 0..<Rounds.of(500) {
            let text = String(
                (0..<Int.random(in: 0..<12, using: &random)).map { _ in "/s,cé\n".randomElement(using: &random)! })
            if let argument = try? parse(text) { #expect(!argument.path.isEmpty) }
        }
    }
}
