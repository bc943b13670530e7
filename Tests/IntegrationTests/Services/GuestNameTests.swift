// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// Names of guests and of the host's file, with real clients of DHCP and DNS.
    @Suite struct GuestNames {
        static let missing = "NXDOMAIN"

        /// What busybox finds over UDP: addresses, names, or `NXDOMAIN`; empty if the name has no such record.
        func find(_ name: String, type: String = "a", from guest: PlugGuest) throws -> String {
            let result = try guest.namespace.attempt([
                "busybox", "nslookup", "-type=\(type)", name, IntegrationTests.gateway,
            ])
            let output = result.output + result.error
            if output.contains(GuestNames.missing) { return GuestNames.missing }
            let lines = output.split(separator: "\n").drop { !$0.hasPrefix("Address") }.dropFirst()
            var found: [String] = []
            for line in lines where line.hasPrefix("Address") || line.contains("name = ") {
                found += line.split(whereSeparator: \.isWhitespace).suffix(1).map(String.init)
            }
            return found.joined(separator: " ")
        }

        func reverse(_ address: String, from guest: PlugGuest) throws -> String {
            let name = address.split(separator: ".").reversed().joined(separator: ".") + ".in-addr.arpa"
            return try find(name, type: "ptr", from: guest)
        }

        /// Gets a lease with busybox's client, and returns its address.
        private func address(of guest: PlugGuest, _ option: String, _ value: String) throws -> String {
            let lease = try guest.lease(option, value)
            guard let address = lease["ip"] else { throw CommandFailed(description: "no address in \(lease)") }
            return address
        }

        /// Runs dhclient once. Returns the environment of its script.
        /// - Parameter releases: the client releases its lease when it ends.
        private func dhclient(
            _ guest: PlugGuest, _ statements: String, _ folder: TemporaryFolder, releases: Bool = false
        ) throws -> String {
            let configuration = folder.file("dhclient.conf"), script = folder.file("dhclient-script")
            try Files.replace(
                configuration, Array("timeout 20;\nalso request domain-search;\n\(statements)\n".utf8))
            try Files.replace(
                script,
                Array(
                    """
                    #!/bin/sh
                    [ "$reason" = BOUND ] || exit 0
                    ip addr add "$new_ip_address/24" dev "$interface"
                    env > \(folder.file("dhclient.env"))

                    """.utf8), mode: 0o755)
            let options = [
                "-cf", configuration, "-sf", script, "-lf", folder.file("dhclient.leases"), "-pf",
                folder.file("dhclient.pid"),
            ]
            _ = try guest.namespace.attempt(["dhclient", "-1", "-v"] + options + [PlugGuest.interface])
            _ = try guest.namespace.attempt(["dhclient", releases ? "-r" : "-x"] + options + [PlugGuest.interface])
            return Files.text(folder.file("dhclient.env")) ?? ""
        }

        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func guestsResolveEachOther(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try NameServiceFixture(uplink)
            let web = try PlugGuest("web", path: fixture.path, folder: fixture.network.folder)
            let lease = try web.lease("-x", "hostname:Web", "-O", "search", "-O", "domain")
            let address = lease["ip"] ?? "none"
            #expect(lease["domain"] == "vm.internal" && lease["search"] == "vm.internal", "\(lease)")
            let database = try PlugGuest("db", path: fixture.path, folder: fixture.network.folder)
            let environment = try dhclient(database, "send host-name \"db\";", fixture.network.folder)
            #expect(environment.contains("new_domain_name=vm.internal"), "\(environment)")
            #expect(environment.contains("new_domain_search=vm.internal"), "\(environment)")
            let other = try find("db", from: web)
            #expect(environment.contains("new_ip_address=\(other)"), "\(environment)")
            for name in ["web", "web.vm.internal", "WEB.vm.Internal"] {
                #expect(try find(name, from: database) == address, "\(name)")
                #expect(try DNSClient.askByTCP(database, name) == address, "\(name) over TCP")
            }
            #expect(try find("db.vm.internal", from: web) == other)
            #expect(try reverse(address, from: database) == "web.vm.internal")
            #expect(try reverse(IntegrationTests.gateway, from: database) == "gateway.vm.internal")
            for name in ["gateway", "host", "gateway.vm.internal", "host.vm.internal"] {
                #expect(try find(name, from: web) == IntegrationTests.gateway, "\(name)")
                let found = try find(name, type: "aaaa", from: web)
                #expect(name.hasPrefix("gateway") ? found.hasSuffix("::1") : found.isEmpty, "\(name): \(found)")
            }
            // What the zone does not have is not forwarded: the resolver would find it.
            for name in ["none.vm.internal", "a.web.vm.internal", "wpad.vm.internal"] {
                #expect(try find(name, from: web) == GuestNames.missing, "\(name)")
            }
            #expect(try reverse("192.168.105.77", from: web) == GuestNames.missing)
            #expect(try find(NameServiceFixture.good, from: web) == NameServiceFixture.address)
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func nameFollowsItsLease(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try NameServiceFixture(uplink), folder = fixture.network.folder
            let first = try PlugGuest("first", path: fixture.path, folder: folder)
            let second = try PlugGuest("second", path: fixture.path, folder: folder)
            let address = try self.address(of: first, "-x", "hostname:web")
            let other = try self.address(of: second, "-x", "hostname:web")
            #expect(try find("web", from: second) == address, "the first claimant keeps the name")
            #expect(try reverse(other, from: second) == GuestNames.missing)
            // The guest takes another name.
            let renamed = try self.address(of: first, "-x", "hostname:www")
            #expect(renamed == address)
            #expect(try find("web.vm.internal", from: second) == GuestNames.missing)
            #expect(try find("www.vm.internal", from: second) == address)
            let taken = try self.address(of: second, "-x", "hostname:web")
            #expect(taken == other)
            #expect(try find("web.vm.internal", from: second) == other)
            // A name ends with its lease.
            let third = try PlugGuest("third", path: fixture.path, folder: folder)
            _ = try dhclient(third, "send host-name \"db\";", folder)
            let database = try find("db.vm.internal", from: second)
            #expect(try reverse(database, from: second) == "db.vm.internal")
            _ = try dhclient(third, "send host-name \"db\";", folder, releases: true)
            try eventually("the end of the name") {
                try find("db.vm.internal", from: second) == GuestNames.missing
            }
            #expect(try reverse(database, from: second) == GuestNames.missing)
        }

        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func fixedNameBelongsToItsGuest(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try NameServiceFixture(
                uplink,
                options: ["--domain", "lab.example", "--dhcp-host", "52:54:00:00:00:0a,192.168.105.77,web"])
            let folder = fixture.network.folder
            let other = try PlugGuest("other", path: fixture.path, folder: folder)
            try other.lease("-x", "hostname:web")
            #expect(try find("web.lab.example", from: other) == "192.168.105.77", "before its guest is there")
            let web = try PlugGuest("web", path: fixture.path, mac: "52:54:00:00:00:0a", folder: folder)
            let lease = try web.lease("-x", "hostname:db", "-O", "hostname")
            #expect(lease["ip"] == "192.168.105.77" && lease["hostname"] == "web", "\(lease)")
            #expect(try find("web", from: other) == "192.168.105.77")
            #expect(try reverse("192.168.105.77", from: other) == "web.lab.example")
            #expect(try find("db.lab.example", from: other) == GuestNames.missing)
            // The default domain is any other domain now.
            #expect(try find("web.vm.internal", from: other) == "203.0.113.66")
        }

        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func reservedIPv6AddressHasItsGuestsName(uplink: NameServiceFixture.Uplink) throws {
            let prefix = "fd12:3456:789a:1:"
            let fixture = try NameServiceFixture(
                uplink,
                options: [
                    "--ipv6", prefix + ":/64", "--dhcp-host", "52:54:00:00:00:0a,192.168.105.77,::77,web",
                    "--dhcp-host", "52:54:00:00:00:0b,192.168.105.78,\(prefix):78",
                ])
            let folder = fixture.network.folder
            func reverse(_ last: String, from guest: PlugGuest) throws -> String {
                let digits = last.reversed().map { "\($0)." }.joined()
                let zeros = String(repeating: "0.", count: 16 - last.count)
                return try find(digits + zeros + "1.0.0.0.a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa", type: "ptr", from: guest)
            }
            let other = try PlugGuest("other", path: fixture.path, folder: folder)
            try other.lease("-x", "hostname:other")
            // The fixed name exists before its guest is there, the other one as long as the guest has it.
            #expect(try find("web.vm.internal", type: "aaaa", from: other) == prefix + ":77")
            #expect(try find("db.vm.internal", type: "aaaa", from: other) == GuestNames.missing)
            #expect(try reverse("78", from: other) == GuestNames.missing)
            let web = try PlugGuest("web", path: fixture.path, mac: "52:54:00:00:00:0a", folder: folder)
            let database = try PlugGuest("db", path: fixture.path, mac: "52:54:00:00:00:0b", folder: folder)
            try web.lease()
            try database.lease("-x", "hostname:db")
            for (name, last) in [("web", "77"), ("db", "78")] {
                // The reserved address is the first one.
                let found = try find(name, type: "aaaa", from: other)
                #expect(found.split(separator: " ").first == "\(prefix):\(last)", "\(found)")
                #expect(try find(name + ".vm.internal", from: other) == "192.168.105.\(last)")
                #expect(try reverse(last, from: other) == name + ".vm.internal")
            }
            // The host's resolver refuses what it does not have.
            #expect(try reverse("79", from: other) == GuestNames.missing)
            #expect(try reverse("1", from: other) == "gateway.vm.internal")
            #expect(try find("gateway", type: "aaaa", from: other) == prefix + ":1")
            // A guest that uses the address of another one.
            _ = try? other.namespace.ip("-6", "addr", "add", "\(prefix):78/64", "dev", PlugGuest.interface, "nodad")
            _ = try other.namespace.attempt(["ping", "-6", "-c", "1", "-W", "1", "-I", "\(prefix):78", "\(prefix):1"])
            #expect(try !find("other", type: "aaaa", from: other).contains("\(prefix):78"))
            #expect(try reverse("78", from: other) == "db.vm.internal")
            for (guest, last) in [(web, "77"), (other, "76")] {
                try guest.namespace.ip(
                    "-6", "addr", "add", "\(prefix):\(last)/64", "dev", PlugGuest.interface, "nodad")
            }
            try other.namespace.setResolvers("nameserver \(IntegrationTests.gateway)\n")
            try eventually("a ping by name") {
                try other.namespace.attempt(["ping", "-6", "-c", "1", "-W", "2", "web.vm.internal"]).succeeded
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func hostileNamesGetALeaseWithoutAName(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try NameServiceFixture(uplink), folder = fixture.network.folder
            let guest = try PlugGuest("guest", path: fixture.path, folder: folder)
            func hexadecimal(_ bytes: [UInt8]) -> String {
                bytes.map { String(String(UInt16($0) + 0x100, radix: 16).dropFirst()) }.joined()
            }
            let names: [[UInt8]] =
                [
                    [UInt8](repeating: UInt8(ascii: "a"), count: 255), [UInt8](repeating: UInt8(ascii: "a"), count: 64),
                    [0xff, 0xfe, 0x80],
                ]
                + ["web\u{1b}[2J", "*", "_ldap", "..", ".web", "wpad", "isatap", "localhost", "gateway", "HOST"].map {
                    Array($0.utf8)
                }
            for name in names {
                let address = try address(of: guest, "-x", "0x0c:\(hexadecimal(name))")
                #expect(try reverse(address, from: guest) == GuestNames.missing, "\(name)")
            }
            for name in ["gateway", "host", "gateway.vm.internal"] {
                #expect(try find(name, from: guest) == IntegrationTests.gateway)
            }
            for name in ["wpad.vm.internal", "_ldap.vm.internal", "*.vm.internal", "web.vm.internal"] {
                #expect(try find(name, from: guest) == GuestNames.missing, "\(name)")
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func hostsFileOfTheHostAnswersGuests(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try NameServiceFixture(
                uplink, options: ["--domain", "off"],
                hosts: """
                    127.0.0.1 localhost good.example
                    192.0.2.77 nas.lan nas web.vm.internal
                    2001:db8::77 nas.lan

                    """)
            let guest = try fixture.guest()
            #expect(try find("nas", from: guest) == "192.0.2.77")
            #expect(try find("NAS.lan", type: "aaaa", from: guest) == "2001:db8::77")
            #expect(try DNSClient.askByTCP(guest, "nas.lan") == "192.0.2.77")
            #expect(try reverse("192.0.2.77", from: guest) == "nas.lan")
            // The host's loopback address would be the guest's.
            #expect(try find(NameServiceFixture.good, from: guest) == NameServiceFixture.address)
            // Without names of guests, all other names are the resolvers'.
            #expect(try find("none.vm.internal", from: guest) == "203.0.113.66")
            #expect(try reverse("192.168.105.77", from: guest) == "other.example")
            try fixture.network.host.setHosts("192.0.2.78 nas\n")
            try eventually("the new contents") { try find("nas", from: guest) == "192.0.2.78" }
            #expect(try find("nas.lan", from: guest) != "192.0.2.77")
        }

        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func hostResolvesNamesOfGuests(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try NameServiceFixture(uplink, options: ["--host-dns", "127.0.0.9:5300"])
            let guest = try PlugGuest("web", path: fixture.path, folder: fixture.network.folder)
            let address = try address(of: guest, "-x", "hostname:web")
            func query(_ name: String, stream: Bool = false) throws -> (code: UInt8, addresses: [String]) {
                let query = DNSMessage.query(id: 77, DNSQuestion(name: DNSName(name)!, type: DNSType.a))
                let bytes = (stream ? DNSMessage.withLengthPrefix(query) : query).map {
                    "\\x" + String(String(UInt16($0) + 0x100, radix: 16).dropFirst())
                }.joined()
                let transport = stream ? "tcp" : "udp"
                // A response has one record of 16 bytes, after its length; dd reads one datagram.
                let length = DNSMessage.lengthPrefix + query.count + 16
                let reader = stream ? "head -c \(length)" : "dd bs=4096 count=1"
                let script =
                    "exec 3<>/dev/\(transport)/127.0.0.9/5300; printf '\(bytes)' >&3; timeout 5 \(reader) <&3 | "
                    + "od -An -v -tu1"
                let output = try fixture.network.host.run("bash", "-c", script)
                let all = output.split(whereSeparator: { $0 == " " || $0 == "\n" }).compactMap { UInt8($0) }
                let message = Array(all.dropFirst(stream ? DNSMessage.lengthPrefix : 0))
                let view = try DNSView(message.rawSpan)
                return (view.responseCode, try view.addresses())
            }
            for stream in [false, true] {
                let found = try query("web.vm.internal", stream: stream)
                #expect(found.addresses == [address])
            }
            let missing = try query("none.vm.internal"), other = try query(NameServiceFixture.good)
            #expect(missing.code == DNSResponseCode.nameError.rawValue)
            #expect(other.code == DNSResponseCode.refused.rawValue)
            // The port belongs to one program.
            let second = try VMNetDaemon.start(
                in: fixture.network.host,
                [
                    "--switch", "--uplink", uplink.rawValue, "--host-dns", "127.0.0.9:5300",
                    fixture.network.folder.file("second"),
                ], folder: fixture.network.folder)
            #expect(try second.waitForEnd() == .exited(69))
            #expect(try fixture.daemon.stop() == .exited(0))
        }
    }
}
