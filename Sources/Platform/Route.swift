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
