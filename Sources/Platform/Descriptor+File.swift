// SPDX-License-Identifier: Apache-2.0
import CLibrary
import Timing

extension Descriptor {
    /// Waits until written data is on the disk (fsync(2)).
    package func synchronize() throws(SystemError) { try SystemError.checkErrno(fsync(raw), "fsync") }

    /// Moves the file offset to the start.
    package func rewind() throws(SystemError) { try SystemError.checkErrno(lseek(raw, 0, SEEK_SET), "seek") }

    /// Sets the file's length in bytes.
    package func truncate(to length: Int) throws(SystemError) {
        try SystemError.checkErrno(ftruncate(raw, off_t(length)), "truncate")
    }

    /// Takes the file's exclusive lock, which ends with the open file; false if another open file has it.
    package func tryLock() throws(SystemError) -> Bool {
        if flock(raw, LOCK_EX | LOCK_NB) == 0 { return true }
        if Errno.last == EWOULDBLOCK { return false }
        throw SystemError(code: Errno.last, "lock")
    }

    /// Waits for the file's exclusive lock, until `deadline`; false if another open file has
    /// it for longer.
    package func lock(until deadline: Instant) throws(SystemError) -> Bool {
        while try !tryLock() {
            guard BootClock.now < deadline else { return false }
            // flock(2) has no time limit, so this polls.
            usleep(2000)
        }
        return true
    }

    /// Waits for the file's exclusive lock.
    package func lock() throws(SystemError) {
        while flock(raw, LOCK_EX) != 0 {
            if Errno.last != EINTR { throw SystemError(code: Errno.last, "lock") }
        }
    }

    /// Changes the permission bits (fchmod(2)).
    package func setMode(_ mode: UInt16) throws(SystemError) {
        try SystemError.checkErrno(fchmod(raw, mode_t(mode)), "chmod")
    }

    /// Changes owner and group; nil leaves one alone (fchown(2)).
    package func setOwner(user: UInt32?, group: UInt32?) throws(SystemError) {
        try SystemError.checkErrno(fchown(raw, user ?? .max, group ?? .max), "chown")
    }
}
