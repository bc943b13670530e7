// SPDX-License-Identifier: Apache-2.0
import ControlSocket
import NameService
import NetworkModel
import Platform
import Sessions
import Switching
import Uplink
import VDEPlug
import Wire

/// All options of the daemon, validated as far as possible without side effects.
package struct Configuration: Sendable {
    /// Which DHCP server guests have.
    package enum DHCP: String, CaseIterable, Sendable {
        /// The built-in server, unless the network has another one.
        case auto
        /// The built-in server in any case.
        case builtin
        /// A server of the host, such as dnsmasq on the TAP.
        case system
        /// None.
        case off
    }

    /// Whose switch the guests are on.
    package enum SwitchRole: Sendable {
        /// The switch of another process, which this one joins.
        case client(VirtualNetworkLocator)
        /// A switch that this process is.
        case server(SwitchConfiguration)
    }

    /// How guests reach the host and the outside.
    package enum UplinkKind: String, CaseIterable, Sendable {
        /// The best that the system and the user's privileges allow.
        case auto
        /// vmnet.framework (macOS).
        case vmnet
        /// A TAP, or a bridge or NIC of the host (Linux).
        case tap
        /// A user-mode NAT, without privilege.
        case user
        /// No uplink.
        case none
    }

    /// Whose switch the guests are on.
    package var role: SwitchRole
    /// Listeners besides VDE.
    package var listeners = ListenerConfiguration()
    /// How guests reach the host and the outside.
    package var uplink: UplinkKind = .auto
    /// What `--uplink` has, before other options decide.
    package var givenUplink: UplinkKind = .auto
    /// The group that may write to this process's data socket on another process's switch.
    package var vdeGroup: UInt32?
    /// The uplink's mode.
    package var mode: NetworkMode
    /// nil: the default network, or the next one that is free.
    package var network: GuestNetwork?
    /// 16 bytes from which the gateway's hardware address is made; nil: it is made from its IP address.
    package var interfaceID: [UInt8]?
    /// 16 bytes that identify a host network of vmnet without DHCP.
    package var networkIdentifier: [UInt8]?
    /// The IPv6 prefix of vmnet's NAT, such as `fd00:1:2:3::`.
    package var nat66Prefix: String?
    /// vmnet exchanges GSO frames and unfinished checksums.
    package var hasVmnetOffload = false
    /// The interface that packets leave vmnet's NAT by.
    package var externalInterface: String?
    /// Addresses that are reserved for guests.
    package var reservations: [AddressReservation] = []
    /// The domain of guests' names; nil if they have none.
    package var domain: GuestDomain? = .standard
    /// Where the host's queries for names of guests are answered.
    package var hostDNS: HostDNS = .automatic
    /// DNS servers in place of the host's resolvers, or for some domains.
    package var nameServers: [NameServer] = []
    /// Whether responses to guests' DNS queries are kept.
    package var cachesNames = true
    /// Which DHCP server guests have.
    package var dhcp: DHCP = .auto
    /// DHCP options that guests get beside or instead of those of the network.
    package var guestOptions: [GuestOption] = []
    /// Seconds of the longest lease; nil: the usual ones.
    package var leaseTime: UInt32?
    /// Guests get no default route.
    package var withholdsRouter = false
    /// The files that guests boot from; nil if none.
    package var boot: BootFiles?
    /// Guests that may be routers and DHCP servers for the others.
    package var allowedServers: [AllowedServer] = []
    /// How guests get IPv6.
    package var ipv6 = IPv6Choice.automatic
    /// nil: the first free name.
    package var tapName: String?
    /// The directory of the lease files; nil: the default.
    package var stateDirectory: String?
    /// The path of the pidfile; nil: none.
    package var pidfile: String?
    /// The pidfile is locked at the start, and stays empty until the network is ready.
    package var pidfileReportsReady = false
    /// Bytes of the longest IP packet on the network.
    package var mtu = 1500
    /// The user has chosen the MTU: guests do not get the egress interface's MTU if that is smaller.
    package var isMTUFixed = false
    /// QEMU's helper that makes a TAP a port of a bridge; nil: the one that is installed.
    package var bridgeHelper: String?
    /// Threads that forward frames; nil: as many as are useful.
    package var workers: Int?
    /// Seconds between two reports of traffic; nil: no reports.
    package var statsInterval: Int?
    /// Guests reach the uplink, and not each other.
    package var isIsolating = false
    /// Ports of the host that lead to guests; no two overlap.
    package var published: [PublishedPort] = []
    /// The destinations that guests may reach.
    package var egress = EgressPolicy()
    /// What `egress` refuses is logged.
    package var logsRefusals = false
    /// Guests' TCP connections go through this proxy; nil for none.
    package var proxy: ProxyConfiguration?
    /// Which datagrams reach a guest's UDP port through the user-mode NAT.
    package var filtering = DatagramFiltering.address
    /// The outbound path of the user-mode NAT; nil: the system's routes.
    package var outbound: Outbound?
    /// The file for a capture of all ports; nil: none.
    package var pcap: String?
    /// The control socket.
    package var control = ControlConfiguration()

    /// The limit of the rate of guests' ports; nil for none.
    package var limit: RateLimit? { if case .server(let own) = role { own.limit } else { nil } }

    /// - Parameters:
    ///   - role: whose switch the guests are on.
    ///   - mode: of the uplink.
    package init(role: SwitchRole, mode: NetworkMode) {
        self.role = role
        self.mode = mode
    }
}
