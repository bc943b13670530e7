// SPDX-License-Identifier: Apache-2.0
import Testing
import Timing

@Suite struct TimingTests {
    @Test func unitsAreConverted() {
        #expect(TimeAmount.minutes(2) == .seconds(120) && TimeAmount.hours(1) == .minutes(60))
        #expect(TimeAmount.milliseconds(1500).seconds == 1 && TimeAmount.milliseconds(1500).milliseconds == 1500)
        #expect(TimeAmount.microseconds(20).nanoseconds == 20_000)
        #expect(TimeAmount.seconds(3) / .milliseconds(500) == 6 && TimeAmount.seconds(3) / 2 == .milliseconds(1500))
    }

    @Test(arguments: [
        (TimeAmount.seconds(3), "3 s"), (.milliseconds(1500), "1500 ms"), (.microseconds(20), "20 µs"),
        (.nanoseconds(7), "7 ns"), (.zero, "0 s"), (.seconds(-1), "-1 s"),
    ])
    func anAmountIsWrittenInItsLargestUnit(amount: TimeAmount, text: String) {
        #expect(amount.description == text)
    }

    @Test func deadlinesSaturate() {
        let now = Instant(nanoseconds: 5)
        #expect(Instant.distantFuture + .seconds(1) == .distantFuture)
        #expect(now + TimeAmount(nanoseconds: .max) == .distantFuture)
        #expect(now < .distantFuture && .distantPast < now)
    }

    @Test func differencesAreSigned() {
        let earlier = Instant(nanoseconds: 100), later = earlier + .milliseconds(3)
        #expect(later - earlier == .milliseconds(3) && earlier - later == .milliseconds(-3))
        #expect(later - .milliseconds(3) == earlier)
    }

    @Test func coarseInstantsAreWholeSeconds() {
        let second = Instant(nanoseconds: 3_999_999_999).coarse
        #expect(second == CoarseInstant(seconds: 3) && Instant(second) == .distantPast + .seconds(3))
        #expect(Instant.distantFuture.coarse == .distantFuture && Instant(nanoseconds: -1).coarse == .distantPast)
        #expect(second + .milliseconds(2999) == CoarseInstant(seconds: 5))
        #expect(CoarseInstant.distantFuture + .seconds(1) == .distantFuture)
    }

    /// A time before the clock's start is as far away as it was.
    @Test func coarseDifferencesAreSigned() {
        let start = CoarseInstant(seconds: 1), before = start - .seconds(5)
        #expect(start - before == .seconds(5) && before - start == .seconds(-5))
        #expect(start + .seconds(60) - before == .seconds(65))
    }
}
