// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform
import Timing

/// Time in nanoseconds that never jumps and goes on while the system sleeps. Being replaced by `BootClock`.
package enum MonotonicClock {
    package static var now: UInt64 { platform_clock_boot() }

    /// How long the system has slept; only differences are meaningful.
    package static var asleep: UInt64 { platform_clock_asleep() }

    /// Suspends this thread.
    package static func sleep(_ nanoseconds: UInt64) { usleep(UInt32(nanoseconds / 1000)) }

    package static let second: UInt64 = 1_000_000_000
    package static let millisecond: UInt64 = 1_000_000
}

// Deadlines in nanoseconds of `MonotonicClock`.

extension Descriptor {
    package func wait(for interest: Readiness, until deadline: UInt64) -> Readiness {
        wait(for: interest, until: Instant(nanoseconds: Int64(clamping: deadline)))
    }

    package func lock(until deadline: UInt64) throws(SystemError) -> Bool {
        try lock(until: Instant(nanoseconds: Int64(clamping: deadline)))
    }
}

extension SignalPipe {
    package func wait(until deadline: UInt64) -> Bool { wait(until: Instant(nanoseconds: Int64(clamping: deadline))) }
}
