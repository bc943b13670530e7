// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests.Rootless {
    /// Each connection that is tried takes a descriptor: those of a flood must not take all there are, nor those of
    /// other guests.
    @Test func connectFloodLeavesDescriptorsForOthers() throws {
        let fixture = try RootlessFixture(internet: true, wrapper: ["prlimit", "--nofile=1024:1024", "--"])
        #expect(
            fixture.daemon.output.contains(
                "for up to 512 connections, UDP ports and pings at a time (this process may open 1024 files)"))
        let guest = try fixture.guest()
        try guest.lease()
        #expect(try guest.namespace.fetch(TestNetwork.internetAddress) == "Hello from the Internet")
        let router = try #require(
            try guest.namespace.run("ip", "neigh", "show", "192.168.105.1").split(separator: " ").compactMap {
                MACAddress($0)
            }.first)
        let hostile = try PlugPort(path: fixture.path)
        let own = MACAddress(0x5254_0000_0666), address = IPv4Address("192.168.105.66")!
        // 198.51.100.1 is behind the Internet's router, which is none: packets for it vanish.
        for number in 0..<20_000 {
            hostile.send(
                Frames.tcp(
                    .syn, from: Endpoint(own, address, port: UInt16(number + 1)),
                    to: Endpoint(router, IPv4Address("198.51.100.1")!, port: 80), sequence: 1))
        }
        // Their sender receives a reset for each that had to make room.
        #expect(
            hostile.receive { $0.count >= 54 && $0[23] == IPProtocol.tcp && TCPFlags(rawValue: $0[47]).contains(.rst) }
                != nil)
        let descriptors = try Files.entries("/proc/\(fixture.daemon.identifier)/fd").count
        #expect(descriptors < 512, "\(descriptors)")
        #expect(try guest.namespace.fetch(TestNetwork.internetAddress) == "Hello from the Internet")
        // A new guest connects, gets an address and reaches the outside.
        let late = try fixture.guest("late")
        try late.lease()
        #expect(try late.namespace.fetch(TestNetwork.internetAddress) == "Hello from the Internet")
        #expect(try fixture.daemon.stop() == .exited(0))
    }

    /// A guest that sends from every UDP port again and again needs a new flow for each datagram. What another guest
    /// sends does not wait behind that.
    @Test func portFloodLeavesNamesForOthers() throws {
        let fixture = try RootlessFixture(internet: true)
        let hostile = try fixture.guest("hostile"), guest = try fixture.guest()
        try hostile.lease()
        try guest.lease()
        let echo = try DatagramEcho.start(5300, in: fixture.network.internet)
        let flood = try hostile.namespace.start([
            "python3", "-c",
            """
            import socket
            print("sending", flush=True)
            while True:
                for port in range(1, 65536):
                    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    s.bind(("", port))
                    s.sendto(b"x", ("\(TestNetwork.internetAddress)", 5300))
                    s.close()
            """,
        ])
        try flood.wait(for: "sending")
        for server in [IntegrationTests.gateway, TestNetwork.internetAddress] {
            let answers = try (0..<20).map { _ in
                try guest.namespace.attempt([
                    "dig", "+time=3", "+tries=1", "+short", "@" + server, TestNetwork.internetName,
                ]).output.trimmed
            }
            #expect(answers == [String](repeating: TestNetwork.internetAddress, count: 20), "\(server)")
        }
        flood.kill()
        #expect(try fixture.daemon.stop() == .exited(0))
        _ = echo
    }
}
