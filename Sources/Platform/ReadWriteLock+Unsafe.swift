// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform

/// Held by many threads shared, or by one exclusively. A waiting writer has priority over readers that come later. Not
/// recursive.
@safe
package struct ReadWriteLock: ~Copyable, @unchecked Sendable {
    private let lock: UnsafeMutablePointer<pthread_rwlock_t>

    /// An unlocked lock. Stops the program if there is no memory for it.
    package init() {
        unsafe lock = .allocate(capacity: 1)
        unsafe precondition(platform_rwlock_init(lock) == 0)
    }

    deinit {
        unsafe pthread_rwlock_destroy(lock)
        unsafe lock.deallocate()
    }

    /// Locks it shared with other readers.
    package func lockShared() { unsafe pthread_rwlock_rdlock(lock) }

    /// Locks it exclusively.
    package func lockExclusive() { unsafe pthread_rwlock_wrlock(lock) }

    /// Releases either lock.
    package func unlock() { unsafe pthread_rwlock_unlock(lock) }
}
