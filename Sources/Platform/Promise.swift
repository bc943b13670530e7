// SPDX-License-Identifier: Apache-2.0
import Timing

/// A value that one thread makes and another waits for.
package final class Promise<Value: Sendable>: Sendable {
    private let result = Mutex<Value?>(nil)
    private let wakeup: Wakeup

    /// A promise without a value.
    /// - Throws: if the process or the system has too many open files.
    package init() throws(SystemError) { wakeup = try Wakeup() }

    /// Readable once the value is there, for a poller to watch. It stays this object's.
    package var descriptor: Int32 { wakeup.descriptor.raw }

    /// The value; nil until `fulfill` was called.
    package var value: Value? { result.withLock { $0 } }

    /// Sets the value and wakes the waiting thread. For any thread, once.
    package func fulfill(_ value: Value) {
        result.withLock { $0 = value }
        wakeup.signal()
    }

    /// Waits for the value, on one thread only; nil if `deadline` passes first.
    package func wait(until deadline: Instant) -> Value? {
        // A signal may end one wait early.
        while BootClock.now < deadline {
            if let value { return value }
            _ = wakeup.descriptor.wait(for: .readable, until: deadline)
        }
        return value
    }
}
