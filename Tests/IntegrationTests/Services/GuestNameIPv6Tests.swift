// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// Names of the IPv6 addresses that kernels make (SLAAC), with real clients.
    @Suite struct GuestNames6 {
        private static let prefix = "fd12:3456:789a:1:"

        private enum Kind: String {
            /// From the hardware address (RFC 4291 appendix A).
            case hardware = "addr_gen_mode=0"
            /// Stable (RFC 7217), and a temporary one (RFC 8981).
            case privacy = "stable_secret=2001:db8::5"
        }

        private func find(_ name: String, type: String = "aaaa", from guest: PlugGuest) throws -> [String] {
            try GuestNames().find(name, type: type, from: guest).split(separator: " ").map(String.init)
        }

        private func reverse(_ address: String, from guest: PlugGuest) throws -> [String] {
            let digits = IPv6Address(address)!.bytes.flatMap { [$0 >> 4, $0 & 0xf] }
            let name = digits.reversed().map { String($0, radix: 16) }.joined(separator: ".") + ".ip6.arpa"
            return try find(name, type: "ptr", from: guest)
        }

        /// Has the kernel make addresses, and returns them.
        private func addresses(of guest: PlugGuest, _ kind: Kind) throws -> Set<String> {
            let setting = "net.ipv6.conf.\(PlugGuest.interface)", expected = kind == .privacy ? 2 : 1
            try guest.namespace.run("sysctl", "-qw", "net.ipv6.conf.all.accept_dad=1", "\(setting).disable_ipv6=1")
            let temporary = "use_tempaddr=\(kind == .privacy ? 2 : 0)"
            for one in ["accept_dad=1", "accept_ra=2", temporary, kind.rawValue, "disable_ipv6=0"] {
                try guest.namespace.run("sysctl", "-qw", "\(setting).\(one)")
            }
            var found: Set<String> = []
            try eventually("addresses of the guest", within: ampleTime) {
                let lines = try guest.namespace.run(
                    "ip", "-6", "-o", "addr", "show", "dev", PlugGuest.interface, "scope", "global", "-tentative")
                found = Set(
                    lines.split(separator: "\n").map {
                        $0.split(separator: " ")[3].split(separator: "/")[0].description
                    })
                return found.count >= expected
            }
            return found
        }

        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func namesHaveTheAddressesThatGuestsUse(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try NameServiceFixture(
                uplink, options: ["--ipv6", GuestNames6.prefix + ":/64", "--host-dns", "127.0.0.9:5300"])
            let folder = fixture.network.folder, hardware = "52:54:00:00:00:0a"
            let web = try PlugGuest("web", path: fixture.path, mac: hardware, folder: folder)
            let database = try PlugGuest("db", path: fixture.path, mac: "52:54:00:00:00:0b", folder: folder)
            try web.lease("-x", "hostname:web")
            try database.lease("-x", "hostname:db")
            // The addresses from before are not in use any more, and few.
            let own = try addresses(of: web, .privacy), other = try addresses(of: database, .hardware)
            #expect(own.count == 2 && other == ["\(GuestNames6.prefix)5054:ff:fe00:b"], "\(own) \(other)")
            try eventually("addresses of the names") {
                try own.isSubset(of: find("web.vm.internal", from: database)) && find("db", from: web) == Array(other)
            }
            #expect(try find("web", from: database).count <= 4)
            for address in own { #expect(try reverse(address, from: database) == ["web.vm.internal"], "\(address)") }
            for address in other { #expect(try reverse(address, from: web) == ["db.vm.internal"], "\(address)") }
            let hosts = try fixture.network.host.run(
                "dig", "+short", "+time=5", "-p", "5300", "@127.0.0.9", "db.vm.internal", "AAAA")
            #expect(hosts.trimmed == other.first)
            let back = try fixture.network.host.run(
                "dig", "+short", "+time=5", "-p", "5300", "@127.0.0.9", "-x", own.first ?? "")
            #expect(back.trimmed == "web.vm.internal.")

            // Another guest takes over neither an address nor a name.
            let thief = try PlugGuest("thief", path: fixture.path, mac: "52:54:00:00:00:0c", folder: folder)
            try thief.lease("-x", "hostname:thief")
            let taken = own.first ?? "", gateway = GuestNames6.prefix + ":1", forged = GuestNames6.prefix + ":66"
            func use(_ address: String) throws {
                try thief.namespace.ip("-6", "addr", "add", "\(address)/64", "dev", PlugGuest.interface, "nodad")
                _ = try thief.namespace.attempt(["ping", "-6", "-c", "1", "-W", "1", "-I", address, gateway])
            }
            try use(taken)
            #expect(try !find("thief", from: database).contains(taken))
            #expect(try reverse(taken, from: database) == ["web.vm.internal"])
            try thief.namespace.ip("link", "set", PlugGuest.interface, "address", hardware)
            try use(forged)
            #expect(try !find("web", from: database).contains(forged))
            #expect(try reverse(forged, from: database) == [GuestNames.missing])
            thief.stop()

            // The name stays with the lease, without addresses that lead nowhere.
            web.stop()
            try eventually("the end of the addresses") { try find("web", from: database).isEmpty }
            #expect(try find("web", type: "a", from: database).count == 1)
            for address in own { #expect(try reverse(address, from: database) == [GuestNames.missing]) }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// Before the guest for which they are reserved has them, too.
        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func reservedAddressesAreOneGuestsAlone(uplink: NameServiceFixture.Uplink) throws {
            let hardware = "52:54:00:00:00:0a", address = "192.168.105.10", address6 = GuestNames6.prefix + ":10"
            let fixture = try NameServiceFixture(
                uplink,
                options: [
                    "--ipv6", GuestNames6.prefix + ":/64", "--dhcp-host", "\(hardware),\(address),::10,web",
                ])
            let folder = fixture.network.folder
            let thief = try PlugGuest("thief", path: fixture.path, mac: "52:54:00:00:00:0c", folder: folder)
            try thief.lease("-x", "hostname:thief")
            let own = try addresses(of: thief, .hardware)
            func pings(_ target: String, from source: String, _ guest: PlugGuest) throws -> Bool {
                try guest.namespace.attempt(["ping", "-c", "1", "-W", "1", "-I", source, target]).succeeded
            }
            let gateway6 = GuestNames6.prefix + ":1"
            try eventually("IPv6 of the thief") { try pings(gateway6, from: own.first ?? "", thief) }
            try thief.namespace.ip("-6", "addr", "add", address6 + "/64", "dev", PlugGuest.interface, "nodad")
            try thief.namespace.ip("addr", "add", address + "/24", "dev", PlugGuest.interface)
            #expect(
                try !pings(gateway6, from: address6, thief) && !pings(IntegrationTests.gateway, from: address, thief))

            let web = try PlugGuest("web", path: fixture.path, mac: hardware, folder: folder)
            #expect(try web.lease()["ip"] == address, "nobody else answers for it")
            _ = try addresses(of: web, .hardware)
            try web.namespace.ip("-6", "addr", "add", address6 + "/64", "dev", PlugGuest.interface)
            try eventually("the owner's address", within: ampleTime) { try pings(gateway6, from: address6, web) }
            #expect(try !pings(gateway6, from: address6, thief))
            let database = try PlugGuest("db", path: fixture.path, mac: "52:54:00:00:00:0b", folder: folder)
            try database.lease()
            _ = try addresses(of: database, .hardware)
            #expect(try find("web", from: database).first == address6)
            #expect(try database.namespace.attempt(["ping", "-6", "-c", "1", "-W", "2", address6]).succeeded)
            let neighbor = try database.namespace.run("ip", "-6", "neigh", "show", address6)
            #expect(neighbor.contains(hardware), "\(neighbor)")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// Servers of the host that listen at IPv4 addresses only are reached by name.
        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func hostsServerOfIPv4IsReachedByName(uplink: NameServiceFixture.Uplink) throws {
            let options = uplink == .user ? ["--host-loopback"] : []
            let fixture = try NameServiceFixture(uplink, options: options), folder = fixture.network.folder
            try Files.replace(folder.file("page"), Array("hello".utf8))
            let web = try fixture.network.host.start([
                "busybox", "httpd", "-f", "-p", "0.0.0.0:8080", "-h", folder.path,
            ])
            let guest = try fixture.guest()
            _ = try addresses(of: guest, .hardware)
            try guest.namespace.setResolvers("nameserver \(IntegrationTests.gateway)\n")
            // busybox tries the first address only, which is the one of IPv6 with glibc.
            let busybox = ["timeout", "5", "busybox", "wget", "-q", "-O", "-"], curl = ["curl", "-s", "-m", "5"]
            for (command, name) in [(busybox, "host"), (curl, "host"), (curl, "gateway")] {
                let result = try guest.namespace.attempt(command + ["http://\(name).vm.internal:8080/page"])
                #expect(result.output == "hello", "\(command) \(name): \(result.output)\(result.error)")
            }
            web.kill()
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func gatewayHasNoIPv6AddressWithoutIPv6() throws {
            let fixture = try NameServiceFixture(.user, options: ["--ipv6", "off"])
            let guest = try fixture.guest()
            #expect(try find("gateway", from: guest).isEmpty)
            #expect(try find("gateway", type: "a", from: guest) == [IntegrationTests.gateway])
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test func zoneOfTheNetworkHasNoOtherServer() throws {
            let network = try TestNetwork()
            let reverse6 = "1.0.0.0.a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa"
            for zone in ["105.168.192.in-addr.arpa", reverse6, "7.105.168.192.in-addr.arpa"] {
                let daemon = try VMNetDaemon.start(
                    in: network.host,
                    [
                        "--switch", "--uplink", "user", "--ipv6", GuestNames6.prefix + ":/64", "--dns",
                        "\(zone)=192.0.2.1", network.folder.file("own"),
                    ], folder: network.folder)
                #expect(try daemon.waitForEnd() == .exited(64))
                #expect(daemon.output.contains("\(zone)=192.0.2.1:53 has no effect"), "\(daemon.output)")
            }
        }
    }
}
