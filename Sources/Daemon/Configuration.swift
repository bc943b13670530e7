// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import NetworkModel
import Platform
import Uplinks
import VDEPlug
import Wire

/// What the daemon is to do, checked as far as it can be without touching anything.
package struct Configuration: Sendable {
    /// vmnet's three modes.
    package enum Mode: Equatable, Sendable {
        /// Host, other guests, and the outside through NAT.
        case shared
        /// Host and other guests only.
        case host
        /// Part of the network that this interface is on.
        case bridged(interface: String)

        var isBridged: Bool { if case .bridged = self { true } else { false } }
    }

    package enum DHCP: String, CaseIterable, Sendable {
        /// Ours, unless the network turns out to have another.
        case auto
        /// Ours, whoever else there is.
        case builtin
        /// A server of the host's, such as dnsmasq on the TAP.
        case system
        case off
    }

    /// Where the guests are.
    package enum Side: Sendable {
        /// On somebody's network, which we join.
        case join(PlugLocator)
        /// On a switch that we are.
        case serve(SwitchConfiguration)
    }

    package enum UplinkKind: String, CaseIterable, Sendable {
        /// What the system offers.
        case auto
        case vmnet
        case tap
        /// A NAT in user mode, without privilege.
        case user
        /// A switch and nothing else.
        case none
    }

    package var side: Side
    /// Ways in besides VDE.
    package var listeners = ListenerConfiguration()
    package var uplink: UplinkKind = .auto
    /// The group that may write to our socket on somebody's switch.
    package var vdeGroup: UInt32?
    package var mode: Mode
    /// nil: the default network, or the next that is free.
    package var network: GuestNetwork?
    /// 16 bytes from which the gateway's hardware address is made; nil: from its IP address.
    package var interfaceID: [UInt8]?
    /// 16 bytes that name a host network of vmnet without DHCP.
    package var networkIdentifier: [UInt8]?
    /// The IPv6 prefix of vmnet's NAT, such as `fd00:1:2:3::`.
    package var nat66Prefix: String?
    /// vmnet's segments of 64 KiB and unfinished checksums.
    package var hasVmnetOffload = false
    /// The interface through which vmnet's NAT leads out.
    package var externalInterface: String?
    /// Addresses that belong to machines.
    package var reservations: [AddressReservation] = []
    package var dhcp: DHCP = .auto
    /// Guests that may be routers and DHCP servers for the others.
    package var allowedServers: [AllowedServer] = []
    package var tapName: String?
    package var stateDirectory: String?
    package var pidfile: String?
    /// Bytes of the longest IP packet on the network.
    package var mtu = 1500
    /// The MTU was chosen: guests are not given the way out's where that is smaller.
    package var isMTUFixed = false
    /// QEMU's helper that makes a TAP a port of a bridge; nil for the one that is installed.
    package var bridgeHelper: String?
    /// Threads that forward frames; nil for as many as are of use.
    package var workers: Int?
    /// Seconds from one report of what has passed to the next; nil for none.
    package var statsInterval: Int?
    /// Guests reach the way out, and not each other.
    package var isIsolating = false
    /// Ports of the host that lead to guests; no two overlap.
    package var published: [PublishedPort] = []
    /// Where guests may go.
    package var egress = EgressPolicy()

    package init(side: Side, mode: Mode) {
        self.side = side
        self.mode = mode
    }

    /// The hardware address of the host's end, the same in every run.
    package func hardwareAddress(gateway: IPv4Address) -> MACAddress {
        MACAddress(locallyAdministeredFrom: interfaceID ?? Array("vde_vmnet".utf8) + gateway.bytes)
    }

    /// Checks that what is said of guests' addresses fits `network`, which may have been chosen only now.
    func checkGuests(of network: GuestNetwork) throws(ExitError) {
        let given =
            published.map { ("--publish \($0)", network.refusal(of: $0)) }
            + reservations.map { ("--dhcp-host \($0)", network.refusal(of: $0)) }
        for case (let option, let reason?) in given {
            throw ExitError(.usage, "\(option): \(reason); choose the network with --vmnet-gateway")
        }
    }
}
