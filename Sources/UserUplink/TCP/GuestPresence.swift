// SPDX-License-Identifier: Apache-2.0
import Timing

/// The search for a guest that a client of a published port connects to: ARP requests until the guest has sent
/// anything, or for 2.8 s. A TCP that only drops the SYN answers ARP, and gets the time that its own time-out takes.
///
/// A guest with a lease is known without being there, so that its hardware address alone proves nothing. The neighbor
/// table has the second in which a guest was seen last: a later one than that in which the search began counts.
struct GuestPresence: Sendable {
    /// What is known after a look.
    enum Step: Equatable {
        case present
        /// - Parameter requests: an ARP request is due.
        case search(requests: Bool)
        case absent
    }

    /// How long after each look the next one is due, in milliseconds: in all 2.8 s.
    private static let intervals: [Int64] = [20, 80, 200, 400, 700, 700, 700]
    /// The looks with an ARP request. Answers to the last two come in a later second.
    private static let requests = [0, 4, 5, 6]

    private let start: Instant
    /// When to look next.
    private(set) var deadline: Instant
    /// Looks so far.
    private var count = 0
    /// The guest's hardware address was not known when the search began.
    private var isUnknown = false

    /// The first look is due at once.
    init(_ now: Instant) {
        start = now
        deadline = now
    }

    /// Looks for the guest.
    /// - Parameter lastSeen: the second in which it was seen; nil if it is not known.
    mutating func look(lastSeen: CoarseInstant?, now: Instant) -> Step {
        if lastSeen == nil { isUnknown = true }
        if let lastSeen, isUnknown || lastSeen > start.coarse { return .present }
        guard count < GuestPresence.intervals.count else { return .absent }
        // From now on, so that a request has its time for an answer after a late poll too.
        deadline = now + .milliseconds(GuestPresence.intervals[count])
        count += 1
        return .search(requests: GuestPresence.requests.contains(count - 1))
    }
}
