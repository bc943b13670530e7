// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// One direction of a TCP connection, from us to a guest: what was sent, what has arrived, what is to be sent next, and
/// when again (RFC 9293, RFC 5681, RFC 6675 where the guest understands selective acknowledgments, else RFC 6582; RFC
/// 6298).
///
/// Pure arithmetic: bytes and frames are others' affair. Offsets count from the first byte that is not acknowledged.
/// The end of the stream (FIN) counts as a byte. Times are nanoseconds of the monotonic clock.
struct TCPSending: Sendable {
    /// A part of the stream to be sent.
    struct Part: Equatable {
        let range: Range<Int>
        let isAgain: Bool
    }

    enum Acknowledgment: Equatable {
        /// So many bytes have arrived for the first time.
        case progress(Int)
        /// Nothing new.
        case old
        /// Of something that was never sent.
        case impossible
    }

    /// More in flight than this helps nobody on a link inside one machine, and stands in queues.
    static let maximumFlight = 1 << 20
    /// So much fits the queues on the way in any case: a loss here and there (a lossy cable) is no reason to send less
    /// at a time.
    private static let leastFlight = 64 << 10
    static let minimumPatience = 200 * MonotonicClock.millisecond
    private static let maximumPatience = 60 * MonotonicClock.second
    /// Times that something is sent in vain before the guest counts as gone: with doubling pauses that is a quarter of
    /// an hour (RFC 9293 section 3.8.3 wants 100 s at least).
    static let attempts = 15

    /// The first sequence number that is not acknowledged.
    private(set) var first: UInt32
    /// Offset behind all that was ever sent.
    private(set) var sent = 0
    /// Bytes from `first` on that the guest has room for.
    private(set) var window: Int
    private(set) var segmentSize: Int
    private let isSelective: Bool
    private var congestionWindow: Int
    private var threshold = Int.max
    private var arrived = ByteRanges()
    private var duplicates = 0

    // While something is lost: until all that was sent when that was noticed has arrived.
    private var recoveryEnd: Int?
    /// Everything not known to have arrived is taken for lost, not only what later parts have overtaken.
    private var isAllLost = false
    /// What is lost was sent again up to here, and what had been sent by then altogether.
    private var repeated = 0
    private var repeatedAt = 0

    // The round trip.
    private var timed: (end: Int, at: UInt64)?
    private var smoothed: UInt64 = 0
    private var variation: UInt64 = 0
    private var patience = TCPSending.minimumPatience
    /// When what is in flight counts as lost; nil if nothing is.
    private(set) var deadline: UInt64?
    /// Deadlines in a row that have passed.
    private(set) var failures = 0

    init(first: UInt32, window: Int, segmentSize: Int, isSelective: Bool) {
        self.first = first
        self.window = window
        self.segmentSize = segmentSize
        self.isSelective = isSelective
        congestionWindow = min(10 * segmentSize, max(2 * segmentSize, 256 << 10))
    }

    /// Whether everything that was sent has arrived.
    var isQuiet: Bool { sent == 0 }

    // MARK: What to send

    /// Bytes of which nothing was heard and that are not taken for lost.
    private var flight: Int {
        guard recoveryEnd != nil else { return sent - arrived.count }
        let lost = lostEnd
        return repeated - arrived.covered(before: repeated) + max(0, sent - max(lost, repeated))
            - (isSelective ? 0 : min(sent, duplicates * segmentSize))
    }

    /// Where what is lost ends.
    private var lostEnd: Int { isAllLost ? recoveryEnd ?? 0 : isSelective ? arrived.end : min(segmentSize, sent) }

    /// The next part to send; nil if there is none for now. It counts as sent.
    /// - Parameters:
    ///   - available: the length of the stream from `first` on, as far as it is there.
    ///   - limit: the longest part, in bytes.
    mutating func next(available: Int, limit: Int, now: UInt64) -> Part? {
        let whole = max(1, limit / segmentSize) * segmentSize
        if recoveryEnd != nil, let gap = arrived.gap(from: repeated, before: lostEnd) {
            guard flight < congestionWindow || repeated == 0 else { return nil }
            let room = max(segmentSize, (congestionWindow - flight) / segmentSize * segmentSize)
            let part = gap.lowerBound..<min(gap.upperBound, gap.lowerBound + min(whole, room))
            if repeated == 0 { repeatedAt = sent }
            repeated = part.upperBound
            timed = nil
            startClock(now)
            return Part(range: part, isAgain: true)
        }
        let room = min(window - sent, congestionWindow - flight), rest = available - sent
        guard rest > 0, room > 0 else { return nil }
        var length = min(rest, room, whole)
        if length < rest, length % segmentSize != 0 {
            // Small pieces only if they are all there is, or where the guest's window has room for no more and nothing
            // is on its way (RFC 9293 section 3.8.6.2.1).
            let rounded = length / segmentSize * segmentSize
            if rounded == 0 && sent > 0 { return nil }
            if rounded > 0 { length = rounded }
        }
        let part = sent..<sent + length
        sent += length
        if timed == nil && recoveryEnd == nil { timed = (sent, now) }
        startClock(now)
        return Part(range: part, isAgain: false)
    }

    private mutating func startClock(_ now: UInt64) {
        if deadline == nil { deadline = now + patience }
    }

    // MARK: What is heard

    /// The guest has everything before `number`, and room for `window` bytes from there on.
    /// - Parameter isPlain: its segment carries nothing else, so that it may be a sign of loss.
    mutating func acknowledge(_ number: UInt32, window: Int, isPlain: Bool, now: UInt64) -> Acknowledgment {
        let distance = number.distance(after: first)
        guard distance <= sent else { return .impossible }
        guard distance >= 0 else { return .old }
        let isSameWindow = window == self.window
        self.window = window
        if distance == 0 {
            if sent > 0 && isPlain && isSameWindow {
                duplicates += 1
                if !isSelective && duplicates == 3 { lose(now) }
            }
            return .old
        }
        let wasLimited = sent * 2 >= congestionWindow
        first = number
        sent -= distance
        repeated = max(0, repeated - distance)
        repeatedAt = max(0, repeatedAt - distance)
        arrived.advance(distance)
        duplicates = 0
        failures = 0
        if let (end, at) = timed {
            if end <= distance {
                measured(now - at)
                timed = nil
            } else {
                timed = (end - distance, at)
            }
        }
        patience = currentPatience
        deadline = sent > 0 ? now + patience : nil
        if let end = recoveryEnd {
            if end <= distance {
                recoveryEnd = nil
                isAllLost = false
                repeated = 0
            } else {
                recoveryEnd = end - distance
                // The next one is lost as well (RFC 6582 section 3.2 step 3).
                if !isSelective && !isAllLost { repeated = 0 }
            }
        }
        if wasLimited && (recoveryEnd == nil || isAllLost) { grow(distance) }
        return .progress(distance)
    }

    /// The guest has a part out of order. To be called after `acknowledge`.
    mutating func note(arrived start: UInt32, _ end: UInt32) {
        let lower = start.distance(after: first), upper = end.distance(after: first)
        guard isSelective, lower > 0, upper > lower, upper <= sent else { return }
        arrived.insert(lower..<upper)
    }

    /// Draws conclusions from what was noted.
    mutating func conclude(now: UInt64) {
        guard isSelective, !arrived.isEmpty else { return }
        if recoveryEnd == nil {
            // Three segments have overtaken the first (RFC 6675 section 4, IsLost).
            if arrived.count > 2 * segmentSize || arrived.ranges.count > 2 || duplicates >= 3 { lose(now) }
        } else if !isAllLost, repeated > 0, arrived.end > repeatedAt + 3 * segmentSize {
            // What was sent after the repetition has arrived, the repetition has not.
            repeated = 0
            repeatedAt = sent
        }
    }

    private mutating func lose(_ now: UInt64) {
        guard recoveryEnd == nil else { return }
        threshold = max(flight * 7 / 10, 2 * segmentSize, TCPSending.leastFlight)
        congestionWindow = threshold
        recoveryEnd = sent
        repeated = 0
        repeatedAt = sent
        timed = nil
        deadline = now + patience
    }

    private mutating func grow(_ acknowledged: Int) {
        if congestionWindow < threshold {
            congestionWindow += acknowledged
        } else {
            congestionWindow += max(1, segmentSize * acknowledged / congestionWindow)
        }
        congestionWindow = min(congestionWindow, max(TCPSending.maximumFlight, 4 * segmentSize))
    }

    private mutating func measured(_ trip: UInt64) {
        if smoothed == 0 {
            smoothed = max(1, trip)
            variation = trip / 2
        } else {
            variation = (3 * variation + (trip > smoothed ? trip - smoothed : smoothed - trip)) / 4
            smoothed = max(1, (7 * smoothed + trip) / 8)
        }
    }

    private var currentPatience: UInt64 {
        smoothed == 0
            ? TCPSending.minimumPatience
            : min(TCPSending.maximumPatience, max(TCPSending.minimumPatience, smoothed + 4 * variation))
    }

    /// The deadline has passed: all that is in flight counts as lost, and the next pause is twice as long.
    mutating func expire(now: UInt64) {
        failures += 1
        patience = min(TCPSending.maximumPatience, 2 * patience)
        deadline = now + patience
        timed = nil
        if failures == 1 { threshold = max(flight * 7 / 10, 2 * segmentSize) }
        // What it has confirmed up to, and said it had from there on, it has dropped (RFC 2018 section 8, which Linux
        // does when memory is short).
        if arrived.ranges.first?.lowerBound == 0 { arrived.removeAll() }
        congestionWindow = 2 * segmentSize
        recoveryEnd = sent
        isAllLost = true
        repeated = 0
        repeatedAt = sent
        duplicates = 0
    }
}
