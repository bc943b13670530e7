// SPDX-License-Identifier: Apache-2.0

/// A doc comment stands above every `package` declaration in Sources. Not needed for
/// overrides, operators, and what a protocol that the type's own line names, or the standard library, requires;
/// initialisers that only store their parameters; constants on one line of a documented type, whose names are those of
/// a standard.
enum Documentation {
    private static let kinds: Set<Substring> = [
        "func", "var", "let", "struct", "class", "enum", "protocol", "init", "subscript", "typealias", "actor",
    ]
    private static let modifiers: Set<Substring> = [
        "static", "final", "mutating", "nonmutating", "nonisolated", "indirect", "borrowing", "consuming", "private",
        "weak", "unowned", "lazy", "convenience", "required", "override", "class", "unsafe",
    ]
    /// Requirements of the standard library's protocols, ArgumentParser's and Logging's.
    private static let standardWitnesses: Set<String> = [
        "description", "debugDescription", "hash", "encode", "rawValue", "allCases", "next", "makeIterator",
        "configuration", "_commandName", "run", "validate", "metadata", "logLevel", "log", "errorDescription",
        "startIndex", "endIndex",
    ]

    struct Declaration: Equatable {
        let kind: String
        let name: String
        let isOverride: Bool
        let isStatic: Bool
    }

    /// The `package` declaration that begins on a line.
    static func declaration(_ line: String) -> Declaration? {
        let code = Confinement.split(line).code
        // `package(set)` is a part of another declaration.
        var words = code.split { $0 == " " }[...]
        while let word = words.first, word.hasPrefix("@") {
            words.removeFirst()
            // An attribute's argument may hold spaces: up to its closing parenthesis.
            if word.contains("("), !word.contains(")") {
                while let next = words.first, !next.contains(")") { _ = next; words.removeFirst() }
                words = words.dropFirst()
            }
        }
        var isPackage = false, isOverride = false, isStatic = false
        while let word = words.first {
            if word == "package" {
                isPackage = true
            } else if word == "class", let next = words.dropFirst().first, ["func", "var"].contains(next) {
                isStatic = true
            } else if kinds.contains(word) || word.hasPrefix("init(") || word.hasPrefix("init?")
                || word.hasPrefix("subscript(") || word.hasPrefix("init<")
            {
                break
            } else if modifiers.contains(word) || word.hasSuffix("(set)") || word.hasPrefix("nonisolated(") {
                if word == "override" { isOverride = true }
                if word == "static" { isStatic = true }
            } else {
                return nil
            }
            words.removeFirst()
        }
        guard isPackage, let word = words.first else { return nil }
        let kind = String(word.prefix { $0.isLetter })
        guard kind == "init" || kind == "subscript" || words.count > 1 else { return nil }
        let name =
            kind == "init" || kind == "subscript"
            ? kind : String(words.dropFirst().first!.prefix { $0.isLetter || $0.isNumber || $0 == "_" || $0 == "`" })
        return Declaration(kind: kind, name: name, isOverride: isOverride, isStatic: isStatic)
    }

    /// The requirements of the protocols in `files`, by the protocol's name.
    static func requirements(_ files: [SourceFile]) -> [String: Set<String>] {
        var found: [String: Set<String>] = [:]
        for file in files {
            var current: String?
            for line in file.lines {
                let words = line.split { !($0.isLetter || $0.isNumber || $0 == "_") }
                if let place = words.firstIndex(of: "protocol"), place + 1 < words.count, !isComment(line),
                    line.hasSuffix("{"), line.first != " "
                {
                    current = String(words[place + 1])
                } else if line.hasPrefix("}") {
                    current = nil
                } else if let current, !isComment(line),
                    let place = words.firstIndex(where: { ["func", "var", "init", "subscript"].contains($0) })
                {
                    let name =
                        ["init", "subscript"].contains(words[place])
                        ? words[place] : words[min(place + 1, words.count - 1)]
                    found[current, default: []].insert(String(name))
                }
            }
        }
        return found
    }

    private static func isComment(_ line: String) -> Bool { line.drop { $0 == " " }.hasPrefix("//") }

    private static func indentation(_ line: String) -> Int { line.prefix { $0 == " " }.count }

    static func offences(_ tree: SourceTree) -> [Offence] {
        let files = tree.sources.filter(\.isSwift)
        // ArgumentParser is not read into the tree.
        let requirements = requirements(files).merging(["ExpressibleByArgument": ["init"]]) { $0.union($1) }
        return files.flatMap { offences($0, requirements) }
    }

    private static func offences(_ file: SourceFile, _ requirements: [String: Set<String>]) -> [Offence] {
        file.lines.indices.compactMap { index in
            let line = file.lines[index]
            guard let declaration = declaration(line), !declaration.isOverride, !declaration.name.isEmpty,
                !isDocumented(file, index), !isWitness(declaration, file, index, requirements),
                !(declaration.kind == "init" && onlyStores(file, index)),
                !(declaration.isStatic && isLiteral(line) && isInDocumentedType(file, index))
            else { return nil }
            return file.offence(
                .documentation, line: index + 1,
                "`\(declaration.kind == declaration.name ? "" : declaration.kind + " ")\(declaration.name)` is "
                    + "`package` and has no doc comment"
            )
        }
    }

    private static func isDocumented(_ file: SourceFile, _ index: Int) -> Bool {
        var above = index - 1
        while above >= 0 {
            let text = file.lines[above].drop { $0 == " " }
            guard text.hasPrefix("@") || text.hasPrefix("#if") || text.hasPrefix("// swift-format-ignore") else {
                return text.hasPrefix("///")
            }
            above -= 1
        }
        return false
    }

    /// The line that begins the enclosing declaration.
    private static func enclosing(_ file: SourceFile, _ index: Int) -> Int? {
        let own = indentation(file.lines[index])
        guard own > 0 else { return nil }
        var above = index - 1
        while above >= 0 {
            let line = file.lines[above]
            if !line.isEmpty, !isComment(line), indentation(line) < own, line.drop(while: { $0 == " " }).first != "#" {
                // A declaration that is longer than a line ends with a line of its own.
                if line.drop(while: { $0 == " " }).hasPrefix("{"), above > 0 { above -= 1; continue }
                return above
            }
            above -= 1
        }
        return nil
    }

    private static func isWitness(
        _ declaration: Declaration, _ file: SourceFile, _ index: Int, _ requirements: [String: Set<String>]
    ) -> Bool {
        if standardWitnesses.contains(declaration.name) { return true }
        guard let place = enclosing(file, index) else { return false }
        let head = Set(file.lines[place].split { !($0.isLetter || $0.isNumber || $0 == "_") }.map(String.init))
        // A protocol's own members have no `package`; what names the protocol is an extension or a type.
        return head.contains { requirements[$0]?.contains(declaration.name) == true }
    }

    /// Whether an initialiser does nothing, or nothing but `self.x = x`.
    private static func onlyStores(_ file: SourceFile, _ index: Int) -> Bool {
        if file.lines[index].hasSuffix("{}") { return true }
        let own = indentation(file.lines[index])
        if let open = file.lines[index].range(of: "{ "), file.lines[index].hasSuffix("}") {
            let body = file.lines[index][open.upperBound...].dropLast().split(separator: ";")
            return body.allSatisfy(isStore)
        }
        var isBody = file.lines[index].hasSuffix("{")
        for line in file.lines[(index + 1)...] {
            if indentation(line) <= own, line.drop(while: { $0 == " " }).hasPrefix("}") { return true }
            if isBody {
                guard isStore(line[...]) else { return false }
            } else if line.hasSuffix("{") {
                isBody = true
            }
        }
        return false
    }

    private static func isStore(_ statement: Substring) -> Bool {
        let parts = statement.split(separator: "=").map { $0.split(separator: " ").joined() }
        guard parts.count == 2 else { return false }
        let name = parts[0].hasPrefix("self.") ? String(parts[0].dropFirst(5)) : parts[0]
        return name.allSatisfy { $0.isLetter || $0.isNumber || $0 == "_" }
            && (parts[1] == name || parts[1] == "consume" + name || parts[0].hasPrefix("self."))
    }

    private static func isLiteral(_ line: String) -> Bool {
        if line.contains("static var "), line.hasSuffix(" }") { return true }
        guard let equals = line.range(of: " = ") else { return false }
        let value = line[equals.upperBound...]
        return value.first.map { $0.isNumber || $0 == "\"" || $0 == "-" || $0 == "." } == true
            || value.contains("(rawValue: ")
    }

    private static func isInDocumentedType(_ file: SourceFile, _ index: Int) -> Bool {
        enclosing(file, index).map { isDocumented(file, $0) } ?? false
    }
}
