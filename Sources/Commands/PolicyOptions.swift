// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NetworkConfiguration
import NetworkModel
import Platform

extension DatagramFiltering: ExpressibleByArgument {}

/// The options of `join` about what guests may connect to.
struct PolicyOptions: ParsableArguments {
    enum Egress: String, CaseIterable, ExplainedArgument {
        case allow, deny

        static func refusal(of text: String) -> String {
            text == "log" ? "use --egress-log to log what is refused" : "write allow or deny"
        }
    }

    @Option(
        help: ArgumentHelp(
            """
            What guests may connect to (tap and user only):
            allow: any destination (default)
            deny: only destinations and names given with --allow. The host is excluded.
            """,
            valueName: "policy"),
        completion: .list(["allow", "deny"]), transform: Egress.parse)
    var egress: Egress?

    @Option(
        help: ArgumentHelp(
            """
            Destination that guests may connect to with --egress deny: CIDR[:PORT], such as 203.0.113.0/24:443 or \
            [2001:db8::]/32, or NAME[:PORT], such as github.com:443 or '*.debian.org'. With a name, guests resolve \
            only the names that are allowed, and reach the addresses to which these lead. An IPv6 address with a port \
            is in brackets. May be repeated.
            """,
            valueName: "destination"))
    var allow: [String] = []

    enum Denied: String, CaseIterable, ExpressibleByArgument {
        case `private`
    }

    @Option(
        help: ArgumentHelp(
            """
            What guests may not connect to although --egress allows it (tap and user only): private: private \
            addresses, the host, and the networks of its interfaces. Guests reach the Internet.
            """,
            valueName: "what"))
    var deny: Denied?

    @Flag(
        help: """
            Log what the egress policy refuses (tap and user only): the guest, the name if one is known, and the \
            destination. At most ten lines a minute for each guest.
            """)
    var egressLog = false

    @Flag(
        help: """
            Compare the name in each TLS or HTTP connection (SNI, Host) with the names of --allow, and end those that \
            name another server, none, or hide it (ECH). Selects the user-mode NAT.
            """)
    var checkNames = false

    @Flag(
        help:
            """
            Connect guests that use the gateway's address to servers on the host's loopback address. Selects the \
            user-mode NAT.
            """
    )
    var hostLoopback = false

    @Option(
        help: ArgumentHelp(
            """
            Which datagrams reach a guest's UDP port that has sent something:
            address: those from addresses to which it has sent (default)
            endpoint: those from any address, for peer-to-peer programs and games
            Selects the user-mode NAT.
            """, valueName: "filtering"))
    var udpFiltering: DatagramFiltering?

    @Option(
        help: ArgumentHelp(
            """
            Outbound path of guests' TCP, UDP and pings: a network interface, or an address of this host. Twice for an \
            address of each IP version; without one, that version has no outbound path. Queries to servers of --dns \
            leave this way too. Selects the user-mode NAT.
            """, valueName: "interface|address"),
        completion: Completions.allInterfaces)
    var outbound: [String] = []

    @Option(
        help: ArgumentHelp(
            """
            Proxy that guests' TCP connections go through: socks5://HOST:PORT, or http://HOST:PORT (CONNECT). UDP and \
            pings do not leave then; the host's resolvers still answer guests. Selects the user-mode NAT.
            """, valueName: "url"))
    var proxy: String?

    @Option(
        help: ArgumentHelp(
            """
            File with USER:PASSWORD for the proxy. (default: VDE_VMNET_PROXY_USER and VDE_VMNET_PROXY_PASSWORD in the \
            environment)
            """, valueName: "file"),
        completion: .file())
    var proxyCredentials: String?

    func note(in given: inout GivenOptions) {
        given.note(.egress, egress != nil)
        given.note(.egressDeny, egress == .deny)
        given.note(.allow, !allow.isEmpty)
        given.note(.denyPrivate, deny == .private)
        given.note(.egressLog, egressLog)
        given.note(.checkNames, checkNames)
        given.note(.proxy, proxy != nil)
        given.note(.proxyCredentials, proxyCredentials != nil)
        given.note(.hostLoopback, hostLoopback)
        given.note(.udpFiltering, udpFiltering != nil)
        given.note(.outbound, !outbound.isEmpty)
    }

    /// The option because of which `--uplink auto` chose the user-mode NAT, for a message.
    var needingUserMode: String {
        if hostLoopback { return "--host-loopback" }
        if udpFiltering != nil { return "--udp-filtering" }
        if !outbound.isEmpty { return "--outbound" }
        if checkNames { return "--check-names" }
        if proxy != nil { return "--proxy" }
        if deny != nil { return "--deny private" }
        if egress != nil { return "--egress" }
        if egressLog { return "--egress-log" }
        return
            """
            --publish by hardware address or name, --dhcp-host with a name, --domain, --host-dns, --dns, --dns-cache \
            or --no-router
            """
    }

    func apply(to configuration: inout Configuration) throws {
        configuration.egress.isDenying = egress == .deny
        configuration.egress.opensHostLoopback = hostLoopback
        configuration.filtering = udpFiltering ?? .address
        configuration.outbound = try Outbound(arguments: outbound)
        configuration.logsRefusals = egressLog
        configuration.egress.deniesPrivate = deny == .private
        configuration.egress.allowed = try allow.map { text in
            do throws(AllowedDestination.Refusal) {
                let destination = try AllowedDestination.parse(text)
                if let reason = destination.refusal(in: configuration.domain) {
                    throw AllowedDestination.Refusal(reason)
                }
                return destination
            } catch {
                throw ValidationError("--allow: \(error)")
            }
        }
        if let proxy {
            configuration.proxy = try ProxyConfiguration(option: proxy)
            configuration.proxy?.credentialsFile = proxyCredentials.map { Files.absolute($0) }
            configuration.proxy?.credentials = try ProxyConfiguration.environmentCredentials()
        }
        configuration.egress.inspectsNames = checkNames
        if checkNames, !configuration.egress.checksNames {
            throw ValidationError("--check-names needs --allow with a name, such as --allow github.com:443")
        }
    }
}
