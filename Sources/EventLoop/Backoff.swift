// SPDX-License-Identifier: Apache-2.0
import Platform

/// The pauses between attempts to reach something that is away: growing, bounded.
package struct Backoff {
    private static let first = 50 * MonotonicClock.millisecond
    private static let longest = 2 * MonotonicClock.second

    private var pause = Backoff.first

    package init() {}

    /// Nanoseconds to wait before the next attempt.
    package mutating func next() -> UInt64 {
        defer { pause = min(pause * 2, Backoff.longest) }
        return pause
    }

    package mutating func reset() { pause = Backoff.first }
}
