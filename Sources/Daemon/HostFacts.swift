// SPDX-License-Identifier: Apache-2.0
import DHCPService
import HostFirewall
import NameService
import NetworkConfiguration
import NetworkModel
import Platform
import Uplink
import Wire

/// The properties of the host's network that leases contain, as they are now: search domains, and the MTU of the path
/// to the outside.
final class HostFacts {
    /// Every IPv4 host accepts packets of this length (RFC 791 section 3.1).
    private static let smallestMTU = 576

    private let resolvers: Resolvers
    private let domain: GuestDomain?
    /// The host's `/etc/hosts`; nil if guests resolve no names here.
    private let hosts: HostsFile?
    private let guests: GuestNetwork
    private let mtu: Int
    /// The index of the guests' TAP; nil if the MTU does not follow the path.
    private let tap: UInt32?

    /// - Parameters:
    ///   - domain: of guests' names; nil if they have none.
    ///   - hosts: answers guests; nil if nothing does.
    init(_ addressing: HostAddressing, _ configuration: Configuration, domain: GuestDomain?, hosts: HostsFile?) {
        resolvers = Resolvers()
        self.domain = domain
        self.hosts = hosts
        guests = addressing.network
        mtu = configuration.mtu
        // A user-mode NAT terminates TCP, and the host fragments longer datagrams.
        tap = configuration.isMTUFixed ? nil : addressing.interface.flatMap { NetworkInterfaces.index(of: $0) }
    }

    /// Updates the configuration of the DHCP server.
    func apply(to dhcp: inout DHCPConfiguration) {
        resolvers.refresh()
        // The guests' domain first: a name of one label is a guest's before it is one of the host's network.
        let own = domain.map { [$0.description] } ?? []
        dhcp.guestDomain = domain
        dhcp.domain = own.first ?? resolvers.domain
        dhcp.searchDomains = own + resolvers.search.filter { DNSName($0) != domain?.name }
        hosts?.refresh()
        dhcp.hostNames = hosts?.table.guestNames ?? [:]
        guard let tap else { return }
        let path = NetworkInterfaces.path(to: HostFirewallInspector.outside, from: guests.firstLease, input: tap)
        dhcp.mtu = UInt16(max(HostFacts.smallestMTU, min(mtu, path?.mtu ?? mtu)))
    }
}
