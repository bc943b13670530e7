// SPDX-License-Identifier: Apache-2.0
import ControlProtocol
import HostFirewall
import NetworkModel
import Platform
import Testing
import Wire

@testable import Doctor

/// One broken host: facts, the cause that is to be found in them, and a part of the command that fixes it.
private struct Broken: CustomTestStringConvertible, Sendable {
    let cause: Cause
    let check: any HostCheck
    let command: String

    init(_ cause: Cause, _ check: any HostCheck, _ command: String) {
        self.cause = cause
        self.check = check
        self.command = command
    }

    var testDescription: String { cause.rawValue }
}

private let guests = GuestNetwork(gateway: IPv4Address("192.168.105.1")!, prefixLength: 24)
private let router = IPv4Address("203.0.113.1")!

private func program(
    isRoot: Bool = false, hasNetAdmin: Bool = false, uplink: String? = nil
) -> ProgramCheck {
    ProgramCheck(
        version: "1.0", isRoot: isRoot, hasNetAdmin: hasNetAdmin, hasVmnet: false, isMacOS: false, uplink: uplink)
}

private func tun(_ code: Int32?, isPermittedByMode: Bool = false) -> TunCheck {
    TunCheck(
        exemption: nil, error: code.map { SystemError(code: $0, "open", "/dev/net/tun") },
        isPermittedByMode: isPermittedByMode)
}

private func firewall(_ owner: HostFirewallInspector.Owner) -> FirewallCheck {
    let listings: [HostFirewallInspector.Owner: String] = [
        .docker: "table ip filter {\nchain FORWARD {\ntype filter hook forward priority 0; policy drop;\n}\n"
            + "chain DOCKER-USER {\n}\n}\n",
        .ufw: "table ip filter {\nchain FORWARD {\ntype filter hook forward priority 0; policy drop;\n}\n"
            + "chain ufw-user-forward {\n}\n}\n",
        .firewalld:
            "table inet firewalld {\nchain filter_FORWARD {\ntype filter hook forward priority 10; policy "
            + "drop;\n}\n}\n",
        .iptables: "table ip filter {\nchain FORWARD {\ntype filter hook forward priority 0; policy drop;\n}\n}\n",
        .nftables: "table inet mine {\nchain fwd {\ntype filter hook forward priority 0; policy drop;\n}\n}\n",
    ]
    let inspector = HostFirewallInspector(tap: "vmnet0", network: guests, egress: "wan")
    return FirewallCheck(state: .read(inspector.assessment(of: Ruleset(nft: listings[owner]!))))
}

/// A rule of another program that is not understood.
private func unclearFirewall() -> FirewallCheck {
    let listing =
        "table inet mine {\nchain fwd {\ntype filter hook forward priority 0; policy accept;\n"
        + "meta cgroup 7 drop\n}\n}\n"
    let inspector = HostFirewallInspector(tap: "vmnet0", network: guests, egress: "wan")
    return FirewallCheck(state: .read(inspector.assessment(of: Ruleset(nft: listing))))
}

private func forwarding(_ value: String, isRunning: Bool, isWritable: Bool) -> ForwardingCheck {
    ForwardingCheck(isNeeded: true, isRunning: isRunning, interfaces: [("wan", value)], isWritable: isWritable)
}

private func exit(_ name: String, isUp: Bool = true, metric: UInt32 = 0) -> RouteCheck.Exit {
    RouteCheck.Exit(interface: name, gateway: router, metric: metric, isUp: isUp)
}

private func routes(
    _ exits: [RouteCheck.Exit], _ egress: String?, rules: [RoutingRule] = [], isTunnel: Bool = false,
    isNeeded: Bool = true
) -> RouteCheck {
    RouteCheck(
        isNeeded: isNeeded, exits: exits, rules: rules, egress: egress, isTunnel: isTunnel, guests: guests.network,
        connect: ["dhclient", "-v"])
}

private func resolvers(
    _ servers: [(String, ResolverCheck.Answer)], hasFile: Bool = true, used: [String]? = nil,
    hasSystemdResolved: Bool = false, isNeeded: Bool = true
) -> ResolverCheck {
    ResolverCheck(
        isNeeded: isNeeded, hasFile: hasFile,
        servers: servers.map { (SocketAddress(IPv4Address($0.0)!, port: 53), $0.1) }, used: used, process: 7,
        router: router, hasSystemdResolved: hasSystemdResolved)
}

private func ports(_ dns: String?, _ dhcp: String?, isConfined: Bool = false) -> ServicePortCheck {
    func owner(_ name: String?) -> ServicePortCheck.Owner? {
        name.map { ServicePortCheck.Owner(process: 4711, program: $0) }
    }
    return ServicePortCheck(dns: owner(dns), dhcp: owner(dhcp), isDHCPConfined: isConfined)
}

private func subnet(_ used: [String], free: GuestNetwork? = guests, start: [String] = []) -> SubnetCheck {
    SubnetCheck(
        running: guests.network, isRunning: true,
        used: used.map { UsedSubnet(network: IPv4Network($0)!, interface: "br0") }, free: free,
        start: start, networkName: "/run/vde_vmnet/vde")
}

private func subnet6(_ used: String?) -> SubnetCheck {
    var check = subnet([])
    check.running6 = IPv6Network(containing: IPv6Address("fd00:1:2:3::")!, prefixLength: 64)
    if let used { check.diversions6 = [(IPv6Network(containing: IPv6Address(used)!, prefixLength: 80), "wan")] }
    return check
}

private func sockets(
    _ state: SocketCheck.Switch, place: SocketCheck.Place = .usable, stale: [String] = [], path: String = "/tmp/vde"
) -> SocketCheck {
    SocketCheck(
        place: place, staleSockets: stale, path: path, state: state, userName: "joe", isRoot: false)
}

private func network(_ text: String, ports: String = "[]", leases: String = "[]") throws -> NetworkFacts {
    func array(_ text: String) throws -> [JSON] { try JSONParser.parse(Array(text.utf8)).array ?? [] }
    return try NetworkFacts(
        socket: "/run/vde_vmnet/vde", process: 7, status: JSONParser.parse(Array(text.utf8)),
        ports: array(ports), leases: array(leases))
}

private func dhcp(_ leased: Int, of size: Int, conflicts: Int = 0, seconds: Int = 600) throws -> NetworkFacts {
    try network(
        #"{"name":"vde","uplink":{"kind":"tap","connected":true},"dhcp":{"leased":\#(leased),"size":\#(size),"conflicts":\#(conflicts)}}"#,
        leases: """
            [{"address":"192.168.105.2","seconds_left":\(seconds + 1),"port":3},
             {"address":"192.168.105.3","seconds_left":\(seconds)}]
            """)
}

private func at(port: Int, moves: Int = 0, from other: Int = 0) -> String {
    """
    [{"port":\(port),"guests":[{"mac":"52:54:00:00:00:01","vlan":0,"moves":\(moves),"moved_from":\(other)}]}]
    """
}

private let signed = "<plist><dict><key>com.apple.security.virtualization</key><true/></dict></plist>"

private func signature(_ listing: String, system: Int = 26, isRoot: Bool = false) -> SignatureCheck {
    SignatureCheck(listing: listing, program: "/opt/vde_vmnet/bin/vde_vmnet", system: system, isRoot: isRoot)
}

private func applicationFirewall(blockAll: String, programs: String) -> ApplicationFirewallCheck {
    ApplicationFirewallCheck(
        state: "Firewall is enabled. (State = 1)\n", blockAll: blockAll, programs: programs)
}

private let bridge = """
    en0: flags=8863<UP,BROADCAST> mtu 1500
    \tinet 10.1.2.3 netmask 0xffffff00 broadcast 10.1.2.255
    bridge100: flags=8a63<UP,BROADCAST> mtu 1500
    \tinet 192.168.64.1 netmask 0xffffff00 broadcast 192.168.64.255
    \tmember: vmenet0 flags=3<LEARNING,DISCOVER>

    """

private func broken() throws -> [Broken] {
    [
        Broken(.noNetAdmin, program(isRoot: true), "vde_vmnet --uplink user"),
        Broken(.notRoot, program(), "sudo vde_vmnet doctor"),
        Broken(.tunMissing, tun(Errno.noEntry), "sudo modprobe tun"),
        Broken(.tunDenied, tun(Errno.accessDenied), "sudo chmod 0666 /dev/net/tun"),
        Broken(.tunDenied, tun(Errno.notPermitted, isPermittedByMode: true), "vde_vmnet --uplink user"),
        Broken(.tunUnusable, tun(Errno.noDevice), "mknod"),
        Broken(.nftablesMissing, NFTablesCheck(state: .missing, installer: .pacman), "sudo pacman -S nftables"),
        Broken(
            .nftablesUnusable, NFTablesCheck(state: .refused("not supported"), installer: .apt), "modprobe nf_tables"),
        Broken(
            .nftablesUnusable, NFTablesCheck(state: .refused("Operation not permitted"), installer: .apt),
            "vde_vmnet --uplink user"),
        Broken(.firewallDocker, firewall(.docker), "sudo iptables -I DOCKER-USER -i vmnet0 -j ACCEPT && sudo "),
        Broken(.firewallUFW, firewall(.ufw), "sudo ufw route allow in on vmnet0"),
        Broken(.firewallFirewalld, firewall(.firewalld), "sudo firewall-cmd --zone=trusted --change-interface=vmnet0"),
        Broken(.firewallIPTables, firewall(.iptables), "sudo iptables -I FORWARD -i vmnet0 -j ACCEPT"),
        Broken(.firewallNFTables, firewall(.nftables), "sudo nft insert rule inet mine fwd iifname vmnet0 accept"),
        Broken(.firewallUnclear, unclearFirewall(), "sudo nft list chain inet mine fwd"),
        Broken(.firewallUnreadable, FirewallCheck(state: .denied), "sudo vde_vmnet doctor"),
        Broken(
            .firewallUnreadable, FirewallCheck(state: .denied, socket: "/run/a b"), "sudo vde_vmnet doctor '/run/a b'"),
        Broken(.firewallUnreadable, FirewallCheck(state: .unreadable), "sudo nft list ruleset"),
        Broken(
            .forwardingOff, forwarding("0", isRunning: true, isWritable: true),
            "sudo sysctl -w net/ipv4/conf/wan/forwarding=1"),
        Broken(.forwardingLocked, forwarding("0", isRunning: false, isWritable: false), "remount,rw /proc/sys"),
        Broken(.noDefaultRoute, routes([], nil), "sudo dhclient -v"),
        Broken(.defaultRouteDown, routes([exit("wan", isUp: false)], nil), "sudo ip link set dev wan up"),
        Broken(
            .ruleBlocks, routes([exit("wan")], nil, rules: [RoutingRule(preference: 90, table: nil)]),
            "sudo ip rule del pref 90"),
        Broken(
            .ruleDiverts, routes([exit("wan")], "eth9", rules: [RoutingRule(preference: 91, table: 7)]),
            "sudo ip rule del pref 91"),
        Broken(
            .vpn, routes([exit("tun0"), exit("wan", metric: 100)], "tun0", isTunnel: true),
            "ip rule add from 192.168.105.0/24 lookup 7664"),
        Broken(.resolvConfMissing, resolvers([], hasFile: false), "echo nameserver 203.0.113.1"),
        Broken(.noResolver, resolvers([], hasSystemdResolved: true), "sudo ln -sf /run/systemd/resolve"),
        Broken(.localResolverDead, resolvers([("127.0.0.53", .refused)]), "sudo systemctl restart systemd-resolved"),
        Broken(
            .resolverSilent, resolvers([("203.0.113.9", .silent), ("203.0.113.1", .answered)]),
            "sudo sed -i '/^nameserver 203.0.113.9$/d' /etc/resolv.conf"),
        Broken(.resolverUnreachable, resolvers([("203.0.113.9", .unreachable)]), "sudo tee /etc/resolv.conf"),
        Broken(
            .resolversDiffer, resolvers([("203.0.113.1", .answered)], used: ["198.51.100.1:53"]),
            "sudo nsenter -t 7 -m -n"),
        Broken(.port53Taken, ports("dnsmasq", nil), "sudo systemctl stop dnsmasq"),
        Broken(.port67Taken, ports(nil, "mine"), "sudo kill 4711"),
        Broken(
            .subnetClash,
            subnet(["192.168.0.0/16"], free: GuestNetwork(gateway: IPv4Address("10.105.0.1")!, prefixLength: 24)),
            "vde_vmnet stop /run/vde_vmnet/vde && vde_vmnet --vmnet-gateway 10.105.0.1"),
        Broken(.subnetClash, subnet6("fd00:1:2:3::"), "sudo ip -6 route del fd00:1:2:3::/80 dev wan"),
        Broken(.noFreeSubnet, subnet([], free: nil), "vde_vmnet --vmnet-gateway"),
        Broken(
            .mtuSmall, MTUCheck(path: ("wan", 900), guests: nil, networkName: "", start: []),
            "sudo ip link set dev wan mtu 1500"),
        Broken(
            .mtuExceedsPath,
            MTUCheck(path: ("wan", 1400), guests: 9000, networkName: "vde", start: ["vde_vmnet", "--switch", "/a b"]),
            "vde_vmnet stop vde && vde_vmnet --switch '/a b' --vmnet-mtu 1400"),
        Broken(
            .pingGroupRange, PingCheck(isNeeded: true, group: 1000, range: "1\t0"),
            "sudo sysctl -w 'net/ipv4/ping_group_range=0 2147483647'"),
        Broken(
            .noRuntimeDirectory, sockets(.none, place: .untrusted("/run/user/7", .choose)),
            "unset XDG_RUNTIME_DIR"),
        Broken(
            .runtimeDirectoryDenied, sockets(.none, place: .denied("/run/user/7")), "sudo chown joe /run/user/7"),
        Broken(.staleControlSocket, sockets(.none, stale: ["/run/vde_vmnet/x"]), "rm -- /run/vde_vmnet/x"),
        Broken(.switchMissing, sockets(.missing), "vde_vmnet --switch /tmp/vde"),
        Broken(.switchNotDirectory, sockets(.notDirectory), "vde_vmnet --switch /tmp/vde.d"),
        Broken(
            .switchDenied, sockets(.denied(path: "/tmp/vde", owner: "root", group: "kvm", mode: 0o770)),
            "sudo usermod -aG kvm joe"),
        Broken(.switchStale, sockets(.stale), "vde_vmnet --switch /tmp/vde"),
        Broken(.switchPathTooLong, sockets(.tooLong(limit: 103)), "vde_vmnet --switch /tmp/vde"),
        Broken(
            .buffersSmall,
            BufferCheck(isPrivileged: false, sendLimit: 212_992, receiveLimit: 212_992, queueLimit: 512),
            "sudo sysctl -w net/core/wmem_max=1048576 net/core/rmem_max=4194304"),
        Broken(
            .datagramQueueShort,
            BufferCheck(isPrivileged: true, sendLimit: nil, receiveLimit: nil, queueLimit: 10), "max_dgram_qlen=512"),
        Broken(
            .uplinkLost, UplinkCheck(try network(#"{"uplink":{"kind":"vmnet","connected":false}}"#)),
            "vde_vmnet events /run/vde_vmnet/vde --only uplink"),
        Broken(
            .uplinkLost,
            UplinkCheck(
                try network(#"{"uplink":{"kind":"tap","interface":"vmnet0","connected":false}}"#),
                fault: .inBridge("br0")),
            "sudo ip link set dev vmnet0 nomaster"),
        Broken(
            .uplinkLost,
            UplinkCheck(
                try network(#"{"uplink":{"kind":"tap","interface":"vmnet0"}}"#), fault: .down,
                start: ["vde_vmnet", "--switch", "/a b"]),
            "vde_vmnet stop /run/vde_vmnet/vde && vde_vmnet --switch '/a b'"),
        Broken(
            .leasesLow, LeaseCheck(try dhcp(9, of: 10)),
            "vde_vmnet lease release 192.168.105.3 --network /run/vde_vmnet/vde"),
        Broken(.leasesExhausted, LeaseCheck(try dhcp(10, of: 10)), "lease release 192.168.105.3"),
        Broken(.addressConflict, AddressCheck(try dhcp(1, of: 10, conflicts: 2)), "vde_vmnet events"),
        Broken(
            .duplicateMAC, AddressCheck(try network("{}", ports: at(port: 2, moves: 4, from: 5))),
            "vde_vmnet port disconnect 5 --network /run/vde_vmnet/vde"),
        Broken(
            .clockBehind, TimeCheck(now: 0, leases: [], leaseTime: 0, socket: "", isMacOS: false),
            "timedatectl set-ntp true"),
        Broken(
            .leasesInFuture,
            TimeCheck(
                now: 1_795_920_873, leases: try dhcp(2, of: 10, seconds: 900_000).leases, leaseTime: 86_400,
                socket: "vde",
                isMacOS: false),
            "vde_vmnet lease release 192.168.105.2 --network vde"),
        Broken(
            .notSigned, signature("/opt/vde_vmnet/bin/vde_vmnet: code object is not signed at all\n"),
            "codesign --force --sign - --entitlements"),
        Broken(
            .entitlementMissing, signature("<plist><dict></dict></plist>"), "codesign --force --sign - --entitlements"),
        Broken(
            .internetSharing, InternetSharingCheck(settings: "{\n    Enabled = 1;\n    NatPortMapDisabled = 0;\n}\n"),
            "sudo defaults write /Library/Preferences/SystemConfiguration/com.apple.nat NAT -dict Enabled -int 0"),
        Broken(
            .firewallBlocksAll,
            applicationFirewall(blockAll: "Firewall has block all state set to enabled.\n", programs: ""),
            "--setblockall off"),
        Broken(
            .firewallBlocksBootpd,
            applicationFirewall(
                blockAll: "Firewall has block all state set to disabled.\n",
                programs: "Total number of apps = 1\n\n1 : /usr/libexec/bootpd\n\t ( Block incoming connections )\n\n"),
            "--unblock /usr/libexec/bootpd"),
        Broken(
            .localNetworkPrivacy,
            LocalNetworkCheck(
                system: 15, lists: ["The domain/default pair does not exist\n", "(\n    \"192.168.64.0/24\"\n)\n"],
                network: IPv4Network("192.168.64.0/24")!),
            "com.apple.network.local-network AllowedEthernetLocalNetworkAddresses -array-add 192.168.64.0/24"),
        Broken(
            .pfBlocks,
            PacketFilterCheck(
                rules: "pass all\nblock drop in on bridge100 inet from any to 192.168.65.0/24\n",
                info: "Status: Enabled for 0 days\n"),
            "sudo pfctl -f /etc/pf.conf"),
        Broken(
            .subnetOwned,
            SubnetOwnerCheck(
                interfaces: bridge.replacing(text: "member: vmenet0", with: "member: en5"),
                network: IPv4Network("192.168.64.0/24")!, isRunning: false),
            "--vmnet-gateway 192.168.114.1"),
    ]
}

@Suite struct DoctorTests {
    @Test func brokenHostIsDiagnosedByCause() throws {
        let hosts = try broken()
        for host in hosts {
            let found = host.check.diagnoses
            #expect(found.map(\.cause) == [host.cause], "\(host.cause): \(found)")
            let diagnosis = try #require(found.first)
            #expect(diagnosis.outcome != .ok && !diagnosis.detail.isEmpty)
            #expect(diagnosis.command?.contains(text: host.command) == true, "\(diagnosis)")
        }
        // No cause is without a broken host.
        #expect(Set(hosts.map(\.cause)) == Set(Cause.allCases))
    }

    /// A command of the doctor removes no directory that another user may need.
    @Test func untrustedDirectoryIsReplaced() throws {
        for (place, command): (SocketCheck.Place, String) in [
            (.untrusted("/tmp/vde_vmnet-7", .close), "chmod go-w /tmp/vde_vmnet-7"),
            (.untrusted("/tmp", .restore), "sudo sh -c 'chown root /tmp && chmod 1777 /tmp'"),
            (.untrusted("/data", .choose), "unset XDG_RUNTIME_DIR"), (.denied("/usr/share"), "unset XDG_RUNTIME_DIR"),
        ] {
            #expect(sockets(.none, place: place).diagnoses.map(\.command) == [command])
        }
    }

    @Test func soundHostHasNoCause() throws {
        let sound: [any HostCheck] = [
            program(hasNetAdmin: true), program(uplink: "user"), tun(nil),
            TunCheck(exemption: "the network has no TAP", error: SystemError(code: Errno.noEntry, "open")),
            NFTablesCheck(state: .usable("nft"), installer: .apt), NFTablesCheck(state: .notNeeded, installer: .apt),
            FirewallCheck(state: .read(HostFirewallInspector.Assessment())), FirewallCheck(state: .notNeeded("no TAP")),
            forwarding("1", isRunning: true, isWritable: false), forwarding("0", isRunning: false, isWritable: true),
            routes([exit("wan")], "wan"), routes([], nil, isNeeded: false), routes([], "eth9"),
            routes([exit("tun0")], "tun0", isTunnel: true),
            // The rule that keeps guests reachable, and a VRF's.
            routes(
                [exit("wan")], "wan",
                rules: [RoutingRule(preference: 5, table: 254, destination: guests.network)]),
            resolvers([("127.0.0.53", .answered)], used: ["127.0.0.53:53"]),
            resolvers([], hasFile: false, isNeeded: false),
            ports(nil, nil), ports(nil, "dnsmasq", isConfined: true), subnet(["10.0.0.0/8"]), subnet6(nil),
            SubnetCheck(running: nil, isRunning: true, used: [], free: nil, start: [], networkName: ""),
            MTUCheck(path: ("wan", 1500), guests: 1500, networkName: "", start: []),
            MTUCheck(path: nil, guests: 9000, networkName: "", start: []),
            PingCheck(isNeeded: true, group: 1000, range: "0\t2147483647"),
            PingCheck(isNeeded: true, group: 1000, range: nil), PingCheck(isNeeded: false, group: 0, range: "1 0"),
            sockets(.serving), sockets(.none, place: .absent),
            BufferCheck(isPrivileged: true, sendLimit: 1, receiveLimit: 1, queueLimit: 512),
            BufferCheck(isPrivileged: false, sendLimit: 1 << 20, receiveLimit: 4 << 20, queueLimit: nil),
            UplinkCheck(try dhcp(1, of: 10)), UplinkCheck(try network("{}")), LeaseCheck(try dhcp(8, of: 10)),
            LeaseCheck(try network("{}")),
            // A guest that has migrated, back, and away again.
            AddressCheck(try network("{}", ports: at(port: 2, moves: 3, from: 5))),
            TimeCheck(now: 1_795_920_873, leases: [], leaseTime: 0, socket: "", isMacOS: false),
            signature(signed), signature("", system: 15, isRoot: true),
            InternetSharingCheck(settings: "{\nEnabled = 0;\n}"),
            ApplicationFirewallCheck(state: "Firewall is disabled. (State = 0)", blockAll: "", programs: ""),
            applicationFirewall(
                blockAll: "Block all DISABLED!",
                programs: "1 : /usr/libexec/bootpd\n ( Allow incoming connections )\n"),
            LocalNetworkCheck(system: 14, lists: ["", ""], network: guests.network),
            PacketFilterCheck(rules: "block drop on bridge100 all", info: "Status: Disabled"),
            PacketFilterCheck(rules: "pass on bridge100 all", info: "Status: Enabled"),
            SubnetOwnerCheck(interfaces: bridge, network: IPv4Network("192.168.64.0/24")!, isRunning: true),
            SubnetOwnerCheck(interfaces: "", network: guests.network, isRunning: false),
        ]
        for check in sound {
            #expect(check.diagnoses.allSatisfy { $0.outcome == .ok && $0.command == nil }, "\(check.diagnoses)")
            #expect(!check.diagnoses.isEmpty)
        }
    }

    @Test func everyResolverWithoutAnswerFails() {
        let none = resolvers([("203.0.113.8", .silent), ("203.0.113.9", .refused)]).diagnoses
        #expect(none.map(\.outcome) == [.failed, .failed])
        let one = resolvers([("203.0.113.8", .answered), ("203.0.113.9", .refused)]).diagnoses
        #expect(one.map(\.outcome) == [.warning])
    }

    @Test func restartReplacesOptionThatIsGiven() {
        let option = ["--vmnet-mtu", "1400"]
        for words in [["v", "--vmnet-mtu", "9000", "a"], ["v", "--vmnet-mtu=9000", "a"], ["v", "a"]] {
            #expect(
                Remedy.restart("n", words + ["--", "q", "--vmnet-mtu", "1"], with: option)
                    == "vde_vmnet stop n && v a --vmnet-mtu 1400 -- q --vmnet-mtu 1")
        }
    }

    /// What other programs, guests and users have named cannot leave its word of a command.
    @Test(arguments: [
        "/tmp/a b;reboot", "/tmp/$(reboot)'`reboot`", "/tmp/'\"; rm -rf /", "/tmp/\u{1b}[2J\nx\u{202e}", "-rf",
    ])
    func hostileNameIsOneWordOfTheCommand(name: String) throws {
        let commands =
            [
                sockets(.missing, path: name), sockets(.none, stale: [name]),
                sockets(.denied(path: name, owner: name, group: name, mode: 0o770), path: name),
            ].flatMap(\.diagnoses).compactMap(\.command) + [
                Remedy.restart(name, ["vde_vmnet", name], with: ["--vmnet-mtu", "1400"])
            ]
        for command in commands {
            #expect(command.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7f && $0.value != 0x202e })
            // A shell finds the same words; the functions take the place of the programs.
            let script = """
                vde_vmnet() { printf '%s\\n' "$@"; }; rm() { vde_vmnet "$@"; }; sudo() { vde_vmnet "$@"; }
                \(command)
                """
            let result = try ChildProcess.run(["sh", "-c", script])
            #expect(result.succeeded, "\(result.error)")
            let words = result.output.split(separator: "\n").map(String.init)
            #expect(words.contains(PrintableText.line(name)), "\(command): \(words)")
        }
    }

    @Test func capabilitiesAreParsedFromTheListing() {
        #expect(Scene.capabilities(in: "Name:\tx\nCapEff:\t0000000000001000\n").contains(.netAdmin))
        for text in ["", "CapEff:", "CapEff:\tzz", "CapEff:\t0000000000000000"] {
            #expect(!Scene.capabilities(in: text).contains(.netAdmin))
        }
    }

    @Test func factsWithoutDetailsAreHarmless() throws {
        for text in ["{}", #"{"uplink":7,"dhcp":[],"mtu":"x","gateway":"?","network":"1/2"}"#] {
            let facts = try network(text, ports: "[7,null,{}]", leases: "[1,{}]")
            #expect(facts.network == nil && facts.leases.isEmpty && facts.uplink == "none" && facts.mtu == 1500)
            #expect(facts.switchPath == nil)
        }
        #expect(try network(#"{"switch":"switch at /tmp/a b"}"#).switchPath == "/tmp/a b")
        #expect(try network(#"{"switch":"joined to /x (cable)"}"#).switchPath == nil)
    }
}
