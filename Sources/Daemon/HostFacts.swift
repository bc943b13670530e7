// SPDX-License-Identifier: Apache-2.0
import DHCPService
import HostFirewall
import NameService
import NetworkModel
import Platform
import Uplink

/// The properties of the host's network that leases contain, as they are now: search domains, and the MTU of the path
/// to the outside.
final class HostFacts {
    /// Every IPv4 host accepts packets of this length (RFC 791 section 3.1).
    private static let smallestMTU = 576

    private let resolvers: Resolvers
    private let guests: GuestNetwork
    private let mtu: Int
    /// The index of the guests' TAP; nil if the MTU does not follow the path.
    private let tap: UInt32?

    init(_ addressing: HostAddressing, _ configuration: Configuration) {
        resolvers = Resolvers()
        guests = addressing.network
        mtu = configuration.mtu
        // A user-mode NAT terminates TCP, and the host fragments longer datagrams.
        tap = configuration.isMTUFixed ? nil : addressing.interface.flatMap { NetworkInterfaces.index(of: $0) }
    }

    /// Updates the configuration of the DHCP server.
    func apply(to dhcp: inout DHCPConfiguration) {
        resolvers.refresh()
        dhcp.domain = resolvers.domain
        dhcp.searchDomains = resolvers.search
        guard let tap else { return }
        let path = NetworkInterfaces.path(to: HostFirewallInspector.outside, from: guests.firstLease, input: tap)
        dhcp.mtu = UInt16(max(HostFacts.smallestMTU, min(mtu, path?.mtu ?? mtu)))
    }
}
