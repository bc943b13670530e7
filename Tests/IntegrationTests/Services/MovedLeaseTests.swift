// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// The lease of an address goes to another guest: what pins of the guest before have opened ends.
    @Suite struct MovedLeases {
        private typealias Fixture = NamedEgressFixture

        /// Sends datagrams back to where they came from.
        private static let echo = """
            import socket
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.bind(("\(Fixture.site)", 7))
            print("up", flush=True)
            while True:
                data, sender = s.recvfrom(2048)
                s.sendto(data, sender)
            """

        /// `exchange` returns whether a datagram from a fixed port comes back, or is refused.
        private static let client = """
            def exchange(text):
                s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                s.settimeout(1)
                s.bind(("", 4000))
                s.connect(("\(Fixture.site)", 7))
                try:
                    s.send(text)
                    return "echo" if s.recv(100) == text else "other"
                except TimeoutError: return "silence"
                except OSError: return "refused"

            """

        @Test(arguments: ["tap", "user"]) func nextHolderDoesNotContinueFlow(uplink: String) throws {
            let fixture = try Fixture(
                uplink, ["site.example:7", "flux.example:7100"], options: ["--dns-cache", "off"])
            let internet = fixture.control.network.internet
            let server = try internet.start(["python3", "-c", Self.echo])
            let stream = try internet.start(["busybox", "nc", "-ll", "-p", "7100", "-e", "cat"])
            try server.wait(for: "up")
            try internet.waitForListener(on: 7100)
            let first = try fixture.guest("first"), second = try fixture.control.guest("second")
            let third = try fixture.guest("third")
            // A connection of another guest, whose pin others push out.
            let other = try third.namespace.start([
                "python3", "-c",
                NamedEgressFixture.client + """
                    def echoes(text):
                        s.sendall(text)
                        return s.recv(len(text), socket.MSG_WAITALL) == text
                    address = lookup('flux.example')[1][0]
                    s = open(address, 7100, 20)
                    print(echoes(b"one"), flush=True)
                    others = {a for _ in range(70) for a in lookup('flux.example')[1]} - {address}
                    print(len(others) >= 64, echoes(b"two"), open(address, 7100), flush=True)
                    while True:
                        if not echoes(b"three"): break
                        print("still", flush=True)
                        time.sleep(0.1)
                    """,
            ])
            try other.wait(for: "True True None\n", within: 120)

            let found = try fixture.run(first, Self.client + "print(lookup('site.example')[0], exchange(b'first'))")
            #expect(found == "0 echo")
            let address = "192.168.105.2"
            #expect(try first.namespace.run("ip", "addr").contains(address))
            try first.namespace.ip("addr", "flush", "dev", PlugGuest.interface)
            try fixture.control.run("lease", "release", address)
            #expect(try second.lease("-r", address)["ip"] == address)
            if uplink == "tap" {
                let end = " connections of those before ended"
                let output = try fixture.control.daemon.program.wait(for: end)
                #expect(!output.hasSuffix("; 0" + end), "the kernel's entries are removed")
            }
            let output = try fixture.run(
                second,
                Self.client + """
                    found = []
                    while len(found) < 60 and found[-1:] != ["refused"]: found.append(exchange(b"second"))
                    print(*sorted(set(found) - {"silence"}))
                    print(lookup('site.example')[0], exchange(b"second"))
                    """)
            #expect(output == "refused\n0 echo", "without a pin, and with one")
            // After all of that.
            try other.wait(for: "still\n", after: other.output.count, within: 20)
            #expect(try fixture.control.daemon.stop() == .exited(0))
            _ = stream
        }
    }
}
