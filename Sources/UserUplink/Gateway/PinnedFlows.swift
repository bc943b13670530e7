// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// UDP flows that pins have allowed. Each belongs to a hardware address, as its pin does: the next holder of the
/// guest's IP address does not continue them.
struct PinnedFlows: Sendable {
    /// The time without a datagram of the guest after which a flow has ended, as in DatagramFlow.
    private static let lifetime = TimeAmount.seconds(300)

    private var table: FlowTable
    /// By the flow's index in `table`.
    private var holders: [MACAddress] = []

    init(capacity: Int) { table = FlowTable(capacity: capacity) }

    /// Flows in the table, ended ones included.
    var count: Int { table.count }

    private func find(_ key: FlowKey, of hardware: MACAddress, now: Instant) -> Int? {
        guard let index = table.findFresh(key, within: PinnedFlows.lifetime, now: now), holders[index] == hardware
        else { return nil }
        return index
    }

    /// Whether `hardware` has a flow that has not ended.
    func contains(_ key: FlowKey, of hardware: MACAddress, now: Instant) -> Bool {
        find(key, of: hardware, now: now) != nil
    }

    /// The same. If so, the flow was used now.
    mutating func use(_ key: FlowKey, of hardware: MACAddress, now: Instant) -> Bool {
        guard let index = find(key, of: hardware, now: now) else { return false }
        table.markActive(index, now: now)
        return true
    }

    /// Adds a flow, in place of one with the same key.
    mutating func insert(_ key: FlowKey, of hardware: MACAddress, by owner: GuestOwner, now: Instant) {
        table.remove(key)
        let index = table.insert(key, by: owner, now: now).index
        if index < holders.count { holders[index] = hardware } else { holders.append(hardware) }
    }

    /// Removes all flows.
    mutating func removeAll() { self = PinnedFlows(capacity: table.capacity) }
}
