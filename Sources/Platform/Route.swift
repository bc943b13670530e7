// SPDX-License-Identifier: Apache-2.0
import Wire

/// An IPv4 route of this host.
package struct Route: Equatable, Sendable {
    /// The addresses that the route is for; 0.0.0.0/0 for a default route.
    package let destination: IPv4Network
    /// nil if the destination is on the link.
    package let gateway: IPv4Address?
    /// Index of the outgoing interface.
    package let interface: UInt32
    /// Of two routes for one destination the kernel uses the one with the lower metric.
    package let metric: UInt32
    /// The number of its routing table; 254 is main.
    package let table: UInt32
    /// The kernel's own entry for an address of this host.
    package let isLocal: Bool

    package static let mainTable: UInt32 = 254
}

/// An IPv6 route of this host to unicast addresses beyond one link.
package struct Route6: Equatable, Sendable {
    /// The addresses that the route is for; `::/0` for a default route.
    package let destination: IPv6Network
    /// Index of the outgoing interface.
    package let interface: UInt32
    /// Of two routes for one destination the kernel uses the one with the lower metric.
    package let metric: UInt32
    /// The number of its routing table.
    package let table: UInt32
}

extension Route6 {
    /// The routes that the kernel prefers for some addresses of a network to that network's own route.
    /// - Parameters:
    ///   - network: one that is on the link of `interface`.
    ///   - routes: of all tables.
    package static func diversions(of network: IPv6Network, on interface: UInt32, in routes: [Route6]) -> [Route6] {
        let main = routes.filter { $0.table == Route.mainTable && network.contains($0.destination.base) }
        let own = main.first { $0.interface == interface && $0.destination == network }
        return main.filter {
            guard $0.interface != interface, $0.destination.prefixLength >= network.prefixLength else { return false }
            return $0.destination != network || $0.metric <= own?.metric ?? .max
        }
    }
}
