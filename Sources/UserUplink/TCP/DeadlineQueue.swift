// SPDX-License-Identifier: Apache-2.0
import Timing

/// Deadlines in ascending order: a binary heap. There is no removal from the middle: an owner whose deadline moves to
/// later leaves the old entry, and ignores it when that is due.
struct DeadlineQueue: Sendable {
    struct Entry: Sendable {
        let deadline: Instant
        let token: UInt64
    }

    private var entries: [Entry] = []

    init() {}

    var first: Entry? { entries.first }
    var count: Int { entries.count }

    mutating func insert(_ deadline: Instant, _ token: UInt64) {
        entries.append(Entry(deadline: deadline, token: token))
        var child = entries.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            if entries[parent].deadline <= entries[child].deadline { return }
            entries.swapAt(parent, child)
            child = parent
        }
    }

    mutating func removeFirst() -> Entry? {
        guard let last = entries.popLast() else { return nil }
        guard let first = entries.first else { return last }
        entries[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in 2 * parent + 1...2 * parent + 2
            where child < entries.count && entries[child].deadline < entries[least].deadline { least = child }
            if least == parent { return first }
            entries.swapAt(parent, least)
            parent = least
        }
    }
}
