// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// Guests of a user-mode NAT and the addresses that they claim.
    @Suite struct RootlessNeighbours {
        /// As two guests do of which one stands in for the other (VRRP): the second announces the address when the
        /// first has let go of it.
        @Test func virtualAddressMovesToAnotherGuest() throws {
            let fixture = try RootlessFixture(["--uplink", "user"])
            let guests = [try fixture.guest("one"), try fixture.guest("two")]
            let address = "192.168.105.200"
            for guest in guests { try guest.lease() }
            func reaches(_ guest: PlugGuest) throws -> Bool {
                try guest.namespace.attempt(["ping", "-c", "1", "-W", "1", "-I", address, gateway]).succeeded
            }
            try guests[0].namespace.ip("addr", "add", address + "/32", "dev", PlugGuest.interface)
            try eventually("the first one speaks for it", within: 15) { try reaches(guests[0]) }
            try guests[0].namespace.ip("addr", "del", address + "/32", "dev", PlugGuest.interface)
            try guests[1].namespace.ip("addr", "add", address + "/32", "dev", PlugGuest.interface)
            _ = try guests[1].namespace.attempt([
                "busybox", "arping", "-A", "-c", "1", "-w", "1", "-I", PlugGuest.interface, address,
            ])
            try eventually("the second one does", within: 20) { try reaches(guests[1]) }
        }

        /// One guest makes up hardware addresses, each with its own addresses.
        @Test func neighborFloodLeavesRoomForNewGuests() throws {
            let fixture = try RootlessFixture(["--uplink", "user"])
            let plug = try PlugPort(path: fixture.path)
            let solicitation: (UInt64, UInt64) -> [UInt8] = { hardware, host in
                let header = IPv6Header(
                    source: IPv6Address(0xfe80 << 48, host), destination: IPv6Address(0xff02 << 48, 2),
                    nextHeader: IPProtocol.icmpv6, hopLimit: 255)
                return NeighborDiscovery.frame(
                    header, from: MACAddress(0x0600_0000_0000 | hardware), to: MACAddress(0x3333_0000_0002), type: 133,
                    body: [0, 0, 0, 0])
            }
            for number in 0..<400 as Range<UInt64> {
                for place in 0..<16 as Range<UInt64> {
                    plug.send(solicitation(number, 0x10_0000 + number * 16 + place))
                }
                // What comes back is not of interest, and must not fill the socket.
                while plug.receive(seconds: 0, { _ in true }) != nil {}
            }
            let guest = try fixture.guest()
            #expect(try guest.address6().description.hasPrefix("fd"))
            #expect(try guest.namespace.pings("fe80::1%\(PlugGuest.interface)"))
        }
    }
}
