// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests.Rootless {
    private static let outside = "2001:db8::1"

    private func reaches(_ guest: PlugGuest, _ address: String, _ port: Int) throws -> Bool {
        try guest.namespace.attempt([
            "timeout", "3", "bash", "-c",
            "exec 3<>/dev/tcp/\(address)/\(port); printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; grep -q 200 <&3",
        ]).succeeded
    }

    /// Starts the Internet's web server for IPv6, and what the host has on its own loopback address.
    private func startServers(_ fixture: RootlessFixture) throws -> [BackgroundProgram] {
        let host = fixture.host, internet = fixture.network.internet
        try host.ip("addr", "add", "2001:db8::2/64", "dev", "wan")
        try internet.ip("addr", "add", "\(Self.outside)/64", "dev", "eth0")
        return [
            try internet.startWeb("the Internet of IPv6", folder: fixture.folder, address: "[::]:80"),
            try host.startWeb("secret", folder: fixture.folder, address: "[::1]:99"),
        ]
    }

    /// The address that a guest has made from what the router advertises.
    private func address(of guest: PlugGuest) throws -> String {
        let found = try guest.address6().description
        #expect(found.hasPrefix("fd"))
        try guest.waitForRouter()
        return found
    }

    @Test func ipv6ImpersonationIsDropped() throws {
        let fixture = try RootlessFixture()
        let servers = try startServers(fixture)
        let guest = try fixture.guest(), other = try fixture.guest("other")
        let own = try address(of: guest), others = try address(of: other)
        #expect(own != others)
        #expect(try guest.namespace.fetch(Self.outside) == "the Internet of IPv6")
        #expect(try guest.namespace.pings(others), "guests reach each other")
        // Frames of a guest that uses another's address are dropped.
        try other.namespace.ip("-6", "addr", "flush", "dev", PlugGuest.interface, "scope", "global")
        try other.namespace.ip("-6", "addr", "add", "\(own)/64", "dev", PlugGuest.interface)
        try eventually("a warning", within: ampleTime) {
            let isThrough = try reaches(other, Self.outside, 80)
            #expect(!isThrough)
            return fixture.daemon.output.contains("claims an IPv6 address of another guest, which is dropped")
        }
        #expect(try guest.namespace.fetch(Self.outside) == "the Internet of IPv6")
        #expect(try fixture.daemon.stop() == .exited(0))
        _ = servers
    }

    @Test func policiesApplyToIPv6() throws {
        let fixture = try RootlessFixture([
            "--uplink", "user", "--host-loopback", "--egress", "deny", "--allow", "[2001:db8::]/32:80",
        ])
        let servers = try startServers(fixture)
        let more = try fixture.network.internet.startWeb("another port", folder: fixture.folder, address: "[::]:8000")
        let guest = try fixture.guest()
        let router = try address(of: guest).split(separator: ":").prefix(4).joined(separator: ":") + "::1"
        #expect(try reaches(guest, Self.outside, 80))
        #expect(try !reaches(guest, Self.outside, 8000))
        #expect(try reaches(guest, router, 99), "--host-loopback opens it")
        #expect(try fixture.daemon.stop() == .exited(0))
        _ = (servers, more)
    }
}
