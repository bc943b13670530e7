// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NetworkConfiguration
import NameService
import NetworkModel
import Wire

/// The options of `join` about DHCP.
struct AddressOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            Which DHCP server serves the guests:
            auto: vde_vmnet, unless the network already has a server (default)
            builtin: vde_vmnet
            system: a server on this host (on macOS, Apple's)
            off: none on this host
            """,
            valueName: "server"))
    var dhcp: Configuration.DHCP?

    @Option(
        help: ArgumentHelp(
            """
            IPv6 for guests (tap and user only):
            auto: a prefix that is kept for the next start, and the outside by NAT (default)
            kernel: the outside by the kernel also before Linux 6.17: this host is a router for guests (tap only)
            off: no addresses
            a prefix, such as fd12:3456:789a:1::/64: the same as auto with this prefix
            """,
            valueName: "how"),
        completion: .list(["auto", "kernel", "off"]), transform: IPv6Argument.parse)
    var ipv6: IPv6Argument?

    @Flag(help: "Same as --dhcp off.")
    var vmnetDisableDhcp = false

    @Option(
        help: ArgumentHelp(
            """
            Always assign this address to the guest with this hardware address, such as \
            52:54:00:00:00:01,192.168.105.10. With an IPv6 address after it, in full or as ::10 in the network's \
            prefix, the guest gets that by DHCPv6. With a name after it, as in 52:54:00:00:00:01,192.168.105.10,web, \
            the guest has this name and no other guest gets it (both tap and user only). May be repeated.
            """,
            valueName: "mac,ip[,ip6][,name]"))
    var dhcpHost: [String] = []

    @Option(
        help: ArgumentHelp(
            """
            Domain of guests' names (tap and user only): letters, digits and hyphens between dots, not below arpa, \
            local or localhost. A guest that calls itself web by DHCP is web.vm.internal for the others. off: guests \
            have no names. (default: vm.internal)
            """,
            valueName: "domain"), transform: DomainArgument.parse)
    var domain: DomainArgument?

    @Option(
        help: ArgumentHelp(
            """
            Answer the host's own DNS queries for guests' names at this loopback address, over UDP and TCP, such as \
            127.0.0.1:5300 (tap and user only). On a TAP, systemd-resolved is set to send them there. auto: only if \
            it runs, at 127. and the rest of the gateway's address, port 5300. off: answer none. (default: auto)
            """,
            valueName: "address:port"), transform: HostDNSArgument.parse)
    var hostDns: HostDNSArgument?

    @Option(
        help: ArgumentHelp(
            """
            DNS server for guests' queries in place of the host's resolvers, such as 192.0.2.1, 192.0.2.1:5353 or \
            [2001:db8::1]:5353 (tap and user only). DOMAIN=SERVER: for names at and below this domain only, such as \
            corp.example=10.0.0.53; the longest domain counts. May be repeated, in order of preference. (default: the \
            servers of /etc/resolv.conf, as it changes)
            """,
            valueName: "[domain=]server"))
    var dns: [String] = []

    @Option(
        help: ArgumentHelp(
            """
            Keep responses to guests' DNS queries for as long as their records allow, up to 1,000 responses (tap and \
            user only). (default: on)
            """,
            valueName: "on|off"))
    var dnsCache: SwitchArgument?

    /// Those that can be parsed; `apply` refuses others.
    private var reservations: [AddressReservation] { dhcpHost.compactMap { AddressReservation($0) } }

    func note(in given: inout GivenOptions) {
        let reservations = reservations
        given.note(.dhcp, dhcp != nil && dhcp != .off)
        given.note(.dhcpSystem, dhcp == .system)
        given.note(.dhcpOff, dhcp == .off)
        given.note(.ipv6, ipv6 != nil)
        given.note(.ipv6Kernel, ipv6?.choice == .kernel)
        given.note(.ipv6Off, ipv6?.choice == .off)
        given.note(.dhcpHost6, reservations.contains { $0.address6 != nil })
        given.note(.disableDHCP, vmnetDisableDhcp)
        given.note(.dhcpHost, !dhcpHost.isEmpty)
        given.note(.dhcpHostName, reservations.contains { $0.name != nil })
        if case .domain? = domain { given.note(.domain, true) }
        if case .off? = domain { given.note(.domainOff, true) }
        if case .at? = hostDns?.value { given.note(.hostDNS, true) }
        given.note(.dns, !dns.isEmpty)
        given.note(.dnsCache, dnsCache != nil)
    }

    /// Stores them in `configuration`, whose mode and network must be set.
    /// - Parameter hasSystemServer: whether the system's server accepts reservations.
    func apply(to configuration: inout Configuration, hasSystemServer: Bool) throws {
        configuration.dhcp = vmnetDisableDhcp ? .off : dhcp ?? .auto
        if !dhcpHost.isEmpty, configuration.dhcp == .system, !hasSystemServer {
            throw ValidationError(
                """
                --dhcp-host does not go with --dhcp system on this uplink: reserve the address in that server's \
                configuration, or use --dhcp builtin
                """
            )
        }
        for text in dhcpHost {
            if let reason = AddressReservation.refusal(of: text) { throw ValidationError("--dhcp-host: \(reason)") }
        }
        let reservations = reservations
        for (index, one) in reservations.enumerated() {
            for other in reservations[..<index] {
                if let field = AddressOptions.sameField(one, other) {
                    throw ValidationError("--dhcp-host: \(one) and \(other) name the same \(field); leave one out")
                }
            }
            if case .prefix(let network)? = ipv6?.choice, one.address6 != nil, one.address6(in: network) == nil {
                throw ValidationError("--dhcp-host: \(one) has an address that is not in \(network) (--ipv6)")
            }
            if let network = configuration.network, let reason = network.refusal(of: one) {
                throw ValidationError("--dhcp-host: \(reason)")
            }
        }
        configuration.reservations = reservations
        for text in dns {
            if let reason = NameServer.refusal(of: text) { throw ValidationError("--dns: \(reason)") }
        }
        configuration.nameServers = dns.compactMap { NameServer($0) }
        configuration.cachesNames = dnsCache != .off
        configuration.ipv6 = ipv6?.choice ?? .automatic
        configuration.hostDNS = hostDns?.value ?? .automatic
        switch domain {
        case .domain(let domain)?: configuration.domain = domain
        case .off?: configuration.domain = nil
        case nil: break
        }
        try checkDomains(of: configuration)
    }

    /// The names of the guests are this network's own, whichever server is given for them.
    private func checkDomains(of configuration: Configuration) throws {
        guard let domain = configuration.domain else { return }
        for one in configuration.nameServers where one.domain?.isWithin(domain.name) == true {
            throw ValidationError(
                """
                --dns: \(one) has no effect, because vde_vmnet itself answers for names at and below \(domain), the \
                guests' domain; leave it out, or choose another --domain
                """)
        }
    }

    /// What two reservations have in common and must not; nil if nothing.
    private static func sameField(_ one: AddressReservation, _ other: AddressReservation) -> String? {
        if one.address == other.address { return "address" }
        if one.hardware == other.hardware { return "guest" }
        if let six = one.address6, six.low == other.address6?.low { return "IPv6 address" }
        return one.name != nil && one.name == other.name ? "name" : nil
    }
}
