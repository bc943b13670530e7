// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import NetworkModel
import Platform
import Wire

/// vmnet's three modes, which every uplink has as far as it can.
package enum NetworkMode: Equatable, Sendable {
    /// Guests reach the host, each other, and the outside through NAT.
    case shared
    /// Guests reach the host and each other.
    case host
    /// Guests are part of the network that this interface is on.
    case bridged(interface: String)

    /// Whether guests are part of a network that is not the uplink's.
    package var isBridged: Bool { if case .bridged = self { true } else { false } }
}

/// What the user has requested, as far as it concerns the uplink.
package struct UplinkOptions: Sendable {
    /// The uplink's mode.
    package var mode: NetworkMode
    /// nil: the first network that is free.
    package var network: GuestNetwork?
    /// 16 bytes from which the gateway's hardware address is made; nil: it is made from the gateway's IP address.
    package var interfaceID: [UInt8]?
    /// The program that started this one reads the interface identifier from the start report.
    package var reportsInterfaceID = false
    /// Bytes of the longest IP packet.
    package var mtu = 1500
    /// Guests reach the uplink, and not each other.
    package var isIsolating = false
    /// Ports of the host that lead to guests; no two overlap.
    package var published: [PublishedPort] = []
    /// Addresses that are reserved for guests.
    package var reservations: [AddressReservation] = []
    /// The destinations that guests may reach.
    package var egress = EgressPolicy()
    /// Refusals are logged (`--egress-log`): a TAP opens its packet log with its rules, before privileges are dropped.
    package var logsRefusals = false
    /// Guests' TCP connections go through this proxy, and nothing else leaves (`--proxy`); nil for none.
    package var proxy: ProxyServer?
    /// Which datagrams reach a guest's UDP port through the user-mode NAT (`--udp-filtering`).
    package var filtering = DatagramFiltering.address
    /// The outbound path of the user-mode NAT (`--outbound`); nil: the system's routes.
    package var outbound: Outbound?
    /// Guests get a default route to the gateway.
    package var isDefaultRouter = true
    /// How guests get IPv6.
    package var ipv6 = IPv6Choice.automatic
    /// The directory of the prefix of IPv6; nil: the default.
    package var stateDirectory: String?
    /// nil: the first free name.
    package var tapName: String?
    /// QEMU's helper that makes a TAP a port of a bridge; nil: the one that is installed.
    package var bridgeHelper: String?

    /// The defaults for a mode.
    package init(mode: NetworkMode) { self.mode = mode }

    /// The hardware address of the gateway, the same in every run.
    package func hardwareAddress(gateway: IPv4Address) -> MACAddress {
        MACAddress(locallyAdministeredFrom: interfaceID ?? Array("vde_vmnet".utf8) + gateway.bytes)
    }

    /// The hardware address of the router over IPv6 beside the gateway, the same in every run.
    package func routerHardwareAddress(gateway: IPv4Address) -> MACAddress {
        MACAddress(locallyAdministeredFrom: Array("router".utf8) + hardwareAddress(gateway: gateway).bytes)
    }

    /// The upper half of guests' IPv6 addresses, the same in every run (RFC 4193).
    package func uniqueLocalPrefix(gateway: IPv4Address) -> UInt64 {
        0xfd << 56 | (hardwareAddress(gateway: gateway).value & 0xff_ffff_ffff) << 16
    }

    /// Checks that reservations of IPv6 addresses and ports published for them are for `network`; nil for none.
    /// - Throws: `usage`, with the one that is not.
    package func checkGuests(of network: IPv6Network?) throws(ExitError) {
        for one in published {
            guard let reason = one.refusal(in: network) else { continue }
            throw ExitError(.usage, "--publish \(one): \(reason); choose the network with --ipv6")
        }
        guard
            let one = reservations.first(where: { one in
                one.address6 != nil && network.map { one.address6(in: $0) == nil } ?? true
            })
        else { return }
        let reason = network.map { "it is not in \($0); write ::10 for one in it" } ?? "guests have no IPv6"
        throw ExitError(.usage, "--dhcp-host \(one): \(reason), or choose the network with --ipv6")
    }

    /// Checks that published ports and reservations name guests of `network`.
    /// - Throws: `usage`, with the option that does not fit.
    package func checkGuests(of network: GuestNetwork) throws(ExitError) {
        let given =
            published.map { ("--publish \($0)", network.refusal(of: $0)) }
            + reservations.map { ("--dhcp-host \($0)", network.refusal(of: $0)) }
        for case (let option, let reason?) in given {
            throw ExitError(.usage, "\(option): \(reason); choose the network with --vmnet-gateway")
        }
    }
}
