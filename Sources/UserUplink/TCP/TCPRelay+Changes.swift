// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

// Changes while the network runs. Under the lock of the relay's owner, between two polls.

extension TCPRelay {
    /// Stops listening on a port of the host, and resets the connections of its clients.
    /// - Returns: whether it was published.
    func unpublish(_ bind: IPv4Address, _ hostPort: UInt16, now: Instant) -> Bool {
        guard let (guest, port) = listeners.unpublish(bind, hostPort, poller) else { return false }
        reset(now: now) { $0.guestIPv4 == guest && !$0.isIPv6 && $0.guestPort == port && $1 }
        return true
    }

    /// Resets connections, given their key and whether a client of a published port has opened them. The next poll
    /// removes them.
    func reset(now: Instant, where isUnwanted: (FlowKey, _ isInbound: Bool) -> Bool) {
        context.now = now
        for index in slots.indices {
            guard let connection = slots[index].connection, isUnwanted(connection.endpoints.key, slots[index].isInbound)
            else { continue }
            connection.reset(&context)
            markDirty(index)
        }
    }

    /// The connections, `limit` at most.
    func keys(limit: Int) -> [FlowKey] {
        Array(slots.lazy.compactMap { $0.connection?.endpoints.key }.prefix(limit))
    }
}
