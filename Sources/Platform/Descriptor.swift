// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform
import Timing

/// An open file descriptor, closed when the value goes out of scope. The owner of the value owns the descriptor.
@usableFromInline
package struct Descriptor: ~Copyable, Sendable {
    /// The number. The value keeps ownership: callers must not close it.
    @usableFromInline package let raw: Int32

    /// Takes over an open descriptor.
    package init(adopting raw: Int32) { self.raw = raw }

    /// Takes over the result of a C function, or throws the error in it.
    package init(
        checking result: Int32, _ operation: String, _ subject: @autoclosure () -> String = ""
    ) throws(SystemError) {
        raw = try SystemError.check(result, operation, subject())
    }

    deinit { _ = close(raw) }

    /// Gives up ownership: the caller must close the descriptor.
    package consuming func release() -> Int32 {
        let number = raw
        discard self
        return number
    }

    /// Another descriptor of the same open file or socket, close-on-exec.
    package func duplicate() throws(SystemError) -> Descriptor {
        Descriptor(adopting: try SystemError.checkErrno(platform_fcntl(raw, F_DUPFD_CLOEXEC, 3), "dup"))
    }

    /// Sets O_NONBLOCK.
    package func setNonBlocking() {
        _ = platform_fcntl(raw, F_SETFL, platform_fcntl(raw, F_GETFL, 0) | O_NONBLOCK)
    }

    /// Clears O_NONBLOCK.
    package func setBlocking() {
        _ = platform_fcntl(raw, F_SETFL, platform_fcntl(raw, F_GETFL, 0) & ~O_NONBLOCK)
    }

    /// Waits until the descriptor is ready, on the calling thread.
    /// - Returns: what it is ready for; empty if `deadline` passes first.
    package func wait(for interest: Readiness, until deadline: Instant) -> Readiness {
        let limit = max(0, (deadline - BootClock.now).nanoseconds)
        let ready = platform_poll_one(raw, interest.rawValue, limit)
        return Readiness(rawValue: UInt32(max(0, ready)))
    }
}
