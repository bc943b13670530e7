// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// The host's tables of neighbours, one for each version of IP, which all its guests and links share. Linux keeps
    /// 1,024 entries in each (arp(7), gc_thresh3).
    @Suite struct NeighborTables {
        /// What a guest's programs of Python begin with.
        private static let prelude = """
            import os, socket, struct, sys
            inet = socket.inet_aton
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            s.bind(("eth0", 0))
            mac, gateway = s.getsockname()[4], bytes.fromhex(sys.argv[1].replace(":", ""))
            def number(base, i): return struct.pack(">I", struct.unpack(">I", inet(base))[0] + i)
            def total(data):
                value = sum(struct.unpack(">%dH" % (len(data) // 2), data))
                while value >> 16: value = (value & 0xffff) + (value >> 16)
                return ~value & 0xffff
            def arp(sender, target):
                s.send(b"\\xff" * 6 + mac + b"\\x08\\x06" + struct.pack(">HHBBH", 1, 0x800, 6, 4, 1)
                    + mac + sender + bytes(6) + target)
            def ping(source, target):
                message = struct.pack(">BBHHH", 8, 0, total(struct.pack(">BBHHH", 8, 0, 0, 7, 1)), 7, 1)
                head = struct.pack(">BBHHHBBH", 0x45, 0, 28, 1, 0, 64, 1, 0) + source + target
                head = head[:10] + struct.pack(">H", total(head)) + head[12:]
                s.send(gateway + mac + b"\\x08\\x00" + head + message)
            def datagram6(source, target):
                head = struct.pack(">IHBB", 6 << 28, 8, 17, 64) + source + target
                fields = struct.pack(">HHH", 4000, 4001, 8)
                check = total(source + target + struct.pack(">IHBB", 8, 0, 0, 17) + fields + bytes(2))
                s.send(gateway + mac + b"\\x86\\xdd" + head + fields + struct.pack(">H", check))
            count = 3000

            """

        @Test(arguments: [24, 16]) func guestDoesNotFillThem(length: Int) throws {
            let mask = length == 24 ? "255.255.255.0" : "255.255.0.0"
            let fixture = try IPv6Fixture(["--vmnet-gateway", "10.77.0.1", "--vmnet-mask", mask])
            let host = fixture.network.host, guest = try fixture.guest()
            let own6 = try guest.address6()
            let own = try #require(try guest.lease()["ip"])
            let hardware = try host.run("cat", "/sys/class/net/vmnet0/address").trimmed
            func entries(_ version: String) throws -> Int {
                try host.run("ip", version, "neigh", "show", "dev", "vmnet0", "nud", "all").split(separator: "\n").count
            }
            for (version, program) in [
                ("-4", "for i in range(count): arp(number('172.16.0.1', i), inet('10.77.0.1'))"),
                ("-4", "for i in range(count): ping(number('10.77.0.10', i), inet('10.77.0.1'))"),
                ("-4", "for i in range(count): ping(inet('\(own)'), number('10.77.0.10', i))"),
                (
                    "-6",
                    """
                    own = socket.inet_pton(socket.AF_INET6, '\(own6)')
                    for i in range(count): datagram6(own, own[:8] + os.urandom(8))
                    """
                ),
                (
                    "-6",
                    """
                    own = socket.inet_pton(socket.AF_INET6, '\(own6)')
                    for i in range(count): datagram6(own[:8] + os.urandom(8), own[:8] + bytes(7) + bytes([1]))
                    """
                ),
            ] {
                try guest.namespace.run("python3", "-c", Self.prelude + program, hardware)
                // Another guest is reached by both versions.
                let other = try fixture.guest("other")
                let address = try other.address6()
                #expect(try host.pings("\(address)"), "\(program)")
                try other.lease()
                try eventually("a ping after \(program)") { try other.namespace.pings("10.77.0.1", seconds: 1) }
                // Each of the 200 addresses of a network of 256 may be used.
                let count = try entries(version)
                #expect(count < 400, "\(count): \(program)")
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }
    }
}
