// SPDX-License-Identifier: Apache-2.0
import Timing

/// The pauses between attempts to reach something that is unavailable: they double from 50 ms to 2 s.
package struct Backoff {
    private static let first = TimeAmount.milliseconds(50)
    private static let longest = TimeAmount.seconds(2)

    private var pause = Backoff.first

    /// Starts with the shortest pause.
    package init() {}

    /// The pause before the next attempt.
    package mutating func next() -> TimeAmount {
        defer { pause = min(pause * 2, Backoff.longest) }
        return pause
    }

    /// Starts over after a success.
    package mutating func reset() { pause = Backoff.first }
}
