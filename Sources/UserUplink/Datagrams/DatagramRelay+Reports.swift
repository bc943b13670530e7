// SPDX-License-Identifier: Apache-2.0

// What the relay hands over to its owner.

extension DatagramRelay {
    /// Hands over what the gateway is to send, and forgets it.
    func drainEffects(_ body: (Effect) -> Void) {
        if effects.isEmpty { return }
        for effect in effects { body(effect) }
        effects.removeAll(keepingCapacity: true)
    }

    /// Hands over what was dropped, and forgets it.
    func drainDrops(_ body: (NATDropReason, Int) -> Void) {
        if drops.isEmpty { return }
        for (reason, count) in drops { body(reason, count) }
        drops.removeAll(keepingCapacity: true)
    }

    /// The UDP ports of guests, each with the destination of its last datagram, and the clients of published ports;
    /// `limit` at most.
    func keys(limit: Int) -> [FlowKey] {
        let ports = slots.lazy.compactMap { slot in slot.flow.flatMap { $0.isUDP ? $0.latest : nil } }.prefix(limit)
        return Array(ports) + clients.keys(limit: limit - ports.count)
    }
}
