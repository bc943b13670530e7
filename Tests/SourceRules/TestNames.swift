// SPDX-License-Identifier: Apache-2.0
import Foundation

/// `swift test --filter` and `--skip` run nothing, and pass, when what they name has been renamed. So each name that a
/// script gives them must be a target, a suite or a test; and so must each test that a document names as a proof.
enum TestNames {
    static func offences(_ tree: SourceTree) -> [Offence] {
        let tests = tree.swift.filter { $0.path.hasPrefix("Tests/") }
        var known = tests.compactMap(\.target)
        for file in tests {
            for line in file.lines {
                let words = line.split { !($0.isLetter || $0.isNumber || $0 == "_") }.map(String.init)
                for (kind, name) in zip(words, words.dropFirst()) where ["func", "struct"].contains(kind) {
                    known.append(name)
                }
            }
        }
        let names = Set(known)
        let documents = tree.files.filter(\.isMarkdown).flatMap { file in
            file.lines.enumerated().flatMap { index, line in
                proofs(line, isTable: file.path == "docs/security.md").filter { !names.contains($0) }
                    .map { file.offence(.testNames, line: index + 1, "no test, suite or target is named \($0)") }
            }
        }
        let scripts = tree.files.filter {
            $0.path.hasPrefix("ci/") || $0.path == "Makefile" || $0.path.hasSuffix(".yml")
        }
        .flatMap { file in
            file.lines.enumerated().flatMap { index, line in
                patterns(line).filter { pattern in !names.contains { $0.contains(pattern) } }
                    .map { file.offence(.testNames, line: index + 1, "no test, suite or target is named \($0)") }
            }
        }
        return scripts + documents
    }

    /// The names between backquotes after "Test:" or "Tests:", and in the last column of a table of proofs.
    static func proofs(_ line: String, isTable: Bool) -> [String] {
        let text: Substring
        if let mark = line.range(of: "Test: ") ?? line.range(of: "Tests: ") {
            text = line[mark.upperBound...]
        } else if isTable, line.hasPrefix("|"), line.hasSuffix("|") {
            text = line.dropLast().split(separator: "|").last ?? ""
        } else {
            return []
        }
        let quoted: [Substring] = text.split(separator: "`", omittingEmptySubsequences: false).enumerated()
            .filter { $0.offset % 2 == 1 }.map(\.element)
        let parts: [Substring] = quoted.flatMap { $0.split(whereSeparator: { "./".contains($0) }) }
        let names: [String] = parts.map { part in String(part.prefix { $0 != "(" }) }
        return names.filter { name in name != "Tests" && name.allSatisfy { $0.isLetter || $0.isNumber } }
    }

    /// The alternatives of the expressions that a line gives to `--filter` and `--skip`, or assigns to `tests`.
    static func patterns(_ line: String) -> [String] {
        var found: [String] = []
        for mark in ["--filter ", "--skip ", "tests=", "tests ="] {
            var rest = Substring(line)
            while let place = rest.range(of: mark) {
                rest = rest[place.upperBound...].drop { $0 == " " }
                let text: Substring =
                    if let quote = rest.first, "'\"".contains(quote) {
                        rest.dropFirst().prefix { $0 != quote }
                    } else {
                        rest.prefix { $0 != " " }
                    }
                found += text.split { "|./".contains($0) }.map(String.init)
            }
        }
        return found.filter { !$0.contains("$") && $0 != "NAME" }
    }
}
