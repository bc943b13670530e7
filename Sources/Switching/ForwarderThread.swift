// SPDX-License-Identifier: Apache-2.0
import Atomics
import Platform

extension Forwarder {
    /// How many workers a forwarder may have.
    package static var workerCounts: ClosedRange<Int> { 1...16 }

    /// Workers that are of use on this machine: one for each processor, up to four.
    package static var usefulWorkers: Int { min(WorkerThread.processors, 4) }

    /// Starts the threads of a forwarder, which run until `control.stop()`.
    /// - Parameter onEnd: called by the last of them.
    package static func start(
        control: SwitchControl, workers: Int = 1, onEnd: @escaping @Sendable () -> Void = {}
    ) throws(SystemError) {
        let first = try Forwarder(control: control, workers: workers)
        let running = ManagedAtomic<Int>(1)
        for index in 1..<max(1, workers) {
            let helper = OneTimeBox(first.makeHelper(index))
            running.wrappingIncrement(ordering: .relaxed)
            do {
                try WorkerThread.start(named: "forwarder \(index + 1)") { run(helper, running, onEnd) }
            } catch {
                first.fabric.gate.lockExclusive()
                first.end()
                first.fabric.gate.unlock()
                throw error
            }
        }
        control.setRunning(true)
        let box = OneTimeBox(first)
        try WorkerThread.start(named: "forwarder") {
            run(box, running) {
                control.setRunning(false)
                onEnd()
            }
        }
    }

    private static func run(_ box: OneTimeBox, _ running: ManagedAtomic<Int>, _ onEnd: () -> Void) {
        var forwarder = box.take()
        forwarder.run()
        if running.wrappingDecrementThenLoad(ordering: .acquiringAndReleasing) == 0 { onEnd() }
    }
}

/// Carries a value that cannot be copied into a thread's closure.
private final class OneTimeBox: @unchecked Sendable {
    private var value: Forwarder?

    init(_ value: consuming Forwarder) { self.value = consume value }

    func take() -> Forwarder { value.take()! }
}
