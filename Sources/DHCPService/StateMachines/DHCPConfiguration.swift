// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Wire

/// Configuration of the DHCP server: the options for clients, and how it assigns addresses.
package struct DHCPConfiguration: Equatable, Sendable {
    /// The guests' network (option 1 and 28).
    package var network: IPv4Network
    /// The server's address on the network: the server identifier (option 54), and the source of replies.
    package var server: IPv4Address
    /// Source of replies.
    package var serverHardware: MACAddress
    /// The first address that is assigned.
    package var first: IPv4Address
    /// The last address that is assigned.
    package var last: IPv4Address
    /// The default gateway (option 3); nil on a network without an uplink.
    package var router: IPv4Address?
    /// Option 6.
    package var nameServers: [IPv4Address] = []
    /// Option 15.
    package var domain: String?
    /// Search domains (option 119, RFC 3397), `domain` included.
    package var searchDomains: [String] = []
    /// Option 26, in bytes.
    package var mtu: UInt16 = 1500
    /// Reserved addresses, in the range or outside.
    package var reservations: [AddressReservation] = []
    /// True if there can be no other server: the server then also answers a client that requests an address of which it
    /// has no record (RFC 2131 section 4.3.2, INIT-REBOOT).
    package var isAuthoritative = false
    /// True if the port of every client is known: a lease from before a restart counts for no port until its client is
    /// seen.
    package var hasKnownPorts = false
    /// The longest lease, in seconds.
    package var leaseTime: UInt32 = DHCPConfiguration.usualLeaseTime
    /// Options that the user has set. They take precedence over the ones above.
    package var guestOptions: [GuestOption] = []
    /// Files that guests boot from; nil if none.
    package var boot: BootFiles?
    /// The domain in which a guest's name exists; nil if guests have no names.
    package var guestDomain: GuestDomain?
    /// Names that the host's `/etc/hosts` gives to these addresses. A guest with another address does not get such a
    /// name, unless a reservation fixes it.
    package var hostNames: [GuestName: [IPv4Address]] = [:]
    /// What offers to the detectors of other servers of this program contain; nil if the server does not yield to them.
    package var claim: DHCPServerClaim?

    /// `leaseTime` unless the user sets another one.
    package static let usualLeaseTime: UInt32 = 1800

    /// - Parameters:
    ///   - first: the first address that is assigned.
    ///   - last: the last one.
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
