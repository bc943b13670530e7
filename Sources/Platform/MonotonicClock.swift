// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Timing

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// Time that never jumps and goes on while the system sleeps (CLOCK_BOOTTIME, mach_continuous_time). On the data path
/// taken once for a batch.
package enum BootClock {
    package static var now: Instant { Instant(nanoseconds: Int64(bitPattern: platform_clock_boot())) }

    /// How long the system has slept since it was started: differences count only. A little more or less at each look.
    package static var asleep: TimeAmount { TimeAmount(nanoseconds: Int64(bitPattern: platform_clock_asleep())) }

    /// Suspends the calling thread.
    package static func sleep(_ amount: TimeAmount) { usleep(UInt32(clamping: amount.microseconds)) }
}

/// Time in nanoseconds that never jumps and goes on while the machine sleeps. Taken once per batch, not per frame.
package enum MonotonicClock {
    package static var now: UInt64 { platform_clock_boot() }

    /// How long the machine has slept since it was started: differences count only. A little more or less at each look.
    package static var asleep: UInt64 { platform_clock_asleep() }

    /// Suspends this thread.
    package static func sleep(_ nanoseconds: UInt64) { usleep(UInt32(nanoseconds / 1000)) }

    package static let second: UInt64 = 1_000_000_000
    package static let millisecond: UInt64 = 1_000_000
}

/// The calendar's time, for what must survive a restart.
package enum WallClock {
    /// Seconds since 1970, UTC.
    package static var seconds: Int64 { Int64(time(nil)) }
}
