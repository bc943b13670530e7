// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

// IPv6 by vmnet: the framework advertises its prefix itself, and this program carries what it sends.

extension IntegrationTests.SimulatedMac {
    /// What vmnet's router would send, as the host of the simulated bridge.
    private static let router = """
        import socket, struct
        s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        prefix = socket.inet_pton(socket.AF_INET6, "fd00:1:2:3::")
        s.sendto(struct.pack(">BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
            + struct.pack(">BBBBIII16s", 3, 4, 64, 0xc0, 5400, 2700, 0, prefix),
            ("ff02::1", 0, 0, socket.if_nametoindex("bridge100")))
        """

    @Test func guestsHaveIPv6OfVmnet() throws {
        let network = try TestNetwork(), host = network.host
        let (daemon, path) = try start(network, "tap=bridge100")
        try host.ip("-6", "addr", "add", "fd00:1:2:3::1/64", "dev", "bridge100", "nodad")
        let guest = try PlugGuest("guest", path: path, folder: network.folder)
        let other = try PlugGuest("other", path: path, folder: network.folder)
        for one in [guest, other] {
            var address = ""
            try eventually("an address by vmnet's advertisement", within: 20) {
                try host.run("python3", "-c", Self.router)
                guard let found = try? one.address6(within: 1) else { return false }
                address = "\(found)"
                return true
            }
            #expect(address.hasPrefix("fd00:1:2:3:"))
            try one.waitForRouter()
            #expect(try one.namespace.pings("fd00:1:2:3::1"))
            #expect(try host.pings(address))
        }
        #expect(try guest.namespace.pings("\(other.address6())"))
        // A guest is no router beside it.
        let rogue = try PlugPort(path: path), hardware = MACAddress(0x0200_0000_0066)
        var forged = RouterAdvertisement(hardware: hardware)
        forged.routerLifetime = 9000
        forged.prefix = 0xfd66 << 48
        forged.validLifetime = 9000
        forged.preferredLifetime = 9000
        rogue.send(
            forged.frame(
                from: IPv6Address(linkLocalFrom: hardware), to: (.allNodes, MACAddress(ofGroup: .allNodes))))
        try daemon.program.wait(for: "sends router advertisements", within: 10)
        #expect(try !guest.namespace.run("ip", "-6", "route").contains("fd66::"))
        #expect(try daemon.stop() == .exited(0))
    }
}
