// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Wire

/// The nftables rules of one guest network behind a TAP: who may forward to and from it, NAT, published ports. Rules of
/// other tables are not touched.
package struct Firewall: Equatable, Sendable {
    /// `vde_vmnet_` and the TAP's name.
    package let table: String
    private let tap: String
    /// Conditions for packets that come from the TAP, and that go to it. By its index, which it keeps when it is
    /// renamed.
    private let inward: String
    private let outward: String
    package let network: IPv4Network
    /// Nothing is forwarded to or from the network (`--vmnet-mode host`).
    package var isClosed = false
    /// Guests do not reach each other by way of the host either.
    package var isIsolating = false
    /// Interfaces on which forwarding was off before we needed it. Between them and anything but a TAP of ours or of
    /// another instance, whose own table looks after it, forwarding stays off.
    package var guarded: [String] = []
    /// Ports of the host that lead to guests.
    package var published: [PublishedPort] = []
    /// Where guests may go.
    package var egress = EgressPolicy()
    /// The host's address on the network, where it answers DNS and pings even if it is closed to guests otherwise.
    package var gateway = IPv4Address.any

    /// - Parameter index: of the TAP.
    package init(tap: String, index: UInt32, network: IPv4Network) {
        self.tap = tap
        inward = "iif \(index)"
        outward = "oif \(index)"
        self.network = network
        table = Firewall.tableName(tap: tap)
    }

    package static func tableName(tap: String) -> String { prefix + tap }

    /// The table that keeps `guarded` interfaces closed to each other after this process was killed, when the kernel
    /// has removed the table it owned.
    package static func guardTableName(tap: String) -> String { prefix + tap + "_guards" }

    private static let prefix = "vde_vmnet_"
    /// The sender receives "communication administratively prohibited".
    private static let refusal = "reject with icmpx admin-prohibited"

    /// What may follow the interface's name in a table's name.
    private static let suffixes = ["", "_guards"]

    /// Whether a table could be one of ours: the prefix, an interface's name, and a suffix of ours.
    package static func isTableName(_ name: String) -> Bool {
        // It becomes a word of nft's language.
        guard name.hasPrefix(prefix), !name.contains(where: { ";{}#$&()<>*|=!,\'`@+[]^?~".contains($0) }) else {
            return false
        }
        let rest = String(name.dropFirst(prefix.count))
        return suffixes.contains { rest.hasSuffix($0) && NetworkInterfaces.isName(String(rest.dropLast($0.count))) }
    }

    /// Whether a table is that of an instance of ours.
    static func isOurs(_ table: String) -> Bool { table.hasPrefix(prefix) }

    /// The tables that `script` makes.
    package func tables(isOwned: Bool) -> [String] { isOwned ? [table, Firewall.guardTableName(tap: tap)] : [table] }

    /// All of it as one transaction, which replaces what this process applied before.
    /// - Parameter isOwned: the table belongs to the netlink socket that applies it (Linux 5.12): other programs can
    ///   neither flush nor delete it, and it goes when the socket is closed.
    package func script(isOwned: Bool) -> String {
        let flags = isOwned ? " flags owner;" : ""
        let guards = guarded.map { "    iifname \"\($0)\" meta oifgroup != \(TapDevice.group) drop\n" }.joined()
        return """
            table inet \(table) {\(flags) }
            delete table inet \(table)
            table inet \(table) {\(flags)
              chain ingress {
                type filter hook prerouting priority raw; policy accept;
            \(ingressRules)  }
              chain forward {
                type filter hook forward priority filter; policy accept;
            \(isClosed ? closedRules : sharedRules)\(guards)  }
            \(isClosed ? "" : natChains + inputChain)}
            \(isOwned ? guardTable(guards) : "")
            """
    }

    private func guardTable(_ guards: String) -> String {
        let name = Firewall.guardTableName(tap: tap)
        return """
            table inet \(name)
            delete table inet \(name)
            table inet \(name) {
              chain forward {
                type filter hook forward priority filter; policy accept;
            \(guards)  }
            }

            """
    }

    /// Only what can come from the network comes in (BCP 38): addresses of its own, of a prefix that a route of this
    /// host leads there, and those of hosts that have none yet. Not left to rp_filter, which IPv6 does not have. The
    /// loopback network is open to no guest, even where `route_localnet` lets the host's own packets of 127.0.0.0/8 out
    /// by the TAP.
    private var ingressRules: String {
        [
            "ip daddr 127.0.0.0/8 drop",
            "ip saddr \(network.base) drop",
            "ip saddr != { 0.0.0.0, \(network) } fib saddr . iif oif missing drop",
            "ip6 saddr :: meta l4proto != ipv6-icmp drop",
            "ip6 saddr != { ::, fe80::/10 } fib saddr . iif oif missing drop",
        ].map { "    \(inward) \($0)\n" }.joined()
    }

    /// Ports of which it is known where they lead.
    private var led: [PublishedPort] { published.filter(\.hasGuestAddress) }

    private var closedRules: String { "    \(inward) drop\n    \(outward) drop\n" }

    /// What may pass is decided for each packet in the direction in which its connection began: one that began before
    /// these rules were there is not let through because it is established.
    private var sharedRules: String {
        var rules: [String] = []
        // A path with a smaller MTU, where ICMP is lost, as the host's own TCP would find (RFC 4459 section 3.2).
        rules += [inward, outward].map { "\($0) tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu" }
        rules.append("\(inward) ip saddr != \(network) drop")
        if isIsolating || egress.isDenying {
            // What the host publishes is open to guests too, as to all that reach the host.
            rules += led.map { "\(inward) \(Firewall.match($0, isReply: true)) accept" }
            rules += led.map { "\(inward) \(outward) \(Firewall.match($0, isReply: false)) accept" }
        }
        if isIsolating { rules.append("\(inward) \(outward) drop") }
        if egress.isDenying { rules += egress.allowed.flatMap(\.matches).map { "\(inward) \($0) accept" } }
        rules.append("\(inward) \(egress.isDenying ? Firewall.refusal : "accept")")
        rules.append("\(outward) ct direction reply ct state established,related accept")
        rules += led.map { "\(outward) \(Firewall.match($0, isReply: false)) accept" }
        rules.append("\(outward) drop")
        return rules.map { "    \($0)\n" }.joined()
    }

    /// A connection by way of a published port, and by none that another program has led to a guest.
    private static func match(_ published: PublishedPort, isReply: Bool) -> String {
        let (address, port) = isReply ? ("saddr", "sport") : ("daddr", "dport")
        return
            "ct direction \(isReply ? "reply" : "original") ct status dnat ip \(address) \(published.guest) \(published.transport.rawValue) \(port) \(range(published.guestPorts)) ct original proto-dst \(range(published.ports))"
    }

    private static func range(_ ports: ClosedRange<UInt16>) -> String {
        ports.count == 1 ? "\(ports.lowerBound)" : "\(ports.lowerBound)-\(ports.upperBound)"
    }

    /// Where guests may not go where they like, the host is no exception. DHCP does not come this way.
    private var inputChain: String {
        guard egress.isDenying else { return "" }
        let names = egress.allowsNames ? ["ip daddr \(gateway) udp dport 53", "ip daddr \(gateway) tcp dport 53"] : []
        // Neighbour discovery is to IPv6 what ARP is to IPv4.
        let own = [
            "ct direction reply ct state established,related", "ip daddr \(gateway) icmp type echo-request",
            "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }",
        ]
        return """
              chain input {
                type filter hook input priority filter; policy accept;
            \((own + names + egress.allowed.flatMap(\.matches)).map { "    \(inward) \($0) accept\n" }.joined())    \(inward) \(Firewall.refusal)
              }

            """
    }

    private var natChains: String {
        let postrouting = """
              chain postrouting {
                type nat hook postrouting priority srcnat; policy accept;
                ip saddr \(network) oif != \(outward.dropFirst(4)) ip daddr != { \(network), 224.0.0.0/4, 255.255.255.255 } masquerade

            """
        guard !led.isEmpty else { return postrouting + "  }\n" }
        let rules = led.map { "    \(Firewall.rule(for: $0))\n" }.joined()
        // What comes from where guests cannot answer to gets the gateway's address: the host's loopback, and guests
        // that go by way of the host.
        return """
            \(postrouting)    \(outward) ip saddr { 127.0.0.0/8, \(network) } ct status dnat masquerade
              }
              chain prerouting {
                type nat hook prerouting priority dstnat; policy accept;
            \(rules)  }
              chain output {
                type nat hook output priority -100; policy accept;
            \(rules)  }

            """
    }

    private static func rule(for published: PublishedPort) -> String {
        let transport = published.transport.rawValue, ports = published.ports
        let target: String
        if published.guestPort == ports.lowerBound {
            target = "\(published.guest)"
        } else if ports.count == 1 {
            target = "\(published.guest):\(published.guestPort)"
        } else {
            // A range as target would spread over the guest's ports; a map keeps their order.
            let pairs = zip(ports, published.guestPorts).map { "\($0) : \($1)" }.joined(separator: ", ")
            target = "\(published.guest) : \(transport) dport map { \(pairs) }"
        }
        let address = published.bind == .any ? "" : "ip daddr \(published.bind) "
        return
            "meta nfproto ipv4 fib daddr type local \(address)\(transport) dport \(range(ports)) dnat ip to \(target)"
    }

    /// Removes a table if it is there and no process owns it.
    package static func removalScript(table: String) -> String { "table inet \(table)\ndelete table inet \(table)\n" }
}

/// Programs of the system's administration, which are often not in a user's PATH.
package enum Programs {
    package static func find(_ name: String) -> String? {
        let path = (Accounts.environment("PATH") ?? "") + ":/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin"
        for directory in path.split(separator: ":") where Files.isExecutable("\(directory)/\(name)") {
            return "\(directory)/\(name)"
        }
        return nil
    }
}
