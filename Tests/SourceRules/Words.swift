// SPDX-License-Identifier: Apache-2.0
import Foundation

/// Words that have a standard term in their place (docs/glossary.md). Each is looked for in prose: comments, Markdown
/// and, in Sources, string literals; or in names: the words that an identifier is made of.
package enum Words {
    /// A regular expression, matched without regard to case, and what to write instead.
    struct Prose: Sendable {
        let pattern: String
        let instead: String
    }

    static let prose: [Prose] = [
        Prose(pattern: #"\b(some|no|any)body(?!\w)"#, instead: "name the process, client, peer or user"),
        Prose(pattern: #"\bwho(so)?ever\b"#, instead: "name the process, client, peer or user"),
        Prose(pattern: #"(?<=^|[.;:] )who\b(?![^.]*\?)"#, instead: "name the actor as the subject"),
        Prose(pattern: #"\b(tells?|told|telling)\b"#, instead: "report, or send"),
        Prose(pattern: #"\b(hears?|heard|hearing)\b"#, instead: "receive"),
        Prose(pattern: #"(?<!RFC \d{1,4} )\b(say|said|saying|says)\b"#, instead: "report, state or send"),
        Prose(pattern: #"\b(asks?|asked|asking)\b"#, instead: "request, query or probe"),
        Prose(pattern: #"\b(wants?|wanted|wanting)\b"#, instead: "need, require or request"),
        Prose(pattern: #"\b(knows?|knew|knowing)\b"#, instead: "has, stores or finds"),
        Prose(pattern: #"\b(speaks?|spoke|spoken|speaking)\b(?! for itself)"#, instead: "send, or use"),
        Prose(pattern: #"\bknock(s|ed|ing)?\b"#, instead: "send a SYN"),
        Prose(pattern: #"\banew\b"#, instead: "again"),
        Prose(pattern: #"\bin vain\b"#, instead: "without success, or name the error"),
        Prose(pattern: #"\ball the same\b"#, instead: "still, or nevertheless"),
        Prose(pattern: #"\bto be had\b"#, instead: "available"),
        Prose(pattern: #"\bof (ours|(its|their|our|your) own)\b"#, instead: "our, your or its own ..."),
        Prose(pattern: #"\bways? out\b"#, instead: "uplink"),
        Prose(pattern: #"\b(super-?frames?|long frames?)\b"#, instead: "GSO frame"),
        Prose(pattern: #"\bdoors?\b"#, instead: "listener, or socket"),
        Prose(pattern: #"\bpatien(ce|t)\b"#, instead: "timeout, or the timer's name"),
        Prose(pattern: #"(?<!state )(?<!virtual )\bmachines?\b(?!-id)"#, instead: "guest, or host"),
    ]

    /// Words of identifiers, and what to write instead.
    static let names: [String: String] = [
        "somebody": "the actor's name", "nobody": "the actor's name", "anybody": "the actor's name",
        "whoever": "the actor's name", "turn": "poll, run or schedule", "patience": "the timer's name",
        "knock": "SYN", "door": "listener", "doors": "listeners", "latch": "Lock", "guarded": "Mutex",
        "moment": "now, or timestamp", "anew": "again", "vain": "failed", "tell": "report", "tells": "reports",
        "told": "reported", "hear": "receive", "heard": "received", "machine": "guest", "machines": "guests",
        "superframe": "GSO frame", "holding": "PausedIngress", "hears": "receives", "ears": "FrameRecorder",
    ]

    /// Files that quote the words, or speak to people about people.
    static let exempt: Set<String> = ["docs/glossary.md", "CODE_OF_CONDUCT.md"]

    /// What stands between backquotes is code: the user `nobody`.
    private static let code = regex("`[^`]*`")
    private static let compiled = prose.map { (regex($0.pattern), $0.instead) }

    private static func regex(_ pattern: String) -> NSRegularExpression {
        // The patterns are constants, and a test compiles all of them.
        try! NSRegularExpression(pattern: pattern, options: .caseInsensitive)
    }

    static func offences(_ tree: SourceTree) -> [Offence] {
        tree.files.filter { !exempt.contains($0.path) && !$0.path.hasPrefix("Tests/SourceRules") }.flatMap(offences)
    }

    static func offences(_ file: SourceFile) -> [Offence] {
        var found: [Offence] = [], isInBlock = false
        for (index, line) in file.lines.enumerated() {
            if file.isMarkdown {
                if line.hasPrefix("```") { isInBlock.toggle() }
                if !isInBlock { found += prose(line, file, index) }
            } else if file.isSwift || file.isC {
                let (code, comment) = Confinement.split(line)
                found += prose(comment, file, index)
                if file.isSource { for text in Confinement.literals(line) { found += prose(text, file, index) } }
                found += identifiers(code, file, index)
            } else if file.isScript, let mark = line.range(of: "# ") {
                found += prose(String(line[mark.upperBound...]), file, index)
            }
        }
        return found
    }

    private static func prose(_ text: String, _ file: SourceFile, _ index: Int) -> [Offence] {
        guard !text.isEmpty else { return [] }
        let plain = code.stringByReplacingMatches(
            in: text, range: NSRange(text.startIndex..., in: text), withTemplate: "``")
        let trimmed = String(plain.drop { "/#-* ".contains($0) })
        let range = NSRange(trimmed.startIndex..., in: trimmed)
        return compiled.compactMap { expression, instead in
            guard let match = expression.firstMatch(in: trimmed, range: range),
                let word = Range(match.range, in: trimmed)
            else { return nil }
            return file.offence(.words, line: index + 1, "\"\(trimmed[word])\": write \(instead)")
        }
    }

    private static func identifiers(_ code: String, _ file: SourceFile, _ index: Int) -> [Offence] {
        code.split { !($0.isLetter || $0.isNumber || $0 == "_") }.compactMap { identifier in
            let words = parts(String(identifier))
            // A state machine and a virtual machine are standard terms; /etc/machine-id is a file.
            let pairs = zip([""] + words, words).filter { !["state", "virtual"].contains($0.0) }
            guard let word = pairs.map(\.1).first(where: { names[$0] != nil }) else { return nil }
            return file.offence(.words, line: index + 1, "`\(identifier)`: \"\(word)\"; write \(names[word]!)")
        }
    }

    /// The words of an identifier, in lower case: `isTurnDue` is is, turn, due.
    static func parts(_ identifier: String) -> [String] {
        var words: [String] = [], current = "", wasLower = false
        for character in identifier {
            if character == "_" || (character.isUppercase && wasLower) {
                if !current.isEmpty { words.append(current.lowercased()) }
                current = ""
            }
            wasLower = character.isLowercase || character.isNumber
            if character != "_" { current.append(character) }
        }
        if !current.isEmpty { words.append(current.lowercased()) }
        return words
    }
}
