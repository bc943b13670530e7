// SPDX-License-Identifier: Apache-2.0
import Platform

/// Standard error, as far as it takes lines without waiting. A reader that does not read, or a terminal that was
/// stopped with Ctrl-S, loses lines, and stops no thread. The next line that is written has the number of those that
/// were lost before it.
enum LogOutput {
    private static let lost = Mutex(0)

    /// Writes lines, with their line ends, or counts them as one lost line.
    static func write(_ line: String) {
        // With the mutex locked, because a pipe with little room takes only one line without waiting.
        lost.withLock { lost in
            if lost > 0 {
                guard StandardOutput.writeErrorAtOnce(text(lost)) else {
                    lost += 1
                    return
                }
                lost = 0
            }
            if !StandardOutput.writeErrorAtOnce(line) { lost += 1 }
        }
    }

    private static func text(_ count: Int) -> String {
        "vde_vmnet: warning: lines of this log that were lost because standard error took none: \(count)\n"
    }
}
