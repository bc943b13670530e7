// SPDX-License-Identifier: Apache-2.0
import CommandReference
import Foundation
import Platform
import TestSupport
import Testing

/// The program's pages and scripts in a folder, as `make` writes them.
struct ReferenceFixture {
    let folder: TemporaryFolder
    let pages: [ManualPage]

    init() throws {
        folder = try TemporaryFolder()
        let dump = try ChildProcess.run([TestHost.product("vde_vmnet"), "--experimental-dump-help"])
        let program = try ProgramDescription(json: Data(dump.output.utf8))
        pages = try CommandReference.pages(
            program, folder: TestHost.packageRoot + "/packaging/man", date: "2026-11-29")
        for page in pages { try write("man/" + page.file, page.text) }
        for (name, text) in CommandReference.completions(program) { try write(name, text) }
        // The scripts start the program by its name.
        try Files.makeDirectories(folder.file("bin"))
        _ = try ChildProcess.run(["ln", "-s", TestHost.product("vde_vmnet"), folder.file("bin/vde_vmnet")])
    }

    private func write(_ name: String, _ text: String) throws {
        try Files.makeDirectories(Files.parent(folder.file(name)))
        try Files.replace(folder.file(name), Array(text.utf8))
    }

    var path: String { folder.file("bin") + ":" + (CurrentProcess.environment("PATH") ?? "") }
}

extension IntegrationTests {
    /// The manual pages that packages install.
    @Suite struct ManualPages {
        @Test func pageExistsForEachCommand() throws {
            let names = try ReferenceFixture().pages.map(\.file)
            for command in [
                "join", "switch", "run", "client", "check", "interfaces", "version", "list", "status", "stop", "events",
                "publish", "egress", "allow", "lease", "port", "capture", "doctor",
            ] {
                #expect(names.contains("vde_vmnet-\(command).1"))
            }
            #expect(names.contains("vde_vmnet.1") && names.contains("vde_vmnet-networks.7"))
        }

        /// DESCRIPTION, EXAMPLES, FILES, EXIT STATUS, SECURITY and SEE ALSO are written by hand.
        @Test func pageHasItsSections() throws {
            for page in try ReferenceFixture().pages {
                var sections = ["NAME", "DESCRIPTION", "FILES", "EXAMPLES", "SECURITY", "SEE ALSO"]
                if page.section == 1 { sections += ["SYNOPSIS", "EXIT STATUS"] }
                for section in sections {
                    #expect(page.text.contains("\n.Sh \(section)\n"), "\(page.file) has no section \(section)")
                }
            }
        }

        @Test func mandocReportsNothing() throws {
            let fixture = try ReferenceFixture()
            let names = fixture.pages.map { fixture.folder.file("man/" + $0.file) }
            let result = try ChildProcess.run(["mandoc", "-T", "lint"] + names)
            // The first depends on the pages of this host, and our own are not installed here.
            let lines = (result.output + result.error).split(separator: "\n").filter {
                !$0.contains("referenced manual not found") && !$0.contains("outdated mandoc.db")
            }
            #expect(lines.isEmpty, "\(lines.joined(separator: "\n"))")
        }

        @Test func manShowsEachPage() throws {
            let fixture = try ReferenceFixture()
            for page in fixture.pages {
                let result = try ChildProcess.run(
                    ["man", "--warnings=w", "-E", "UTF-8", "-l", fixture.folder.file("man/" + page.file)],
                    environment: ["MANWIDTH": "80", "LC_ALL": "C.UTF-8", "MANROFFOPT": nil, "PAGER": "cat"])
                #expect(result.succeeded && result.error.isEmpty, "\(page.file): \(result.error)")
                #expect(result.output.contains(page.name) && result.output.contains("SEE ALSO"))
            }
        }

        /// The exit statuses of the page are those of README.
        @Test func pageListsExitStatuses() throws {
            let text = try ReferenceFixture().pages[0].text
            let readme = try String(contentsOfFile: TestHost.packageRoot + "/README.md", encoding: .utf8)
            let table = readme.split(separator: "\n").drop { $0 != "| status | meaning |" }.dropFirst(2)
            let statuses = table.prefix { $0.hasPrefix("| ") }.flatMap { row in
                row.dropFirst(2).prefix { $0 != "|" }.split { " ,".contains($0) }.map(String.init)
            }
            #expect(statuses.count > 8)
            // 1 belongs to `check` and `doctor`, 126 and 127 to `run` and `client`.
            for status in statuses where !["1", "126", "127"].contains(status) {
                #expect(text.contains("\n.It \(status)\n"), "vde_vmnet.1 lacks the exit status \(status)")
            }
        }
    }
}
