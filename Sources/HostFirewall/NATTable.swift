// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Wire

// Theory of operation: the host's firewall for a guest network on a TAP
// =====================================================================
//
// `NATTable` is the text of the rules, `GuestFirewall` the tables in the kernel, and `FirewallMonitor` watches the
// rules of other programs. The kernel's path of a packet, with the chain of the first table at each hook:
//
//     hook         priority         chain        what it does
//     prerouting   -301             ingress      drops forged sources, gives the connection the zone of its guest
//     prerouting   -200             (conntrack)
//     prerouting   mangle           arrivals     drops guests' ICMP errors about connections of others, marks the rest
//     prerouting   dstnat           prerouting   published ports, from outside and from guests
//     output       -100             output       published ports, from the host itself
//     input        filter           input        the egress policy towards the host
//     forward      filter           forward      the egress policy, isolation, published ports, pins
//     output       filter           replies      resets the host's side of a refused connection
//     output       filter           loopback     rejects published ports at ::1
//     postrouting  mangle           departures   marks connections that leave by the TAP
//     postrouting  srcnat           postrouting  masquerades
//
// A closed network (`isClosed`) has ingress, arrivals, departures, and a chain forward that drops everything.
//
// What the kernel keeps of a connection:
//
//     zone    of the original direction: a hash of the guest's hardware address, so that no guest continues another's
//             connection (`NATTable+Holders`)
//     label   bits 64 to 94: a pin has opened it, one bit for each generation of the policy (`NATTable+Pins`);
//             95 to 126: it passes this TAP (`NATTable+ICMPErrors`); 127: refused (`NATTable+Refusals`)
//     mark    unused: VPNs and container programs have it
//
// A *pin* is an address of an allowed name, for one guest, until a time. It is an element of a set with a timeout, so
// that a new pin changes no rule. A change of the rules replaces both tables in one transaction, with the pins that the
// new policy still allows.
//
// States of `GuestFirewall`:
//
//     state     tables                 left by
//     new       none                   `apply` (applied); it tries labels and zones first, and then without them
//     applied   as `listings`          `apply`, `pin` (applied), another program's change (changed), `remove` (new)
//     changed   found by `check`       the owner's repair: `apply` while `mayRepair`, otherwise the TAP stays down
//
// Two tables, because the kernel removes an owned table with the socket that made it. The first table has an owner
// where libnftables and the kernel allow it: no other program changes it, and it ends with the process, as the TAP
// does. The second one (`guardTableName`) has no owner: it keeps egress interfaces closed to each other until a start
// undoes the forwarding setting of a killed process. The undo record names both.
//
// Threads: `GuestFirewall` and `NATTable` belong to the control thread, and have no lock. A transaction of nftables
// blocks that thread for milliseconds, or for the run of nft(8) without libnftables. Listing the rules of other
// programs may take longer, so `FirewallMonitor` does that on a background thread, one check at a time.

/// The nftables rules of one guest network behind a TAP, as text: filtering of forwarded packets, NAT, published ports.
/// Rules in tables of other programs are not touched.
package struct NATTable: Equatable, Sendable {
    /// `vde_vmnet_` and the TAP's name.
    package let table: String
    private let tap: String
    /// The index of the TAP.
    let index: UInt32
    /// Conditions for packets that come from the TAP, and that go to it. They use the interface's index, which does not
    /// change when the interface is renamed.
    private let inward: String
    private let outward: String
    /// The guests' network.
    package let network: IPv4Network
    /// The guests' IPv6 network, which leaves the host by NAT; nil for none.
    package var network6: IPv6Network?
    /// Nothing is forwarded to or from the network (`--vmnet-mode host`).
    package var isClosed = false
    /// Guests do not reach each other through the host either.
    package var isIsolating = false
    /// Interfaces on which this program has switched forwarding on. Between them and every interface that is not a TAP
    /// of some instance, forwarded packets are dropped, as the kernel did before.
    package var restrictedInterfaces: [String] = []
    /// The same for IPv6.
    package var restrictedInterfaces6: [String] = []
    /// This program has made the host an IPv6 router: it forwards IPv6 from and to TAPs only.
    package var restrictsEverything6 = false
    /// Ports of the host that lead to guests.
    package var published: [PublishedPort] = []
    /// The destinations that guests may reach.
    package var egress = EgressPolicy()
    /// Distinguishes flows that pins have opened from those under a looser policy before. Incremented by each stricter
    /// policy. The first one differs from that of the network before, whose connections the kernel may still have:
    /// each TAP has a new index.
    package var flowGeneration: UInt8
    /// The kernel has conntrack labels. They mark refused connections, so that their other side is reset too, and the
    /// connections that guests' ICMP errors may quote.
    package var hasConnectionLabels = true
    /// No guest continues another guest's connections (`NATTable+Holders`). Needs a kernel with conntrack zones.
    package var separatesGuests = true
    /// Refused packets are counted. Needs a kernel with named counters.
    package var countsRefusals = true
    /// The group of NFLOG that gets the beginning of refused packets; nil to refuse them without a log.
    package var logGroup: UInt16?
    /// The host's address on the guests' network. It answers DNS and pings even under a restrictive egress policy.
    package var gateway = IPv4Address.any
    /// The host's IPv6 addresses on the guests' network, which answer pings as well.
    package var gateways6: [IPv6Address] = []

    /// - Parameter index: of the TAP.
    package init(tap: String, index: UInt32, network: IPv4Network) {
        self.tap = tap
        self.index = index
        inward = "iif \(index)"
        outward = "oif \(index)"
        self.network = network
        flowGeneration = UInt8(truncatingIfNeeded: index % UInt32(ConnectionLabel.pins.count))
        table = NATTable.tableName(tap: tap)
    }

    /// The name of the table with the rules of a TAP.
    package static func tableName(tap: String) -> String { prefix + tap }

    /// The table that keeps `restrictedInterfaces` closed to each other after this process was killed: the kernel
    /// removes a table together with the process that owns it, and this second table has no owner.
    package static func guardTableName(tap: String) -> String { prefix + tap + "_guards" }

    private static let prefix = "vde_vmnet_"
    /// The endings of table names, after the interface's name.
    private static let suffixes = ["", "_guards"]

    /// Whether a name has the form of a table name of this program: the prefix, an interface's name, a known ending.
    package static func isTableName(_ name: String) -> Bool {
        // The name becomes a word of nft's language.
        guard name.hasPrefix(prefix), !name.contains(where: { ";{}#$&()<>*|=!,\'`@+[]^?~".contains($0) }) else {
            return false
        }
        let rest = String(name.dropFirst(prefix.count))
        return suffixes.contains { rest.hasSuffix($0) && NetworkInterfaces.isName(String(rest.dropLast($0.count))) }
    }

    /// Whether a table belongs to some instance of this program.
    package static func belongsToInstance(_ table: String) -> Bool { table.hasPrefix(prefix) }

    /// The names of the tables that `script` makes.
    package func tables(isOwned: Bool) -> [String] { isOwned ? [table, NATTable.guardTableName(tap: tap)] : [table] }

    /// All rules as one transaction, which replaces the rules that this process applied before.
    /// - Parameter isOwned: the table belongs to the netlink socket that applies it (Linux 5.12): other programs can
    ///   neither flush nor delete it, and it goes when the socket is closed.
    package func script(isOwned: Bool) -> String {
        let flags = isOwned ? " flags owner;" : ""
        let foreign =
            "    meta nfproto ipv6 meta iifgroup != \(LinkGroup.taps) meta oifgroup != \(LinkGroup.taps) drop\n"
        let guards =
            guards(restrictedInterfaces, "ipv4") + guards(restrictedInterfaces6, "ipv6")
            + (restrictsEverything6 ? foreign : "")
        return """
            table inet \(table) {\(flags) }
            delete table inet \(table)
            table inet \(table) {\(flags)
            \(pinSets)\(refusalChains)  chain ingress {
                type filter hook prerouting priority \(NATTable.ingressPriority); policy accept;
            \(ingressRules)  }
            \(errorChains)  chain forward {
                type filter hook forward priority filter; policy accept;
            \(isClosed ? closedRules : sharedRules)\(guards)  }
            \(isClosed ? "" : natChains + inputChain)}
            \(isOwned ? guardTable(guards) : "")
            """
    }

    private func guards(_ interfaces: [String], _ family: String) -> String {
        interfaces.map {
            "    meta nfproto \(family) iifname \"\($0)\" meta oifgroup != \(LinkGroup.taps) drop\n"
        }.joined()
    }

    private func guardTable(_ guards: String) -> String {
        let name = NATTable.guardTableName(tap: tap)
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

    /// Ingress filtering (BCP 38): a packet from the TAP needs a source address of the guests' network, of a prefix
    /// that the host routes to the TAP, or the unspecified address. rp_filter would not do, because IPv6 does not have
    /// it. No guest reaches 127.0.0.0/8, even if `route_localnet` lets the host's own packets of that network out by
    /// the TAP.
    private var ingressRules: String {
        // 58 is ICMPv6. nft looks names of protocols up in /etc/protocols, which a small system lacks.
        [
            "ip daddr 127.0.0.0/8 drop",
            "ip saddr { \(closedSources.joined(separator: ", ")) } drop",
            "ip saddr != { 0.0.0.0, \(network) } fib saddr . iif oif missing drop",
            "ip6 saddr :: meta l4proto != 58 drop",
            "ip6 saddr :: icmpv6 type != { \(NATTable.unspecifiedSources) } drop",
            "ip6 saddr != { ::, fe80::/10 } fib saddr . iif oif missing drop",
        ].map { "    \(inward) \($0)\n" }.joined() + zoneRule(inward)
    }

    /// Addresses of the guests' network that no guest has.
    private var closedSources: [String] { [network.base, gateway].filter { $0 != .any }.map { "\($0)" } }

    /// ICMPv6 messages that a station without an address sends: reports of groups, solicitations (RFC 3590, RFC 4861).
    /// The host would answer others, as a ping, by its default route.
    private static let unspecifiedSources = "131, 132, 133, 135, 143"

    /// The published ports whose guest is known.
    private var routed: [PublishedPort] { published.filter(\.hasGuestAddress) }

    /// Matches packets from or to the guests' networks of both versions.
    /// - Parameter field: `saddr` or `daddr`.
    private func guests(_ field: String) -> [String] {
        ["ip \(field) \(network)"] + (network6.map { ["ip6 \(field) \($0)"] } ?? [])
    }

    private var closedRules: String { "    \(inward) drop\n    \(outward) drop\n" }

    /// Every packet in the original direction of its connection is checked, established or not: a connection that is
    /// older than these rules gets no exception.
    private var sharedRules: String {
        var rules: [String] = []
        // MSS clamping, for paths with a smaller MTU that lose ICMP (RFC 4459 section 3.2).
        rules += [inward, outward].map { "\($0) tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu" }
        rules += [inward, outward].flatMap(resetRules)
        // Conntrack calls packets without a connection invalid, such as a late RST. NAT leaves their source alone.
        rules += guests("saddr").map { "\(inward) \($0) ct state invalid drop" }
        // Guests reach each other on their link. Through the host, a guest could have it look for any number of
        // addresses that no guest has, until its table of neighbours is full (RFC 6583).
        rules += guests("daddr").map { "\(inward) \(outward) \($0) ct status & dnat == 0 drop" }
        rules.append("\(inward) ip saddr != \(network) drop")
        if isIsolating || egress.isDenying || egress.deniesPrivate {
            // Guests may use published ports, like every client that reaches the host.
            rules += routed.map { "\(inward) \(NATTable.match($0, isReply: true)) accept" }
            rules += routed.map { "\(inward) \(outward) \(NATTable.match($0, isReply: false)) accept" }
        }
        if isIsolating { rules.append("\(inward) \(outward) drop") }
        if egress.isDenying { rules += egress.allowed.flatMap(\.matches).map { "\(inward) \($0) accept" } }
        if hasPins { rules += pinRules.map { "\(inward) \($0)" } }
        if egress.deniesPrivate { rules += privateMatches.map { "\(inward) \($0) \(refusal)" } }
        rules.append("\(inward) \(egress.isDenying ? refusal : "accept")")
        rules.append("\(outward) ct direction reply ct state established,related accept")
        rules += routed.map { "\(outward) \(NATTable.match($0, isReply: false)) accept" }
        // Connections through a port that is not published any more.
        rules.append(
            "\(outward) ct direction original ct state established ct status dnat \(NATTable.tcp) goto rejected")
        rules.append("\(outward) drop")
        return rules.map { "    \($0)\n" }.joined()
    }

    /// Matches connections through this published port, and none that another program has redirected to a guest.
    private static func match(_ published: PublishedPort, isReply: Bool) -> String {
        let (address, port) = isReply ? ("saddr", "sport") : ("daddr", "dport")
        return
            """
            ct direction \(isReply ? "reply" : "original") ct status dnat \
            \(family(published)) \(address) \(published.guest) \
            \(published.transport.rawValue) \(port) \(range(published.guestPorts)) ct original proto-dst \
            \(range(published.ports))
            """
    }

    private static func family(_ published: PublishedPort) -> String { published.isIPv6 ? "ip6" : "ip" }

    private static func range(_ ports: ClosedRange<UInt16>) -> String {
        ports.count == 1 ? "\(ports.lowerBound)" : "\(ports.lowerBound)-\(ports.upperBound)"
    }

    /// A restrictive egress policy applies to the host too, whose sockets are reset like those of other hosts. DHCP is
    /// not filtered, as it bypasses the host's IP stack.
    private var inputChain: String {
        guard egress.isDenying || egress.deniesPrivate else { return "" }
        let names = egress.isClosed ? [] : ["ip daddr \(gateway) udp dport 53", "ip daddr \(gateway) tcp dport 53"]
        // Neighbour discovery is IPv6's ARP, and passes IPv6 filters.
        let own =
            [
                "ct direction reply ct state established,related", "ip daddr \(gateway) icmp type echo-request",
                "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }",
            ] + gateways6.map { "ip6 daddr \($0) icmpv6 type echo-request" }
        let allowed = egress.isDenying ? egress.allowed.flatMap(\.matches) : []
        return """
              chain input {
                type filter hook input priority filter; policy accept;
            \((own + names + allowed).map { "    \(inward) \($0) accept\n" }.joined())    \
            \(inward) \(refusal)
              }
              chain replies {
                type filter hook output priority filter; policy accept;
            \(resetRules(outward).map { "    \($0)\n" }.joined())  }

            """
    }

    private var natChains: String {
        let masquerade6 =
            network6.map {
                "    ip6 saddr \($0) oif != \(index) ip6 daddr != { \($0), fe80::/10, ff00::/8 } masquerade\n"
            } ?? ""
        let postrouting = """
              chain postrouting {
                type nat hook postrouting priority srcnat; policy accept;
                ip saddr \(network) oif != \(index) ip daddr != { \(network), 224.0.0.0/4, \
                255.255.255.255 } masquerade
            \(masquerade6)
            """
        guard !routed.isEmpty else { return postrouting + "  }\n" }
        let rules = routed.map { "    \(NATTable.rule(for: $0))\n" }.joined()
        // Guests cannot answer the host's loopback network, nor guests that come through the host: such packets get the
        // gateway's address as their source.
        let hairpin6 = network6.map { "    \(outward) ip6 saddr \($0) ct status dnat masquerade\n" } ?? ""
        return """
            \(postrouting)    \(outward) ip saddr { 127.0.0.0/8, \(network) } ct status dnat masquerade
            \(hairpin6)  }
              chain prerouting {
                type nat hook prerouting priority dstnat; policy accept;
            \(rules)  }
              chain output {
                type nat hook output priority -100; policy accept;
            \(rules)  }
            \(loopbackChain)
            """
    }

    /// The host's own connections to `::1` get to no guest: the kernel has no `route_localnet` for IPv6, and would drop
    /// the answers. They do not get to the socket that only reserves the port either.
    private var loopbackChain: String {
        let rules = routed.filter { $0.isIPv6 && $0.bind.isUnspecified }.map {
            "    oif lo ip6 daddr ::1 ct direction original \($0.transport.rawValue) dport \(NATTable.range($0.ports)) "
                + "reject\($0.transport == .tcp ? " with tcp reset" : "")\n"
        }
        guard !rules.isEmpty else { return "" }
        return """
              chain loopback {
                type filter hook output priority filter; policy accept;
            \(rules.joined())  }

            """
    }

    private static func rule(for published: PublishedPort) -> String {
        let transport = published.transport.rawValue, ports = published.ports
        let target: String
        if published.guestPort == ports.lowerBound {
            target = "\(published.guest)"
        } else if ports.count == 1 {
            target = "\(published.guest.hostText):\(published.guestPort)"
        } else {
            // With a range as its target, nft would choose any port of it; a map keeps the order.
            let pairs = zip(ports, published.guestPorts).map { "\($0) : \($1)" }.joined(separator: ", ")
            target = "\(published.guest) : \(transport) dport map { \(pairs) }"
        }
        let family = family(published), anyAddress = published.isIPv6 ? "ip6 daddr != ::1 " : ""
        let address = published.bind.isUnspecified ? anyAddress : "\(family) daddr \(published.bind) "
        return """
            meta nfproto \(published.isIPv6 ? "ipv6" : "ipv4") fib daddr type local \(address)\(transport) \
            dport \(range(ports)) dnat \(family) to \(target)
            """
    }

    /// Removes a table, if it exists and has no owner.
    package static func removalScript(table: String) -> String { "table inet \(table)\ndelete table inet \(table)\n" }
}
