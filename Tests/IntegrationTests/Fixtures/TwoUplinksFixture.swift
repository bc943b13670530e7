// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

/// A host with two uplinks, `wan` with the default route and `lan`. The same server is behind both, and answers with
/// the name of the uplink and its client's address.
final class TwoUplinksFixture {
    static let server = "192.0.2.1", server6 = "2001:db8:9::1"
    static let lanAddress = "198.51.100.2", lanAddress6 = "2001:db8:2::2"

    private let hasIPv6: Bool
    let network: TestNetwork
    let second: Namespace
    private(set) var daemon: BackgroundProgram!
    private(set) var guest: PlugGuest!
    private var servers: [BackgroundProgram] = []

    private static let echo = """
        use Socket qw(:all); my ($way, $port) = @ARGV; my (%tcp, %udp, $set); $set = '';
        for my $family (AF_INET, AF_INET6) {
            my $own = $family == AF_INET ? pack_sockaddr_in($port, inet_aton("192.0.2.1"))
                : pack_sockaddr_in6($port, inet_pton(AF_INET6, "2001:db8:9::1"));
            socket(my $udp, $family, SOCK_DGRAM, 0) or die; socket(my $tcp, $family, SOCK_STREAM, 0) or die;
            setsockopt($_, IPPROTO_IPV6, IPV6_V6ONLY, 1) for $family == AF_INET6 ? ($udp, $tcp) : ();
            setsockopt($tcp, SOL_SOCKET, SO_REUSEADDR, 1); bind($_, $own) or next for $udp, $tcp; listen($tcp, 8);
            ($udp{fileno $udp}, $tcp{fileno $tcp}) = ($udp, $tcp); vec($set, fileno($_), 1) = 1 for $udp, $tcp;
        }
        sub text { my ($error, $host) = getnameinfo($_[0], NI_NUMERICHOST | NI_NUMERICSERV); "$way $host" }
        $| = 1; print "listening\\n";
        while (1) {
            select(my $ready = $set, undef, undef, undef);
            for (keys %udp) { next unless vec($ready, $_, 1); my $from = recv($udp{$_}, my $text, 9000, 0);
                send($udp{$_}, text($from), 0, $from) if defined $from }
            for (keys %tcp) { next unless vec($ready, $_, 1); my $from = accept(my $client, $tcp{$_});
                syswrite($client, text($from)) }
        }
        """

    /// Answers `host` at port 7001 of all IPv4 addresses of the host.
    static let echoForHost = """
        use Socket qw(:all); my $any = pack_sockaddr_in(7001, INADDR_ANY); my $set = '';
        socket(my $udp, AF_INET, SOCK_DGRAM, 0) or die; socket(my $tcp, AF_INET, SOCK_STREAM, 0) or die;
        bind($_, $any) or die for $udp, $tcp; listen($tcp, 8); vec($set, fileno($_), 1) = 1 for $udp, $tcp;
        $| = 1; print "listening\\n";
        while (1) {
            select(my $ready = $set, undef, undef, undef);
            if (vec($ready, fileno($udp), 1)) { my $from = recv($udp, my $text, 9000, 0); send($udp, "host", 0, $from) }
            if (vec($ready, fileno($tcp), 1)) { accept(my $client, $tcp); syswrite($client, "host") }
        }
        """

    init(hasIPv6: Bool = true) throws {
        self.hasIPv6 = hasIPv6
        network = try TestNetwork()
        second = try Namespace("second")
        let host = network.host, ways = [(network.internet, "2001:db8:1::"), (second, "2001:db8:2::")]
        try host.connect(to: second, by: "lan", Self.lanAddress + "/24", "198.51.100.1/24")
        try host.ip("route", "add", "default", "via", "198.51.100.1", "metric", "200")
        try host.run("sysctl", "-q", "-w", "net.ipv4.ping_group_range=0 2147483647")
        for (index, way) in ways.enumerated() {
            let name = index == 0 ? "wan" : "lan"
            try way.0.ip("addr", "add", Self.server + "/32", "dev", "lo")
            if hasIPv6 {
                try way.0.ip("-6", "addr", "add", Self.server6 + "/128", "dev", "lo", "nodad")
                try way.0.ip("-6", "addr", "add", way.1 + "1/64", "dev", "eth0", "nodad")
                try host.ip("-6", "addr", "add", way.1 + "2/64", "dev", name, "nodad")
                try host.ip("-6", "route", "add", "default", "via", way.1 + "1", "metric", "\(100 + index * 100)")
            }
            let server = try way.0.start(["perl", "-e", Self.echo, name, "7000"])
            try server.wait(for: "listening", within: 10)
            servers.append(server)
            servers.append(
                try way.0.start([
                    "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root",
                    "--bind-interfaces", "--listen-address=\(Self.server)",
                    "--address=/way.example/192.0.2.\(index + 10)",
                ]))
            try way.0.waitForListener(on: 53)
        }
        // What passes by `lan` is answered, by `wan` not.
        for version in ["ipv4.icmp_echo_ignore_all", "ipv6.icmp.echo_ignore_all"] {
            try network.internet.run("sysctl", "-q", "-w", "net.\(version)=1")
        }
        try host.setResolvers("nameserver \(Self.server)\n")
    }

    /// Routes what leaves from the addresses of `lan` by `lan`, as a host with two uplinks does.
    func addSourceRoutes() throws {
        for (option, address, gateway) in [
            ("-4", Self.lanAddress, "198.51.100.1"), ("-6", Self.lanAddress6, "2001:db8:2::1"),
        ] where hasIPv6 || option == "-4" {
            try network.host.ip(option, "rule", "add", "from", address, "lookup", "100")
            try network.host.ip(option, "route", "add", "default", "via", gateway, "table", "100")
        }
    }

    func start(_ options: [String], user: String? = "nobody") throws {
        let directory = network.folder.file("user")
        try network.host.run(
            "sh", "-c", "mkdir \(directory) && chown nobody \(directory) && chmod 755 \(network.folder.path)")
        let path = directory + "/vde"
        daemon = try network.host.start(
            Namespace.running(as: user) + [
                TestHost.product("vde_vmnet"), "--switch", "--state-dir", directory + "/state",
            ] + options + [path],
            environment: ["HOME": directory, "XDG_RUNTIME_DIR": directory])
        try daemon.wait(for: "switch at \(path)\n", within: 20)
        guest = try PlugGuest("guest", path: path, folder: network.folder)
        // A client of DHCP would remove the addresses of IPv6.
        try guest.namespace.ip("addr", "add", "192.168.105.2/24", "dev", PlugGuest.interface)
        try guest.namespace.ip("route", "add", "default", "via", "192.168.105.1")
        if hasIPv6 { _ = try guest.address6() }
    }

    /// What a server has answered, or the error.
    func ask(_ type: String, _ address: String, port: Int = 7000, seconds: Int = 2) throws -> String {
        let script = """
            use IO::Socket::IP; use IO::Select; my ($type, $to, $port, $seconds) = @ARGV;
            my $s = IO::Socket::IP->new(Proto => $type, PeerHost => $to, PeerPort => $port, Timeout => $seconds);
            if (!$s) { print "$@"; exit }
            # A socket of UDP gets errors of routers only if it asks for them (IP_RECVERR, IPV6_RECVERR).
            setsockopt($s, 0, 11, 1); setsockopt($s, 41, 25, 1);
            $s->send("hello") if $type eq "udp";
            if (!IO::Select->new($s)->can_read($seconds)) { print "silence"; exit }
            my $text; print defined $s->recv($text, 9000) ? $text : "$!";
            """
        return try guest.namespace.run("perl", "-e", script, type, address, "\(port)", "\(seconds)")
    }

    func resolve(_ name: String) throws -> String {
        let command = ["dig", "+short", "+time=3", "+tries=1", "@192.168.105.1", name, "A"]
        return try guest.namespace.attempt(command).output.trimmed
    }
}
