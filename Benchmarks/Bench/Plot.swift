// SPDX-License-Identifier: Apache-2.0

/// The rows with a goal against another program, as bars: how many times the other's value ours is, and where the goal
/// lies.
struct Plot {
    let rows: [Row]

    private static let labelWidth = 460.0, barWidth = 420.0, lineHeight = 22.0, scale = 70.0

    var svg: String {
        let bars = rows.flatMap { row in
            row.goals.compactMap { goal in
                goal.reference.flatMap { reference in
                    goal.result(in: row).map {
                        (label: "\(row.what), \(row.unit): \(goal.subject) / \(reference)", result: $0, goal: goal)
                    }
                }
            }
        }
        let width = Plot.labelWidth + Plot.barWidth + 90, height = Double(bars.count) * Plot.lineHeight + 60
        var text =
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"\(Int(width))\" height=\"\(Int(height))\" "
            + "font-family=\"sans-serif\" font-size=\"12\">\n"
        text +=
            "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<text x=\"8\" y=\"18\" "
            + "font-weight=\"bold\">Ratios; the line in each bar's row is the goal (&gt;: at least, &lt;: at "
            + "most)</text>\n"
        for (index, bar) in bars.enumerated() {
            let y = 34 + Double(index) * Plot.lineHeight
            let length = min(bar.result * Plot.scale, Plot.barWidth),
                goal = min(bar.goal.limit * Plot.scale, Plot.barWidth)
            let colour = bar.goal.isMet(by: bar.result) ? "#3a7d44" : "#c0583a"
            text +=
                "<text x=\"\(Plot.labelWidth - 6)\" y=\"\(y + 12)\" text-anchor=\"end\">\(escaped(bar.label))</text>\n"
            text +=
                "<rect x=\"\(Plot.labelWidth)\" y=\"\(y)\" width=\"\(length.plain)\" height=\"15\" "
                + "fill=\"\(colour)\"/>\n"
            text +=
                "<line x1=\"\(Plot.labelWidth + goal)\" x2=\"\(Plot.labelWidth + goal)\" y1=\"\(y - 3)\" "
                + "y2=\"\(y + 18)\" stroke=\"#000\" stroke-width=\"2\"/>\n"
            text +=
                "<text x=\"\(Plot.labelWidth + max(length, goal) + 6)\" y=\"\(y + 12)\">\(bar.result.short) "
                + "(\(bar.goal.isMinimum ? "&gt;" : "&lt;") \(bar.goal.limit.short))</text>\n"
        }
        return text + "</svg>\n"
    }

    private func escaped(_ text: String) -> String { text.replacing("&", with: "&amp;").replacing("<", with: "&lt;") }
}
