// SPDX-License-Identifier: Apache-2.0
import Platform

/// Text for people: columns, colours on a terminal, numbers with units.
enum TerminalText {
    /// Whether standard output shows colours: a terminal, unless NO_COLOR is set (no-color.org) or TERM is `dumb`.
    static var hasColours: Bool {
        guard CurrentProcess.environment("NO_COLOR").map(\.isEmpty) ?? true,
            CurrentProcess.environment("TERM") != "dumb"
        else { return false }
        return StandardOutput.isTerminal
    }

    /// ECMA-48 colours.
    enum Colour: String {
        case bold = "1", dim = "2", red = "31", green = "32", yellow = "33"
    }

    /// The text in a colour, if `isOn`.
    static func coloured(_ text: String, _ colour: Colour, _ isOn: Bool) -> String {
        isOn ? "\u{1b}[\(colour.rawValue)m\(text)\u{1b}[0m" : text
    }

    /// A line of at most `columns` columns, not counting colours.
    static func cut(_ line: String, to columns: Int) -> String {
        var result = "", width = 0, isInSequence = false
        for character in line {
            if character == "\u{1b}" { isInSequence = true }
            if isInSequence {
                result.append(character)
                if character.isLetter { isInSequence = false }
                continue
            }
            width += TerminalText.width(of: character)
            if width <= columns { result.append(character) }
        }
        return result
    }

    /// The columns that a text without colours takes.
    static func width(of text: String) -> Int {
        text.utf8.allSatisfy { $0 < 0x80 } ? text.utf8.count : text.reduce(0) { $0 + width(of: $1) }
    }

    /// Letters of East Asia and pictures take two columns (Unicode UAX 11), marks above letters none.
    private static func width(of character: Character) -> Int {
        character.unicodeScalars.map { scalar in
            switch scalar.value {
            case 0x0300...0x036f, 0x200b...0x200f, 0x20d0...0x20ff, 0xfe00...0xfe0f: 0
            case 0x1100...0x115f, 0x2e80...0xa4cf, 0xac00...0xd7a3, 0xf900...0xfaff, 0xfe30...0xfe6f, 0xff00...0xff60,
                0xffe0...0xffe6, 0x1f300...0x1f64f, 0x1f680...0x1f6ff, 0x1f900...0x1f9ff, 0x20000...0x3fffd:
                2
            default: 1
            }
        }.max() ?? 0
    }

    /// Bits a second, such as `12.3 Mbit/s`; without the unit, `12.3M`.
    static func rate(_ bits: Double, hasUnit: Bool = true) -> String {
        hasUnit
            ? scaled(bits, [" bit/s", " kbit/s", " Mbit/s", " Gbit/s", " Tbit/s"])
            : scaled(bits, ["", "k", "M", "G", "T"])
    }

    /// A number of bytes, such as `1.5 MB`.
    static func bytes(_ count: Int) -> String { scaled(Double(count), [" B", " kB", " MB", " GB", " TB", " PB"]) }

    private static func scaled(_ value: Double, _ units: [String]) -> String {
        var value = value, unit = 0
        // 999.5 would be shown as 1000.
        while value >= 999.5, unit < units.count - 1 {
            value /= 1000
            unit += 1
        }
        if unit == 0 || value >= 99.95 { return "\(Int(value.rounded()))\(units[unit])" }
        let tenths = Int((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10)\(units[unit])"
    }

    /// A length of time, such as `2h 5m`.
    static func duration(_ seconds: Int) -> String {
        switch seconds {
        case ..<60: "\(seconds)s"
        case ..<3600: "\(seconds / 60)m \(seconds % 60)s"
        case ..<86_400: "\(seconds / 3600)h \(seconds / 60 % 60)m"
        default: "\(seconds / 86_400)d \(seconds / 3600 % 24)h"
        }
    }
}

/// Rows of text in aligned columns.
struct TextTable {
    private let header: [String]
    private var rows: [[String]] = []

    init(_ header: String...) { self.init(header) }

    init(_ header: [String]) { self.header = header }

    /// Adds a row. Control characters of its cells become `?`.
    mutating func add(_ cells: String...) { add(cells) }

    /// Adds a row. Control characters of its cells become `?`.
    mutating func add(_ cells: [String]) { rows.append(cells.map { PrintableText.line($0, limit: 128) }) }

    var isEmpty: Bool { rows.isEmpty }

    /// The lines, the header in bold if there are colours.
    func text(hasColours: Bool, indent: String = "") -> String {
        let widths = header.indices.map { column in
            ([header] + rows).map { column < $0.count ? TerminalText.width(of: $0[column]) : 0 }.max() ?? 0
        }
        func line(_ cells: [String]) -> String {
            var text = indent
            for (column, cell) in cells.enumerated() {
                text += cell
                if column < cells.count - 1 {
                    text += String(repeating: " ", count: widths[column] - TerminalText.width(of: cell) + 2)
                }
            }
            return String(text.reversed().drop { $0 == " " }.reversed()) + "\n"
        }
        var title = line(header)
        if hasColours { title = TerminalText.coloured(String(title.dropLast()), .bold, true) + "\n" }
        return title + rows.map(line).joined()
    }
}
