// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing

/// The addresses that have moved from one port to another not long ago.
///
/// A guest that migrates or fails over moves its address once. An address that two guests have moves with the frames of
/// both, again and again: that is how a duplicate is found. The number of addresses is fixed: the one whose last move
/// is the oldest makes room for a new one.
@usableFromInline
struct AddressMoves {
    private static let capacity = 64
    /// The time without a move after which an address counts as settled.
    static let pause = TimeAmount.seconds(60)

    /// An address that has moved.
    struct Move {
        let key: AddressTable.Key
        /// The port that it was at before its last move.
        var from: PortNumber
        /// Moves without a pause between two of them.
        var count: UInt32
        /// When it moved last, in seconds on the table's clock.
        var last: CoarseInstant
    }

    private var moves: [Move] = []

    init() { moves.reserveCapacity(AddressMoves.capacity) }

    /// Counts a move of `key` away from `port`.
    @usableFromInline
    mutating func record(_ key: AddressTable.Key, from port: PortNumber, now: CoarseInstant) {
        var oldest: Int?
        for index in moves.indices {
            if moves[index].key == key {
                if now - moves[index].last > AddressMoves.pause { moves[index].count = 0 }
                if moves[index].count < .max { moves[index].count += 1 }
                moves[index].from = port
                moves[index].last = now
                return
            }
            if oldest.map({ moves[index].last < moves[$0].last }) ?? true { oldest = index }
        }
        let move = Move(key: key, from: port, count: 1, last: now)
        if moves.count < AddressMoves.capacity { moves.append(move) } else { moves[oldest!] = move }
    }

    /// The moves of `key`, if the last was not long ago.
    func recent(_ key: AddressTable.Key, now: CoarseInstant) -> Move? {
        moves.first { $0.key == key && now - $0.last <= AddressMoves.pause }
    }

    /// Removes the addresses that have come from `port`.
    mutating func forget(_ port: PortNumber) { moves.removeAll { $0.from == port } }
}
