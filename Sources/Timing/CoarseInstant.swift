// SPDX-License-Identifier: Apache-2.0

/// A point in time in whole seconds of 32 bits, for tables with many entries. It wraps after 136 years.
///
/// `Instant` has the same clock and its nanoseconds.
@frozen
@usableFromInline
package struct CoarseInstant: Comparable, Hashable, BitwiseCopyable, Sendable {
    /// Whole seconds since the clock's start.
    @usableFromInline package var seconds: UInt32

    @inlinable
    package init(seconds: UInt32) { self.seconds = seconds }

    /// The second that contains `instant`.
    @inlinable
    package init(_ instant: Instant) { seconds = UInt32(clamping: instant.nanoseconds / 1_000_000_000) }

    /// The clock's start, before everything that it has measured.
    @inlinable package static var distantPast: CoarseInstant { CoarseInstant(seconds: 0) }
    /// A second that does not come.
    @inlinable package static var distantFuture: CoarseInstant { CoarseInstant(seconds: .max) }

    @inlinable
    package static func < (one: CoarseInstant, other: CoarseInstant) -> Bool { one.seconds < other.seconds }

    /// Adds the whole seconds of `amount`; `distantFuture` where the sum would lie behind it.
    @inlinable
    package static func + (second: CoarseInstant, amount: TimeAmount) -> CoarseInstant {
        CoarseInstant(seconds: UInt32(clamping: Int64(second.seconds) + amount.seconds))
    }

    /// The second that was `amount` before; it wraps before the clock's start.
    @inlinable
    package static func - (second: CoarseInstant, amount: TimeAmount) -> CoarseInstant {
        CoarseInstant(seconds: second.seconds &- UInt32(truncatingIfNeeded: amount.seconds))
    }

    /// How long after `other` this is, if both are less than 68 years apart; negative where it is before.
    @inlinable
    package static func - (one: CoarseInstant, other: CoarseInstant) -> TimeAmount {
        .seconds(Int64(Int32(truncatingIfNeeded: one.seconds &- other.seconds)))
    }
}
