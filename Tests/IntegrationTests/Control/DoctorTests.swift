// SPDX-License-Identifier: Apache-2.0
import DHCPService
import Platform
import TestSupport
import Testing
import Timing
import Wire

/// A host with one fault, and the cause by which the doctor names it.
private struct BrokenHost: CustomTestStringConvertible, Sendable {
    let cause: String
    /// Whether the cause fails the host.
    var fails = true
    /// Shell commands in the host's namespace, before the doctor starts.
    var breaking = ""
    /// Shell commands in the doctor's own mount namespace.
    var hiding = ""
    var resolvers: String?
    /// A program that runs meanwhile, and the port that it listens to.
    var server: [String] = []
    var operand: String?
    var user: String?
    /// Words before the doctor, which take rights from it or change what it sees.
    var confining: [String] = []
    var environment: [String: String?] = [:]
    /// What a library of the system writes to standard error.
    var error = ""

    var testDescription: String { cause }

    private static let policy = "type filter hook forward priority 0; policy drop;"

    static let all: [BrokenHost] = [
        BrokenHost(
            cause: "no_net_admin", fails: false,
            confining: ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "--"]),
        BrokenHost(
            cause: "tun_denied", hiding: "mount -t tmpfs none /dev/net; mknod -m 0600 /dev/net/tun c 10 200",
            confining: [
                "setpriv", "--reuid", "daemon", "--regid", "nogroup", "--clear-groups", "--inh-caps=+net_admin",
                "--ambient-caps=+net_admin", "--",
            ]),
        // A mount without devices, as container managers make them.
        BrokenHost(
            cause: "tun_denied",
            hiding: "mount -t tmpfs -o nodev none /dev/net; mknod -m 0666 /dev/net/tun c 10 200"),
        // Root of a container that has the network of its host.
        BrokenHost(
            cause: "nftables_unusable", confining: ["unshare", "--user", "--map-root-user"],
            error: "Operation not permitted (you must be root)\n"),
        BrokenHost(
            cause: "clock_behind", confining: ["faketime", "--exclude-monotonic", "2020-01-01 00:00:00"]),
        BrokenHost(cause: "tun_missing", hiding: "mount -t tmpfs none /dev/net"),
        BrokenHost(cause: "tun_unusable", hiding: "mount -t tmpfs none /dev/net; touch /dev/net/tun"),
        BrokenHost(
            cause: "nftables_missing",
            hiding: "for f in /usr/lib/*/libnftables.so.1 /usr/sbin/nft /sbin/nft; do [ -e $f ] && "
                + "mount --bind /dev/null $f; done"),
        BrokenHost(
            cause: "firewall_nftables", breaking: "nft 'table inet mine { chain forward { \(policy) }; }'"),
        BrokenHost(
            cause: "firewall_iptables", breaking: "nft 'table ip filter { chain FORWARD { \(policy) }; }'"),
        BrokenHost(
            cause: "firewall_docker",
            breaking: "nft 'table ip filter { chain DOCKER-USER { }; chain FORWARD { \(policy) }; }'"),
        BrokenHost(
            cause: "firewall_ufw",
            breaking: "nft 'table ip filter { chain ufw-user-forward { }; chain FORWARD { \(policy) }; }'"),
        BrokenHost(
            cause: "firewall_firewalld",
            breaking: "nft 'table inet firewalld { chain filter_FORWARD { \(policy) }; }'"),
        BrokenHost(
            cause: "firewall_nftables",
            breaking: "nft 'table ip mine { set s { type ipv4_addr; flags interval; elements = { 192.168.0.0/16 }; }; "
                + "chain forward { type filter hook forward priority 0; ip saddr @s drop; }; }'"),
        BrokenHost(
            cause: "firewall_nftables",
            breaking:
                "nft 'table ip mine { chain late { type filter hook postrouting priority 0; oifname wan drop; }; }'"),
        BrokenHost(
            cause: "firewall_unclear", fails: false,
            breaking: "nft 'table ip mine { chain forward { type filter hook forward priority 0; "
                + "meta cgroup 7 drop; }; }'"),
        BrokenHost(
            cause: "forwarding_locked", breaking: "sysctl -qw net.ipv4.ip_forward=0",
            hiding: "mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys"),
        BrokenHost(cause: "no_default_route", breaking: "ip route del default"),
        BrokenHost(cause: "rule_blocks", breaking: "ip rule add pref 90 prohibit"),
        BrokenHost(
            cause: "rule_diverts", fails: false,
            breaking:
                "ip link add other type veth peer name other2; ip link set other2 up; ip link set other up; "
                + "ip route add default dev other table 7; "
                + "ip route add 203.0.113.0/24 dev wan table 7; "
                + "ip rule add pref 91 lookup 7"),
        BrokenHost(
            cause: "vpn", fails: false,
            breaking: "ip tuntap add tun9 mode tun; ip addr add 10.9.9.1/24 dev tun9; ip link set tun9 up; "
                + "ip route del default; ip route add default dev tun9; "
                + "ip route add default via \(TestNetwork.internetAddress) metric 100"),
        BrokenHost(cause: "resolv_conf_missing", hiding: "mkdir /run/etc; mount --bind /run/etc /etc"),
        BrokenHost(cause: "no_resolver", resolvers: "search example\n"),
        BrokenHost(cause: "local_resolver_dead", resolvers: "nameserver 127.0.0.53\n"),
        BrokenHost(cause: "resolver_unreachable", resolvers: "nameserver \(TestNetwork.hostAddress)\n"),
        BrokenHost(
            cause: "resolver_silent",
            breaking:
                "nft 'table inet mute { chain output { type filter hook input priority 0; udp sport 53 drop; }; }'"),
        BrokenHost(
            cause: "port_53_taken", fails: false,
            server: ["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--user=root"]),
        BrokenHost(
            cause: "port_67_taken", fails: false,
            server: [
                "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0", "--user=root", "--leasefile-ro",
                "--dhcp-range=203.0.113.100,203.0.113.110",
            ]),
        BrokenHost(cause: "mtu_small", fails: false, breaking: "ip link set wan mtu 1000"),
        // A cable whose other end is down.
        BrokenHost(
            cause: "default_route_down",
            breaking: "ip link add cut type veth peer name end; ip addr add 198.51.100.2/24 dev cut; "
                + "ip link set cut up; ip route replace default via 198.51.100.1 dev cut"),
        BrokenHost(
            cause: "no_free_subnet",
            breaking: "ip link add big type veth peer name end; ip addr add 192.168.0.1/16 dev big; "
                + "ip addr add 172.31.0.1/16 dev big; ip addr add 10.105.0.1/16 dev big; ip link set big up"),
        BrokenHost(
            cause: "buffers_small", fails: false,
            hiding: "echo 4096 >/run/small; mount --bind /run/small /proc/sys/net/core/wmem_max", user: "daemon"),
        BrokenHost(cause: "ping_group_range", fails: false, user: "daemon"),
        BrokenHost(cause: "not_root", fails: false, user: "daemon"),
        BrokenHost(
            cause: "datagram_queue_short", fails: false, breaking: "sysctl -qw net.unix.max_dgram_qlen=10"),
        BrokenHost(
            cause: "no_runtime_directory", fails: false,
            hiding: "mkdir -m 0777 /run/theirs; chown nobody /run/theirs", user: "daemon",
            environment: ["XDG_RUNTIME_DIR": "/run/theirs"]),
        BrokenHost(
            cause: "runtime_directory_denied", user: "daemon", environment: ["XDG_RUNTIME_DIR": "/usr/share"]),
        BrokenHost(
            cause: "stale_control_socket", fails: false, hiding: "mkdir /run/vde_vmnet; \(stale("/run/vde_vmnet/x"))"),
        BrokenHost(cause: "switch_missing", operand: "/nowhere/vde"),
        BrokenHost(cause: "switch_not_directory", operand: "/etc/passwd"),
        BrokenHost(cause: "switch_stale", hiding: "mkdir /run/vde; \(stale("/run/vde/ctl"))", operand: "/run/vde"),
        BrokenHost(
            cause: "switch_denied", hiding: "mkdir -m 0700 /run/vde; \(stale("/run/vde/ctl"))", operand: "/run/vde",
            user: "daemon"),
        BrokenHost(cause: "switch_path_too_long", operand: "/tmp/" + String(repeating: "x", count: 120)),
    ]

    /// Makes a socket that no process serves.
    private static func stale(_ path: String) -> String {
        "/usr/bin/python3 -c 'import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' \(path)"
    }
}

extension IntegrationTests {
    /// `vde_vmnet doctor` on hosts with one fault each.
    @Suite struct DoctorCommands {
        /// Runs the doctor with its own /run and mounts.
        private func doctor(
            on host: Namespace, _ words: [String], hiding: String = "", user: String? = nil, confining: [String] = [],
            environment: [String: String?] = [:]
        ) throws -> ChildProcess.Output {
            // The program may be in a directory that is hidden.
            let script = """
                mount --bind "$(dirname "$0")" /mnt
                mount -t tmpfs -o mode=755 none /run; \(hiding)
                exec "$@"
                """
            let program = TestHost.product("vde_vmnet"), name = program.split(separator: "/").last ?? ""
            return try host.attempt(
                ["unshare", "-m", "sh", "-c", script, program] + Namespace.running(as: user) + confining
                    + ["/mnt/\(name)", "doctor"] + words,
                environment: environment)
        }

        private func soundNetwork() throws -> TestNetwork {
            let network = try TestNetwork()
            try network.startInternet()
            try network.host.run(
                "sysctl", "-qw", "net.unix.max_dgram_qlen=512", "net.ipv4.ping_group_range=1 0")
            return network
        }

        @Test func soundHostPasses() throws {
            let network = try soundNetwork()
            let result = try doctor(on: network.host, [])
            #expect(result.succeeded && result.error.isEmpty, "\(result.output)\(result.error)")
            for line in result.output.split(separator: "\n") { #expect(line.hasPrefix("ok "), "\(line)") }
            let json = try doctor(on: network.host, ["--json"])
            #expect(json.output.hasPrefix(#"{"ok":true,"checks":[{"check":"program","outcome":"ok","cause":null,"#))
        }

        @Test(arguments: BrokenHost.all)
        private func brokenHostIsDiagnosed(broken: BrokenHost) throws {
            let network = try soundNetwork()
            let host = network.host
            if let resolvers = broken.resolvers { try host.setResolvers(resolvers) }
            if !broken.breaking.isEmpty { try host.run("sh", "-ec", broken.breaking) }
            let server = broken.server.isEmpty ? nil : try host.start(Namespace.withoutState + broken.server)
            if server != nil {
                try eventually("the server's socket") {
                    try host.run("ss", "-Hlun").contains("0.0.0.0:")
                }
            }
            let words = broken.operand.map { [$0] } ?? []
            let result = try doctor(
                on: host, words + ["--json"], hiding: broken.hiding, user: broken.user, confining: broken.confining,
                environment: broken.environment)
            #expect(result.output.contains("\"cause\":\"\(broken.cause)\""), "\(result.output)\(result.error)")
            #expect(
                result.termination == .exited(broken.fails ? 1 : 0), "\(result.termination) \(result.output)")
            #expect(result.error == broken.error, "\(result.error)")
            // The same for people, with the command.
            let text = try doctor(
                on: host, words, hiding: broken.hiding, user: broken.user, confining: broken.confining,
                environment: broken.environment)
            let lines = text.output.split(separator: "\n")
            let index = try #require(lines.firstIndex { $0.hasSuffix("(\(broken.cause))") }, "\(text.output)")
            #expect(lines[index].hasPrefix(broken.fails ? "failed  " : "warning "))
            #expect(lines[index + 1].contains("fix: "))
            server?.kill()
        }

        @Test func proposedCommandMendsHost() throws {
            let network = try soundNetwork()
            let host = network.host
            try host.run(
                "nft", "table inet mine { chain forward { type filter hook forward priority 0; policy drop; }; }")
            try host.run("ip", "rule", "add", "pref", "90", "prohibit")
            for cause in ["rule_blocks", "firewall_nftables"] {
                let lines = try doctor(on: host, []).output.split(separator: "\n")
                let index = try #require(lines.firstIndex { $0.hasSuffix("(\(cause))") }, "\(lines)")
                let command = try #require(lines[index + 1].split(separator: ":", maxSplits: 1).last)
                try host.run("sh", "-ec", "sudo() { \"$@\"; }\n\(command)")
                #expect(try !doctor(on: host, []).output.contains("(\(cause))"))
            }
            #expect(try doctor(on: host, []).succeeded)
        }

        @Test(arguments: ControlFixture.Uplink.allCases)
        func runningNetworkIsExamined(uplink: ControlFixture.Uplink) throws {
            let fixture = try ControlFixture(
                uplink.rawValue, ["--vmnet-gateway", "192.168.105.1", "--vmnet-dhcp-end", "192.168.105.2"],
                internet: true)
            try fixture.host.run("sysctl", "-qw", "net.unix.max_dgram_qlen=512")
            let before = try doctor(on: fixture.host, [fixture.socket])
            #expect(before.succeeded && !before.output.contains("failed "), "\(before.output)\(before.error)")
            #expect(before.output.contains("the network runs with the uplink \(uplink.rawValue)"))
            let guest = try fixture.guest(mac: "52:54:00:00:00:01")
            try guest.lease("-x", "hostname:a;reboot")
            let full = try doctor(on: fixture.host, [fixture.socket])
            #expect(full.termination == .exited(1) && full.output.contains("(leases_exhausted)"), "\(full.output)")
            #expect(full.output.contains("fix: vde_vmnet lease release 192.168.105.2 --network \(fixture.socket)\n"))
            #expect(!full.output.contains("reboot"))
            if uplink == .tap {
                // The network switches forwarding on again, five times within a minute.
                try eventually("forwarding that is off is found") {
                    try fixture.host.run("sysctl", "-qw", "net.ipv4.conf.wan.forwarding=0")
                    return try doctor(on: fixture.host, [fixture.socket]).output.contains("(forwarding_off)")
                }
                try fixture.host.run(
                    "sh", "-ec",
                    "ip link add other type veth peer name other2; ip addr add 192.168.105.200/25 dev other; "
                        + "ip link set other2 up; ip link set other up; ip link set wan mtu 1400"
                )
                let broken = try doctor(on: fixture.host, [fixture.socket]).output
                for cause in ["subnet_clash", "mtu_exceeds_path"] {
                    #expect(broken.contains("(\(cause))"), "\(cause): \(broken)")
                }
            }
            // A member of the control group sees counters only; a user without rights, nothing.
            let other = try doctor(on: fixture.host, [fixture.socket], user: "daemon")
            #expect(other.termination == .exited(77) && other.error.contains(fixture.socket), "\(other.error)")
            // The shell of the doctor has another resolv.conf than the network.
            let elsewhere = try doctor(
                on: fixture.host, [fixture.socket],
                hiding: "echo nameserver 198.51.100.1 >/run/other; mount --bind /run/other /etc/resolv.conf")
            #expect(elsewhere.output.contains("(resolvers_differ)"), "\(elsewhere.output)")
            #expect(try fixture.daemon.stop() == .exited(0))
            let missing = try doctor(on: fixture.host, ["nonesuch"])
            #expect(missing.termination == .exited(69) && missing.error.contains("nonesuch"), "\(missing.error)")
        }

        @Test func addressOfTwoGuestsIsFound() throws {
            let fixture = try ControlFixture("none")
            let one = try PlugPort(path: fixture.path, description: "one")
            let two = try PlugPort(path: fixture.path, description: "two")
            var frame = [UInt8](repeating: 0xff, count: 60)
            frame.replaceSubrange(6..<12, with: [0x52, 0x54, 0, 0, 0, 9])
            // A frame that has arrived at the other guest has moved the address.
            for count in 1...3 {
                for (sender, receiver) in [(one, two), (two, one)] {
                    frame[20] = UInt8(count)
                    sender.send(frame)
                    try #require(receiver.receive { $0 == frame } != nil)
                }
            }
            let socket = fixture.socket
            try eventually("the duplicate address is found") {
                try doctor(on: fixture.host, [socket]).output.contains("52:54:00:00:00:09 moves between")
            }
        }

        /// The command that fixes `cause`, of a network that has it.
        private func command(
            for cause: String, _ fixture: ControlFixture, fails: Bool, user: String? = nil
        ) throws -> String {
            let result = try doctor(on: fixture.host, [fixture.socket], user: user)
            let lines = result.output.split(separator: "\n")
            let index = try #require(
                lines.firstIndex { $0.hasSuffix("(\(cause))") }, "\(result.output)\(result.error)")
            #expect(lines[index].hasPrefix(fails ? "failed  " : "warning "))
            let command = try #require(lines[index + 1].split(separator: ":", maxSplits: 1).last)
            return String(command.drop { $0 == " " })
        }

        /// Runs a command that the doctor has proposed.
        private func fix(_ fixture: ControlFixture, _ command: String) throws {
            let program = TestHost.product("vde_vmnet")
            try fixture.host.run("sh", "-ec", "sudo() { \"$@\"; }; vde_vmnet() { \"\(program)\" \"$@\"; }\n\(command)")
        }

        @Test func tapInBridgeIsFound() throws {
            let fixture = try ControlFixture("tap", internet: true)
            let host = fixture.host
            try host.run("sh", "-ec", "ip link add br0 type bridge; ip link set vmnet0 master br0")
            let command = try command(for: "uplink_lost", fixture, fails: true)
            #expect(command == "sudo ip link set dev vmnet0 nomaster")
            try fix(fixture, command)
            try eventually("the TAP works again") {
                try doctor(on: host, [fixture.socket]).output.contains("tap, connected")
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// The network's leases, as another start has left them.
        /// - Parameter seconds: until they end.
        private func fixture(leases count: Int, seconds: Int64) throws -> ControlFixture {
            try ControlFixture("user", ["--vmnet-gateway", "192.168.105.1", "--vmnet-dhcp-end", "192.168.105.11"]) {
                let lines = (1...count).map { number in
                    let hardware = MACAddress("52:54:00:00:00:\(number < 10 ? "0" : "")\(number)")!
                    return LeaseJournal.line(
                        for: LeaseJournal.Record(
                            lease: Lease(
                                address: IPv4Address("192.168.105.\(1 + number)")!,
                                client: ClientIdentity(hardware: hardware), hardware: hardware, hostName: "",
                                expires: .distantPast), ends: WallClock.seconds + seconds))
                }
                try Files.makeDirectories($0.folder.file("state"))
                try Files.replace(
                    $0.folder.file("state") + "/192.168.105.0-24.leases",
                    Array((LeaseJournal.header + lines.joined()).utf8))
            }
        }

        @Test func lastAddressIsAnnounced() throws {
            let fixture = try fixture(leases: 9, seconds: 1200)
            let command = try command(for: "leases_low", fixture, fails: false)
            #expect(command.hasPrefix("vde_vmnet lease release 192.168.105."))
            try fix(fixture, command)
            #expect(try doctor(on: fixture.host, [fixture.socket]).output.contains("8 of 10 addresses are leased"))
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func leaseOfClockAheadIsFound() throws {
            let fixture = try fixture(leases: 1, seconds: 90 * 86_400)
            let command = try command(for: "leases_in_future", fixture, fails: false)
            #expect(command == "vde_vmnet lease release 192.168.105.2 --network \(fixture.socket)")
            try fix(fixture, command)
            #expect(try doctor(on: fixture.host, [fixture.socket]).output.contains("the clock is plausible"))
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func addressOfGuestWithoutLeaseIsFound() throws {
            let fixture = try ControlFixture(
                "user", ["--vmnet-gateway", "192.168.105.1", "--vmnet-dhcp-end", "192.168.105.10"])
            let squatter = try fixture.guest("squatter")
            try squatter.namespace.ip("addr", "add", "192.168.105.2/24", "dev", PlugGuest.interface)
            let other = try fixture.guest("other")
            #expect(try other.lease("-r", "192.168.105.2")["ip"] != "192.168.105.2")
            let command = try command(for: "address_conflict", fixture, fails: false)
            #expect(command == "vde_vmnet events \(fixture.socket) --only conflict")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// The user that has started a network by sudo examines it without.
        @Test func ownerIsSentToRootForFirewall() throws {
            let owner = try #require(UserDatabase.user(named: "daemon"))
            let fixture = try ControlFixture(
                "tap", internet: true, environment: ["SUDO_UID": "\(owner)", "SUDO_GID": "\(owner)"])
            let command = try command(for: "firewall_unreadable", fixture, fails: false, user: "daemon")
            #expect(command == "sudo vde_vmnet doctor \(fixture.socket)")
            try fix(fixture, "\(command) || true")
            #expect(try doctor(on: fixture.host, [fixture.socket]).output.contains("no rule of another program drops"))
            #expect(try fixture.daemon.stop() == .exited(0))
        }
    }
}
