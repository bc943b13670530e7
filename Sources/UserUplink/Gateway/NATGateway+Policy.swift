// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Timing
import Wire

// The egress policy: what is allowed by address, then what pins of names allow.
//
// TCP segments of a connection that the relay has pass without a pin, so that a pin's end concerns new connections
// only. For UDP, `pinnedFlows` has the flows that a pin has allowed. A pin and such a flow belong to a hardware
// address; `NeighborTable` keeps others from its IP addresses.

extension NATGateway {
    /// Replaces the egress policy. Pins that it does not allow any more end.
    package mutating func setPolicy(_ policy: EgressPolicy) {
        let isStricter = !options.policy.isWithin(policy)
        options.policy = policy
        guard isStricter else { return }
        _ = pins.retain(policy)
        pinnedFlows.removeAll()
    }

    /// Whether the policy, or a pin, allows a TCP connection that a guest has opened.
    func allowsConnection(_ key: FlowKey, now: Instant) -> Bool {
        if key.isIPv6 {
            if key.remote == gateway6 { return options.policy.opensHostLoopback }
            guard isOpen(key.remote) else { return false }
            return options.policy.allows(key.remote, port: key.remotePort)
                || neighbors.ipv6.hardware(of: key.guest).map {
                    pins.allowsTCP($0, .ipv6(key.remote), key.remotePort, now: now)
                } == true
        }
        if key.remoteIPv4 == options.network.gateway {
            return options.policy.opensHostLoopback || relayPolicy.isDNS(key)
        }
        return options.policy.allows(key.remoteIPv4, port: key.remotePort)
            || neighbors.ipv4.hardware(of: key.guestIPv4).map {
                pins.allowsTCP($0, .ipv4(key.remoteIPv4), key.remotePort, now: now)
            } == true
    }

    /// Whether the policy, or a pin, lets datagrams of a flow pass, in the direction of the guest too.
    func allowsDatagrams(_ key: FlowKey, now: Instant) -> Bool {
        let isGateway = key.isIPv6 ? key.remote == gateway6 : key.remoteIPv4 == options.network.gateway
        if isGateway { return options.policy.opensHostLoopback }
        if options.proxy != nil || key.isIPv6 && !isOpen(key.remote) { return false }
        let isUDP = key.protocolNumber == IPProtocol.udp, port = isUDP ? key.remotePort : nil
        let isAllowed =
            key.isIPv6
            ? options.policy.allows(key.remote, port: port) : options.policy.allows(key.remoteIPv4, port: port)
        if !isUDP {
            return isAllowed
                || pins.count > 0
                    && neighbors.hardware(of: key.guestAddress).map {
                        pins.allowsPing($0, key.remoteAddress, now: now)
                    } == true
        }
        return isAllowed
            || pinnedFlows.count > 0
                && neighbors.hardware(of: key.guestAddress).map { pinnedFlows.contains(key, of: $0, now: now) } == true
    }

    /// Whether pins allow a TCP segment that opens a connection.
    func pinsAllow(_ address: IPAddress, port: UInt16, isSYN: Bool, _ info: FrameInfo) -> Bool {
        isSYN && pins.count > 0 && pins.allowsTCP(info.hardware, address, port, now: info.now)
    }

    /// Where the proxy is to connect a guest: to the name that has led it there, if that is one only. The name may have
    /// other addresses for the proxy, so that a policy by address needs the address.
    func target(of segment: InboundSegment) -> ProxyHandshake.Target {
        let key = segment.key, policy = options.policy
        let address: IPAddress = key.isIPv6 ? .ipv6(key.remote) : .ipv4(key.remoteIPv4)
        // A proxy might take other bytes of a label for the end of the name, or for another request.
        if let name = pins.soleName(leading: segment.hardware, to: address), name.isHostName,
            policy.isDenying ? policy.allowsTCP(named: name, key.remotePort) : !policy.deniesPrivate
        {
            return .name(name.description)
        }
        return key.isIPv6 ? .ipv6(key.remote) : .ipv4(key.remoteIPv4)
    }

    /// How a connection that the policy does not allow by address is checked.
    func check(_ address: IPAddress, port: UInt16, isSYN: Bool, _ info: FrameInfo) -> NameCheckKind {
        guard isSYN, options.policy.inspectsNames else { return .none }
        // A rule that names another port is for another protocol.
        let isOther =
            port != 80 && port != 443
            && pins.contains(EgressPin(guest: info.hardware, address: address, scope: .tcp(port)), now: info.now)
        return isOther ? .recognized : .required
    }

    /// Whether pins allow a UDP datagram, or have allowed its flow.
    mutating func pinsAllow(_ address: IPAddress, _ key: FlowKey, by owner: GuestOwner, _ info: FrameInfo) -> Bool {
        if pinnedFlows.count > 0, pinnedFlows.use(key, of: info.hardware, now: info.now) { return true }
        guard pins.count > 0,
            pins.allowsUDP(
                info.hardware, address, key.remotePort, isExact: options.policy.inspectsNames, now: info.now)
        else { return false }
        pinnedFlows.insert(key, of: info.hardware, by: owner, now: info.now)
        return true
    }

    /// Whether pins allow a ping.
    func pinsAllowPing(_ address: IPAddress, _ info: FrameInfo) -> Bool {
        pins.count > 0 && pins.allowsPing(info.hardware, address, now: info.now)
    }
}
