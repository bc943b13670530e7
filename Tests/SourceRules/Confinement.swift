// SPDX-License-Identifier: Apache-2.0

/// Rules about code that is allowed in few places only.
package enum Confinement {
    /// `unsafe` and the Unsafe types stand in files named `*+Unsafe.swift`.
    static func unsafeCode(_ tree: SourceTree) -> [Offence] {
        tree.sources.filter { $0.isSwift && !$0.isUnsafe }.flatMap { file in
            file.lines.enumerated().compactMap { index, line in
                let (code, _) = split(line)
                let words = code.split { !($0.isLetter || $0.isNumber || $0 == "_") }
                guard words.contains(where: { $0 == "unsafe" || $0.hasPrefix("Unsafe") }) else { return nil }
                return file.offence(.unsafe, line: index + 1, "unsafe code outside a file named *+Unsafe.swift")
            }
        }
    }

    /// How many Swift files of a target are unsafe, of how many, with their lines.
    package struct UnsafeShare: Sendable, CustomStringConvertible {
        package let target: String
        package let files, unsafeFiles, lines, unsafeLines: Int

        package var description: String {
            "\(target): \(unsafeFiles) of \(files) files, \(unsafeLines) of \(lines) lines are unsafe"
        }
    }

    /// The targets with unsafe files, the largest share first.
    package static func unsafeShares(_ tree: SourceTree) -> [UnsafeShare] {
        Dictionary(grouping: tree.sources.filter(\.isSwift), by: { $0.target ?? "" }).map { target, files in
            let unsafeFiles = files.filter(\.isUnsafe)
            return UnsafeShare(
                target: target, files: files.count, unsafeFiles: unsafeFiles.count,
                lines: files.reduce(0) { $0 + $1.lines.count },
                unsafeLines: unsafeFiles.reduce(0) { $0 + $1.lines.count })
        }
        .filter { $0.unsafeFiles > 0 }.sorted { ($1.unsafeLines, $0.target) < ($0.unsafeLines, $1.target) }
    }

    /// Which C library to import, how sockaddr_un is laid out, and that a Mac has vmnet.framework: only these files
    /// ask for the operating system. Foundation and Dispatch would double start-up time and size.
    static func systems(_ tree: SourceTree) -> [Offence] {
        let allowed: Set = ["Sources/Wire/VDE/UnixAddressLayout.swift"]
        let rooms: Set = ["Platform", "FrameIO", "CLibrary", "vde_vmnet"]
        return tree.sources.filter(\.isSwift).flatMap { file in
            file.lines.enumerated().compactMap { index, line in
                if line.hasPrefix("import Foundation") || line.hasPrefix("import Dispatch") {
                    return file.offence(.systems, line: index + 1, "no Foundation and no Dispatch in Sources")
                }
                if line.contains("#if os(") || line.contains("#if canImport("), !allowed.contains(file.path),
                    !rooms.contains(file.target ?? "")
                {
                    return file.offence(
                        .systems, line: index + 1,
                        "asks which system this is; that belongs to CPlatform, or to one of \(rooms.sorted())")
                }
                if line.contains(".accept()"), !file.path.hasSuffix("/Acceptance.swift"),
                    !file.path.hasSuffix("/AcceptLoop.swift")
                {
                    return file.offence(
                        .systems, line: index + 1,
                        "accepts clients; only AcceptLoop does, which handles a lack of descriptors")
                }
                return nil
            }
        }
    }

    /// A line's code, with string literals emptied, and its comment. Block comments are not used in this project.
    package static func split(_ line: String) -> (code: String, comment: String) {
        var code = "", isInString = false, isEscaped = false
        var rest = Substring(line)
        while let character = rest.first {
            if isInString {
                if isEscaped {
                    isEscaped = false
                } else if character == "\\" {
                    isEscaped = true
                } else if character == "\"" {
                    isInString = false
                    code.append(character)
                }
            } else if rest.hasPrefix("//") {
                return (code, String(rest))
            } else {
                if character == "\"" { isInString = true }
                code.append(character)
            }
            rest.removeFirst()
        }
        return (code, "")
    }

    /// The string literals of a line.
    static func literals(_ line: String) -> [String] {
        var found: [String] = [], current: String?, isEscaped = false
        var rest = Substring(line)
        while let character = rest.first {
            if let text = current {
                if isEscaped {
                    isEscaped = false
                    current = text + " "
                } else if character == "\\" {
                    isEscaped = true
                } else if character == "\"" {
                    found.append(text)
                    current = nil
                } else {
                    current = text + String(character)
                }
            } else if rest.hasPrefix("//") {
                break
            } else if character == "\"" {
                current = ""
            }
            rest.removeFirst()
        }
        return found
    }
}
