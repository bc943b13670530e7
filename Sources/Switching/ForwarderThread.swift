// SPDX-License-Identifier: Apache-2.0
import Platform

extension Forwarder {
    /// Starts a thread that runs a forwarder until `control.stop()`.
    package static func start(control: ForwarderControl, onEnd: @escaping @Sendable () -> Void = {}) throws(SystemError) {
        let forwarder = OneTimeBox(try Forwarder(control: control))
        control.setRunning(true)
        try WorkerThread.start(named: "forwarder") {
            var forwarder = forwarder.take()
            forwarder.run()
            control.setRunning(false)
            onEnd()
        }
    }
}

/// Carries a value that cannot be copied into a thread's closure.
private final class OneTimeBox: @unchecked Sendable {
    private var value: Forwarder?

    init(_ value: consuming Forwarder) { self.value = consume value }

    func take() -> Forwarder { value.take()! }
}
