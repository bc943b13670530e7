// SPDX-License-Identifier: Apache-2.0

/// A length of time, in nanoseconds: 292 years at most, negative where the later of two instants is subtracted.
///
/// `Swift.Duration` counts attoseconds in 128 bits, which the data path cannot afford.
@frozen
@usableFromInline
package struct TimeAmount: Comparable, Hashable, BitwiseCopyable, Sendable {
    /// The length; negative if a later instant was subtracted.
    @usableFromInline package var nanoseconds: Int64

    @inlinable
    package init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    @inlinable package static var zero: TimeAmount { TimeAmount(nanoseconds: 0) }

    /// A length of `count` nanoseconds.
    @inlinable package static func nanoseconds(_ count: Int64) -> TimeAmount { TimeAmount(nanoseconds: count) }
    /// A length of `count` microseconds. Traps beyond 292 years, as the other units do.
    @inlinable package static func microseconds(_ count: Int64) -> TimeAmount { TimeAmount(nanoseconds: count * 1000) }
    /// A length of `count` milliseconds.
    @inlinable package static func milliseconds(_ count: Int64) -> TimeAmount {
        TimeAmount(nanoseconds: count * 1_000_000)
    }
    /// A length of `count` seconds.
    @inlinable package static func seconds(_ count: Int64) -> TimeAmount {
        TimeAmount(nanoseconds: count * 1_000_000_000)
    }
    /// Parts of a second are kept to the nanosecond.
    @inlinable package static func fractionalSeconds(_ count: Double) -> TimeAmount {
        TimeAmount(nanoseconds: Int64(count * 1e9))
    }
    /// A length of `count` minutes.
    @inlinable package static func minutes(_ count: Int64) -> TimeAmount { .seconds(60 * count) }
    /// A length of `count` hours.
    @inlinable package static func hours(_ count: Int64) -> TimeAmount { .seconds(3600 * count) }

    /// Whole units, rounded towards zero.
    @inlinable package var microseconds: Int64 { nanoseconds / 1000 }
    @inlinable package var milliseconds: Int64 { nanoseconds / 1_000_000 }
    @inlinable package var seconds: Int64 { nanoseconds / 1_000_000_000 }

    @inlinable
    package static func < (one: TimeAmount, other: TimeAmount) -> Bool { one.nanoseconds < other.nanoseconds }

    @inlinable
    package static func + (one: TimeAmount, other: TimeAmount) -> TimeAmount {
        TimeAmount(nanoseconds: one.nanoseconds + other.nanoseconds)
    }

    @inlinable
    package static func - (one: TimeAmount, other: TimeAmount) -> TimeAmount {
        TimeAmount(nanoseconds: one.nanoseconds - other.nanoseconds)
    }

    @inlinable
    package static func * (amount: TimeAmount, factor: Int64) -> TimeAmount {
        TimeAmount(nanoseconds: amount.nanoseconds * factor)
    }

    @inlinable
    package static func * (factor: Int64, amount: TimeAmount) -> TimeAmount { amount * factor }

    @inlinable
    package static func / (amount: TimeAmount, divisor: Int64) -> TimeAmount {
        TimeAmount(nanoseconds: amount.nanoseconds / divisor)
    }

    /// How many times `divisor` fits, rounded towards zero.
    @inlinable
    package static func / (amount: TimeAmount, divisor: TimeAmount) -> Int64 {
        amount.nanoseconds / divisor.nanoseconds
    }

    @inlinable
    package static func += (amount: inout TimeAmount, other: TimeAmount) { amount = amount + other }

    @inlinable
    package static func -= (amount: inout TimeAmount, other: TimeAmount) { amount = amount - other }
}

extension TimeAmount: CustomStringConvertible {
    /// In the largest unit that leaves no rest: `3 s`, `1500 ms`, `20 µs`.
    @usableFromInline package var description: String {
        // Not a loop over a list: the compiler unrolls that in an order of blocks that differs from build to build.
        let (unit, name): (Int64, String) =
            if nanoseconds % 1_000_000_000 == 0 {
                (1_000_000_000, "s")
            } else if nanoseconds % 1_000_000 == 0 {
                (1_000_000, "ms")
            } else if nanoseconds % 1000 == 0 {
                (1000, "µs")
            } else {
                (1, "ns")
            }
        return "\(nanoseconds / unit) \(name)"
    }
}
