// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// How much memory a guest's stream to the outside may take: what waits for the socket, and what the guest was promised
/// by the advertised window. All of it is charged to the budget.
///
/// A window begins with 64 KiB if there is plenty of memory, and with 16 KiB otherwise. It grows, by factors of 4 up to
/// 1 MiB, for a guest that sends half of it within a second: faster than a guest's congestion window. A window cannot
/// be taken back (RFC 9293 section 3.8.6). If memory is scarce, the window of a guest that sends less than an eighth of
/// it in a second is no longer renewed until a quarter is left.
struct ReceiveWindow: Sendable {
    /// Bytes that are charged; 0 before the handshake.
    private(set) var size = 0
    /// Bytes to which the window is to shrink; `size` if it is not.
    private(set) var goal = 0
    private var second = CoarseInstant.distantPast
    /// RCV.NXT when the second began.
    private var secondStart: UInt32 = 0

    /// Begins with what the budget allows.
    mutating func open(_ budget: inout BufferBudget, by owner: GuestOwner) {
        guard size == 0 else { return }
        size = StreamBuffer.minimumCapacity
        if budget.isPlentiful(for: owner), budget.grow(from: size, to: 4 * size, by: owner) { size *= 4 }
        goal = size
    }

    /// Adapts the window to what the guest sends.
    /// - Parameters:
    ///   - limit: bytes that can be advertised.
    ///   - taken: bytes that wait for the socket, or were promised.
    ///   - capacity: bytes of the buffer.
    mutating func adapt(
        to rcvNxt: UInt32, upTo limit: Int, taken: Int, capacity: Int, _ budget: inout BufferBudget,
        by owner: GuestOwner, now: Instant
    ) {
        let received = rcvNxt.distance(after: secondStart)
        if now.coarse != second {
            second = now.coarse
            secondStart = rcvNxt
            if goal > StreamBuffer.minimumCapacity, received < size / 8, !budget.isPlentiful(for: owner) {
                goal = size / 4
            }
        } else if received >= size / 2 {
            goal = size
            if size < limit, budget.grow(from: size, to: 4 * size, by: owner) {
                size *= 4
                goal = size
            }
        }
        if goal < size, taken <= goal, capacity <= goal { shrink(to: goal, &budget, by: owner) }
    }

    /// Returns what the budget was charged, down to `least` bytes.
    mutating func shrink(to least: Int, _ budget: inout BufferBudget, by owner: GuestOwner) {
        guard least < size else { return }
        budget.shrink(from: size, to: least, by: owner)
        size = least
        goal = least
    }
}
