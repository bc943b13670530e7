// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform

/// A mutex for the data path, held for one batch at most. Not recursive.
@safe
package struct Lock: ~Copyable, @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>

    /// An unlocked mutex. Stops the program if there is no memory for it.
    package init() {
        unsafe mutex = .allocate(capacity: 1)
        // Fails only if memory is short, and this kind of mutex needs none.
        unsafe precondition(platform_mutex_init(mutex) == 0)
    }

    deinit {
        unsafe pthread_mutex_destroy(mutex)
        unsafe mutex.deallocate()
    }

    /// Locks it, waiting if need be.
    package func lock() { unsafe pthread_mutex_lock(mutex) }

    /// Locks it if it is free. Returns whether it was free.
    package func tryLock() -> Bool { unsafe pthread_mutex_trylock(mutex) == 0 }

    /// Unlocks it, on the thread that locked it.
    package func unlock() { unsafe pthread_mutex_unlock(mutex) }
}
