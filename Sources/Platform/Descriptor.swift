// SPDX-License-Identifier: Apache-2.0
import CPlatform

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// A file descriptor that closes itself. Whoever holds the value owns the descriptor.
@usableFromInline
package struct Descriptor: ~Copyable, Sendable {
    /// The number. It stays ours: never close it.
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

    /// Gives the descriptor away: the caller closes it.
    package consuming func release() -> Int32 {
        let number = raw
        discard self
        return number
    }

    /// Another descriptor of the same open file or socket, close-on-exec.
    package func duplicate() throws(SystemError) -> Descriptor {
        Descriptor(adopting: try SystemError.checkErrno(platform_fcntl(raw, F_DUPFD_CLOEXEC, 3), "dup"))
    }

    package func setNonBlocking() {
        _ = platform_fcntl(raw, F_SETFL, platform_fcntl(raw, F_GETFL, 0) | O_NONBLOCK)
    }

    package func setBlocking() {
        _ = platform_fcntl(raw, F_SETFL, platform_fcntl(raw, F_GETFL, 0) & ~O_NONBLOCK)
    }

    /// Waits until the descriptor is ready.
    /// - Parameter deadline: nanoseconds on `MonotonicClock`.
    /// - Returns: what holds; empty when the deadline passes first.
    package func wait(for interest: Readiness, until deadline: UInt64) -> Readiness {
        let now = MonotonicClock.now
        let ready = platform_poll_one(raw, interest.rawValue, deadline > now ? Int64(deadline - now) : 0)
        return Readiness(rawValue: UInt32(max(0, ready)))
    }
}

/// Two descriptors that belong together: the ends of a pipe (reading, writing) or of a socket pair.
package struct DescriptorPair: ~Copyable {
    package var first: Descriptor
    package var second: Descriptor

    init(_ ends: (Int32, Int32)) {
        first = Descriptor(adopting: ends.0)
        second = Descriptor(adopting: ends.1)
    }
}
