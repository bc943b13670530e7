// SPDX-License-Identifier: Apache-2.0
import Atomics
import FrameIO
import Platform

/// Serializes the polls of a device. A thread that finds the lock taken mostly does not wait: it leaves a request, and
/// the holder reports after `unlock` that another poll is due.
struct PollLock: ~Copyable, Sendable {
    private let mutex = Lock()
    /// A poll was requested while another thread held the lock.
    private let isRequested = ManagedAtomic<Bool>(false)

    /// Locks for a poll. Returns false if another thread holds the lock; the request is recorded then.
    func tryLock() -> Bool {
        if mutex.tryLock() { return true }
        isRequested.store(true, ordering: .sequentiallyConsistent)
        // The holder may have unlocked before it could see the request.
        return mutex.tryLock()
    }

    /// The same for a thread that has brought frames. If more than a few wait already, it waits until it may poll, and
    /// brings no more meanwhile: these would fill the inbox for all guests.
    func lock(for inbox: SPSCFrameRing) -> Bool {
        if tryLock() { return true }
        guard inbox.count > PollLock.mostWaiting else { return false }
        mutex.lock()
        return true
    }

    /// Frames of an inbox for which no thread waits: as many as one run reads from a port.
    private static let mostWaiting = 256

    /// Locks for work that excludes polls and is none itself.
    func lock() { mutex.lock() }

    /// Unlocks after either.
    func unlock() { mutex.unlock() }

    /// Whether another poll is requested.
    var isPollRequested: Bool { isRequested.load(ordering: .sequentiallyConsistent) }

    /// Takes the request for another poll. To be called after `unlock`.
    func takePollRequest() -> Bool { isRequested.exchange(false, ordering: .sequentiallyConsistent) }
}
