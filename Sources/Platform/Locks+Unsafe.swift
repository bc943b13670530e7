// SPDX-License-Identifier: Apache-2.0
import CPlatform

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// A mutex for the data path: held for a batch or a turn at most, mostly free. Not recursive.
@safe
package struct Lock: ~Copyable, @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>

    package init() {
        unsafe mutex = .allocate(capacity: 1)
        // Fails for want of memory only, of which it needs none.
        unsafe precondition(platform_mutex_init(mutex) == 0)
    }

    deinit {
        unsafe pthread_mutex_destroy(mutex)
        unsafe mutex.deallocate()
    }

    package func lock() { unsafe pthread_mutex_lock(mutex) }

    /// Locks it if it is free. Returns whether it was.
    package func tryLock() -> Bool { unsafe pthread_mutex_trylock(mutex) == 0 }

    package func unlock() { unsafe pthread_mutex_unlock(mutex) }
}

/// Lets many threads work side by side, or one alone. Who wants to be alone waits for those inside, and nobody goes in
/// before it. Not recursive.
@safe
package struct ReadWriteLock: ~Copyable, @unchecked Sendable {
    private let lock: UnsafeMutablePointer<pthread_rwlock_t>

    package init() {
        unsafe lock = .allocate(capacity: 1)
        unsafe precondition(platform_rwlock_init(lock) == 0)
    }

    deinit {
        unsafe pthread_rwlock_destroy(lock)
        unsafe lock.deallocate()
    }

    /// Begins work beside others.
    package func lockShared() { unsafe pthread_rwlock_rdlock(lock) }

    /// Begins work alone.
    package func lockExclusive() { unsafe pthread_rwlock_wrlock(lock) }

    /// Ends either.
    package func unlock() { unsafe pthread_rwlock_unlock(lock) }
}
