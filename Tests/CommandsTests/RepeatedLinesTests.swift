// SPDX-License-Identifier: Apache-2.0
import Logging
import Testing
import Timing

@testable import Commands

private let start = Instant.distantPast + .seconds(1000)

private func line(_ text: String, _ level: Logger.Level = .warning) -> RepeatedLines.Line {
    RepeatedLines.Line(level: level, text: text)
}

@Suite struct RepeatedLinesTests {
    @Test func repeatedLineIsWrittenOnceInTenSeconds() {
        var lines = RepeatedLines()
        #expect(lines.lines(for: .warning, "lost", now: start) == [line("lost")])
        for second in 1...9 {
            #expect(lines.lines(for: .warning, "lost", now: start + .seconds(Int64(second))).isEmpty)
        }
        #expect(lines.nextReport == start + .seconds(10))
        #expect(lines.expired(now: start + .milliseconds(9_999)).isEmpty)
        #expect(lines.expired(now: start + .seconds(10)) == [line("lost (9 times more)")])
        #expect(lines.nextReport == nil && lines.flush().isEmpty)
    }

    @Test func lineThatComesAgainLaterIsWrittenAfterItsNumber() {
        var lines = RepeatedLines()
        _ = lines.lines(for: .notice, "lost", now: start)
        _ = lines.lines(for: .notice, "lost", now: start + .seconds(1))
        #expect(
            lines.lines(for: .notice, "lost", now: start + .seconds(11))
                == [line("lost (1 time more)", .notice), line("lost", .notice)])
    }

    @Test func otherTextAndOtherLevelAreOtherLines() {
        var lines = RepeatedLines()
        #expect(lines.lines(for: .warning, "one", now: start).count == 1)
        #expect(lines.lines(for: .warning, "two", now: start).count == 1)
        #expect(lines.lines(for: .notice, "one", now: start).count == 1)
        #expect(lines.flush().isEmpty)
    }

    @Test func criticalLinesAreNeverSuppressed() {
        var lines = RepeatedLines()
        for _ in 0..<5 { #expect(lines.lines(for: .critical, "ends", now: start) == [line("ends", .critical)]) }
        let long = String(repeating: "x", count: RepeatedLines.longest + 1)
        for _ in 0..<5 { #expect(lines.lines(for: .info, long, now: start).count == 1) }
    }

    @Test func tableIsBoundedAndLosesNoNumber() {
        var lines = RepeatedLines()
        _ = lines.lines(for: .info, "first", now: start)
        _ = lines.lines(for: .info, "first", now: start)
        var written: [RepeatedLines.Line] = []
        for number in 0..<(10 * RepeatedLines.capacity) {
            written += lines.lines(for: .info, "\(number)", now: start)
        }
        #expect(written.count { $0 == line("first (1 time more)", .info) } == 1)
        #expect(written.count == 10 * RepeatedLines.capacity + 1)
        // The first one has no place any more: it is written again.
        #expect(lines.lines(for: .info, "first", now: start) == [line("first", .info)])
    }

    @Test func endOfProgramWritesNumbers() {
        var lines = RepeatedLines()
        for _ in 0..<3 { _ = lines.lines(for: .info, "again", now: start) }
        #expect(lines.flush() == [line("again (2 times more)", .info)])
        #expect(lines.flush().isEmpty)
    }
}
