// SPDX-License-Identifier: Apache-2.0
import Foundation
import Platform
import TestSupport
import Testing
@testable import SourceRules

/// The rules of CONTRIBUTING and ARCHITECTURE.md, applied to this package.
/// `swift run source_rules` prints the same places without a build of all tests.
@Suite struct SourceRulesTests {
    private static let tree = try? SourceTree(root: TestHost.packageRoot)

    @Test(arguments: Rule.allCases) func filesFollow(rule: Rule) throws {
        let tree = try #require(Self.tree)
        #expect(tree.sources.count > 50)
        let all = rule.offences(in: tree), offences = Allowance.exceeded(all)
        let outdated = Allowance.outdated(all, of: rule)
        #expect(outdated.isEmpty, "lower these numbers in Allowance.counts")
        let shown = offences.prefix(40).map(\.description).joined(separator: "\n")
        #expect(offences.isEmpty, "\(offences.count) places:\n\(shown)")
    }

    @Test func unsafeFilesAreCounted() throws {
        for share in Confinement.unsafeShares(try #require(Self.tree)) { print(share) }
    }

    @Test func layersNameExistingTargetsOnce() throws {
        let names = Layers.layers.flatMap { $0 }
        #expect(Set(names).count == names.count)
        let targets = Set(try #require(Self.tree).sources.compactMap(\.target))
        let unknown = Set(names).subtracting(targets).sorted()
        #expect(unknown.isEmpty, "no such folder in Sources; remove them from `Layers.layers`")
    }

    /// The figure of ARCHITECTURE.md has a box for each layer, and its table has a row for each target.
    @Test func architectureNamesEveryTarget() throws {
        let lines = try #require(Self.tree?["ARCHITECTURE.md"]).lines
        func names(_ text: Substring) -> [String] {
            text.replacingOccurrences(of: "<br/>", with: " ").split { ", ".contains($0) }.map(String.init).sorted()
        }
        let boxes = lines.filter { $0.contains("[\"") }.map { names($0.split(separator: "\"")[1]) }
        #expect(boxes == Layers.layers.map { $0.sorted() })
        let rows = Set(lines.filter { $0.hasPrefix("| ") }.flatMap { names($0.split(separator: "|")[0]) })
        let programs: Set = ["vde_vmnet", "vde_vmnet_simulated"]
        #expect(Set(Layers.layers.flatMap { $0 }).subtracting(programs).subtracting(rows) == [])
    }

    /// Programs of releases link none of these modules (decision 027). Sources show no `import` of the first one: the
    /// compiler takes `contains` of a text from it, for instance.
    @Test func objectsNeedNoModuleThatReleasesLack() throws {
        let folder = Files.parent(TestHost.product("vde_vmnet"))
        let files = try #require(Self.tree).sources.filter { $0.path.hasSuffix(".swift") }
        for target in Set(files.compactMap(\.target)).sorted() {
            let objects = try Files.entries(folder + "/\(target).build").filter { $0.hasSuffix(".swift.o") }
            try #require(!objects.isEmpty, "\(target)")
            let result = try ChildProcess.run(["nm", "-u"] + objects.map { "\(folder)/\(target).build/\($0)" })
            #expect(result.succeeded, "\(result.error)")
            for module in ["17_StringProcessing", "10Foundation", "20FoundationEssentials"] {
                let symbols = result.output.split(separator: "\n").filter { $0.contains(module) }
                #expect(symbols.isEmpty, "\(target): \(symbols)")
            }
        }
    }
}

@Suite struct AllowanceTests {
    @Test func offencesBeyondTheAllowanceAreReported() {
        let file = SourceFile(path: "Sources/Nowhere/A.swift", text: "")
        let offences = [file.offence(.words, line: 2, "a"), file.offence(.words, line: 1, "b")]
        #expect(Allowance.exceeded(offences).map(\.line) == [1, 2])
        #expect(Allowance.exceeded([]).isEmpty)
        #expect(Allowance.folder(of: "Sources/Wire/VDE/A.swift") == "Sources/Wire")
        #expect(Allowance.folder(of: "README.md") == "")
    }
}

/// A text with an offence is found, and one without is not.
@Suite struct SourceRuleCheckerTests {
    private func offences(_ rule: Rule, _ path: String, _ text: String, _ others: [SourceFile] = []) -> [String] {
        rule.offences(in: SourceTree([SourceFile(path: path, text: text)] + others)).map(\.message)
    }

    private func count(_ rule: Rule, _ path: String, _ text: String) -> Int { offences(rule, path, text).count }

    @Test func missingLicenceIsFound() {
        #expect(count(.licence, "Sources/Wire/A.swift", "let a = 1\n") == 1)
        #expect(count(.licence, "ci/run", "#!/bin/sh\necho\n") == 1)
        #expect(count(.licence, "Sources/Wire/A.swift", "// SPDX-License-Identifier: Apache-2.0\n") == 0)
        #expect(count(.licence, "docs/a.md", "# A\n") == 0)
    }

    @Test func longLinesAreFound() {
        let words = Array(repeating: "word", count: 30).joined(separator: " ")
        let paths = [
            "Sources/Wire/A.swift", "Sources/C/a.c", "docs/a.md", "Makefile", "a.yml", "a.mdoc", "a.7", "a.service.in",
        ]
        for path in paths {
            #expect(count(.columns, path, words + "\n") == 1, "\(path)")
        }
        #expect(count(.columns, "docs/a.md", "| " + words + " |") == 0, "a table")
        #expect(count(.columns, "docs/a.md", "- https://" + String(repeating: "a", count: 130)) == 0, "a URL")
        #expect(
            count(.columns, "Sources/Wire/A.swift", String(repeating: "ä ", count: 60)) == 0, "characters, not bytes")
    }

    @Test func longFilesAreFound() {
        let lines = String(repeating: "\n", count: 400)
        #expect(count(.fileLength, "Sources/Wire/A.swift", lines) == 0)
        #expect(count(.fileLength, "Sources/Wire/A.swift", lines + "\n") == 1)
        #expect(count(.fileLength, "Tests/WireTests/A.swift", lines + "\n") == 0)
    }

    @Test func unfinishedWorkIsFound() {
        #expect(count(.leftovers, "Sources/Wire/A.swift", "// TO" + "DO: later\n") == 1)
        #expect(count(.leftovers, "ci/run", "mktemp /tmp/a.XXXXXX\n") == 0)
    }

    @Test func upwardImportsAreFound() {
        let found = offences(.imports, "Sources/Wire/A.swift", "import Platform\n")
        #expect(found == ["Wire (layer 0) imports Platform (layer 1); only lower layers may be imported"])
        #expect(count(.imports, "Sources/Wire/A.swift", "import Timing\n") == 1, "of the same layer")
        #expect(count(.imports, "Sources/Switching/A.swift", "@testable import Daemon\n") == 1)
        #expect(count(.imports, "Sources/Switching/A.swift", "import struct Daemon.Daemon\n") == 1)
        #expect(count(.imports, "Sources/Switching/A.swift", "import Wire\nimport Atomics\n// import Daemon\n") == 0)
        #expect(count(.imports, "Sources/Switching/A.swift", "import TestSupport\n") == 1)
        #expect(count(.imports, "Tests/WireTests/A.swift", "import Daemon\n") == 0)
    }

    @Test func targetWithoutLayerIsFound() {
        #expect(offences(.imports, "Sources/Novel/A.swift", "").first?.hasPrefix("target Novel has no layer") == true)
    }

    @Test func unsafeCodeIsFound() {
        #expect(count(.unsafe, "Sources/Wire/A.swift", "let a = unsafe b\n") == 1)
        #expect(count(.unsafe, "Sources/Wire/A.swift", "var a: UnsafeRawPointer?\n") == 1)
        #expect(count(.unsafe, "Sources/Wire/A.swift", "// unsafe\nlet a = \"unsafe\"\n") == 0)
        #expect(count(.unsafe, "Sources/Wire/A+Unsafe.swift", "let a = unsafe b\n") == 0)
        let tree = SourceTree([SourceFile(path: "Sources/Wire/A+Unsafe.swift", text: "a\nb")])
        #expect(Confinement.unsafeShares(tree).map(\.description) == ["Wire: 1 of 1 files, 2 of 2 lines are unsafe"])
    }

    @Test func systemSpecificCodeIsFound() {
        #expect(count(.systems, "Sources/Daemon/A.swift", "#if os(Linux)\n#endif\n") == 1)
        #expect(count(.systems, "Sources/Platform/A.swift", "#if os(Linux)\n#endif\n") == 0)
        #expect(count(.systems, "Sources/Daemon/A.swift", "import Foundation\n") == 1)
        #expect(count(.systems, "Sources/Daemon/A.swift", "let client = listener.accept()\n") == 1)
    }

    @Test(arguments: [
        "let a = frame.big16(at: 12)", "frame.put16(0, at: network + 10)", "frame.put16(\n    sum, at: network &+ 10)",
        "guard frame.byte(at: 0) == 1 else { return }", "let a = IPv4Address(frame.big32(at: isTagged ? 30 : 26))",
        "guard frame.byteCount >= start &+ 28, a else { return }",
    ])
    func numbersForHeaderFieldsAreFound(code: String) {
        #expect(count(.headerFields, "Sources/Switching/A.swift", code + "\n") == 1)
        #expect(count(.headerFields, "Sources/Wire/A.swift", code + "\n") == 0)
        #expect(count(.headerFields, "Tests/WireTests/A.swift", code + "\n") == 0)
    }

    @Test(arguments: [
        "frame.put16(0x4500, at: network + IPv4Header.Field.checksum)", "frame.put(header, at: 0)",
        "frame.put8(UInt8(4), at: start)  // at: 4", "guard frame.byteCount > 0, count >= 28 else { return }",
        "let a = bytes.extracting(0..<length)", "let a = label.count == 5 ? bytes.byte(at: index) : 7",
    ])
    func otherNumbersPass(code: String) {
        #expect(offences(.headerFields, "Sources/Switching/A.swift", code + "\n") == [])
    }

    @Test(arguments: [
        "Tells the guest.", "Nobody reads it.", "Whoever sends, waits.", "It is closed. Who has it sends.",
        "The way out.",
        "Tried in vain.", "A super-frame.", "It begins anew.", "It is not to be had.", "What the machine sends.",
        "It asks the server.", "A wanted reply.", "The port knows it.", "Sockets of our own.",
    ])
    func bannedProseIsFound(text: String) {
        #expect(count(.words, "Sources/Wire/A.swift", "/// \(text)\n") == 1)
        #expect(count(.words, "docs/a.md", "\(text)\n") == 1)
        #expect(count(.words, "ci/run", "#!/bin/sh\n# \(text)\n") == 1)
        #expect(count(.words, "Sources/Wire/A.swift", "let a = \"\(text)\"\n") == 1)
        #expect(count(.words, "Tests/WireTests/A.swift", "let a = \"\(text)\"\n") == 0, "a test quotes")
        #expect(count(.words, "docs/a.md", "```\n\(text)\n```\n") == 0, "an example of a terminal")
    }

    @Test(arguments: [
        "A state machine.", "A virtual machine.", "The user `nobody`.", "Who owns the port? The guest.", "Returns it.",
        "The process that holds the lock.", "From /etc/machine-id.",
        "An unknown port.", "As is known.", "The unasked one.",
    ])
    func plainProsePasses(text: String) {
        #expect(count(.words, "Sources/Wire/A.swift", "/// \(text)\n") == 0)
        #expect(count(.words, "docs/a.md", "\(text)\n") == 0)
    }

    @Test(arguments: ["isTurnDue", "patience", "DoorSession", "LATCH_SIZE", "noteMoment"])
    func bannedNamesAreFound(name: String) {
        #expect(count(.words, "Sources/Wire/A.swift", "let \(name) = 1\n") == 1)
        #expect(count(.words, "Tests/WireTests/A.swift", "let \(name) = 1\n") == 1)
    }

    @Test func partsOfOtherWordsPass() {
        #expect(count(.words, "Sources/Wire/A.swift", "return returned + latched + outdoor + threshold\n") == 0)
    }

    @Test(arguments: [
        "package func send() {}", "    package static var limit: Int { 1 }", "package struct A {", "package init() {",
        "@inlinable package mutating func a() {}", "package private(set) var count = 0",
    ])
    func undocumentedDeclarationsAreFound(line: String) {
        #expect(count(.documentation, "Sources/Wire/A.swift", "import B\n\(line)\n") == 1)
        #expect(count(.documentation, "Sources/Wire/A.swift", "/// What it is.\n\(line)\n") == 0)
        #expect(count(.documentation, "Sources/Wire/A.swift", "/// What it is.\n@inlinable\n\(line)\n") == 0)
        #expect(count(.documentation, "Tests/WireTests/A.swift", line) == 0)
    }

    @Test(arguments: [
        "package override func a() {}", "package static func == (a: A, b: A) -> Bool { true }", "package import Wire",
        "package var description: String { \"\" }", "func send() {}", "package extension A {",
        "/// B\npackage enum Field {\n    package static let flags = 6\n}",
        "/// B\npackage struct B {\n    package init(a: Int) {\n        self.a = a\n    }\n}",
        "package init() {}",
        "extension A: ExpressibleByArgument {\n    package init?(argument: String) { self.init(argument) }\n}",
        "/// B\npackage protocol B {\n    func send()\n}\n/// C\npackage struct C: B {\n    package func send() {}\n}",
    ])
    func exemptDeclarationsPass(text: String) {
        #expect(offences(.documentation, "Sources/Wire/A.swift", text + "\n") == [])
    }

    @Test func brokenLinksAreFound() {
        let other = SourceFile(path: "docs/switch.md", text: "# The Switch, again\n\n## Ports\n")
        func broken(_ text: String) -> Int { offences(.links, "README.md", text, [other]).count }
        #expect(broken("[a](docs/gone.md)") == 1)
        #expect(broken("[a](docs/switch.md) [b](docs/switch.md#ports) [c](docs) [d](https://a.example/b)") == 0)
        #expect(broken("[a](docs/switch.md#gone)") == 1)
        #expect(broken("[a](docs/switch.md#the-switch-again)") == 0)
        #expect(offences(.links, "docs/a.md", "[a](switch.md) [b](../docs/switch.md) [c](gone.md)", [other]).count == 1)
    }

    @Test func namesThatNoTestHasAreFound() {
        let test = SourceFile(
            path: "Tests/WireTests/A.swift", text: "@Suite struct PacketTests {\n    @Test func portIsRead() {}\n}\n")
        func unknown(_ text: String) -> [String] { offences(.testNames, "ci/macos-coverage", text, [test]) }
        #expect(unknown("swift test --filter 'WireTests|GoneTests'") == ["no test, suite or target is named GoneTests"])
        #expect(unknown("swift test --filter PacketTests --skip \"$unknown\"") == [])
        #expect(unknown("tests='portIsRead|portIsGone'") == ["no test, suite or target is named portIsGone"])
        let line = "| a promise, `--switch` | `PacketTests/portIsRead`, `portIsGone` |"
        #expect(
            offences(.testNames, "docs/security.md", line, [test]) == ["no test, suite or target is named portIsGone"])
        #expect(offences(.testNames, "docs/macos.md", "Setting: `a`. Tests: `portIsGone`.", [test]).count == 1)
    }
}
