// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing

/// What the demo prints: commands, their output indented, and a line for each thing that is shown.
final class Show: Sendable {
    private let start = BootClock.now
    private let results = Mutex<(passed: Int, failed: Int)>((0, 0))

    func say(_ text: String) { StandardOutput.writeIfPossible("  \(text)\n") }

    func heading(_ text: String) { StandardOutput.writeIfPossible("\n\(text)\n") }

    func command(_ text: String) { StandardOutput.writeIfPossible("  $ \(text)\n") }

    func output(_ text: String) {
        for line in text.split(separator: "\n") { StandardOutput.writeIfPossible("    \(line)\n") }
    }

    func failure(_ text: String) {
        results.withLock { $0.failed += 1 }
        StandardOutput.writeIfPossible("  FAILED  \(text)\n")
    }

    /// Runs `body` and prints whether it succeeded, with the text that it returns.
    func check(_ what: String, _ body: () throws -> String) {
        do {
            let detail = try body()
            results.withLock { $0.passed += 1 }
            StandardOutput.writeIfPossible("  ok      \(what)\(detail.isEmpty ? "" : ": \(detail)")\n")
        } catch {
            failure("\(what): \(error)")
        }
    }

    func milliseconds(since start: Instant) -> Int64 { (BootClock.now - start).milliseconds }

    /// Prints the last line. True if nothing failed.
    func summary() -> Bool {
        let (passed, failed) = results.withLock { $0 }
        let seconds = Double(milliseconds(since: start) / 100) / 10
        heading("\(passed) of \(passed + failed) shown, in \(seconds) s.")
        return failed == 0
    }
}
