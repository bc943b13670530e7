// SPDX-License-Identifier: Apache-2.0
import Logging
import Platform

/// Says what anybody outside can make us say, but not more than ten times a second.
package struct RateLimitedLogger {
    private static let limit = 10

    private var windowStart: UInt64 = 0
    private var said = 0
    private var suppressed = 0

    package init() {}

    package mutating func log(_ text: String, to logger: Logger) {
        let now = MonotonicClock.now
        if now - windowStart >= MonotonicClock.second {
            if suppressed > 0 { logger.notice("(\(suppressed) more messages like these)") }
            (windowStart, said, suppressed) = (now, 0, 0)
        }
        guard said < RateLimitedLogger.limit else {
            suppressed += 1
            return
        }
        said += 1
        logger.notice("\(text)")
    }
}
