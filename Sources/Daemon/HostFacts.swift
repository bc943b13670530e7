// SPDX-License-Identifier: Apache-2.0
import DHCPService
import NameService
import NetworkModel
import Platform
import Uplinks

/// What a lease tells guests of the host's own network, as it is now: its search domains, and the MTU of the way out.
final class HostFacts {
    /// Every IPv4 host takes packets of this length (RFC 791 section 3.1).
    private static let smallestMTU = 576

    private let resolvers: Resolvers
    private let guests: GuestNetwork
    private let mtu: Int
    /// The TAP behind which guests are; nil where the MTU does not follow the way out.
    private let tap: UInt32?

    init(_ presence: Uplink.Presence, _ configuration: Configuration) {
        resolvers = Resolvers()
        guests = presence.network
        mtu = configuration.mtu
        // In user mode TCP ends at us, and the host cuts up what is too long.
        tap = configuration.isMTUFixed ? nil : presence.interface.flatMap { NetworkInterfaces.index(of: $0) }
    }

    func apply(to dhcp: inout DHCPConfiguration) {
        resolvers.refresh()
        dhcp.domain = resolvers.domain
        dhcp.searchDomains = resolvers.search
        guard let tap else { return }
        let path = NetworkInterfaces.path(to: ForeignFirewall.outside, from: guests.firstLease, input: tap)
        dhcp.mtu = UInt16(max(HostFacts.smallestMTU, min(mtu, path?.mtu ?? mtu)))
    }
}
