// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// Our own nftables table: NAT for the guests of one TAP, and nobody else's business.
package struct Firewall: Equatable, Sendable {
    /// `vde_vmnet_` and the TAP's name.
    package let table: String
    private let tap: String
    private let network: IPv4Network
    /// Interfaces on which forwarding was off before we needed it. Between them and anything but a TAP of ours or of another instance, whose
    /// own table looks after it, forwarding stays off.
    package var guarded: [String] = []
    /// Ports of the host that lead to guests.
    package var published: [PublishedPort] = []
    /// Where guests may go.
    package var egress = EgressPolicy()
    /// The host's address on the network, where it answers DNS and pings even if it is closed to guests otherwise.
    package var gateway = IPv4Address.any

    package init(tap: String, network: IPv4Network) {
        self.tap = tap
        self.network = network
        table = Firewall.tableName(tap: tap)
    }

    package static func tableName(tap: String) -> String { prefix + tap }

    private static let prefix = "vde_vmnet_"
    /// Whoever asks is told: "communication administratively prohibited".
    private static let refusal = "reject with icmpx admin-prohibited"

    /// Whether a table is that of an instance of ours.
    static func isOurs(_ table: String) -> Bool { table.hasPrefix(prefix) }

    /// The whole table as one transaction, which replaces what an earlier run may have left.
    package var script: String {
        let guards = guarded.map { "    iifname \"\($0)\" meta oifgroup != \(TapDevice.group) drop\n" }.joined()
        let inward = published.isEmpty ? "" : "    oifname \"\(tap)\" ct status dnat accept\n"
        return """
            table inet \(table)
            delete table inet \(table)
            table inet \(table) {
              chain forward {
                type filter hook forward priority filter; policy accept;
                iifname "\(tap)" ip saddr != \(network) drop
            \(egressRules)    iifname "\(tap)" \(egress.isDenying ? Firewall.refusal : "accept")
                oifname "\(tap)" ct state established,related accept
            \(inward)    oifname "\(tap)" drop
            \(guards)  }
              chain postrouting {
                type nat hook postrouting priority srcnat; policy accept;
                ip saddr \(network) oifname != "\(tap)" ip daddr != { \(network), 224.0.0.0/4, 255.255.255.255 } masquerade
            \(publishedReturn)  }
            \(publishedChains)\(inputChain)}

            """
    }

    /// What a guest may send to others than guests.
    private var egressRules: String {
        guard egress.isDenying else { return "" }
        let own = ["ct state established,related", "ct status dnat"] + egress.allowed.flatMap(\.matches)
        return own.map { "    iifname \"\(tap)\" \($0) accept\n" }.joined()
    }

    /// Where guests may not go where they like, the host is no exception. DHCP does not come this way.
    private var inputChain: String {
        guard egress.isDenying else { return "" }
        let names = egress.allowsNames ? ["ip daddr \(gateway) udp dport 53", "ip daddr \(gateway) tcp dport 53"] : []
        let own = ["ct state established,related", "ip daddr \(gateway) icmp type echo-request"] + names + egress.allowed.flatMap(\.matches)
        return """
              chain input {
                type filter hook input priority filter; policy accept;
            \(own.map { "    iifname \"\(tap)\" \($0) accept\n" }.joined())    iifname "\(tap)" \(Firewall.refusal)
              }

            """
    }

    /// What comes from where guests cannot answer to gets the gateway's address: the host's loopback, and guests that go by way of the host.
    private var publishedReturn: String {
        published.isEmpty ? "" : "    oifname \"\(tap)\" ip saddr { 127.0.0.0/8, \(network) } ct status dnat masquerade\n"
    }

    private var publishedChains: String {
        guard !published.isEmpty else { return "" }
        let rules = published.map { "    \(Firewall.rule(for: $0))\n" }.joined()
        // `route_localnet` (below) lets packets of 127.0.0.0/8 over the TAP for what comes from the host; guests are not to use that.
        return """
              chain guard {
                type filter hook prerouting priority raw; policy accept;
                iifname "\(tap)" ip saddr 127.0.0.0/8 drop
                iifname "\(tap)" ip daddr 127.0.0.0/8 drop
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
        let range = ports.count == 1 ? "\(ports.lowerBound)" : "\(ports.lowerBound)-\(ports.upperBound)"
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
        return "meta nfproto ipv4 fib daddr type local \(address)\(transport) dport \(range) dnat ip to \(target)"
    }

    /// Removes a table if it is there.
    package static func removalScript(table: String) -> String { "table inet \(table)\ndelete table inet \(table)\n" }

    /// Why nft did not do it.
    package struct Failure: Error, Sendable, CustomStringConvertible {
        package let description: String
        /// nft is not installed.
        package let isMissing: Bool
    }

    /// Hands a script to `nft -f -`, which carries it out as a whole or not at all.
    package static func apply(_ script: String) throws(Failure) {
        guard let nft = Programs.find("nft") else {
            throw Failure(
                description: "nft is not installed, and NAT needs it; install the package nftables, or use --vmnet-mode host, which has no way out", isMissing: true)
        }
        let result: ChildProcess.Output
        do {
            result = try ChildProcess.run([nft, "-f", "-"], input: script, leadsGroup: true)
        } catch {
            throw Failure(description: error.description, isMissing: false)
        }
        guard result.succeeded else {
            throw Failure(description: "nft refused our table: " + (result.error.split(separator: "\n").first.map(String.init) ?? "no reason given"), isMissing: false)
        }
    }
}

/// Programs of the system's administration, which are often not in a user's PATH.
package enum Programs {
    package static func find(_ name: String) -> String? {
        let path = (Accounts.environment("PATH") ?? "") + ":/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin"
        for directory in path.split(separator: ":") where Files.isExecutable("\(directory)/\(name)") { return "\(directory)/\(name)" }
        return nil
    }
}
