// SPDX-License-Identifier: Apache-2.0
import Wire

/// The other direction of a TCP connection, from a guest to us: what has come, in order and out of order, and what is
/// announced (RFC 9293 section 3.10.7.4, RFC 2018). Pure arithmetic; offsets count from the next byte that is expected
/// in order.
struct TCPReceiving: Sendable {
    /// What of a segment is new.
    struct Placement: Equatable {
        /// Bytes of its payload, counted from its start, that are to be kept.
        let part: Range<Int>
        /// Where they belong.
        let offset: Int
        /// Bytes that are in order now, these and those that waited for them.
        let inOrder: Int
    }

    /// The next sequence number in order.
    private(set) var next: UInt32
    /// Bytes from `next` on that the guest was told there is room for.
    private(set) var announced = 0
    /// Parts that came too early, and the newest of them.
    private(set) var early = ByteRanges()
    private var newest = 0
    /// Where the stream ends, from `next` on.
    private var end: Int?
    /// The end has come, in order.
    private(set) var isOver = false

    init(next: UInt32) { self.next = next }

    /// Judges a segment; nil if nothing of its payload is new and inside what was announced. What is in order counts as
    /// received.
    /// - Parameter room: bytes from `next` on for which there is memory.
    mutating func place(_ sequence: UInt32, length: Int, isLast: Bool, room: Int) -> Placement? {
        let start = sequence.distance(after: next)
        // An end before what has come already is none.
        if isLast, end == nil, start + length >= early.end, start + length <= announced { end = start + length }
        defer { finish() }
        guard length > 0, !isOver else { return nil }
        let lower = max(start, 0), upper = min(start + length, min(announced, room), end ?? .max)
        guard lower < upper else { return nil }
        let part = lower - start..<upper - start
        guard lower == 0 else {
            guard early.insert(lower..<upper) else { return nil }
            newest = lower
            return Placement(part: part, offset: lower, inOrder: 0)
        }
        var inOrder = upper
        for range in early.ranges {
            guard range.lowerBound <= inOrder else { break }
            inOrder = max(inOrder, range.upperBound)
        }
        advance(inOrder)
        return Placement(part: part, offset: 0, inOrder: inOrder)
    }

    private mutating func advance(_ count: Int) {
        next &+= UInt32(truncatingIfNeeded: count)
        announced = max(0, announced - count)
        newest = max(0, newest - count)
        end = end.map { $0 - count }
        early.advance(count)
    }

    private mutating func finish() {
        guard end == 0, !isOver else { return }
        isOver = true
        next &+= 1
        announced = max(0, announced - 1)
    }

    /// Announces room for `count` bytes; what was announced once is not taken back. Returns what there is to say.
    mutating func announce(_ count: Int, scale: UInt8) -> UInt16 {
        let largest = 0xffff << Int(scale)
        // Rounded down, for that is what the guest will read.
        announced = max(announced, (min(count, largest) >> Int(scale)) << Int(scale))
        return UInt16(min(0xffff, announced >> Int(scale)))
    }

    /// Parts to report as received early, the newest first, as sequence numbers.
    func reports(_ limit: Int) -> [(start: UInt32, end: UInt32)] {
        guard !early.isEmpty else { return [] }
        let place = early.ranges.firstIndex { $0.contains(newest) } ?? 0
        let order = [place] + early.ranges.indices.reversed().filter { $0 != place }
        return order.prefix(limit).map {
            (
                next &+ UInt32(truncatingIfNeeded: early.ranges[$0].lowerBound),
                next &+ UInt32(truncatingIfNeeded: early.ranges[$0].upperBound)
            )
        }
    }
}
