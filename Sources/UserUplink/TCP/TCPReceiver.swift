// SPDX-License-Identifier: Apache-2.0
import Wire

/// The receiving half of a TCP connection, from a guest to this host: what has arrived, in order and out of order, and
/// which window is advertised (RFC 9293 section 3.10.7.4, RFC 2018).
///
/// Pure arithmetic; all positions are offsets from RCV.NXT.
struct TCPReceiver: Sendable {
    /// What of a segment is new.
    struct Placement: Equatable {
        /// Bytes of its payload to keep, counted from the payload's start.
        let accepted: Range<Int>
        /// Where they belong, counted from RCV.NXT as it was before this segment.
        let offset: Int
        /// Bytes by which RCV.NXT has advanced: these, and those received out of order that follow.
        let delivered: Int
    }

    /// RCV.NXT: the next sequence number in order.
    private(set) var rcvNxt: UInt32
    /// RCV.WND: bytes from RCV.NXT on that were advertised.
    private(set) var rcvWnd = 0
    /// What was received out of order, and the start of the newest block of it.
    private(set) var outOfOrder = ByteRanges()
    private var newestBlock = 0
    /// What was received once more, as sequence numbers, until it is reported (D-SACK, RFC 2883).
    private var duplicate: (start: UInt32, end: UInt32)?
    /// Where the FIN is; nil while that is unknown.
    private var finOffset: Int?
    /// The FIN was received, with all that precedes it.
    private(set) var isFinReceived = false

    init(rcvNxt: UInt32) { self.rcvNxt = rcvNxt }

    /// Accepts a segment. What is in order counts as received.
    /// - Parameter room: bytes from RCV.NXT on for which there is memory.
    /// - Returns: where its payload belongs; nil if nothing of that is new and inside the window.
    mutating func accept(_ sequence: UInt32, length: Int, isFin: Bool, room: Int) -> Placement? {
        let start = sequence.distance(after: rcvNxt)
        // A FIN before data that has arrived already is invalid.
        if isFin, finOffset == nil, start + length >= outOfOrder.end, start + length <= rcvWnd {
            finOffset = start + length
        }
        defer { consumeFin() }
        if start < 0 || !outOfOrder.isEmpty { noteDuplicate(start..<start + length) }
        guard length > 0, !isFinReceived else { return nil }
        let lower = max(start, 0), upper = min(start + length, min(rcvWnd, room), finOffset ?? .max)
        guard lower < upper else { return nil }
        let accepted = lower - start..<upper - start
        guard lower == 0 else {
            guard outOfOrder.insert(lower..<upper) else { return nil }
            newestBlock = lower
            return Placement(accepted: accepted, offset: lower, delivered: 0)
        }
        var delivered = upper
        for range in outOfOrder.ranges {
            guard range.lowerBound <= delivered else { break }
            delivered = max(delivered, range.upperBound)
        }
        advance(delivered)
        return Placement(accepted: accepted, offset: 0, delivered: delivered)
    }

    /// Notes which bytes of a segment have arrived before: those before RCV.NXT, or in a block after it.
    private mutating func noteDuplicate(_ segment: Range<Int>) {
        let repeated: Range<Int>
        if segment.lowerBound < 0 {
            repeated = segment.lowerBound..<min(0, segment.upperBound)
        } else {
            guard let block = outOfOrder.ranges.first(where: { $0.overlaps(segment) }) else { return }
            repeated = block.clamped(to: segment)
            // The block around it comes next (RFC 2883 section 4.2).
            newestBlock = block.lowerBound
        }
        guard !repeated.isEmpty else { return }
        duplicate = (
            rcvNxt &+ UInt32(truncatingIfNeeded: repeated.lowerBound),
            rcvNxt &+ UInt32(truncatingIfNeeded: repeated.upperBound)
        )
    }

    /// The duplicate was reported, or there is no use in that any more.
    mutating func forgetDuplicate() { duplicate = nil }

    /// Whether `sackBlocks` has something to report.
    var hasBlocks: Bool { duplicate != nil || !outOfOrder.isEmpty }

    private mutating func advance(_ count: Int) {
        rcvNxt &+= UInt32(truncatingIfNeeded: count)
        rcvWnd = max(0, rcvWnd - count)
        newestBlock = max(0, newestBlock - count)
        finOffset = finOffset.map { $0 - count }
        outOfOrder.advance(count)
    }

    private mutating func consumeFin() {
        guard finOffset == 0, !isFinReceived else { return }
        isFinReceived = true
        rcvNxt &+= 1
        rcvWnd = max(0, rcvWnd - 1)
    }

    /// Advertises room for `count` bytes. The right edge of the window never moves left (RFC 9293 section 3.8.6).
    /// - Returns: the window field.
    mutating func advertise(_ count: Int, scale: UInt8) -> UInt16 {
        let largest = 0xffff << Int(scale)
        // Rounded down, as the guest will read it.
        rcvWnd = max(rcvWnd, (min(count, largest) >> Int(scale)) << Int(scale))
        return UInt16(min(0xffff, rcvWnd >> Int(scale)))
    }

    /// Blocks to report by SACK as sequence numbers: what was received twice (RFC 2883 section 4), then the block that
    /// was received last, then the others (RFC 2018 section 4).
    func sackBlocks(atMost limit: Int) -> [(start: UInt32, end: UInt32)] {
        let first = duplicate.map { [$0] } ?? []
        guard !outOfOrder.isEmpty else { return first }
        let newest = outOfOrder.ranges.firstIndex { $0.contains(newestBlock) } ?? 0
        let order = [newest] + outOfOrder.ranges.indices.reversed().filter { $0 != newest }
        return first
            + order.prefix(limit - first.count).map {
                (
                    rcvNxt &+ UInt32(truncatingIfNeeded: outOfOrder.ranges[$0].lowerBound),
                    rcvNxt &+ UInt32(truncatingIfNeeded: outOfOrder.ranges[$0].upperBound)
                )
            }
    }
}
