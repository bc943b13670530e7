// SPDX-License-Identifier: Apache-2.0
import Foundation

/// `swift test --filter` and `--skip` run nothing, and pass, when what they name has been renamed. So each name that a
/// script gives them must be a target, a suite or a test.
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
        return tree.files.filter { $0.path.hasPrefix("ci/") || $0.path == "Makefile" || $0.path.hasSuffix(".yml") }
            .flatMap { file in
                file.lines.enumerated().flatMap { index, line in
                    patterns(line).filter { pattern in !names.contains { $0.contains(pattern) } }
                        .map { file.offence(.testNames, line: index + 1, "no test, suite or target is named \($0)") }
                }
            }
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
