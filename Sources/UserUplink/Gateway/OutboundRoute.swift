// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// The outbound path of guests' flows (`--outbound`), and the destinations on this host, which are reached without it.
struct OutboundRoute: Sendable {
    let outbound: Outbound
    /// The addresses of this host, as they were last found.
    var hostAddresses: Set<IPAddress> = []

    /// Whether packets to an address leave this host.
    func leads(to address: IPAddress) -> Bool { !address.isLoopback && !hostAddresses.contains(address) }

    /// Binds a new socket for a destination.
    func bind(_ socket: borrowing Descriptor, for address: IPAddress) throws(SystemError) {
        if leads(to: address) { try outbound.bind(socket, ipv6: address.isIPv6) }
    }
}
