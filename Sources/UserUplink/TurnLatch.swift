// SPDX-License-Identifier: Apache-2.0
import Atomics
import Platform

/// Gives a device's turn to one thread at a time. A worker that finds it taken does not wait: the thread that has it is
/// asked for another one.
struct TurnLatch: ~Copyable, Sendable {
    private let latch = Lock()
    /// A turn was wanted while another thread had it.
    private let hasMissed = ManagedAtomic<Bool>(false)

    /// Begins a turn. Returns false if another thread has it, which notices that at its end.
    func tryBegin() -> Bool {
        if latch.tryLock() { return true }
        hasMissed.store(true, ordering: .sequentiallyConsistent)
        return latch.tryLock()
    }

    /// Begins work that excludes turns and is none itself.
    func lock() { latch.lock() }

    /// Ends either.
    func unlock() { latch.unlock() }

    /// Whether another turn is wanted.
    var isMissed: Bool { hasMissed.load(ordering: .sequentiallyConsistent) }

    /// Whether another turn was wanted since the last call. After `unlock`.
    func takeMissed() -> Bool { hasMissed.exchange(false, ordering: .sequentiallyConsistent) }
}
