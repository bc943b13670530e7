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
}
