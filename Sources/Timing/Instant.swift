// SPDX-License-Identifier: Apache-2.0

/// A point in time on a clock that never jumps (`BootClock`), in nanoseconds since a start that means nothing by
/// itself.
///
/// State machines take it as an argument and do not read a clock.
@frozen
@usableFromInline
package struct Instant: Comparable, Hashable, BitwiseCopyable, Sendable {
    /// Nanoseconds since the clock's start.
    @usableFromInline package var nanoseconds: Int64

    @inlinable
    package init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    /// The start of a second.
    @inlinable
    package init(_ second: CoarseInstant) { nanoseconds = Int64(second.seconds) * 1_000_000_000 }

    /// The clock's start, before everything that it has measured.
    @inlinable package static var distantPast: Instant { Instant(nanoseconds: 0) }
    /// A deadline that does not come.
    @inlinable package static var distantFuture: Instant { Instant(nanoseconds: .max) }

    /// The whole second, for tables with many entries.
    @inlinable package var coarse: CoarseInstant { CoarseInstant(self) }

    @inlinable
    package static func < (one: Instant, other: Instant) -> Bool { one.nanoseconds < other.nanoseconds }

    /// `distantFuture` where the sum would lie after it.
    @inlinable
    package static func + (instant: Instant, amount: TimeAmount) -> Instant {
        let (sum, overflows) = instant.nanoseconds.addingReportingOverflow(amount.nanoseconds)
        return overflows ? .distantFuture : Instant(nanoseconds: sum)
    }

    @inlinable
    package static func - (instant: Instant, amount: TimeAmount) -> Instant {
        Instant(nanoseconds: instant.nanoseconds - amount.nanoseconds)
    }

    /// How long after `other` this is; negative where it is before.
    @inlinable
    package static func - (one: Instant, other: Instant) -> TimeAmount {
        TimeAmount(nanoseconds: one.nanoseconds - other.nanoseconds)
    }

    @inlinable
    package static func += (instant: inout Instant, amount: TimeAmount) { instant = instant + amount }
}
