// SPDX-License-Identifier: Apache-2.0
import ControlProtocol
import Platform

/// The screen of `status --watch`: the lines that fit into a terminal. On a small one the ports come first: facts of
/// the network, columns and idle ports are left out.
struct WatchScreen {
    /// A port as the screen shows it.
    struct Port {
        let name: String
        /// The first guest in full, and the shortest text that names it; empty if there is none.
        let guest: (full: String, short: String)
        /// Bits a second.
        let rate: StatusView.Rate
        let queue: Int
        /// Frames, each reason with its count, and all together.
        let drops: (reasons: String, count: Int)
        /// The last rates, both directions together.
        let history: [Double]
        let client: String
    }

    /// The columns of a table, from the widest choice to the narrowest.
    private struct Columns {
        var hasFullGuest = true
        var hasReasons = true
        var hasQueue = true
        var hasUnits = true
        var hasDrops = true
        /// Columns that the graph and the client need at least; 0: left out.
        var leastGraph = WatchScreen.graphLength
        var leastClient = 16

        static let choices: [Columns] = {
            var choices = [Columns()]
            func narrow(_ change: (inout Columns) -> Void) {
                var next = choices[choices.count - 1]
                change(&next)
                choices.append(next)
            }
            narrow { $0.hasFullGuest = false }
            narrow { $0.hasReasons = false }
            narrow { ($0.leastGraph, $0.leastClient) = (10, 0) }
            narrow { ($0.hasQueue, $0.hasUnits, $0.leastGraph) = (false, false, 8) }
            narrow { ($0.hasDrops, $0.leastGraph) = (false, 4) }
            narrow { $0.leastGraph = 0 }
            return choices
        }()
    }

    /// Rates in a graph.
    static let graphLength = 24

    let hasColours: Bool
    let rows: Int
    let columns: Int

    /// - Parameters:
    ///   - facts: lines about the network, the most important first.
    ///   - further: the lines of other tables.
    /// - Returns: at most `rows - 1` lines, each with its end: the cursor stays in the row below, where a shell writes
    ///   its prompt after an interrupt.
    func text(facts: [String], ports: [Port], further: [String]) -> String {
        let room = max(1, rows - 1)
        let whole = facts.count + 1 + max(1, ports.count + 1) + further.count
        var facts = facts, further = further, shown = ports
        if whole > room {
            // The ports get what they need, except for a fact.
            let table = min(ports.count + 1, max(2, room - 2))
            let left = room - table - 1
            facts = Array(facts.prefix(max(1, left)))
            let rest = room - facts.count - 1 - table
            if ports.count + 1 > table { shown = busiest(ports, table - 2) }
            if further.count > rest {
                // A title alone is of no use.
                let kept = rest < 4 ? 0 : rest - 1, missing = further.dropFirst(kept).count { !$0.isEmpty }
                further = rest < 1 ? [] : further.prefix(kept) + ["... and \(missing) more lines"]
            }
        }
        var lines = facts + [""] + portLines(shown)
        if shown.count < ports.count { lines.append("... and \(ports.count - shown.count) ports with less load") }
        lines = Array((lines + further).prefix(room))
        while lines.last?.isEmpty == true { lines.removeLast() }
        return lines.map { TerminalText.cut($0, to: columns) + "\n" }.joined()
    }

    /// The `count` ports with the most load within the graph, in their order. The uplinks are among them.
    private func busiest(_ ports: [Port], _ count: Int) -> [Port] {
        let order = ports.indices.sorted { first, second in
            let loads = [first, second].map { index in
                ports[index].name.hasPrefix("uplink") ? .infinity : ports[index].history.reduce(0, +)
            }
            return loads[0] == loads[1] ? first < second : loads[0] > loads[1]
        }
        return order.prefix(max(1, count)).sorted().map { ports[$0] }
    }

    // MARK: The table

    private func portLines(_ ports: [Port]) -> [String] {
        guard !ports.isEmpty else { return ["no port is in use"] }
        for choice in Columns.choices {
            var table = cells(ports, choice)
            let width = table.width
            let left = columns - width - (choice.leastClient > 0 ? choice.leastClient + 2 : 0)
            let graph = choice.leastGraph == 0 ? 0 : min(WatchScreen.graphLength, left - 2)
            guard graph >= choice.leastGraph, left >= 0 else { continue }
            add(graph, of: ports, choice, to: &table)
            return table.lines(hasColours)
        }
        return cells(ports, Columns.choices[Columns.choices.count - 1]).lines(hasColours)
    }

    private func cells(_ ports: [Port], _ choice: Columns) -> WatchTable {
        var table = WatchTable()
        table.add("PORT", ports.map(\.name))
        table.add("GUEST", ports.map { choice.hasFullGuest ? $0.guest.full : $0.guest.short })
        func rates(_ title: String, _ value: (StatusView.Rate) -> Double) {
            // As wide as the longest rate, so that the columns do not move.
            let least = choice.hasUnits ? 11 : 5
            table.add(
                title, ports.map { TerminalText.rate(value($0.rate), hasUnit: choice.hasUnits) }, isNumber: true,
                least: least)
        }
        rates("IN") { $0.fromClient }
        rates("OUT") { $0.toClient }
        if choice.hasQueue { table.add("QUEUE", ports.map { String($0.queue) }, isNumber: true) }
        if choice.hasDrops {
            table.add(
                "DROPS", ports.map { choice.hasReasons ? $0.drops.reasons : String($0.drops.count) },
                isNumber: !choice.hasReasons)
        }
        return table
    }

    private func add(_ graph: Int, of ports: [Port], _ choice: Columns, to table: inout WatchTable) {
        if graph > 0 {
            let most = max(1000, ports.flatMap { $0.history.suffix(graph) }.max() ?? 0)
            let scale = "LOAD █=\(TerminalText.rate(most))"
            table.add(
                scale.count <= graph ? scale : "LOAD", ports.map { WatchScreen.graph($0.history, most, length: graph) },
                least: graph)
        }
        if choice.leastClient > 0 { table.add("CLIENT", ports.map(\.client)) }
    }

    /// A row of blocks, the last rate at its right end.
    static func graph(_ rates: [Double], _ most: Double, length: Int) -> String {
        let blocks = Array("▁▂▃▄▅▆▇█")
        let text = String(
            rates.suffix(length).map { rate in
                rate <= 0 ? " " : blocks[min(blocks.count - 1, Int(rate / most * Double(blocks.count)))]
            })
        return String(repeating: " ", count: length - text.count) + text
    }
}

/// Columns of text side by side, each as wide as its widest cell.
private struct WatchTable {
    private struct Column {
        let cells: [String]
        let isNumber: Bool
        let width: Int
    }

    private var columns: [Column] = []

    /// - Parameters:
    ///   - isNumber: the cells end at the right edge.
    ///   - least: columns of the terminal.
    mutating func add(_ title: String, _ cells: [String], isNumber: Bool = false, least: Int = 0) {
        let all = [title] + cells.map { PrintableText.line($0, limit: 128) }
        columns.append(
            Column(
                cells: all, isNumber: isNumber, width: max(least, all.map { TerminalText.width(of: $0) }.max() ?? 0)))
    }

    var width: Int { columns.map { $0.width + 2 }.reduce(-2, +) }

    /// The title in bold if there are colours.
    func lines(_ hasColours: Bool) -> [String] {
        (columns.first?.cells ?? []).indices.map { row in
            var text = ""
            for (number, column) in columns.enumerated() {
                let cell = column.cells[row]
                let blank = String(repeating: " ", count: column.width - TerminalText.width(of: cell))
                text += (number > 0 ? "  " : "") + (column.isNumber ? blank + cell : cell + blank)
            }
            let line = String(text.reversed().drop { $0 == " " }.reversed())
            return row == 0 ? TerminalText.coloured(line, .bold, hasColours) : line
        }
    }
}
