// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform

/// The calendar's time, for what must survive a restart.
package enum WallClock {
    /// Seconds since 1970, UTC.
    package static var seconds: Int64 { Int64(time(nil)) }
    /// Nanoseconds since 1970, UTC.
    package static var nanoseconds: Int64 { Int64(bitPattern: platform_clock_wall()) }
}
