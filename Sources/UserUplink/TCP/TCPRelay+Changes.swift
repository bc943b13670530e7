// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Timing
import Uplink
import Wire

// Changes while the network runs. Under the lock of the relay's owner, between two polls.

extension TCPRelay {
    /// Stops listening on a port of the host, and resets the connections of its clients.
    /// - Returns: whether it was published.
    func unpublish(_ bind: IPAddress, _ hostPort: UInt16, now: Instant) -> Bool {
        guard listeners.unpublish(bind, hostPort, poller) else { return false }
        let port = HostPort(bind: bind, number: hostPort)
        reset(now: now) { $1 == port }
        return true
    }

    /// Resets connections, given their key and the published port whose client has opened them. The next poll removes
    /// them.
    func reset(now: Instant, where isUnwanted: (FlowKey, _ publishedPort: HostPort?) -> Bool) {
        context.now = now
        for index in slots.indices {
            guard let connection = slots[index].connection,
                isUnwanted(connection.endpoints.key, slots[index].publishedPort)
            else { continue }
            connection.reset(&context)
            markDirty(index)
        }
    }

    /// Answers a segment that the policy refuses.
    func refuse(_ frame: RawSpan, _ inbound: InboundSegment) {
        guard let segment = try? TCPView(frame.extracting(inbound.range)) else { return }
        context.sendReset(inReplyTo: segment, endpoints(of: inbound))
    }

    /// The policy that names within connections are compared with, from the next byte on.
    func setPolicy(_ policy: EgressPolicy) { context.policy = policy }

    /// Hands over the connections that were refused, and removes them.
    func drainRefused(_ body: (EgressRefusal) -> Void) {
        if context.refused.isEmpty { return }
        for refusal in context.refused { body(refusal) }
        context.refused.removeAll()
    }

    /// Hands over the failures of the proxy, and removes them.
    func takeProxyFailures() -> [(failure: ProxyFailure, count: Int)] { context.takeProxyFailures() }

    /// The connections, `limit` at most.
    func keys(limit: Int) -> [FlowKey] {
        Array(slots.lazy.compactMap { $0.connection?.endpoints.key }.prefix(limit))
    }
}
