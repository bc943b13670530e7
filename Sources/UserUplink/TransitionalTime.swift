// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing

// Stands for forms that Platform does not offer with `Instant` yet.

extension Descriptor {
    func wait(for interest: Readiness, until deadline: Instant) -> Readiness {
        wait(for: interest, until: UInt64(max(0, deadline.nanoseconds)))
    }
}

extension Instant {
    static func + (instant: Instant, nanoseconds: UInt64) -> Instant {
        instant + TimeAmount(nanoseconds: Int64(clamping: nanoseconds))
    }
}
