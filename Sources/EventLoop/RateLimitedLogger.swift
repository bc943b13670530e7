// SPDX-License-Identifier: Apache-2.0
import Logging
import Platform
import Timing

/// Logs messages that untrusted programs can trigger, at most ten a second.
package struct RateLimitedLogger {
    private static let messagesPerWindow = 10
    private static let window = TimeAmount.seconds(1)

    private var windowStart = Instant.distantPast
    private var logged = 0
    private var suppressed = 0

    /// No message is suppressed yet.
    package init() {}

    /// Logs `text` as a notice, or only counts it. The number of suppressed messages is logged with the next one that
    /// is not suppressed.
    package mutating func log(_ text: String, to logger: Logger) {
        let now = BootClock.now
        if now - windowStart >= RateLimitedLogger.window {
            if suppressed > 0 { logger.notice("(\(suppressed) more messages like these)") }
            (windowStart, logged, suppressed) = (now, 0, 0)
        }
        guard logged < RateLimitedLogger.messagesPerWindow else {
            suppressed += 1
            return
        }
        logged += 1
        logger.notice("\(text)")
    }
}
