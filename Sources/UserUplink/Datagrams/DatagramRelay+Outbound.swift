// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

// The outbound path that the user has chosen (`--outbound`). A guest's port that sends to this host as well has two
// sockets then: one that is bound cannot reach the host.

extension DatagramRelay {
    /// Whether a destination needs another socket than those outside: it is on this host, and the path is chosen.
    func isOnHost(_ key: FlowKey) -> Bool {
        guard let route else { return false }
        return policy.isGateway(key) || !route.leads(to: key.remoteAddress)
    }

    /// The addresses of this host have changed.
    /// - Parameter endsFlows: also what sockets are bound to, so that those to the outside lead nowhere.
    func hostHasChanged(_ addresses: Set<IPAddress>, endsFlows: Bool) {
        route?.hostAddresses = addresses
        guard endsFlows else { return }
        for index in slots.indices {
            if let flow = slots[index].flow, !flow.isOnHost { remove(index, flow) }
        }
    }
}
