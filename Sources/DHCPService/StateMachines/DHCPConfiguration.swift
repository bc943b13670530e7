// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Wire

/// What the DHCP server tells its clients.
package struct DHCPConfiguration: Equatable, Sendable {
    package var network: IPv4Network
    /// Our address on the network: the server identifier, and the source of replies.
    package var server: IPv4Address
    package var serverHardware: MACAddress
    /// First and last address that is given out.
    package var first: IPv4Address
    package var last: IPv4Address
    /// nil where there is no way out.
    package var router: IPv4Address?
    package var nameServers: [IPv4Address] = []
    package var domain: String?
    /// Domains in which clients look names up, the first one included (RFC 3397).
    package var searchDomains: [String] = []
    package var mtu: UInt16 = 1500
    /// Addresses that belong to machines, in the range or outside.
    package var reservations: [AddressReservation] = []
    /// True where no other server is possible: a client that believes to have an address of which nothing is known here
    /// is answered, too.
    package var isAuthoritative = false
    /// True where every client's port is known: what was leased before a restart is at none of them until it is seen.
    package var knowsPorts = false
    /// Seconds, at most.
    package var leaseTime: UInt32 = 1800

    package init(
        network: IPv4Network, server: IPv4Address, serverHardware: MACAddress, first: IPv4Address, last: IPv4Address
    ) {
        self.network = network
        self.server = server
        self.serverHardware = serverHardware
        self.first = first
        self.last = last
    }
}
