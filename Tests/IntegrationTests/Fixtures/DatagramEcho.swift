// SPDX-License-Identifier: Apache-2.0
import TestSupport

/// A UDP server on all IPv4 addresses of a namespace, and a client that queries it from many ports.
enum DatagramEcho {
    /// What the server answers, in Perl.
    enum Answer: String {
        /// The datagram.
        case text = "$text"
        /// The sender's address, " sent ", and the datagram.
        case sender = "$s->peerhost . \" sent $text\""
    }

    /// Starts the server, and waits until it answers.
    static func start(
        _ port: Int, in namespace: Namespace, answering answer: Answer = .text
    ) throws -> BackgroundProgram {
        let script = """
            use IO::Socket::IP; $| = 1;
            my $s = IO::Socket::IP->new(Proto => "udp", LocalHost => "0.0.0.0", LocalPort => \(port)) or die;
            setsockopt($s, 1, 8, 1 << 21); # SO_RCVBUF
            print "listening\\n";
            while (1) { my $from = $s->recv(my $text, 65535); $s->send(\(answer.rawValue), 0, $from) }
            """
        let server = try namespace.start(["perl", "-e", script])
        try server.wait(for: "listening", within: 10)
        return server
    }

    /// Queries the Internet's server at `port` from `count` ports of a guest, each up to five times. Returns how many
    /// were answered.
    static func answeredPorts(of count: Int, at port: Int, from guest: Namespace) throws -> Int? {
        let script = """
            use IO::Socket::IP; use IO::Select; my $count = 0;
            for my $port (20000..\(20000 + count - 1)) {
                my $s = IO::Socket::IP->new(Proto => "udp", LocalPort => $port,
                    PeerHost => "\(TestNetwork.internetAddress)", PeerPort => \(port)) or die;
                for (1..5) { $s->send("x"); if (IO::Select->new($s)->can_read(1)) { $count++; last } } }
            print $count
            """
        return Int(try guest.run("perl", "-e", script))
    }
}
