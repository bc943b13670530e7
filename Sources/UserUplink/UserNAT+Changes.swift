// SPDX-License-Identifier: Apache-2.0
import FrameIO
import NetworkModel
import Platform
import Timing
import Uplink
import Wire

// Changes while the NAT runs, from the main thread. All is done under the NAT lock.

extension UserNAT {
    /// Calls `body` under the NAT lock, and has a poll made afterwards.
    private func change<Result>(_ body: () -> Result) -> Result {
        sink.lockShared()
        pollLock.lock()
        let result = body()
        pollLock.unlock()
        sink.unlock()
        wake()
        return result
    }

    /// Calls `body` under the NAT lock. A poll that was requested meanwhile is made afterwards.
    private func read<Result>(_ body: () -> Result) -> Result {
        sink.lockShared()
        pollLock.lock()
        let result = body()
        pollLock.unlock()
        sink.unlock()
        if pollLock.isPollRequested { wake() }
        return result
    }

    /// Replaces the egress policy, and resets the connections of guests to destinations that it refuses.
    package func setPolicy(_ policy: EgressPolicy) {
        change {
            let isStricter = !gateway.options.policy.isWithin(policy)
            gateway.setPolicy(policy)
            relay.setPolicy(policy)
            guard isStricter else { return }
            let now = BootClock.now
            relay.reset(now: now) { key, port in port == nil && !gateway.allowsConnection(key, now: now) }
        }
    }

    /// Replaces the networks that guests do not reach, whatever the policy, and resets the connections of guests to
    /// them.
    func setClosedNetworks(_ networks: [IPv6Network]) {
        change {
            gateway.closedNetworks = networks
            let now = BootClock.now
            relay.reset(now: now) { key, port in port == nil && key.isIPv6 && !gateway.isOpen(key.remote) }
        }
    }

    /// The addresses of this host have changed.
    /// - Parameter endsFlows: also what outbound sockets are bound to: UDP flows and pings get new sockets. TCP
    ///   connections last as long as they do on any host that loses its network.
    func hostHasChanged(_ addresses: Set<IPAddress>, endsFlows: Bool) {
        change {
            relay.route?.hostAddresses = addresses
            datagrams.hostHasChanged(addresses, endsFlows: endsFlows)
        }
    }

    /// Lets a guest connect to addresses of a name until `expires`.
    func pin(_ pins: [EgressPin], of name: DNSName, until expires: Instant) {
        change { _ = gateway.pins.insert(pins, of: name, until: expires, now: BootClock.now) }
    }

    /// Pins that have not been removed.
    var pinCount: Int { read { gateway.pins.count } }

    /// Flows of UDP and pings.
    var datagramFlowCount: Int { read { datagrams.count } }

    /// The failures of the proxy since the last call, and how many there were of each.
    func takeProxyFailures() -> [(failure: ProxyFailure, count: Int)] { read { relay.takeProxyFailures() } }

    /// The refusals since the last call, with the names that have led to their addresses.
    func takeRefusals() -> (refusals: [EgressRefusal], further: [MACAddress?: Int]) {
        var taken = refusals.take()
        guard !taken.refusals.isEmpty else { return taken }
        taken.refusals = read { taken.refusals.map(gateway.pins.named) }
        return taken
    }

    /// Publishes a port.
    /// - Throws: `port`, with the part that failed; nothing is published then.
    package func publish(_ published: PublishedPort) throws(UserNATError) {
        var done: [UInt16] = []
        for (host, guest) in zip(published.ports, published.guestPorts) {
            let error = change { publish(published, host, guest) }
            guard error != 0 else {
                done.append(host)
                continue
            }
            for port in done { unpublish(published, port) }
            throw .port(published, host, error)
        }
    }

    /// Ends a published port. Connections of its clients are reset, clients of UDP are removed.
    package func unpublish(_ published: PublishedPort) {
        for host in published.ports { unpublish(published, host) }
    }

    private func unpublish(_ published: PublishedPort, _ host: UInt16) {
        change {
            if published.transport == .udp {
                datagrams.unpublish(published.bind, host)
            } else {
                _ = relay.unpublish(published.bind, host, now: BootClock.now)
            }
        }
    }

    /// The TCP connections and UDP flows of guests, `limit` at most. Half of the limit is for each, and what the others
    /// leave. Excludes polls while it copies their keys.
    package func flows(limit: Int) -> [FlowKey] {
        let (tcp, udp) = read { (relay.keys(limit: limit), datagrams.keys(limit: limit)) }
        let shareOfTCP = max(limit - limit / 2, limit - udp.count)
        let connections = tcp.prefix(shareOfTCP)
        return Array(connections) + udp.prefix(limit - connections.count)
    }
}
