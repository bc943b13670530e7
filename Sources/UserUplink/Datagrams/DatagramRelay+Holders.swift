// SPDX-License-Identifier: Apache-2.0
import Wire

// A flow belongs to the hardware address that has opened it. The address of IP may go to another guest, with a lease or
// without: `NeighborTable` decides about that, and the flow ends then.

extension DatagramRelay {
    /// The flow of a guest; nil if it has none. That of the guest that had the address before ends.
    func flow(_ key: FlowKey, of hardware: MACAddress) -> DatagramFlow? {
        guard let index = table.find(key, now: now), let flow = slots[index].flow else { return nil }
        if flow.hardware == hardware { return flow }
        remove(index, flow)
        return nil
    }

    /// Whether another guest has the address of a flow now.
    func hasOtherHolder(_ flow: DatagramFlow, _ neighbors: GuestNeighbors) -> Bool {
        neighbors.hardware(of: flow.key.guestAddress).map { $0 != flow.hardware } ?? false
    }

    /// Ends the flows of an address, which another guest has got.
    func endFlows(of address: IPAddress) {
        for index in slots.indices {
            if let flow = slots[index].flow, flow.key.guestAddress == address { remove(index, flow) }
        }
    }
}
