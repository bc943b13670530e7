// SPDX-License-Identifier: Apache-2.0
import Atomics
import Platform

extension ForwardingWorker {
    /// How many workers a switch may have.
    package static var allowedCounts: ClosedRange<Int> { 1...16 }

    /// Workers that are of use on this host: one for each processor, up to four.
    package static var defaultCount: Int { min(WorkerThread.processors, 4) }

    /// Starts the threads of a switch, which run until `SwitchControl.stop`.
    /// - Parameter onEnd: called by the last of them.
    /// - Throws: if a thread or a descriptor cannot be created. No thread runs on then.
    package static func start(
        control: SwitchControl, workers: Int = 1, onEnd: @escaping @Sendable () -> Void = {}
    ) throws(SystemError) {
        let first = try ForwardingWorker(control: control, workers: workers)
        let running = ManagedAtomic<Int>(1)
        for index in 1..<max(1, workers) {
            let box = Mutex<ForwardingWorker?>(first.makeWorker(index))
            running.wrappingIncrement(ordering: .relaxed)
            do {
                try WorkerThread.start(named: "forwarder \(index + 1)") { run(box, running, onEnd) }
            } catch {
                first.fabric.topologyLock.lockExclusive()
                first.fabric.stop()
                first.fabric.topologyLock.unlock()
                throw error
            }
        }
        control.setRunning(true)
        let box = Mutex<ForwardingWorker?>(first)
        try WorkerThread.start(named: "forwarder") {
            run(box, running) {
                control.setRunning(false)
                onEnd()
            }
        }
    }

    /// Takes the worker, which cannot be copied into a closure, out of `box` and runs it.
    private static func run(
        _ box: Mutex<ForwardingWorker?>, _ running: ManagedAtomic<Int>, _ onEnd: () -> Void
    ) {
        var worker = box.withLock { $0.take()! }
        worker.run()
        if running.wrappingDecrementThenLoad(ordering: .acquiringAndReleasing) == 0 { onEnd() }
    }
}
