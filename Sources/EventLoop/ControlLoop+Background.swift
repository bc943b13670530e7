// SPDX-License-Identifier: Apache-2.0
import Platform

// Blocking work, away from the control thread.

extension ControlLoop {
    /// Runs `work` on a new thread, and then `completion` with its result on this loop, if the loop still runs.
    /// - Throws: if the thread, or the descriptor of its wake-up, cannot be made.
    package func runInBackground<Value: Sendable>(
        named name: String, _ work: @escaping @Sendable () -> Value, then completion: @escaping (Value) -> Void
    ) throws(SystemError) {
        let result = try Promise<Value>()
        try WorkerThread.start(named: name) { result.fulfill(work()) }
        try watch(result.descriptor) { [unowned self] _ in
            unwatch(result.descriptor)
            if let value = result.value { completion(value) }
        }
    }

    /// Handles events until `isDone` returns true, or until `stop`.
    /// - Returns: false if the loop was stopped.
    package func run(until isDone: () -> Bool) -> Bool {
        while !isDone() {
            if isStopped { return false }
            runOnce()
        }
        return true
    }
}
