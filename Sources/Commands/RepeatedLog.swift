// SPDX-License-Identifier: Apache-2.0
import Logging
import Platform
import Timing

/// Writes lines of a log without repetitions (`RepeatedLines`), from any thread. While lines are suppressed, a thread
/// waits for the end of their interval, and writes their number.
final class RepeatedLog: Sendable {
    private struct State {
        var lines = RepeatedLines()
        /// Whether a thread waits. There is one at most.
        var isWaiting = false
        /// Writes a line, in the way of the logger that was used last.
        var write: (@Sendable (RepeatedLines.Line) -> Void)?
    }

    private let state = Mutex(State())

    /// Writes a line, or only counts it.
    func log(_ line: RepeatedLines.Line, _ write: @escaping @Sendable (RepeatedLines.Line) -> Void) {
        // Written with the mutex locked, so that threads do not change the order of lines. Each would block as long
        // without it.
        let mustWait = state.withLock { state in
            state.write = write
            for one in state.lines.lines(for: line.level, line.text, now: BootClock.now) { write(one) }
            guard state.lines.nextReport != nil, !state.isWaiting else { return false }
            state.isWaiting = true
            return true
        }
        guard mustWait else { return }
        do throws(SystemError) {
            try WorkerThread.start(named: "log") { [self] in wait() }
        } catch {
            // The next line of the log writes the number.
            state.withLock { $0.isWaiting = false }
        }
    }

    /// Writes the numbers of all suppressed lines.
    func flush() { state.withLock { state in state.lines.flush().forEach { state.write?($0) } } }

    private func wait() {
        while true {
            let next: Instant? = state.withLock { state in
                for line in state.lines.expired(now: BootClock.now) { state.write?(line) }
                if state.lines.nextReport == nil { state.isWaiting = false }
                return state.lines.nextReport
            }
            guard let next else { return }
            BootClock.sleep(next - BootClock.now)
        }
    }
}
