// SPDX-License-Identifier: Apache-2.0
import CLibrary

/// The calendar's time, for what must survive a restart.
package enum WallClock {
    /// Seconds since 1970, UTC.
    package static var seconds: Int64 { Int64(time(nil)) }
}
