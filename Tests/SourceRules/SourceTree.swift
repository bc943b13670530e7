// SPDX-License-Identifier: Apache-2.0
import Foundation

/// A text file under version control, by its path from the package's folder.
package struct SourceFile: Sendable {
    package let path: String
    package let lines: [String]

    package init(path: String, text: String) {
        self.path = path
        lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    }

    package var isSwift: Bool { path.hasSuffix(".swift") }
    package var isC: Bool { path.hasSuffix(".c") || path.hasSuffix(".h") }
    package var isMarkdown: Bool { path.hasSuffix(".md") }
    /// The source of a manual page, or a unit of systemd.
    package var isManualOrUnit: Bool {
        [".mdoc", ".7", ".service", ".socket", ".in"].contains { path.hasSuffix($0) }
    }
    package var isUnsafe: Bool { path.hasSuffix("+Unsafe.swift") }
    /// A script of a shell or of Python without a suffix, a Makefile, or a workflow.
    package var isScript: Bool {
        path == "Makefile" || path.hasSuffix(".yml") || path.hasSuffix(".sh")
            || lines.first?.hasPrefix("#!") == true
    }
    /// The target: the folder below Sources or Tests, nil elsewhere.
    package var target: String? {
        let parts = path.split(separator: "/")
        guard parts.count > 2, ["Sources", "Tests"].contains(parts[0]) else { return nil }
        return String(parts[1])
    }
    package var isSource: Bool { path.hasPrefix("Sources/") }

    package func offence(_ rule: Rule, line: Int = 0, _ message: String) -> Offence {
        Offence(rule: rule, path: path, line: line, message: message)
    }
}

/// A place where a rule is broken.
package struct Offence: CustomStringConvertible, Sendable {
    package let rule: Rule
    package let path: String
    /// From 1 on; 0 if the whole file is meant.
    package let line: Int
    package let message: String

    /// As compilers write it, so that editors find the line.
    package var description: String { "\(path):\(max(line, 1)): \(rule.rawValue): \(message)" }
}

/// The files that the rules apply to.
package struct SourceTree: Sendable {
    package let files: [SourceFile]

    /// A tree made of texts, for tests of the rules.
    package init(_ files: [SourceFile]) { self.files = files }

    /// Reads the package at `root`. Hidden folders, builds and binary files are left out.
    package init(root: String) throws {
        var found: [SourceFile] = []
        func walk(_ folder: String) throws {
            let place = folder.isEmpty ? root : root + "/" + folder
            for name in try FileManager.default.contentsOfDirectory(atPath: place).sorted() {
                let path = folder.isEmpty ? name : folder + "/" + name
                if name.hasPrefix("."), name != ".ci", name != ".github" { continue }
                if ["Package.resolved", "LICENSE"].contains(name) { continue }
                if [".tbd", ".svg", ".json", ".png"].contains(where: { name.hasSuffix($0) }) { continue }
                var isFolder: ObjCBool = false
                guard FileManager.default.fileExists(atPath: root + "/" + path, isDirectory: &isFolder) else {
                    continue
                }
                if isFolder.boolValue {
                    try walk(path)
                } else if let text = try? String(contentsOfFile: root + "/" + path, encoding: .utf8) {
                    found.append(SourceFile(path: path, text: text))
                }
            }
        }
        try walk("")
        files = found
    }

    package subscript(path: String) -> SourceFile? { files.first { $0.path == path } }

    package var swift: [SourceFile] { files.filter(\.isSwift) }
    package var sources: [SourceFile] { files.filter(\.isSource) }
}
