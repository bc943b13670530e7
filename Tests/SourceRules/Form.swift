// SPDX-License-Identifier: Apache-2.0

/// Rules about the form of files.
enum Form {
    static let columnLimit = 120
    static let lineLimit = 400

    static func licences(_ tree: SourceTree) -> [Offence] {
        tree.files.filter { !$0.isMarkdown && $0.path.contains("/") || $0.isSwift || $0.path == "Makefile" }
            .filter { file in
                (file.isSwift || file.isC || file.isScript)
                    && !file.lines.prefix(3).contains { $0.contains("SPDX-License-Identifier: Apache-2.0") }
            }
            .map { $0.offence(.licence, line: 1, "the first lines lack `SPDX-License-Identifier: Apache-2.0`") }
    }

    /// Rows of Markdown tables and lines of one word, such as a URL, cannot be broken.
    static func columns(_ tree: SourceTree) -> [Offence] {
        tree.files.filter { $0.isSwift || $0.isC || $0.isMarkdown || $0.isScript || $0.isManualOrUnit }
            .filter { !$0.path.hasPrefix("docs/performance/") }
            .flatMap { file in
                file.lines.enumerated().compactMap { index, line -> Offence? in
                    // Bytes first: counting characters is slow.
                    guard line.utf8.count > columnLimit, line.count > columnLimit else { return nil }
                    let text = line.drop { $0 == " " }
                    if file.isMarkdown, text.hasPrefix("|") { return nil }
                    let words = text.split(separator: " ").drop { ["-", "*", "//", "///", "#"].contains($0) }
                    if words.count == 1 { return nil }
                    return file.offence(.columns, line: index + 1, "\(line.count) columns; the limit is \(columnLimit)")
                }
            }
    }

    static func lengths(_ tree: SourceTree) -> [Offence] {
        tree.sources.compactMap { file in
            // The last line end begins no line.
            let count = file.lines.count - (file.lines.last == "" ? 1 : 0)
            guard count > lineLimit else { return nil }
            return file.offence(.fileLength, line: lineLimit, "\(count) lines; the limit is \(lineLimit)")
        }
    }

    static func leftovers(_ tree: SourceTree) -> [Offence] {
        let marks = ["TODO", "FIXME", "XXX"]
        return tree.files.filter { !$0.isMarkdown && !$0.path.hasPrefix("Tests/SourceRules") }.flatMap { file in
            file.lines.enumerated().compactMap { index, line in
                // Templates of names, as mktemp(1) has them, are no marks.
                guard let mark = marks.first(where: { line.contains($0) }), !line.contains("XXXX") else { return nil }
                return file.offence(.leftovers, line: index + 1, "\(mark): finish it, or write an issue")
            }
        }
    }
}
