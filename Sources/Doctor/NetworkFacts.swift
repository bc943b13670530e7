// SPDX-License-Identifier: Apache-2.0
import ControlProtocol
import NetworkModel
import Wire

/// What a running network has reported by its control socket (docs/control.md).
package struct NetworkFacts: Sendable {
    /// A guest's address as the network's switch has it.
    package struct GuestPort: Equatable, Sendable {
        /// The guest's.
        package let hardware: MACAddress
        /// 0: untagged.
        package let vlan: Int
        /// The number of the port in the switch's words; its internal number if it has none.
        package let port: Int
        /// How often the address has moved between ports, without a pause of more than a minute until now.
        package let moves: Int
        /// The number of the port that it was at before; nil if it has not moved.
        package let previousPort: Int?
    }

    /// A lease.
    package struct Lease: Equatable, Sendable {
        /// The leased one.
        package let address: IPv4Address
        /// Until it expires.
        package let secondsLeft: Int
        /// Whether a guest with the lease is at a port now.
        package let isConnected: Bool
    }

    /// The network's name; of 64 characters that need no quotes.
    package let name: String
    /// The path of the control socket.
    package let socket: String
    /// 0 if it is not reported.
    package let process: Int32
    private let status: JSON
    /// The guests' addresses.
    package let guests: [GuestPort]
    /// Of the built-in DHCP server.
    package let leases: [Lease]

    /// - Parameters:
    ///   - status: the result of `status`.
    ///   - ports: the result of `ports`.
    ///   - leases: the result of `leases`.
    package init(
        socket: String, process: Int32, status: JSON, ports: [JSON], leases: [JSON]
    ) {
        self.socket = socket
        self.process = process
        self.status = status
        name = status["name"]?.string ?? ""
        guests = ports.flatMap(NetworkFacts.guests)
        uplinkPort = ports.first { $0["role"]?.string == "uplink" }?["description"]?.string
        self.leases = leases.compactMap { lease in
            guard let address = lease["address"]?.string.flatMap({ IPv4Address($0) }) else { return nil }
            return Lease(
                address: address, secondsLeft: lease["seconds_left"]?.integer ?? 0,
                isConnected: lease["port"]?.integer != nil)
        }
    }

    private static func guests(_ port: JSON) -> [GuestPort] {
        guard let number = port["port"]?.integer ?? port["id"]?.integer else { return [] }
        return (port["guests"]?.array ?? []).compactMap { guest in
            guard let hardware = guest["mac"]?.string.flatMap({ MACAddress($0) }) else { return nil }
            return GuestPort(
                hardware: hardware, vlan: guest["vlan"]?.integer ?? 0, port: number,
                moves: guest["moves"]?.integer ?? 0, previousPort: guest["moved_from"]?.integer)
        }
    }

    /// `tap`, `user`, `vmnet`, ...
    package var uplink: String { status["uplink"]?["kind"]?.string ?? "none" }
    /// False while it is lost.
    package var isUplinkConnected: Bool { status["uplink"]?["connected"]?.bool ?? true }
    /// The name of the uplink's port, which is its TAP's if it has one; nil without an uplink.
    package let uplinkPort: String?

    /// The guests' TAP, or the interface of a bridge.
    package var interface: String? { status["uplink"]?["interface"]?.string }
    /// `shared`, `host` or `bridged`.
    package var mode: String { status["mode"]?.string ?? "shared" }
    /// Of guests, in bytes.
    package var mtu: Int { status["mtu"]?.integer ?? 1500 }
    /// The resolvers that the network uses, as `ADDRESS:PORT`; nil if this user may not read them.
    package var resolvers: [String]? { status["resolvers"]?.array?.compactMap(\.string) }
    /// Whether `resolvers` are those of `--dns`, in place of the host's.
    package var hasOwnResolvers: Bool { status["own_resolvers"]?.bool ?? false }
    /// Whether the network answers guests' queries for names.
    package var answersDNS: Bool { status["answers_dns"]?.bool ?? true }
    /// The longest lease, in seconds.
    package var leaseTime: Int { status["dhcp"]?["lease_time"]?.integer ?? 86_400 }
    /// Addresses that are leased now.
    package var leased: Int { status["dhcp"]?["leased"]?.integer ?? 0 }
    /// Addresses that can be leased; 0 if the network leases none.
    package var poolSize: Int { status["dhcp"]?["size"]?.integer ?? 0 }
    /// Requests that found no free address.
    package var exhausted: Int { status["dhcp"]?["exhausted"]?.integer ?? 0 }
    /// Addresses that another host used without a lease.
    package var conflicts: Int { status["dhcp"]?["conflicts"]?.integer ?? 0 }

    /// Whether packets of guests are routed by this host's kernel.
    package var isRouted: Bool { uplink == "tap" && mode == "shared" }

    /// The guests' network; nil if the host has none.
    package var network: GuestNetwork? {
        guard let gateway = status["gateway"]?.string.flatMap({ IPv4Address($0) }),
            let network = status["network"]?.string.flatMap({ IPv4Network($0) })
        else { return nil }
        return GuestNetwork(gateway: gateway, prefixLength: network.prefixLength)
    }

    /// The guests' IPv6 network; nil for none.
    package var network6: IPv6Network? {
        guard let parts = status["network6"]?.string?.split(separator: "/"), parts.count == 2,
            let address = IPv6Address(parts[0]), let length = Int(parts[1]), (0...128).contains(length)
        else { return nil }
        return IPv6Network(containing: address, prefixLength: length)
    }

    /// Whether guests' IPv6 packets leave the host by a user-mode NAT.
    package var hasNAT6: Bool { status["uplink"]?["ipv6_way"]?.string == "user" }

    /// The path of the network's switch; nil if it has none.
    package var switchPath: String? { NetworkFacts.switchPath(in: status) }

    /// The path of the switch in the result of `status`; nil if it has none.
    package static func switchPath(in status: JSON) -> String? {
        guard let text = status["switch"]?.string else { return nil }
        for start in ["switch at ", "joined to "] where text.hasPrefix(start) && !text.hasSuffix(" (cable)") {
            return String(text.dropFirst(start.count))
        }
        return nil
    }
}
