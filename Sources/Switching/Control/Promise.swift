// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing

/// A value that one thread waits for and another one provides, once.
final class Promise<Value: Sendable>: Sendable {
    private let value = Mutex<Value?>(nil)
    private let wakeup: Wakeup

    init() throws(SystemError) { wakeup = try Wakeup() }

    func fulfill(_ value: Value) {
        self.value.withLock { $0 = value }
        wakeup.signal()
    }

    /// The value, or nil if `deadline` comes first.
    func wait(until deadline: Instant) -> Value? {
        // A signal ends the wait early.
        while BootClock.now < deadline {
            if let given = value.withLock({ $0 }) { return given }
            _ = wakeup.descriptor.wait(for: .readable, until: UInt64(deadline.nanoseconds))
        }
        return value.withLock { $0 }
    }
}
