// SPDX-License-Identifier: Apache-2.0
import Foundation

/// A manual page in mdoc(7): NAME, SYNOPSIS and OPTIONS from the parser's description, other sections from a
/// hand-written file, which begins with DESCRIPTION.
package struct ManualPage: Sendable {
    /// The page's name, such as `vde_vmnet-check`.
    package let name: String
    package let section: Int
    /// mdoc source.
    package let text: String

    /// The name of its file.
    package var file: String { "\(name).\(section)" }

    /// The page of one command.
    /// - Parameters:
    ///   - words: the command as it is typed, such as `vde_vmnet check`.
    ///   - command: its description; for the program, that of the default subcommand.
    ///   - abstract: the text of NAME.
    ///   - base: a command whose options are listed on its own page and are left out here.
    ///   - handwritten: mdoc from `.Sh DESCRIPTION` on; nil makes DESCRIPTION of the description.
    ///   - date: of the page, `YYYY-MM-DD`.
    static func command(
        _ words: [String], _ command: CommandDescription, abstract: String, without base: CommandDescription? = nil,
        handwritten: String?, date: String
    ) throws -> ManualPage {
        let name = words.joined(separator: "-")
        let options = command.options.filter { option in base?.options.contains(option) != true }
        let positionals = command.positionals.filter { one in base?.positionals.contains(one) != true }
        var (description, rest) = try split(handwritten ?? generatedDescription(command), name)
        if base != nil { description += "All options of\n.Xr \(words[0]) 1\nare options of this command too.\n" }
        let text =
            header(name, 1, date) + ".Sh NAME\n.Nm \(name)\n.Nd \(decapitalized(abstract))\n.Sh SYNOPSIS\n"
            + synopses(words, command, options: options, positionals: positionals, hasBase: base != nil)
            + description + subcommandList(command)
            + optionList(options + command.commonActionOptions, positionals) + rest
        return ManualPage(name: name, section: 1, text: wrapped(text))
    }

    /// A page that is written by hand but for its head.
    static func handwritten(_ name: String, section: Int, text: String, date: String) -> ManualPage {
        ManualPage(name: name, section: section, text: wrapped(header(name, section, date) + withoutComments(text)))
    }

    // MARK: Parts

    private static func header(_ name: String, _ section: Int, _ date: String) -> String {
        ".\\\" Made by command_reference; edit packaging/man and Sources/Commands instead.\n"
            + ".Dd \(longDate(date))\n.Dt \(name.uppercased()) \(section)\n.Os\n"
    }

    /// `2026-11-29` as mdoc writes it: `November 29, 2026`.
    static func longDate(_ date: String) -> String {
        let months = [
            "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
            "November", "December",
        ]
        let parts = date.split(separator: "-").compactMap { Int($0) }
        guard parts.count == 3, (1...12).contains(parts[1]) else { return date }
        return "\(months[parts[1] - 1]) \(parts[2]), \(parts[0])"
    }

    private static func decapitalized(_ text: String) -> String {
        let text = text.hasSuffix(".") ? String(text.dropLast()) : text
        guard let first = text.first, text.dropFirst().first?.isLowercase == true else { return escaped(text) }
        return escaped(first.lowercased() + text.dropFirst())
    }

    private static func generatedDescription(_ command: CommandDescription) -> String {
        let paragraphs = [command.abstract, command.discussion].compactMap(\.self)
        return ".Sh DESCRIPTION\n"
            + paragraphs.map { paragraph($0) }.joined(separator: ".Pp\n") + ".Sh SEE ALSO\n.Xr vde_vmnet 1\n"
    }

    static func paragraph(_ text: String) -> String {
        sentences(text.replacing("\n", with: " ").split(separator: " ").joined(separator: " "))
    }

    /// The hand-written text in two: DESCRIPTION, and the sections after OPTIONS.
    private static func split(_ text: String, _ name: String) throws -> (String, String) {
        let text = withoutComments(text)
        guard text.hasPrefix(".Sh DESCRIPTION\n") else {
            throw ReferenceError("the hand-written part of \(name) does not begin with .Sh DESCRIPTION")
        }
        let rest = text.dropFirst().range(of: "\n.Sh ").map { text.index(after: $0.lowerBound) } ?? text.endIndex
        return (String(text[..<rest]), String(text[rest...]))
    }

    private static func withoutComments(_ text: String) -> String {
        text.split(separator: "\n", omittingEmptySubsequences: true).filter { !$0.hasPrefix(".\\\"") }
            .map { $0 + "\n" }.joined()
    }

    /// How the command is typed.
    static func synopsis(
        _ words: [String], options: [ArgumentDescription], positionals: [ArgumentDescription], hasBase: Bool
    ) -> String {
        var text = ".Nm \(words[0])\n"
        if words.count > 1 { text += ".Cm \(words[1...].joined(separator: " "))\n" }
        if !options.isEmpty || hasBase { text += ".Op Ar options\n" }
        for one in positionals {
            let name = escapedArgument(one.valueName ?? "argument")
            let repeats = one.isRepeating ? " ..." : ""
            if one.parsingStrategy == "postTerminator" {
                text += ".Fl Fl\n.Ar \(name)\(repeats)\n"
            } else if one.isOptional && one.parsingStrategy == "default" {
                text += ".Op Ar \(name)\(repeats)\n"
            } else {
                text += ".Ar \(name)\(repeats)\n"
            }
        }
        return text
    }

    private static func optionList(_ options: [ArgumentDescription], _ positionals: [ArgumentDescription]) -> String {
        var text = ".Sh OPTIONS\n"
        var title: String?
        var isOpen = false
        func open(_ next: String?) {
            if isOpen { text += ".El\n" }
            // What belongs to no group comes under another title.
            if next != title { text += ".Ss \(next ?? "Network and service")\n" }
            title = next
            text += ".Bl -tag -width Ds\n"
            isOpen = true
        }
        for one in positionals + options {
            if !isOpen || one.sectionTitle != title { open(one.sectionTitle) }
            text += item(one)
        }
        return isOpen ? text + ".El\n" : ""
    }

    /// An item of a list: the option or argument, and what it means.
    static func item(_ one: ArgumentDescription) -> String {
        let value = one.kind == .flag ? "" : " Ar " + escapedArgument(one.valueName ?? "value")
        var text: String
        if one.kind == .positional {
            text = ".It" + value + "\n"
        } else {
            let names = one.spellings.map { name in
                name.hasPrefix("--")
                    ? "Fl Fl " + name.dropFirst(2).replacing("-", with: "\\-") : "Fl " + name.dropFirst()
            }
            text = ".It " + names.joined(separator: " , ") + value + "\n"
        }
        var abstract = one.abstract ?? ""
        if let value = one.defaultValue, !abstract.contains("(default") {
            var lines = abstract.split(separator: "\n").map(String.init)
            let end = lines.count > 1 && lines[0].hasSuffix(":") ? String(lines[0].removeLast()) : ""
            lines[0] += " (default: \(value))" + end
            abstract = lines.joined(separator: "\n")
        }
        let names = abstract.split(separator: "\n").compactMap(valueAndMeaning).map(\.0)
        let width = names.max { $0.count < $1.count }.map { $0.count > 10 ? "Ds" : $0 } ?? "Ds"
        var isInList = false
        for line in abstract.split(separator: "\n") {
            // `name: what it means` below the first line is a list of values.
            if let (value, meaning) = valueAndMeaning(line), line.startIndex != abstract.startIndex {
                if !isInList { text += ".Bl -tag -width \(width) -compact\n" }
                isInList = true
                text += ".It Cm \(escapedArgument(value))\n" + sentences(meaning)
            } else {
                if isInList { text += ".El\n" }
                isInList = false
                text += sentences(String(line))
            }
        }
        if isInList { text += ".El\n" }
        return text
    }

    private static func valueAndMeaning(_ line: Substring) -> (String, String)? {
        guard let colon = line.range(of: ": "), line[..<colon.lowerBound].count <= 24 else { return nil }
        return (String(line[..<colon.lowerBound]), String(line[colon.upperBound...]))
    }

    // MARK: Form

    /// With text lines of at most 80 columns, as mdoc(7) recommends; literal displays stay as they are.
    static func wrapped(_ text: String) -> String {
        var lines: [String] = []
        var isLiteral = false
        for line in text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init) {
            if line.hasPrefix(".Bd") { isLiteral = true }
            if line.hasPrefix(".Ed") { isLiteral = false }
            guard line.utf8.count > 80, !isLiteral, line.first != "." else {
                lines.append(line)
                continue
            }
            var current = ""
            for word in line.split(separator: " ") {
                if !current.isEmpty, current.utf8.count + 1 + word.utf8.count > 78 {
                    lines.append(current)
                    current = word.first == "." || word.first == "'" ? "\\&" : ""
                } else if !current.isEmpty {
                    current += " "
                }
                current += word
            }
            lines.append(current)
        }
        return lines.joined(separator: "\n")
    }

    /// Each sentence on a line, as mdoc requires.
    static func sentences(_ text: String) -> String {
        var lines: [String] = [""]
        for word in text.split(separator: " ", omittingEmptySubsequences: true) {
            let isStart = word.first?.isUppercase == true || word.first == "("
            let ended = lines[lines.count - 1].last.map { ".".contains($0) } == true
            if isStart && ended {
                lines.append(String(word))
            } else {
                lines[lines.count - 1] += (lines[lines.count - 1].isEmpty ? "" : " ") + word
            }
        }
        return lines.map { escaped($0) + "\n" }.joined()
    }

    /// As a text line of roff: no escape, no request, and options with real dashes.
    static func escaped(_ text: String) -> String {
        var result = text.replacing("\\", with: "\\e").replacing("-", with: "\\-")
        // A dash inside a word is a hyphen.
        result = hyphenated(result)
        if let first = result.first, first == "." || first == "'" { result = "\\&" + result }
        return result
    }

    private static func hyphenated(_ text: String) -> String {
        text.split(separator: " ", omittingEmptySubsequences: false).map { word -> String in
            let plain = word.replacing("\\-", with: "-")
            let isCode = plain.drop { "('[".contains($0) }.hasPrefix("-") || plain.contains("/") || plain.contains("=")
            return isCode ? String(word) : String(plain)
        }.joined(separator: " ")
    }

    /// As an argument of a macro: one word.
    static func escapedArgument(_ text: String) -> String {
        let text = text.replacing("\\", with: "\\e")
        return text.contains(" ") ? "\"\(text)\"" : text
    }
}

/// Why a page or a script cannot be made.
struct ReferenceError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}
