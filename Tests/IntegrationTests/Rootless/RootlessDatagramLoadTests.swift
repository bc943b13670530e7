// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// UDP through the user-mode NAT by many clients, from many ports, in bursts, and with few files.
    @Suite struct RootlessDatagramLoads {
        /// Two thousand sockets, each with its own text. Prints how many got it back.
        private static let clients = """
            use IO::Socket::IP; use IO::Select; my ($host, $port, $count) = @ARGV; my @all; my $good = 0;
            for my $n (1..$count) {
                push @all, IO::Socket::IP->new(Proto => "udp", PeerHost => $host, PeerPort => $port) or die }
            for my $try (1..3) {
                my ($n, @left) = (0);
                while (my @some = splice(@all, 0, 50)) {
                    my %text; for (@some) { $text{$_} = "client " . $n++ . " " . $_->sockport; $_->send($text{$_}) }
                    for my $s (@some) {
                        if (!IO::Select->new($s)->can_read(1)) { push @left, $s; next }
                        $s->recv(my $got, 100); $good++ if $got eq $text{$s} } }
                @all = @left; last unless @all }
            print $good
            """

        @Test func eachOfManyClientsIsAnswered() throws {
            let fixture = try RootlessFixture(["--uplink", "user", "--publish", "5353:192.168.105.2:7000/udp"])
            let guest = try fixture.guest()
            try guest.lease()
            let echo = try DatagramEcho.start(7000, in: guest.namespace)
            for (namespace, address) in [
                (fixture.network.internet, TestNetwork.hostAddress), (fixture.host, "127.0.0.1"),
            ] {
                let count = try namespace.run(
                    "prlimit", "--nofile=4096", "perl", "-e", Self.clients, address, "5353", "2000")
                #expect(count == "2000", "\(address)")
            }
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = echo
        }

        /// Whole datagrams that are longer than the path's MTU, equally long, one after the other: the kernel refuses
        /// them joined, and each goes in fragments.
        @Test(arguments: [1400, 2000]) func burstArrivesWholeAndInOrder(length: Int) throws {
            let fixture = try RootlessFixture(["--uplink", "user"], internet: true)
            let guest = try fixture.guest()
            try guest.lease()
            let echo = try DatagramEcho.start(5300, in: fixture.network.internet)
            let burst = """
                use IO::Socket::IP; use IO::Select; my ($host, $length) = @ARGV;
                my $s = IO::Socket::IP->new(Proto => "udp", PeerHost => $host, PeerPort => 5300) or die;
                setsockopt($s, 1, 8, 1 << 21); my $good = 0;
                for my $round (1..5) {
                    my @sent = map { my $n = $_; pack("N", $n) . chr(65 + $n) x ($length - 4) } 1..20;
                    push @sent, "last"; $s->send($_) for @sent;
                    for (@sent) { last unless IO::Select->new($s)->can_read(3);
                        $s->recv(my $text, 65535); $good++ if $text eq $_ } }
                print $good
                """
            #expect(
                try guest.namespace.run("perl", "-e", burst, TestNetwork.internetAddress, "\(length)") == "105")
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = echo
        }

        /// The fewest files with which a network starts: UDP, TCP, names and pings work, one after the other.
        @Test(arguments: [96, 256]) func networkWithFewFilesWorks(files: Int) throws {
            let fixture = try RootlessFixture(
                ["--uplink", "user"], internet: true, wrapper: ["prlimit", "--nofile=\(files):\(files)", "--"]
            ) { try $0.run("sysctl", "-q", "-w", "net.ipv4.ping_group_range=0 2147483647") }
            let guest = try fixture.guest()
            try guest.lease()
            let echo = try DatagramEcho.start(5300, in: fixture.network.internet)
            for _ in 0..<3 {
                #expect(try DatagramEcho.answeredPorts(of: 200, at: 5300, from: guest.namespace) == 200)
                #expect(try guest.namespace.fetch(TestNetwork.internetAddress) == "Hello from the Internet")
                #expect(try guest.namespace.pings(TestNetwork.internetAddress))
                let name = try guest.namespace.run(
                    "dig", "+short", "+time=3", "+tries=1", "@\(gateway)", TestNetwork.internetName, "A")
                #expect(name.trimmed == TestNetwork.internetAddress)
            }
            let descriptors = try Files.entries("/proc/\(fixture.daemon.identifier)/fd").count
            #expect(descriptors <= files)
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = echo
        }
    }
}
