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

    /// The part of a text that a terminal has room for. Lines are cut at its right edge; if there are too many, the
    /// last one has the number of the missing ones. No line end follows it, which would scroll the first one away.
    static func fitted(_ text: String, rows: Int, columns: Int) -> String {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map { cut($0, to: columns) }
        while lines.last?.isEmpty == true { lines.removeLast() }
        if lines.count > rows {
            let missing = lines.count - rows + 1
            lines = Array(lines.prefix(rows - 1)) + [cut("... and \(missing) more lines", to: columns)]
        }
        return lines.joined(separator: "\n")
    }

    /// A line of at most `columns` characters, not counting colours.
    private static func cut(_ line: Substring, to columns: Int) -> String {
        var result = "", width = 0, isInSequence = false
        for character in line {
            if character == "\u{1b}" { isInSequence = true }
            if isInSequence {
                result.append(character)
                if character.isLetter { isInSequence = false }
            } else if width < columns {
                result.append(character)
                width += 1
            }
        }
        return result
    }

    /// Bits a second, such as `12.3 Mbit/s`.
    static func rate(_ bits: Double) -> String { scaled(bits, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"]) }

    /// A number of bytes, such as `1.5 MB`.
    static func bytes(_ count: Int) -> String { scaled(Double(count), ["B", "kB", "MB", "GB", "TB", "PB"]) }

    private static func scaled(_ value: Double, _ units: [String]) -> String {
        var value = value, unit = 0
        while value >= 1000, unit < units.count - 1 {
            value /= 1000
            unit += 1
        }
        if unit == 0 || value >= 99.95 { return "\(Int(value.rounded())) \(units[unit])" }
        let tenths = Int((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10) \(units[unit])"
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

    init(_ header: String...) { self.header = header }

    /// Adds a row. Control characters of its cells become `?`.
    mutating func add(_ cells: String...) { add(cells) }

    /// Adds a row. Control characters of its cells become `?`.
    mutating func add(_ cells: [String]) { rows.append(cells.map { PrintableText.line($0, limit: 128) }) }

    var isEmpty: Bool { rows.isEmpty }

    /// The lines, the header in bold if there are colours.
    func text(hasColours: Bool, indent: String = "") -> String {
        let widths = header.indices.map { column in
            ([header] + rows).map { column < $0.count ? $0[column].count : 0 }.max() ?? 0
        }
        func line(_ cells: [String]) -> String {
            var text = indent
            for (column, cell) in cells.enumerated() {
                text += cell
                if column < cells.count - 1 { text += String(repeating: " ", count: widths[column] - cell.count + 2) }
            }
            return String(text.reversed().drop { $0 == " " }.reversed()) + "\n"
        }
        var title = line(header)
        if hasColours { title = TerminalText.coloured(String(title.dropLast()), .bold, true) + "\n" }
        return title + rows.map(line).joined()
    }
}
