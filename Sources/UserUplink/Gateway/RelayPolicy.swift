// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Uplink
import Wire

/// Where TCP connections of guests lead, and as whom clients of published ports appear: what relay and gateway have in
/// common. Constant for as long as the network exists.
struct RelayPolicy: Sendable {
    let network: GuestNetwork
    /// The gateway's IPv6 address with the guests' prefix; nil without IPv6.
    let gateway6: IPv6Address?
    /// The gateway's IPv6 address on the link.
    let linkLocal: IPv6Address
    /// Of DNS (RFC 1035 section 4.2).
    static let dnsPort: UInt16 = 53

    /// TCP to the gateway's port 53 goes to the DNS proxy.
    let answersDNS: Bool
    /// What connections to the outside go through; nil for none.
    let proxy: ProxyServer?

    init(_ options: NATGateway.Options) {
        network = options.network
        gateway6 = options.prefix.map { IPv6Address($0, options.interfaceID) }
        linkLocal = options.linkLocal
        answersDNS = options.answersDNS
        proxy = options.proxy
    }

    /// The gateway's IPv4 address as flow keys have it.
    var gatewayKey: IPv6Address { IPv6Address(0, UInt64(network.gateway.value)) }

    /// Whether a guest's connection is for the DNS proxy.
    func isDNS(_ key: FlowKey) -> Bool {
        answersDNS && key.remotePort == RelayPolicy.dnsPort && (key.remote == gatewayKey || key.remote == gateway6)
    }

    /// Whether a destination is the gateway itself, which stands for this host.
    func isGateway(_ key: FlowKey) -> Bool { key.isIPv6 ? key.remote == gateway6 : key.remote == gatewayKey }

    /// The proxy for a guest's connection; nil for one to this host, or without a proxy.
    func proxy(for key: FlowKey) -> ProxyServer? {
        guard let proxy else { return nil }
        return isGateway(key) ? nil : proxy
    }

    /// Where a guest's connection leads. The gateway's own addresses stand for this host's loopback addresses.
    func destination(of key: FlowKey) -> SocketAddress {
        if key.isIPv6 {
            return SocketAddress(key.remote == gateway6 ? IPv6Address(0, 1) : key.remote, port: key.remotePort)
        }
        let address = key.remoteIPv4
        guard address == network.gateway else { return SocketAddress(address, port: key.remotePort) }
        return SocketAddress(IPv4Address(0x7f00_0001), port: key.remotePort)
    }

    /// As whom a client of a published port appears to guests: as itself if they can answer its address, otherwise as
    /// the gateway.
    /// - Returns: nil for a client of IPv6 if guests have none.
    func visibleAddress(of client: SocketAddress) -> IPAddress? {
        if let address = client.ipv4 {
            return .ipv4(address.isLoopback || network.network.contains(address) ? network.gateway : address)
        }
        guard let address = client.ipv6, let gateway6 else { return nil }
        let isHidden = address.isLoopback || address.isLinkLocal || address.high == gateway6.high
        return .ipv6(isHidden ? gateway6 : address)
    }
}
