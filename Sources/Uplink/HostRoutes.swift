// SPDX-License-Identifier: Apache-2.0
import HostFirewall
import Logging
import Platform
import Wire

/// The host's routes to the outside.
package enum HostRoutes {
    /// The interfaces of default routes for IPv4, and of routes to the two halves of the Internet, as VPNs have them.
    /// The kernel's preference is their order. nil if routes cannot be listed.
    private static var defaultInterfaces: [UInt32]? {
        (try? NetworkInterfaces.routes()).map { routes in
            leadingOutside(routes.filter { !$0.isLocal }.map { ($0.destination.prefixLength, $0.metric, $0.interface) })
        }
    }

    /// The same for IPv6.
    private static var defaultInterfaces6: [UInt32]? {
        (try? NetworkInterfaces.routes6()).map { routes in
            leadingOutside(routes.map { ($0.destination.prefixLength, $0.metric, $0.interface) })
        }
    }

    private static func leadingOutside(_ routes: [(length: Int, metric: UInt32, interface: UInt32)]) -> [UInt32] {
        routes.filter { $0.length <= 1 }.sorted { ($1.length, $0.metric) < ($0.length, $1.metric) }
            .map(\.interface).filter(leadsOutside)
    }

    /// The interface by which IPv6 packets to the outside leave this host; nil if there is none, or if it cannot be
    /// found out.
    package static var defaultInterface6: String? { defaultInterfaces6?.first.flatMap(NetworkInterfaces.name) }

    /// Whether the host reaches the outside by IPv6: it has an address for that, and a route by an interface that is
    /// neither loopback nor a TAP of this program, to more than link-local addresses. A network on the link counts:
    /// guests reach it, and get "no route" for the rest. True if routes cannot be listed.
    package static var hasEgressIPv6: Bool {
        guard let routes = try? NetworkInterfaces.routes6() else { return true }
        return hasAddress6 && Set(routes.map(\.interface)).contains(where: leadsOutside)
    }

    /// Whether the host has an IPv6 address that is valid beyond a link, from which it sends what leaves it. Between a
    /// router's advertisement and DHCPv6's address, it has a default route only. True if addresses cannot be listed.
    package static var hasAddress6: Bool {
        guard let addresses = try? NetworkInterfaces.addresses6() else { return true }
        return addresses.contains { found in
            !found.address.isLinkLocal && NetworkInterfaces.index(of: found.interface).map(leadsOutside) ?? false
        }
    }

    private static func leadsOutside(_ interface: UInt32) -> Bool {
        NetworkInterfaces.name(of: interface) != OperatingSystem.loopbackInterface
            && NetworkInterfaces.link(interface)?.group != LinkGroup.taps
    }

    /// The same for an outbound path that the user has chosen; nil for none.
    package static func hasEgressIPv6(by outbound: Outbound?) -> Bool {
        switch outbound {
        case nil, .addresses(_, .some)?: return hasEgressIPv6
        case .addresses(_, nil)?: return false
        case .interface(let name)?:
            guard let routes = try? NetworkInterfaces.routes6() else { return true }
            let index = NetworkInterfaces.index(of: name)
            return hasAddress6 && routes.contains { $0.interface == index }
        }
    }

    /// The interfaces by which sockets that carry guests' traffic reach the outside: those of default routes and of the
    /// two halves of the Internet, or of the outbound path that the user has chosen. Empty if routes cannot be listed.
    package static func egressInterfaces(by outbound: Outbound?) -> [String] {
        switch outbound {
        case .interface(let name)?: return NetworkInterfaces.index(of: name) == nil ? [] : [name]
        case .addresses(let four, let six)?:
            let ofFour = ((try? NetworkInterfaces.addresses()) ?? []).filter { $0.address == four }.map(\.interface)
            let ofSix = ((try? NetworkInterfaces.addresses6()) ?? []).filter { $0.address == six }.map(\.interface)
            return Set(ofFour + ofSix).sorted()
        case nil:
            return Set((defaultInterfaces ?? []) + (defaultInterfaces6 ?? [])).sorted()
                .compactMap(NetworkInterfaces.name)
        }
    }

    /// Where the rules and routes of TAPs lead guests, and sockets of this host must not: the host's own IPv6
    /// addresses, and the networks of guests on TAPs. By sockets, a guest's packets would pass the host's firewall as
    /// the host's.
    package static var ownNetworks6: [IPv6Network] {
        let addresses = (try? NetworkInterfaces.addresses6()) ?? []
        return addresses.map { found in
            let isGuests = NetworkInterfaces.link(named: found.interface)?.group == LinkGroup.taps
            return isGuests ? found.network : IPv6Network(containing: found.address, prefixLength: 128)
        }
    }

    /// Reports that guests cannot reach the outside because the host cannot.
    /// - Parameter hasIPv6: whether guests have IPv6.
    package static func reportOffline(hasIPv6: Bool, _ logger: Logger) {
        guard defaultInterfaces?.isEmpty == true else { return }
        guard !hasIPv6 || defaultInterface6 == nil || !hasAddress6 else {
            return logger.notice(
                "this host has no default route for IPv4: guests reach the outside over IPv6 only")
        }
        logger.notice(
            """
            this host is offline (it has no default route): guests reach it and each other, and nothing else until it \
            has one
            """)
    }
}
