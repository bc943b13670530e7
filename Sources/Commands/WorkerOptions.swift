// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Switching

/// How many threads forward frames.
struct WorkerOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            Maximum number of threads that forward frames, 1 to 16. Threads start when the load needs them. (default: \
            one per processor, up to 4)
            """,
            valueName: "n"), transform: Int.parse)
    var workers: Int?

    /// The number of threads; nil: one per processor, up to a limit.
    func makeWorkers() throws -> Int? {
        if let workers, !ForwardingWorker.allowedCounts.contains(workers) {
            throw ValidationError(
                """
                --workers: \(workers) is not between \(ForwardingWorker.allowedCounts.lowerBound) and \
                \(ForwardingWorker.allowedCounts.upperBound)
                """
            )
        }
        return workers
    }
}
