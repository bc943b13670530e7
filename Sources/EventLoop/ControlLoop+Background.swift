// SPDX-License-Identifier: Apache-2.0
import Platform

// Work that may wait, away from the main thread.

extension ControlLoop {
    /// What the worker hands over.
    private final class Handover<Value: Sendable>: Sendable {
        let value = Mutex<Value?>(nil)
        let wakeup: Wakeup

        init() throws(SystemError) { wakeup = try Wakeup() }
    }

    /// Runs `work` on a thread of its own, and then `completion` with what it returned on this loop, if the loop still
    /// runs.
    package func runInBackground<Value: Sendable>(
        named name: String, _ work: @escaping @Sendable () -> Value, then completion: @escaping (Value) -> Void
    ) throws(SystemError) {
        let handover = try Handover<Value>()
        try WorkerThread.start(named: name) {
            let value = work()
            handover.value.withLock { $0 = value }
            handover.wakeup.signal()
        }
        try watch(handover.wakeup.descriptor.raw) { [unowned self] _ in
            unwatch(handover.wakeup.descriptor.raw)
            if let value = handover.value.withLock({ $0 }) { completion(value) }
        }
    }

    /// Handles what comes until `isDone`, or until `stop`.
    /// - Returns: false if it was stopped.
    package func run(until isDone: () -> Bool) -> Bool {
        while !isDone() {
            if isStopped { return false }
            turn()
        }
        return true
    }
}
