// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform

extension WallClock {
    /// Nanoseconds since 1970, UTC (clock_gettime(2)).
    package static var nanoseconds: Int64 {
        var now = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &now)
        return Int64(now.tv_sec) * 1_000_000_000 + Int64(now.tv_nsec)
    }
}
