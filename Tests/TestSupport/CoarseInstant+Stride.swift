// SPDX-License-Identifier: Apache-2.0
import Timing

/// Tests write a second as a number, and go through ranges of seconds.
extension CoarseInstant: ExpressibleByIntegerLiteral, Strideable {
    @usableFromInline
    package init(integerLiteral seconds: UInt32) { self.init(seconds: seconds) }

    @usableFromInline
    package func advanced(by count: Int) -> CoarseInstant { CoarseInstant(seconds: UInt32(Int(seconds) + count)) }

    @usableFromInline
    package func distance(to other: CoarseInstant) -> Int { Int(other.seconds) - Int(seconds) }
}
