// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// Names and addresses follow reservations that change while the network runs.
    @Suite struct ChangedReservations {
        private static let six = "52:54:00:00:00:0a", other = "52:54:00:00:00:0b"
        private static let address6 = "fd12:3456:789a:1::60"
        private let names = GuestNames()

        private func fixture(_ uplink: ControlFixture.Uplink) throws -> ControlFixture {
            try ControlFixture(
                uplink.rawValue,
                ["--ipv6", "fd12:3456:789a:1::/64", "--dhcp-host", "\(Self.six),192.168.105.60,::60,six"])
        }

        /// What DNS answers about the name and its addresses: A, AAAA, and PTR of both.
        private func expect(
            _ address: String, _ address6: String = ChangedReservations.address6, from guest: PlugGuest, _ step: String
        ) throws {
            let isThere = address != GuestNames.missing, name = isThere ? "six.vm.internal" : GuestNames.missing
            #expect(try names.find("six.vm.internal", from: guest) == address, "\(step)")
            // The addresses that the guest makes itself follow.
            let found6 = try names.find("six.vm.internal", type: "aaaa", from: guest)
            #expect(found6.split(separator: " ").first ?? "" == address6, "\(step): \(found6)")
            for one in ["192.168.105.60", "192.168.105.61"] {
                #expect(
                    try names.reverse(one, from: guest) == (one == address ? name : GuestNames.missing),
                    "\(step): \(one)")
            }
            let digits = "0.6." + String(repeating: "0.", count: 14) + "1.0.0.0.a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa"
            let found = try names.find(digits, type: "ptr", from: guest)
            #expect(isThere == (found == "six.vm.internal"), "\(step): \(found)")
        }

        @Test(arguments: ControlFixture.Uplink.allCases)
        func namesFollowReservations(uplink: ControlFixture.Uplink) throws {
            let fixture = try fixture(uplink), guest = try fixture.guest()
            try guest.lease()
            try expect("192.168.105.60", from: guest, "at the start")
            try fixture.run("lease", "reserve", Self.six, "192.168.105.61")
            try expect("192.168.105.61", from: guest, "with another address")
            let list = try fixture.run("lease", "list")
            #expect(list.contains("IPv6 ADDRESS") && list.contains("six") && list.contains(Self.address6), "\(list)")
            let json = try fixture.run("lease", "list", "--json")
            #expect(json.contains("\"name\":\"six\"") && json.contains("\"address6\":\"\(Self.address6)\""), "\(json)")
            try fixture.run("lease", "unreserve", Self.six)
            try expect(GuestNames.missing, GuestNames.missing, from: guest, "without a reservation")
            try fixture.run("lease", "reserve", Self.other, "192.168.105.60")
            try expect(GuestNames.missing, GuestNames.missing, from: guest, "with the address of another guest")
            #expect(try !fixture.run("lease", "list").contains("IPv6"))
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// Whether DHCPv6 offers the reserved address to the guest.
        private func offers(_ guest: PlugGuest) throws -> Bool {
            let script = """
                import socket, struct, sys
                s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
                s.settimeout(3)
                s.bind(("::", 546))
                duid = bytes([0, 3, 0, 1]) + bytes.fromhex(sys.argv[2].replace(":", ""))
                message = b"\\x01abc" + struct.pack("!HH", 1, len(duid)) + duid + struct.pack("!HHIII", 3, 12, 1, 0, 0)
                s.sendto(message, ("ff02::1:2", 547, 0, socket.if_nametoindex(sys.argv[1])))
                print(socket.inet_pton(socket.AF_INET6, sys.argv[3]) in s.recv(1500))
                """
            let words = ["/usr/bin/python3", "-c", script, PlugGuest.interface, Self.six, Self.address6]
            var output = ""
            try eventually("an answer of DHCPv6", within: 20) {
                output = try guest.namespace.attempt(words).output
                return !output.isEmpty
            }
            return output.hasPrefix("True")
        }

        @Test(arguments: ControlFixture.Uplink.allCases)
        func guestLosesWhatIsNotReservedForItAnyMore(uplink: ControlFixture.Uplink) throws {
            let fixture = try fixture(uplink), guest = try fixture.guest(mac: Self.six)
            #expect(try guest.lease()["ip"] == "192.168.105.60")
            try expect("192.168.105.60", from: guest, "with a lease")
            // The script of the DHCP client has removed it.
            try guest.namespace.ip("-6", "addr", "add", "fe80::a/64", "dev", PlugGuest.interface, "nodad")
            #expect(try offers(guest))
            // The lease runs on, at its address.
            try fixture.run("lease", "reserve", Self.six, "192.168.105.61")
            try expect("192.168.105.60", from: guest, "before the guest has its new address")
            #expect(try offers(guest))
            try fixture.run("lease", "unreserve", Self.six)
            try expect(GuestNames.missing, GuestNames.missing, from: guest, "without a reservation")
            #expect(try !offers(guest))
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func addressesOfIPv6AreRefusedWithTheNextStep() throws {
            let fixture = try fixture(.user)
            let reserved = try fixture.attempt("lease", "reserve", Self.six, "fd12:3456:789a:1::61")
            #expect(reserved.termination == .exited(64))
            #expect(
                reserved.error.contains("--dhcp-host \(Self.six),IP,fd12:3456:789a:1::61"), "\(reserved.error)")
            let released = try fixture.attempt("lease", "release", "fd00::1")
            #expect(released.termination == .exited(64) && released.error.contains("IPv4"), "\(released.error)")
            #expect(try fixture.attempt("lease", "release", "x").error.contains("'x' is not an IPv4 address"))
            #expect(try fixture.daemon.stop() == .exited(0))
        }
    }
}
