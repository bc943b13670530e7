// SPDX-License-Identifier: Apache-2.0
import Platform

/// One thing that was measured of several programs in turn.
struct Row {
    let what: String
    let unit: String
    var series: [(who: String, values: [Double])] = []
    var goals: [Goal] = []

    func values(of who: String) -> [Double]? { series.first { $0.who == who }?.values }
}

/// What the project requires of a row: ours against another's, or against a number.
struct Goal {
    let subject: String
    /// nil: the value itself counts.
    let reference: String?
    let limit: Double
    let isMinimum: Bool

    static func atLeast(_ limit: Double, _ subject: String = Report.ours, times reference: String) -> Goal {
        Goal(subject: subject, reference: reference, limit: limit, isMinimum: true)
    }

    static func atMost(_ limit: Double, _ subject: String = Report.ours, times reference: String? = nil) -> Goal {
        Goal(subject: subject, reference: reference, limit: limit, isMinimum: false)
    }

    /// The median of the rounds' own ratios, so that what disturbs both sides of a round does not count.
    func result(in row: Row) -> Double? {
        guard let own = row.values(of: subject), !own.isEmpty else { return nil }
        guard let reference else { return own.median }
        guard let other = row.values(of: reference), !other.isEmpty else { return nil }
        return zip(own, other).map { $0 / max($1, 1e-9) }.median
    }

    func isMet(by result: Double) -> Bool { isMinimum ? result >= limit : result <= limit }

    var text: String {
        let bound = isMinimum ? "at least" : "at most"
        return reference.map { "\(bound) \(limit.short)x \($0)" } ?? "\(bound) \(limit.short)"
    }
}

/// Everything that was measured, in the order in which it first came.
final class Report {
    /// What the project's own program is called in the table.
    static let ours = "vde_vmnet"

    private(set) var rows: [Row] = []
    private(set) var notes: [String] = []
    let host = HostDescription()

    func add(_ what: String, _ unit: String, _ who: String, _ value: Double) {
        let index = rows.firstIndex { $0.what == what && $0.unit == unit } ?? rows.count
        if index == rows.count { rows.append(Row(what: what, unit: unit)) }
        if let series = rows[index].series.firstIndex(where: { $0.who == who }) {
            rows[index].series[series].values.append(value)
        } else {
            rows[index].series.append((who, [value]))
        }
    }

    func want(_ what: String, _ unit: String, _ goals: Goal...) {
        if let index = rows.firstIndex(where: { $0.what == what && $0.unit == unit }) { rows[index].goals += goals }
    }

    func note(_ text: String) {
        notes.append(text)
        StandardOutput.writeError("note: \(text)\n")
    }

    func progress(_ text: String) { StandardOutput.writeError("\(text)\n") }

    // MARK: Writing

    /// A table in Markdown, which reads well in a terminal too.
    var table: String {
        var text =
            "| what | unit | program | median | lowest to highest | of vde_switch's | goal | |\n"
            + "|---|---|---|---:|---|---:|---|---|\n"
        for row in rows {
            let base = row.values(of: "vde_switch")
            for (place, series) in row.series.enumerated() {
                let ratio =
                    base.map { base in
                        series.who == "vde_switch"
                            ? "" : zip(series.values, base).map { $0 / max($1, 1e-9) }.median.short
                    } ?? ""
                let goals = row.goals.filter { $0.subject == series.who }
                let verdicts = goals.compactMap { goal in
                    goal.result(in: row).map { "\(goal.isMet(by: $0) ? "met" : "not met") (\($0.short))" }
                }
                text +=
                    "| \(place == 0 ? row.what : "") | \(place == 0 ? row.unit : "") | \(series.who) | "
                    + "\(series.values.median.short) | "
                text +=
                    "\((series.values.min() ?? 0).short) to \((series.values.max() ?? 0).short) "
                    + "(\(series.values.count)) | \(ratio) | "
                text += "\(goals.map(\.text).joined(separator: "; ")) | \(verdicts.joined(separator: "; ")) |\n"
            }
        }
        return text
    }

    var json: String {
        func quoted(_ text: String) -> String {
            "\"" + text.map { $0 == "\"" || $0 == "\\" ? "\\\($0)" : $0.isNewline ? " " : String($0) }.joined() + "\""
        }
        let rows = rows.map { row in
            let series = row.series.map {
                "{\"program\": \(quoted($0.who)), \"median\": \($0.values.median.plain), \"values\": "
                    + "[\($0.values.map(\.plain).joined(separator: ", "))]}"
            }
            let goals = row.goals.compactMap { goal in
                goal.result(in: row).map {
                    "{\"program\": \(quoted(goal.subject)), \"goal\": \(quoted(goal.text)), \"result\": \($0.plain), "
                        + "\"met\": \(goal.isMet(by: $0))}"
                }
            }
            return
                "    {\"what\": \(quoted(row.what)), \"unit\": \(quoted(row.unit)),\n     \"series\": "
                + "[\(series.joined(separator: ",\n       "))],\n     \"goals\": "
                + "[\(goals.joined(separator: ", "))]}"
        }
        let lines = host.lines.map { "{\(quoted($0.0)): \(quoted($0.1))}" }
        return
            "{\n  \"machine\": [\(lines.joined(separator: ", "))],\n  \"notes\": "
            + "[\(notes.map(quoted).joined(separator: ", "))],\n  \"rows\": [\n\(rows.joined(separator: ",\n"))\n"
            + "  ]\n}\n"
    }

    /// Writes the table, the numbers and the plot into a folder.
    func write(to folder: String) throws {
        try Files.makeDirectories(folder)
        var text =
            "# Results of `make bench`\n\nWritten by `make bench`; docs/performance.md explains the rows.\n\n"
        for (name, value) in host.lines { text += "* \(name): \(value)\n" }
        text += "\n" + table
        if !notes.isEmpty { text += "\n" + notes.map { "* \($0)" }.joined(separator: "\n") + "\n" }
        text += "\n![Ratios](results.svg)\n"
        try Files.replace(folder + "/results.md", Array(text.utf8))
        try Files.replace(folder + "/results.json", Array(json.utf8))
        try Files.replace(folder + "/results.svg", Array(Plot(rows: rows).svg.utf8))
    }
}

extension Array<Double> {
    var median: Double {
        let sorted = sorted()
        guard !sorted.isEmpty else { return 0 }
        return sorted.count % 2 == 1
            ? sorted[sorted.count / 2] : (sorted[sorted.count / 2 - 1] + sorted[sorted.count / 2]) / 2
    }
}

extension Double {
    /// Three figures, for a reader.
    var short: String {
        let size = Swift.abs(self)
        let digits: Double = size >= 100 ? 1 : size >= 10 ? 10 : size >= 1 ? 100 : 1000
        let rounded = (self * digits).rounded() / digits
        return rounded == rounded.rounded() ? String(Int(rounded)) : String(rounded)
    }

    var plain: String { isFinite ? String((self * 10_000).rounded() / 10_000) : "0" }
}
