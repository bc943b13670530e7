// SPDX-License-Identifier: Apache-2.0
@testable import Switching
import Testing
import Timing

@Suite struct RateLimitTests {
    @Test(arguments: [
        ("50mbit", 50_000_000), ("1gbit", 1_000_000_000), ("2500KBIT", 2_500_000), ("100gbit", 100_000_000_000),
    ])
    func ratesAreParsed(text: String, bits: Int) {
        #expect(RateLimit(text)?.bitsPerSecond == bits)
        #expect(RateLimit(RateLimit(text)?.description ?? "") == RateLimit(text))
    }

    @Test(arguments: [
        "", "mbit", "50", "50 mbit", "-1mbit", "0mbit", "999kbit", "101gbit", "1e3mbit", "9999999999mbit",
    ])
    func otherTextIsRefused(text: String) { #expect(RateLimit(text) == nil) }

    /// Frames of one size at short intervals: what passes in a second is the rate and the burst, whatever the interval.
    @Test(arguments: [1, 7, 12, 100, 1000, 33_333])
    func bucketLetsRatePass(microseconds: Int64) throws {
        let limit = try #require(RateLimit(bitsPerSecond: 8_000_000))
        var now = Instant(nanoseconds: 1_000_000_000_000)
        var bucket = TokenBucket(limit, now: now)
        // Empties the burst first.
        while bucket.admit(1000) {}
        var passed = 0
        for _ in 0..<(1_000_000 / microseconds) {
            now = now + .microseconds(microseconds)
            bucket.fill(now: now)
            while bucket.admit(100) { passed += 100 }
        }
        #expect(abs(passed - 1_000_000) <= 33_334, "\(passed) bytes of 1,000,000")
    }

    @Test func bucketIsNeverFullerThanItsCapacity() throws {
        let limit = try #require(RateLimit(bitsPerSecond: 1_000_000))
        let start = Instant(nanoseconds: 1)
        var bucket = TokenBucket(limit, now: start)
        bucket.fill(now: start + .hours(1))
        var passed = 0
        while bucket.admit(1000) { passed += 1000 }
        #expect(passed == 131_000, "two frames of the longest size")
    }

    @Test func portWithoutLimitLetsEverythingPass() {
        var bucket = TokenBucket()
        for _ in 0..<100 {
            let isAdmitted = bucket.admit(65_000)
            #expect(isAdmitted)
        }
    }
}
