// SPDX-License-Identifier: Apache-2.0
import TestSupport

/// What a program prints while the network changes.
final class OutputFollower {
    private let program: BackgroundProgram
    private var position = 0

    init(_ program: BackgroundProgram) { self.program = program }

    /// One UDP port of a guest that queries a server's port 7000 ten times a second for as long as the test lasts, and
    /// prints answers and errors.
    convenience init(portOf guest: Namespace, asking server: String) throws {
        let script = """
            use IO::Socket::IP; use IO::Select; $| = 1;
            my $s = IO::Socket::IP->new(Proto => "udp", LocalPort => 7500, PeerHost => "\(server)",
                PeerPort => 7000) or die;
            setsockopt($s, 0, 11, 1); # IP_RECVERR. Either call gets the error; 64 is MSG_DONTWAIT
            while (1) { my $text; my $error = $s->send("x") ? "" : "$!\\n"; select(undef, undef, undef, 0.1);
                print $error || (defined $s->recv($text, 100, 64) ? "$text\\n" : "$!\\n") }
            """
        self.init(try guest.start(["perl", "-e", script]))
    }

    /// Skips what was printed so far, and waits for a text after it.
    func expect(_ text: String, within seconds: Double = 10) throws {
        position = max(position, program.output.utf8.count)
        position += try program.wait(for: text, after: position, within: seconds).utf8.count
    }
}
