// SPDX-License-Identifier: Apache-2.0
import Timing

/// A limit of a port's traffic, the same each way.
package struct RateLimit: Equatable, Sendable {
    /// Slower ones would not let a frame of the longest size pass within a second.
    package static let slowest = 1_000_000
    /// Faster ones are no limit for a worker.
    package static let fastest = 100_000_000_000

    /// Names of units, and bits a second, from the largest down.
    private static let units = [("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1000)]

    /// Of the frames, from the Ethernet header on.
    package let bitsPerSecond: Int

    /// Nil for a rate beyond the two bounds.
    package init?(bitsPerSecond: Int) {
        guard (RateLimit.slowest...RateLimit.fastest).contains(bitsPerSecond) else { return nil }
        self.bitsPerSecond = bitsPerSecond
    }

    /// Parses a number of bits a second with a unit, such as `50mbit`, `1gbit` or `2500kbit`.
    package init?(_ text: String) {
        let text = text.lowercased()
        for (unit, factor) in RateLimit.units where text.hasSuffix(unit) {
            let digits = text.dropLast(unit.count)
            guard (1...9).contains(digits.utf8.count),
                digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
                let number = Int(digits)
            else { return nil }
            self.init(bitsPerSecond: number * factor)
            return
        }
        return nil
    }
}

extension RateLimit: CustomStringConvertible {
    package var description: String {
        for (unit, factor) in RateLimit.units where bitsPerSecond % factor == 0 {
            return "\(bitsPerSecond / factor)\(unit)"
        }
        return "\(bitsPerSecond) bit/s"
    }
}

/// A token bucket of one direction of a port: a token is a byte. It holds the bytes of a tenth of a second, and two
/// frames of the longest size at least.
struct TokenBucket: BitwiseCopyable {
    private static let smallest: Int64 = 2 * 65_550

    private var bytesPerSecond: Int64 = 0
    private var capacity: Int64 = 0
    /// Bytes that may pass now.
    private var tokens: Int64 = 0
    private var filled = Instant.distantPast

    /// Lets everything pass.
    init() {}

    init(_ limit: RateLimit, now: Instant) {
        bytesPerSecond = Int64(limit.bitsPerSecond / 8)
        capacity = max(TokenBucket.smallest, bytesPerSecond / 10)
        tokens = capacity
        filled = now
    }

    /// Adds the tokens of the time since the last call.
    mutating func fill(now: Instant) {
        let elapsed = (now - filled).microseconds
        guard bytesPerSecond > 0, elapsed > 0 else { return }
        // Two seconds fill the bucket of the slowest rate.
        guard elapsed < 2_000_000 else {
            tokens = capacity
            filled = now
            return
        }
        let earned = elapsed * bytesPerSecond / 1_000_000
        tokens = min(capacity, tokens + earned)
        // The time of whole bytes is used up, the rest counts for the next one.
        filled += .microseconds(earned * 1_000_000 / bytesPerSecond)
    }

    /// Takes tokens for a frame. Returns false if there are too few.
    mutating func admit(_ bytes: Int) -> Bool {
        if bytesPerSecond == 0 { return true }
        guard tokens >= Int64(bytes) else { return false }
        tokens -= Int64(bytes)
        return true
    }
}
