// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Switching

/// How many threads forward frames.
struct WorkerOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Threads that may forward frames, 1 to 16; more than one do when one is not enough. (default: one for each processor, up to 4)",
            valueName: "n"))
    var workers: Int?

    /// Nil for as many as are of use here.
    func makeWorkers() throws -> Int? {
        if let workers, !ForwardingWorker.allowedCounts.contains(workers) {
            throw ValidationError(
                "--workers: \(workers) is not between \(ForwardingWorker.allowedCounts.lowerBound) and \(ForwardingWorker.allowedCounts.upperBound)"
            )
        }
        return workers
    }
}
