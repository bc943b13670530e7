// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform
import Timing

/// Time that never jumps and goes on while the system sleeps (CLOCK_BOOTTIME, mach_continuous_time). On the data path
/// taken once for a batch.
package enum BootClock {
    package static var now: Instant { Instant(nanoseconds: Int64(bitPattern: platform_clock_boot())) }

    /// How long the system has slept since it was started: only differences are meaningful, to within microseconds.
    package static var asleep: TimeAmount { TimeAmount(nanoseconds: Int64(bitPattern: platform_clock_asleep())) }

    /// Suspends the calling thread.
    package static func sleep(_ amount: TimeAmount) { usleep(UInt32(clamping: amount.microseconds)) }
}
