// SPDX-License-Identifier: Apache-2.0
import Foundation
import Platform
import TestSupport
import Testing

@testable import CommandReference

@Suite struct CommandReferenceTests {
    /// What the parser prints for a program with a default subcommand and two others.
    private static let description = """
        {"serializationVersion": 0, "command": {"commandName": "tool", "shouldDisplay": true, "abstract": "Do it.",
        "defaultSubcommand": "make", "subcommands": [
          {"commandName": "make", "shouldDisplay": true, "abstract": "Make it.", "arguments": [
            {"kind": "positional", "shouldDisplay": true, "isOptional": true, "isRepeating": false,
             "parsingStrategy": "default", "valueName": "path", "abstract": "Where.",
             "completionKind": {"directory": {}}},
            {"kind": "option", "shouldDisplay": true, "isOptional": true, "isRepeating": true,
             "parsingStrategy": "default", "valueName": "kind", "defaultValue": "one",
             "names": [{"kind": "short", "name": "k"}, {"kind": "long", "name": "the-kind"}],
             "completionKind": {"list": {"values": ["one", "two"]}},
             "abstract": "Which kind:\\none: the first\\ntwo: it's [the] second. Not 3."},
            {"kind": "flag", "shouldDisplay": false, "isOptional": true, "isRepeating": false,
             "parsingStrategy": "default", "names": [{"kind": "long", "name": "hidden"}], "abstract": "Hidden."}]},
          {"commandName": "show", "shouldDisplay": true, "abstract": "Show .it at C:\\\\.", "arguments": []},
          {"commandName": "help", "shouldDisplay": true, "abstract": "Help.", "arguments": []}]}}
        """

    private func program() throws -> ProgramDescription {
        try ProgramDescription(json: Data(CommandReferenceTests.description.utf8))
    }

    private func pages(_ parts: [String: String]) throws -> [ManualPage] {
        let folder = try TemporaryFolder()
        for (name, text) in parts { try Files.replace(folder.file(name), Array(text.utf8)) }
        return try CommandReference.pages(try program(), folder: folder.path, date: "2026-02-03")
    }

    @Test func pageExistsForEachSubcommand() throws {
        let pages = try pages(["networks.7": ".Sh NAME\n.Nm networks\n.Nd all\n.Sh DESCRIPTION\nText.\n"])
        #expect(pages.map(\.file) == ["tool.1", "tool-make.1", "tool-show.1", "networks.7"])
        #expect(pages.allSatisfy { $0.text.contains(".Dd February 3, 2026\n") })
    }

    @Test func generatedSectionsSurroundDescription() throws {
        let part = ".\\\" SPDX\n.Sh DESCRIPTION\nBy hand.\n.Sh FILES\nNone.\n"
        let text = try pages(["tool.mdoc": part])[0].text
        let sections = text.split(separator: "\n").filter { $0.hasPrefix(".Sh ") }.map { $0.dropFirst(4) }
        #expect(sections == ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "FILES"])
        #expect(text.contains(".Sh DESCRIPTION\nBy hand.\n"))
        #expect(text.contains(".It Fl k , Fl Fl the\\-kind Ar kind\nWhich kind (default: one):\n"))
        #expect(text.contains(".It Cm two\nit's [the] second.\nNot 3.\n.El\n"))
        #expect(!text.contains("hidden") && !text.contains("SPDX"))
    }

    @Test func partWithoutPageIsReported() {
        #expect(throws: ReferenceError.self) { try pages(["gone.mdoc": ".Sh DESCRIPTION\n"]) }
        #expect(throws: ReferenceError.self) { try pages(["tool.mdoc": "Text without a section\n"]) }
    }

    @Test func textBecomesNoRequest() {
        #expect(
            ManualPage.escaped(".it's a \\ and --option of well-known")
                == "\\&.it's a \\e and \\-\\-option of well-known")
        #expect(ManualPage.escaped("'quoted'") == "\\&'quoted'")
        let long = (0..<30).map { _ in "word" }.joined(separator: " ") + " .end"
        #expect(ManualPage.wrapped(long).split(separator: "\n").allSatisfy { $0.count <= 80 && $0.first != "." })
    }

    /// mandoc(1) reports nothing, whatever is in the help texts.
    @Test func mandocAcceptsPages() throws {
        let folder = try TemporaryFolder()
        for page in try pages([:]) { try Files.replace(folder.file(page.file), Array(page.text.utf8)) }
        let names = try Files.entries(folder.path).map { folder.file($0) }
        let result = try ChildProcess.run(["mandoc", "-T", "lint", "-W", "warning"] + names)
        // The parser's description of `show` names no other page, but the page does.
        #expect(result.succeeded, "\(result.output)\(result.error)")
    }

    @Test func everyOptionIsInEachScript() throws {
        let scripts = CommandReference.completions(try program())
        #expect(scripts.keys.sorted() == ["bash/tool", "fish/tool.fish", "zsh/_tool"])
        #expect(scripts.values.allSatisfy { $0.contains("the-kind") && !$0.contains("hidden") })
        #expect(scripts.values.allSatisfy { $0.hasSuffix("\n") && $0.contains("show") })
    }

    /// What a user types after `show`: `tool show deep THING WAY`.
    private static let nested = CommandReferenceTests.description.replacingOccurrences(
        of: "\"abstract\": \"Show .it at C:\\\\.\", \"arguments\": []",
        with: """
            "abstract": "Show it.", "arguments": [], "subcommands": [
              {"commandName": "deep", "shouldDisplay": true, "abstract": "Go deep.", "discussion": "Not\\nfar.",
               "arguments": [
                {"kind": "positional", "shouldDisplay": true, "isOptional": false, "isRepeating": false,
                 "parsingStrategy": "default", "valueName": "thing", "abstract": "The thing.",
                 "completionKind": {"shellCommand": {"command": "echo thing"}}},
                {"kind": "positional", "shouldDisplay": true, "isOptional": true, "isRepeating": false,
                 "parsingStrategy": "default", "valueName": "way", "abstract": "The way.",
                 "completionKind": {"list": {"values": ["up", "down"]}}},
                {"kind": "flag", "shouldDisplay": true, "isOptional": true, "isRepeating": false,
                 "parsingStrategy": "default", "names": [{"kind": "long", "name": "fast"}], "abstract": "Fast."},
                {"kind": "flag", "shouldDisplay": true, "isOptional": true, "isRepeating": false,
                 "parsingStrategy": "default", "names": [{"kind": "long", "name": "all"}], "abstract": "All."}]},
              {"commandName": "flat", "shouldDisplay": true, "abstract": "Stay.", "arguments": [
                {"kind": "flag", "shouldDisplay": true, "isOptional": true, "isRepeating": false,
                 "parsingStrategy": "default", "names": [{"kind": "long", "name": "all"}], "abstract": "All."}]},
              {"commandName": "help", "shouldDisplay": true, "abstract": "Help.", "arguments": []}]
            """)

    /// The page of a command has what a user types for each of its subcommands.
    @Test func pageDescribesNestedSubcommands() throws {
        let folder = try TemporaryFolder()
        let program = try ProgramDescription(json: Data(CommandReferenceTests.nested.utf8))
        let pages = try CommandReference.pages(program, folder: folder.path, date: "2026-02-03")
        let page = try #require(pages.first { $0.file == "tool-show.1" })
        #expect(
            page.text.contains(
                """
                .Sh SYNOPSIS
                .Nm tool
                .Cm show deep
                .Op Ar options
                .Ar thing
                .Op Ar way
                .Nm tool
                .Cm show flat
                .Op Ar options
                .Sh DESCRIPTION
                """))
        #expect(
            page.text.contains(
                """
                .Sh SUBCOMMANDS
                .Bl -tag -width Ds
                .It Cm deep Ar thing way
                Go deep.
                .Pp
                Not far.
                .Bl -tag -width Ds -compact
                .It Ar thing
                The thing.
                .It Ar way
                The way.
                .It Fl Fl fast
                Fast.
                .El
                .It Cm flat
                Stay.
                .El
                .Sh OPTIONS
                .Bl -tag -width Ds
                .It Fl Fl all
                All.
                .El
                """))
        try Files.replace(folder.file(page.file), Array(page.text.utf8))
        let result = try ChildProcess.run(["mandoc", "-T", "lint", "-W", "warning", folder.file(page.file)])
        #expect(result.succeeded, "\(result.output)\(result.error)")
    }

    @Test func anotherDescriptionIsRefused() {
        for text in ["", "[]", "{\"command\": 1}", "{\"command\": {\"commandName\": \"x\"}}"] {
            #expect(throws: (any Error).self) { try ProgramDescription(json: Data(text.utf8)) }
        }
    }

    /// A subcommand may have subcommands, with other options and values.
    @Test func nestedSubcommandIsInEachScript() throws {
        let program = try ProgramDescription(json: Data(CommandReferenceTests.nested.utf8))
        let scripts = CommandReference.completions(program)
        #expect(scripts["bash/tool"]?.contains("'show deep')") == true)
        #expect(scripts["zsh/_tool"]?.contains("_tool_show_deep() {") == true)
        #expect(scripts["fish/tool.fish"]?.contains("__tool_is \"show deep\"") == true)
        #expect(scripts.values.allSatisfy { $0.contains("echo thing") && $0.contains("down") })
    }
}
