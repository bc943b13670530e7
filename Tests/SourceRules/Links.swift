// SPDX-License-Identifier: Apache-2.0
import Foundation

/// Relative links in Markdown lead to files that exist, and their anchors to headings.
enum Links {
    static func offences(_ tree: SourceTree) -> [Offence] {
        let all = Set(tree.files.map(\.path) + ["LICENSE"])
        let folders = Set(all.flatMap(parents))
        return tree.files.filter(\.isMarkdown).flatMap { file in
            links(file).compactMap { line, target -> Offence? in
                if target.contains("://") || target.hasPrefix("mailto:") { return nil }
                let parts = target.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
                let path = parts[0].isEmpty ? file.path : resolve(String(parts[0]), from: file.path)
                // Pictures and data are not read into the tree.
                if [".svg", ".png", ".json"].contains(where: { path.hasSuffix($0) }) { return nil }
                guard all.contains(path) || folders.contains(path) else {
                    return file.offence(.links, line: line, "\(target): there is no \(path)")
                }
                guard parts.count == 2, let other = tree[path], other.isMarkdown else { return nil }
                guard anchors(other).contains(String(parts[1])) else {
                    return file.offence(.links, line: line, "\(target): \(path) has no such heading")
                }
                return nil
            }
        }
    }

    /// The targets of links on lines outside code blocks.
    static func links(_ file: SourceFile) -> [(line: Int, target: String)] {
        var found: [(Int, String)] = [], isInBlock = false
        for (index, line) in file.lines.enumerated() {
            if line.drop(while: { $0 == " " }).hasPrefix("```") { isInBlock.toggle() }
            guard !isInBlock else { continue }
            var rest = Substring(line)
            while let open = rest.range(of: "](") {
                rest = rest[open.upperBound...]
                guard let close = rest.firstIndex(of: ")") else { break }
                found.append((index + 1, String(rest[..<close].prefix { $0 != " " })))
            }
        }
        return found
    }

    /// The anchors that GitHub makes of headings: lower case, blanks as hyphens, punctuation left out.
    static func anchors(_ file: SourceFile) -> Set<String> {
        var found: Set<String> = [], isInBlock = false
        for line in file.lines {
            if line.hasPrefix("```") { isInBlock.toggle() }
            guard !isInBlock, line.hasPrefix("#") else { continue }
            let title = line.drop { $0 == "#" }.drop { $0 == " " }.lowercased()
            let anchor = String(
                title.compactMap { character -> Character? in
                    if character == " " { return "-" }
                    return character.isLetter || character.isNumber || "-_".contains(character) ? character : nil
                })
            var unique = anchor, number = 0
            while found.contains(unique) {
                number += 1
                unique = "\(anchor)-\(number)"
            }
            found.insert(unique)
        }
        return found
    }

    private static func parents(_ path: String) -> [String] {
        let parts = path.split(separator: "/")
        return (1..<max(1, parts.count)).map { parts.prefix($0).joined(separator: "/") }
    }

    private static func resolve(_ target: String, from path: String) -> String {
        var parts = path.split(separator: "/").dropLast().map(String.init)
        for part in target.split(separator: "/") where part != "." {
            if part == ".." { _ = parts.popLast() } else { parts.append(String(part)) }
        }
        return parts.joined(separator: "/")
    }
}
