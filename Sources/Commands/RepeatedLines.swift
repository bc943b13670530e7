// SPDX-License-Identifier: Apache-2.0
import Logging
import Timing

/// Suppresses lines of a log that repeat an earlier one within ten seconds, and counts them. The table is bounded: a
/// line that has no place in it is written.
///
/// An entry begins with a line that is written. Until its interval ends, equal lines are counted. The count is written
/// when the interval has ended: by the next line, whichever it is, or by `flush`.
struct RepeatedLines {
    /// How long a line counts as a repetition.
    static let interval = TimeAmount.seconds(10)
    /// Lines that are remembered.
    static let capacity = 64
    /// Bytes of a line that are compared; longer lines are never suppressed, so that the table stays small.
    static let longest = 2048

    /// A line to write.
    struct Line: Equatable {
        let level: Logger.Level
        let text: String
    }

    private struct Entry {
        let line: Line
        let end: Instant
        var suppressed = 0
    }

    /// In the order of their ends.
    private var entries: [Entry] = []

    /// The end of the first interval with suppressed lines; nil if none is suppressed.
    var nextReport: Instant? { entries.first { $0.suppressed > 0 }?.end }

    /// The lines to write now, in order, for a message of the program.
    mutating func lines(for level: Logger.Level, _ text: String, now: Instant) -> [Line] {
        var written = expired(now: now)
        let line = Line(level: level, text: text)
        // What ends the program is not suppressed.
        guard level < .critical, text.utf8.count <= RepeatedLines.longest else { return written + [line] }
        if let index = entries.firstIndex(where: { $0.line == line }) {
            entries[index].suppressed += 1
            return written
        }
        if entries.count == RepeatedLines.capacity {
            // The oldest one makes room; its count is not lost.
            written += RepeatedLines.report(entries.removeFirst())
        }
        entries.append(Entry(line: line, end: now + RepeatedLines.interval))
        return written + [line]
    }

    /// The reports of intervals that have ended.
    mutating func expired(now: Instant) -> [Line] {
        let ended = entries.prefix { $0.end <= now }
        entries.removeFirst(ended.count)
        return ended.flatMap(RepeatedLines.report)
    }

    /// The reports of all intervals, at the end of the program.
    mutating func flush() -> [Line] {
        defer { entries = [] }
        return entries.flatMap(RepeatedLines.report)
    }

    private static func report(_ entry: Entry) -> [Line] {
        guard entry.suppressed > 0 else { return [] }
        return [
            Line(
                level: entry.line.level,
                text: "\(entry.line.text) (\(entry.suppressed) \(entry.suppressed == 1 ? "time" : "times") more)")
        ]
    }
}
