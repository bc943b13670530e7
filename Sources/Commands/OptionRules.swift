// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NetworkConfiguration

/// An option of `join`, or an option with one of its values, in the user's spelling.
enum OptionName: String, CaseIterable, Sendable {
    case vdeMode = "--vde-mode"
    case vdeDirmode = "--vde-dirmode"
    case vdeGroup = "--vde-group"
    case mgmt = "--mgmt"
    case mgmtmode = "--mgmtmode"
    case rcfile = "--rcfile"
    case isolation = "--vmnet-isolation"
    case trunk = "--trunk"
    case limit = "--limit"
    case allowServer = "--allow-server"
    case idleExit = "--idle-exit"
    case socketGroup = "--socket-group"
    case uplinkNone = "--uplink none"
    case mode = "--vmnet-mode"
    case bridged = "--vmnet-mode bridged"
    case interface = "--vmnet-interface"
    case bridgeHelper = "--bridge-helper"
    case gateway = "--vmnet-gateway"
    case dhcpEnd = "--vmnet-dhcp-end"
    case mask = "--vmnet-mask"
    case interfaceID = "--vmnet-interface-id"
    case networkIdentifier = "--vmnet-network-identifier"
    case nat66Prefix = "--vmnet-nat66-prefix"
    case offload = "--vmnet-offload"
    case externalInterface = "--vmnet-external-interface"
    case mtu = "--vmnet-mtu"
    /// Any value but `off`.
    case dhcp = "--dhcp"
    case dhcpSystem = "--dhcp system"
    case ipv6 = "--ipv6"
    case ipv6Kernel = "--ipv6 kernel"
    case ipv6Off = "--ipv6 off"
    case dhcpHost6 = "--dhcp-host MAC,IP,IP6"
    case dhcpOff = "--dhcp off"
    case disableDHCP = "--vmnet-disable-dhcp"
    case dhcpHost = "--dhcp-host"
    case dhcpHostName = "--dhcp-host MAC,IP,NAME"
    /// Any value but `off`.
    case domain = "--domain"
    case domainOff = "--domain off"
    case hostDNS = "--host-dns"
    case dns = "--dns"
    case dnsCache = "--dns-cache"
    case dhcpOption = "--dhcp-option"
    case leaseTime = "--lease-time"
    case noRouter = "--no-router"
    case boot = "--boot"
    case publish = "--publish"
    case publish6 = "--publish with IPv6"
    case publishHardware = "--publish PORT:MAC"
    case publishName = "--publish PORT:NAME"
    case egress = "--egress"
    case egressDeny = "--egress deny"
    case allow = "--allow"
    case denyPrivate = "--deny private"
    case egressLog = "--egress-log"
    case checkNames = "--check-names"
    case proxy = "--proxy"
    case proxyCredentials = "--proxy-credentials"
    case hostLoopback = "--host-loopback"
    case udpFiltering = "--udp-filtering"
    case outbound = "--outbound"
    case namespaceAddress = "--netns NAMESPACE,configure"
    case tapName = "--tap-name"
    case name = "--name"
    /// A path.
    case control = "--control"
    case controlOff = "--control off"
    case controlGroup = "--control-group"
    case controlAllow = "--control-allow"
    case controlAllowPublish = "--control-allow publish"
}

/// A rule about what some options need or cannot be combined with. `OptionRules.all` lists all rules.
struct OptionRule: Sendable {
    enum Condition: Sendable {
        /// Each of the options works with these uplinks only.
        case uplinks(Set<Configuration.UplinkKind>)
        /// Each works in these modes only.
        case modes(Set<ModeArgument>)
        /// Each needs at least one of these listeners.
        case listener([ListenerName])
        /// None works with one of these listeners.
        case noListener([ListenerName])
        /// Each needs this one.
        case needs(OptionName)
        /// None can be combined with one of these.
        case excludes([OptionName])
    }

    let options: [OptionName]
    let condition: Condition
    /// Completes the message after a colon.
    let reason: String

    init(_ options: OptionName..., condition: Condition, because reason: String) {
        self.options = options
        self.condition = condition
        self.reason = reason
    }
}

/// The options of one command line, as the rules see them.
struct GivenOptions {
    var options: [OptionName] = []
    var uplink: Configuration.UplinkKind = .auto
    var mode: ModeArgument = .shared
    var listeners: Set<ListenerName> = []
    /// Whether the program has vmnet.framework.
    var hasVmnet = false

    /// Notes `option` if `isGiven`.
    mutating func note(_ option: OptionName, _ isGiven: Bool) {
        if isGiven { options.append(option) }
    }
}

/// The rules of the options of `join` and `run`, and their application.
enum OptionRules {
    /// - Returns: the uplink; `auto` only if more than one uplink supports all given options.
    /// - Throws: `ValidationError` that names the two options that cannot be combined.
    static func check(_ given: GivenOptions) throws -> Configuration.UplinkKind {
        if given.uplink == .vmnet, !given.hasVmnet {
            throw ValidationError("--uplink vmnet needs vmnet.framework, which is part of macOS; leave it out here")
        }
        for rule in all {
            for option in rule.options where given.options.contains(option) { try check(rule, option, given) }
        }
        return try uplink(given)
    }

    private static func check(_ rule: OptionRule, _ option: OptionName, _ given: GivenOptions) throws {
        let name = option.rawValue
        switch rule.condition {
        case .uplinks: break
        case .modes(let modes) where !modes.contains(given.mode):
            if given.options.contains(.mode) {
                throw ValidationError(
                    """
                    \(name) does not go with --vmnet-mode \(given.mode.rawValue): \(rule.reason); use --vmnet-mode \
                    \(list(ModeArgument.allCases.filter(modes.contains).map(\.rawValue)))
                    """)
            }
            throw ValidationError(
                "\(name) needs --vmnet-mode \(modes.map(\.rawValue).sorted().joined(separator: " or ")): \(rule.reason)"
            )
        case .listener(let wanted) where given.listeners.isDisjoint(with: wanted):
            let there = ListenerName.allCases.filter(given.listeners.contains).map(\.rawValue).joined(separator: ", ")
            throw ValidationError(
                """
                \(name) needs \(list(wanted.map(\.rawValue))), and this command line has \
                \(there.isEmpty ? "none" : there): \(rule.reason)
                """
            )
        case .noListener(let refused):
            if let other = refused.first(where: given.listeners.contains) {
                throw ValidationError("\(name) does not go with \(other.rawValue): \(rule.reason)")
            }
        case .needs(let other) where !given.options.contains(other):
            throw ValidationError("\(name) needs \(other.rawValue): \(rule.reason)")
        case .excludes(let others):
            if let other = others.first(where: given.options.contains) {
                throw ValidationError("\(name) does not go with \(other.rawValue): \(rule.reason)")
            }
        case .modes, .listener, .needs: break
        }
    }

    /// `a, b or c`.
    private static func list(_ words: [String]) -> String {
        words.count < 2 ? words.joined() : words.dropLast().joined(separator: ", ") + " or " + words[words.count - 1]
    }

    /// Narrows down the uplinks to those that support every given option.
    private static func uplink(_ given: GivenOptions) throws -> Configuration.UplinkKind {
        let offered: [Configuration.UplinkKind] =
            given.uplink == .auto ? [given.hasVmnet ? .vmnet : .tap, .user] : [given.uplink]
        var left = offered
        var narrowing: OptionName?
        for rule in all {
            guard case .uplinks(let able) = rule.condition else { continue }
            for option in rule.options where given.options.contains(option) {
                let both = left.filter(able.contains)
                if both.isEmpty {
                    throw refusal(
                        option, rule, able, given, narrowing: offered.contains(where: able.contains) ? narrowing : nil)
                }
                if both.count < left.count { narrowing = option }
                left = both
            }
        }
        return given.uplink == .auto && left.count == 1 ? left[0] : given.uplink
    }

    private static func refusal(
        _ option: OptionName, _ rule: OptionRule, _ able: Set<Configuration.UplinkKind>, _ given: GivenOptions,
        narrowing: OptionName?
    ) -> ValidationError {
        let name = option.rawValue
        if able == [.vmnet], !given.hasVmnet {
            return ValidationError("\(name) needs vmnet.framework, which is part of macOS; leave it out here")
        }
        if let narrowing {
            return ValidationError(
                "\(name) does not go with \(narrowing.rawValue): no uplink has both (\(rule.reason))")
        }
        let kinds = Configuration.UplinkKind.allCases.filter(able.contains).map { "--uplink \($0.rawValue)" }
        guard given.uplink == .auto else {
            return ValidationError(
                "\(name) does not go with --uplink \(given.uplink.rawValue): \(rule.reason); use \(list(kinds))")
        }
        return ValidationError("\(name) needs \(list(kinds)): \(rule.reason)")
    }
}

extension OptionRules {
    private static let everyUplink: Set<Configuration.UplinkKind> = [.tap, .user, .vmnet]

    /// In the order of application: rules about other options before rules about listeners, modes and uplinks.
    static let all: [OptionRule] = [
        OptionRule(.bridged, condition: .needs(.interface), because: "the interface to bridge to"),
        OptionRule(.mgmtmode, condition: .needs(.mgmt), because: "it is the mode of that socket"),
        OptionRule(.dhcpEnd, .mask, condition: .needs(.gateway), because: "together they describe the network"),
        OptionRule(.allow, condition: .needs(.egressDeny), because: "without it every destination is allowed"),
        OptionRule(.proxyCredentials, condition: .needs(.proxy), because: "they are for that proxy"),
        OptionRule(.checkNames, condition: .needs(.allow), because: "names are compared with that list"),
        OptionRule(
            .denyPrivate, condition: .excludes([.egressDeny, .hostLoopback]),
            because: "the one refuses these destinations anyway, the other opens the host"),
        OptionRule(.udpFiltering, condition: .excludes([.proxy]), because: "no UDP passes through a proxy"),
        OptionRule(
            .disableDHCP, condition: .excludes([.dhcp]), because: "one disables DHCP, the other selects a server"),
        OptionRule(
            .dhcpHost, condition: .excludes([.dhcpOff, .disableDHCP]),
            because: "no DHCP server would assign the address"),
        OptionRule(
            .dhcpOption, .leaseTime, .noRouter, .boot, .namespaceAddress,
            condition: .excludes([.dhcpOff, .disableDHCP, .dhcpSystem]),
            because: "only vde_vmnet's own DHCP server does this; configure the other server, or use --dhcp builtin"),
        OptionRule(
            .dhcpHost6, condition: .excludes([.dhcpSystem, .ipv6Off]),
            because: "without vde_vmnet's own DHCP and IPv6 the guest would not get the address"),
        OptionRule(
            .ipv6Kernel, condition: .modes([.shared]),
            because: "vde_vmnet routes only guests of a shared network to the outside"),
        OptionRule(.hostDNS, condition: .excludes([.domainOff]), because: "it answers names of guests only"),
        OptionRule(
            .name, .controlGroup, .controlAllow, condition: .excludes([.controlOff]),
            because: "without a control socket it has no effect"),
        OptionRule(
            .allowServer, condition: .excludes([.isolation]),
            because: "isolation keeps guests from each other, servers included"),
        OptionRule(
            .publishHardware, .publishName, condition: .excludes([.dhcpOff, .disableDHCP, .dhcpSystem]),
            because: "only leases of vde_vmnet's own DHCP server give the guest's address"),
        OptionRule(.publish6, condition: .excludes([.ipv6Off]), because: "guests have no IPv6 addresses"),
        // Listeners
        OptionRule(
            .vdeDirmode, condition: .listener([.ownSwitch]), because: "only --switch creates a directory"),
        OptionRule(
            .vdeMode, condition: .listener([.ownSwitch, .stream, .dgram, .seqpacket, .vhostUser]),
            because: "no socket is created whose mode it could set"),
        OptionRule(
            .vdeGroup, condition: .listener([.ownSwitch, .joined, .cable]),
            because: "it sets the group of VDE sockets; use --socket-group for the other sockets"),
        OptionRule(
            .socketGroup, condition: .listener([.stream, .dgram, .seqpacket, .vhostUser]),
            because: "it sets the group of their sockets"),
        OptionRule(
            .mgmt, .mgmtmode, .rcfile, .isolation, .trunk, .limit, .allowServer,
            condition: .noListener([.joined, .cable]),
            because:
                "it configures vde_vmnet's own switch (--switch, --stream, --dgram, --seqpacket, --fd, --netns, run)"),
        OptionRule(
            .idleExit, condition: .noListener([.joined, .cable]),
            because: "the clients of an external switch are not visible to vde_vmnet"),
        OptionRule(.idleExit, condition: .noListener([.program]), because: "the network of run ends with its program"),
        OptionRule(
            .idleExit,
            condition: .listener([
                .ownSwitch, .stream, .dgram, .seqpacket, .vhostUser, .vhostUserServer, .activated,
            ]),
            because: "without a socket that guests can connect to, the network ends with its last guest"),
        OptionRule(
            .uplinkNone,
            condition: .listener([
                .ownSwitch, .stream, .dgram, .seqpacket, .vhostUser, .vhostUserServer, .descriptor,
                .vhostUserDescriptor, .namespace, .program, .activated,
            ]),
            because: "without an uplink and without a switch there is nothing to do"),
        // Modes
        OptionRule(
            .interface, .bridgeHelper, condition: .modes([.bridged]), because: "only a bridged network uses it"),
        OptionRule(
            .gateway, .dhcpEnd, .mask, condition: .modes([.shared, .host]),
            because: "the bridged network has its own addresses"),
        OptionRule(.mtu, condition: .modes([.shared, .host]), because: "the bridged network sets the MTU"),
        OptionRule(
            .trunk, .allowServer, condition: .modes([.shared, .host]),
            because: "the bridged network has its own addresses and routers"),
        OptionRule(
            .dhcp, .dhcpHost, .dhcpOption, .leaseTime, .boot, .namespaceAddress, condition: .modes([.shared, .host]),
            because: "the bridged network has its own DHCP server"),
        OptionRule(
            .domain, .dhcpHostName, .hostDNS, .dns, .dnsCache, condition: .modes([.shared]),
            because: "only guests of a shared network have a name server of vde_vmnet"),
        OptionRule(
            .ipv6, condition: .modes([.shared, .host]), because: "the bridged network has its own routers"),
        OptionRule(
            .noRouter, condition: .modes([.shared]), because: "only a shared network has a router of vde_vmnet"),
        OptionRule(
            .publish, .controlAllowPublish, condition: .modes([.shared]),
            because:
                """
                a host network is closed to the outside, and guests of a bridged one are reached at their own \
                addresses
                """
        ),
        OptionRule(
            .egress, .egressLog, .allow, .denyPrivate, .checkNames, .proxy, .hostLoopback, .udpFiltering, .outbound,
            condition: .modes([.shared]),
            because: "vde_vmnet routes only guests of a shared network to the outside"),
        OptionRule(
            .networkIdentifier, condition: .modes([.host]), because: "only host networks of vmnet have an identifier"),
        OptionRule(.nat66Prefix, condition: .modes([.shared]), because: "only a shared network has a NAT"),
        OptionRule(
            .externalInterface, condition: .modes([.shared]),
            because: "only a shared network uses it, and a bridged one --vmnet-interface"),
        // Uplinks
        OptionRule(
            .mode, .gateway, .dhcpEnd, .mask, .interfaceID, .mtu, .trunk, .allowServer, .dhcp, .dhcpHost,
            .dhcpOption, .leaseTime, .boot, .publish, .controlAllowPublish, .namespaceAddress,
            condition: .uplinks(everyUplink),
            because: "it configures the uplink"),
        OptionRule(
            .bridged, .interface, condition: .uplinks([.tap, .vmnet]),
            because: "a user-mode NAT cannot be bridged to another network"),
        OptionRule(.bridgeHelper, .tapName, condition: .uplinks([.tap]), because: "only that uplink uses a TAP"),
        OptionRule(
            .dhcpSystem, condition: .uplinks([.tap, .vmnet]),
            because: "guests cannot reach a DHCP server of the host through a user-mode NAT"),
        OptionRule(
            .egress, .egressLog, .allow, .denyPrivate, condition: .uplinks([.tap, .user]),
            because: "only the uplinks tap and user restrict egress"),
        OptionRule(
            .domain, .dhcpHostName, .hostDNS, .dns, .dnsCache, condition: .uplinks([.tap, .user]),
            because: "only with the uplinks tap and user vde_vmnet answers guests' DNS queries"),
        OptionRule(
            .ipv6, condition: .uplinks([.tap, .user]),
            because: "only with the uplinks tap and user vde_vmnet gives guests IPv6; vmnet has --vmnet-nat66-prefix"),
        OptionRule(
            .dhcpHost6, condition: .uplinks([.tap, .user]),
            because: "only with the uplinks tap and user vde_vmnet gives guests IPv6 addresses"),
        OptionRule(
            .ipv6Kernel, condition: .uplinks([.tap]),
            because: "only for a TAP does the kernel forward guests' packets"),
        OptionRule(
            .noRouter, condition: .uplinks([.tap, .user]),
            because: "only with the uplinks tap and user vde_vmnet decides which router guests get"),
        OptionRule(
            .publish6, condition: .uplinks([.tap, .user]),
            because: "only with the uplinks tap and user vde_vmnet gives guests IPv6 addresses, to which ports lead"),
        OptionRule(
            .publishHardware, .publishName, condition: .uplinks([.tap, .user]),
            because: "vmnet's rules cannot follow a lease; give an address, and fix it with --dhcp-host"),
        OptionRule(
            .checkNames, condition: .uplinks([.user]),
            because: "only the user-mode NAT sees what guests send; through a TAP the kernel forwards their connections"
        ),
        OptionRule(
            .proxy, condition: .uplinks([.user]),
            because: "only the user-mode NAT makes guests' connections; through a TAP the kernel forwards them"),
        OptionRule(
            .hostLoopback, condition: .uplinks([.user]),
            because: "only the user-mode NAT connects to the host's loopback address"),
        OptionRule(
            .udpFiltering, condition: .uplinks([.user]),
            because: "only the user-mode NAT filters datagrams by what guests have sent; elsewhere the system does"),
        OptionRule(
            .outbound, condition: .uplinks([.user]),
            because: "only the user-mode NAT has sockets for guests' traffic; elsewhere the system routes it"),
        OptionRule(
            .networkIdentifier, .nat66Prefix, .offload, .externalInterface, condition: .uplinks([.vmnet]),
            because: "only vmnet.framework supports it"),
    ]
}
