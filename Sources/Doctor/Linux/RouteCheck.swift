// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Uplink
import Wire

/// The way to the outside: the default route, VPNs, and rules that divert packets.
struct RouteCheck: HostCheck {
    static let name = "routes"

    /// A default route of the main table.
    struct Exit: Equatable, Sendable {
        let interface: String
        let gateway: IPv4Address?
        let metric: UInt32
        let isUp: Bool
        /// Whether the cable is plugged in, the radio link stands, or the like. True if it is not known.
        var hasCarrier = true
    }

    /// Whether guests are to reach the outside.
    let isNeeded: Bool
    /// The best one first.
    let exits: [Exit]
    let rules: [RoutingRule]
    /// The interface by which guests' packets leave; nil if they do not.
    let egress: String?
    /// Whether the interface is a tunnel, such as a VPN's.
    let isTunnel: Bool
    /// The interface of the default route for IPv6; nil if there is none.
    var egress6: String?
    let guests: IPv4Network
    /// The command that configures this host's interfaces, without `sudo`.
    let connect: [String]

    static func gathered(_ scene: Scene) -> RouteCheck {
        let egress = scene.path?.interface
        return RouteCheck(
            isNeeded: scene.network.map { $0.mode == "shared" && $0.uplink != "none" } ?? true,
            exits: scene.defaultRoutes.map { route in
                let name = NetworkInterfaces.name(of: route.interface) ?? "\(route.interface)"
                return Exit(
                    interface: name, gateway: route.gateway, metric: route.metric,
                    isUp: NetworkInterfaces.link(route.interface)?.isUp ?? true,
                    hasCarrier: Files.text("/sys/class/net/\(name)/carrier") != "0")
            },
            rules: scene.rules, egress: egress, isTunnel: egress.map(isTunnel) ?? false,
            egress6: HostRoutes.defaultInterface6,
            guests: scene.guests.network,
            connect: connectors.first { Programs.find($0[0]) != nil } ?? ["dhclient", "-v"])
    }

    private static let connectors = [
        ["nmcli", "networking", "on"], ["networkctl", "reload"], ["dhclient", "-v"], ["dhcpcd"],
        ["udhcpc", "-i", "eth0"],
    ]

    /// Whether an interface has no Ethernet below it: tun, WireGuard, PPP, IPsec. A TAP has an Ethernet address.
    private static func isTunnel(_ name: String) -> Bool {
        // ARPHRD_NONE, ARPHRD_PPP, ARPHRD_TUNNEL (if_arp.h).
        ["65534", "512", "768"].contains(Files.text("/sys/class/net/\(name)/type") ?? "")
            || Files.exists("/sys/class/net/\(name)/tun_flags") && !Files.exists("/sys/class/net/\(name)/bridge")
                && isTunFlags(Files.text("/sys/class/net/\(name)/tun_flags") ?? "")
    }

    /// IFF_TUN (if_tun.h).
    private static func isTunFlags(_ text: String) -> Bool {
        (UInt32(text.dropFirst(2), radix: 16) ?? 0) & 1 != 0
    }

    /// The first rule before the main table that applies to packets of guests.
    private var firstRule: RoutingRule? {
        rules.filter { rule in
            rule.preference > 0 && rule.preference < 32_766 && !rule.isVRF && rule.destination == nil
                && rule.table != Route.mainTable && rule.table != 255 && rule.table != 253
        }.min { $0.preference < $1.preference }
    }

    var diagnoses: [Diagnosis] {
        guard isNeeded else { return Self.ok("not needed: this network does not lead to the outside") }
        guard let egress else {
            guard let egress6, exits.isEmpty else { return [noExit] }
            return Self.ok("packets leave over IPv6 by \(egress6); there is no default route for IPv4")
        }
        guard let exit = exits.first else { return Self.ok("packets leave by \(egress), by a rule of this host") }
        if exit.interface == egress && !isTunnel {
            // The kernel keeps the route, and discards the packets.
            guard exit.hasCarrier else {
                return [
                    Self.failed(
                        .defaultRouteDown,
                        "the default route's interface \(egress) has no carrier: its cable or its radio link is down",
                        ShellText.command(["sudo"] + connect))
                ]
            }
            let via = exit.gateway.map { " to \($0)" } ?? ""
            return Self.ok("packets leave by \(egress)\(via)")
        }
        if isTunnel { return [tunnel(egress)] }
        guard let rule = firstRule else { return Self.ok("packets leave by \(egress)") }
        return [
            Self.warning(
                .ruleDiverts,
                """
                rule \(rule.preference) sends packets by \(egress) in place of the default route's \(exit.interface)
                """, Remedy.sudo("ip", "rule", "del", "pref", "\(rule.preference)"))
        ]
    }

    private var noExit: Diagnosis {
        if let down = exits.first(where: { !$0.isUp }) {
            return Self.failed(
                .defaultRouteDown, "the default route's interface \(down.interface) is down",
                Remedy.sudo("ip", "link", "set", "dev", down.interface, "up"))
        }
        if !exits.isEmpty, let rule = firstRule {
            return Self.failed(
                .ruleBlocks, "rule \(rule.preference) keeps packets from the default route",
                Remedy.sudo("ip", "rule", "del", "pref", "\(rule.preference)"))
        }
        return Self.failed(
            .noDefaultRoute, "this host has no default route, so guests reach this host only",
            ShellText.command(["sudo"] + connect))
    }

    /// Guests go through the VPN, which is what the host does. A second default route could take them beside it.
    private func tunnel(_ egress: String) -> Diagnosis {
        guard let other = exits.first(where: { $0.interface != egress && $0.isUp }), let gateway = other.gateway else {
            return Self.fine("packets leave by the tunnel \(egress)")
        }
        let table = "7664"
        return Self.warning(
            .vpn,
            """
            guests' packets leave by the VPN \(egress); if the VPN refuses them, send them by \(other.interface) instead
            """,
            "sudo sh -c "
                + ShellText.quoted(
                    ShellText.command(
                        "ip", "route", "add", "default", "via", "\(gateway)", "dev", other.interface, "table", table)
                        + " && " + ShellText.command("ip", "rule", "add", "from", "\(guests)", "lookup", table)))
    }
}
