// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Wire

extension NetworkInterfaces {
    /// The IPv4 routes of all tables (Linux).
    package static func routes() throws(SystemError) -> [Route] {
        var capacity = 256
        while true {
            var raw = [platform_route](repeating: platform_route(), count: capacity)
            let count = Int(try SystemError.check(unsafe platform_routes(&raw, Int32(capacity)), "list routes"))
            if count > capacity {
                capacity = count + 64
                continue
            }
            return raw[..<count].map { route in
                Route(
                    destination: IPv4Network(
                        containing: IPv4Address(route.destination), prefixLength: Int(min(32, route.prefix_length))),
                    gateway: route.gateway == 0 ? nil : IPv4Address(route.gateway),
                    interface: route.interface, metric: route.metric, table: route.table, isLocal: route.is_local != 0)
            }
        }
    }

    /// The IPv6 routes of all tables (Linux), those of links and groups aside.
    package static func routes6() throws(SystemError) -> [Route6] {
        var capacity = 256
        while true {
            var raw = [platform_route6](repeating: platform_route6(), count: capacity)
            let count = Int(try SystemError.check(unsafe platform_routes6(&raw, Int32(capacity)), "list IPv6 routes"))
            if count > capacity {
                capacity = count + 64
                continue
            }
            return raw[..<count].compactMap { route in
                let address = unsafe withUnsafeBytes(of: route.destination) { unsafe IPv6Address($0.bytes, at: 0) }
                guard !address.isLinkLocal, !address.isMulticast else { return nil }
                return Route6(
                    destination: IPv6Network(containing: address, prefixLength: Int(min(128, route.prefix_length))),
                    interface: route.interface, metric: route.metric, table: route.table)
            }
        }
    }

    /// Adds the route to a connected network (Linux), as the kernel does when an address is added.
    package static func addRoute(
        to network: IPv4Network, from source: IPv4Address, by index: UInt32
    ) throws(SystemError) {
        try SystemError.check(
            platform_route_add(index, network.base.value, UInt8(network.prefixLength), source.value), "add a route to",
            "\(network)")
    }

    /// Where a packet from `source` that came in by interface `input` would leave this host (Linux), and the MTU of
    /// that path.
    /// - Returns: nil if it would not leave.
    package static func path(
        to destination: IPv4Address, from source: IPv4Address, input: UInt32
    ) -> (interface: String, mtu: Int)? {
        var output: UInt32 = 0, mtu: UInt32 = 0
        guard unsafe platform_route_lookup(destination.value, source.value, input, &output, &mtu) == 0,
            let name = name(of: output), let link = link(output)
        else { return nil }
        return (name, mtu > 0 ? Int(mtu) : link.mtu)
    }

    /// Where this host's own packets to `destination` leave it (Linux), and the MTU of that path.
    /// - Returns: nil if they do not leave.
    package static func path(to destination: IPv4Address) -> (interface: String, mtu: Int)? {
        path(to: destination, from: .any, input: 0)
    }

    /// How a link is set up (Linux); nil if there is none.
    package static func link(_ index: UInt32) -> LinkState? {
        var raw = platform_link()
        guard unsafe platform_link_get(index, &raw) == 0 else { return nil }
        return LinkState(
            isUp: raw.is_up != 0, isRunning: raw.is_running != 0, mtu: Int(raw.mtu),
            bridge: raw.master == 0 ? nil : raw.master, group: raw.group)
    }

    /// How the link with this name is set up (Linux); nil if there is none.
    package static func link(named name: String) -> LinkState? { index(of: name).flatMap(link) }

    /// The routing rules of one version of IP (Linux).
    package static func rules(ofIPv6 isIPv6: Bool = false) throws(SystemError) -> [RoutingRule] {
        var capacity = 64
        while true {
            var raw = [platform_rule](repeating: platform_rule(), count: capacity)
            let count = Int(
                try SystemError.check(
                    unsafe platform_rules(isIPv6 ? 1 : 0, &raw, Int32(capacity)), "list routing rules"))
            if count > capacity {
                capacity = count + 16
                continue
            }
            return raw[..<count].map { rule in
                RoutingRule(
                    preference: rule.priority, table: rule.action == 1 && rule.is_l3mdev == 0 ? rule.table : nil,
                    isVRF: rule.is_l3mdev != 0,
                    destination: rule.destination_length == 0 || isIPv6
                        ? nil
                        : IPv4Network(
                            containing: IPv4Address(rule.destination),
                            prefixLength: Int(min(32, rule.destination_length))))
            }
        }
    }

    /// Adds or removes the rule `to NETWORK lookup main suppress_prefixlength 0` (Linux).
    package static func change(ruleFor network: RuleNetwork, preference: UInt32, isAdded: Bool) throws(SystemError) {
        let (bytes, isIPv6, length) =
            switch network {
            case .ipv4(let network): (network.base.bytes, Int32(0), network.prefixLength)
            case .ipv6(let network): (network.base.bytes, Int32(1), network.prefixLength)
            }
        try SystemError.check(
            unsafe bytes.withUnsafeBufferPointer {
                unsafe platform_rule_change(isAdded ? 1 : 0, $0.baseAddress, isIPv6, UInt8(length), preference)
            }, isAdded ? "add a routing rule for" : "remove the routing rule for", "\(network)")
    }
}
