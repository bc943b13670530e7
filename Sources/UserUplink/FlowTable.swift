// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// The flows between guests and the outside, by key, with an index each that stays the same for the flow's life.
///
/// When the table is full, the guest with the most flows loses the one that it has not used for longest: a flood costs
/// its sender, from however many addresses.
package struct FlowTable: Sendable {
    private struct Flow: Sendable {
        var key: FlowKey
        /// The guest that is charged for it.
        let owner: GuestOwner
        var lastSeen: CoarseInstant
        // Indices of the owner's next older and next younger flow; -1 for none.
        var older = -1
        var younger = -1
    }

    /// The flows of one owner, ordered by their last use.
    private struct Queue: Sendable {
        var oldest = -1
        var youngest = -1
        var count = 0
    }

    /// Flows that fit.
    package let capacity: Int
    private var indices: [FlowKey: Int] = [:]
    private var flows: [Flow] = []
    private var free: [Int] = []
    private var queues: [GuestOwner: Queue] = [:]
    /// Cache: most packets belong to the flow of the packet before.
    private var last: (key: FlowKey, index: Int)?

    package init(capacity: Int) { self.capacity = capacity }

    /// Flows in the table.
    package var count: Int { indices.count }

    /// Returns the index of a flow, and marks it active; nil if there is none.
    package mutating func find(_ key: FlowKey, now: Instant) -> Int? {
        let index: Int
        if let last, last.key == key {
            index = last.index
        } else {
            guard let found = indices[key] else { return nil }
            index = found
            last = (key, found)
        }
        markActive(index, now: now)
        return index
    }

    /// Whether a flow is in the table; it is not marked active.
    func contains(_ key: FlowKey) -> Bool { indices[key] != nil }

    /// The second in which the flow at `index` was used last.
    func lastSeen(_ index: Int) -> CoarseInstant { flows[index].lastSeen }

    /// The index of the flow that makes room for another one; nil if there is none.
    var victim: Int? { queues.values.max { $0.count < $1.count }?.oldest }

    /// Returns the index of a flow that was used within `period`; nil if there is none.
    func findFresh(_ key: FlowKey, within period: TimeAmount, now: Instant) -> Int? {
        guard let index = indices[key], now.coarse - flows[index].lastSeen <= period else { return nil }
        return index
    }

    /// Records that the flow at `index` was used.
    package mutating func markActive(_ index: Int, now: Instant) {
        let second = now.coarse
        guard flows[index].lastSeen != second else { return }
        flows[index].lastSeen = second
        unlink(index)
        link(index)
    }

    /// Adds a flow that is not in the table.
    /// - Parameter owner: the guest to charge; nil charges the guest's address.
    /// - Returns: its index, and whether it was that of a flow which was evicted.
    package mutating func insert(
        _ key: FlowKey, by owner: GuestOwner? = nil, now: Instant
    ) -> (index: Int, evicted: Bool) {
        var evicted = false
        if indices.count >= capacity, let victim {
            remove(flows[victim].key)
            evicted = true
        }
        let flow = Flow(key: key, owner: owner ?? .address(key.guest), lastSeen: now.coarse)
        let index: Int
        if let reused = free.popLast() {
            index = reused
            flows[index] = flow
        } else {
            index = flows.count
            flows.append(flow)
        }
        indices[key] = index
        link(index)
        return (index, evicted)
    }

    /// Removes a flow, whose index may be used again. Without effect if there is none.
    package mutating func remove(_ key: FlowKey) {
        guard let index = indices.removeValue(forKey: key) else { return }
        unlink(index)
        free.append(index)
        last = nil
    }

    private mutating func link(_ index: Int) {
        var queue = queues[flows[index].owner] ?? Queue()
        flows[index].older = queue.youngest
        flows[index].younger = -1
        if queue.youngest >= 0 { flows[queue.youngest].younger = index }
        queue.youngest = index
        if queue.oldest < 0 { queue.oldest = index }
        queue.count += 1
        queues[flows[index].owner] = queue
    }

    private mutating func unlink(_ index: Int) {
        let flow = flows[index]
        guard var queue = queues[flow.owner] else { return }
        if flow.older >= 0 { flows[flow.older].younger = flow.younger } else { queue.oldest = flow.younger }
        if flow.younger >= 0 { flows[flow.younger].older = flow.older } else { queue.youngest = flow.older }
        queue.count -= 1
        queues[flow.owner] = queue.count > 0 ? queue : nil
    }
}
