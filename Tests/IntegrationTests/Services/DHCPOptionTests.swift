// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// `--dhcp-option`, `--lease-time` and `--no-router`, as real clients receive them.
    @Suite struct DHCPOptions {
        private static let options = [
            "--dhcp-option", "ntp-server=192.0.2.1,192.0.2.2", "--dhcp-option", "domain-search=a.example,b.example",
            "--dhcp-option", "classless-static-route=10.0.0.0/8,192.168.105.9", "--dhcp-option", "224=hex:0a0b",
            "--lease-time", "2h",
        ]

        private func fixture(_ uplink: NameServiceFixture.Uplink, _ more: String...) throws -> OwnSwitchFixture {
            try OwnSwitchFixture(["--uplink", uplink.rawValue] + DHCPOptions.options + more)
        }

        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func busyboxReceivesOptions(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try fixture(uplink)
            let guest = try fixture.guest()
            let lease = try guest.lease("-O", "ntpsrv", "-O", "search", "-O", "staticroutes", "-O", "224")
            #expect(lease["ntpsrv"] == "192.0.2.1 192.0.2.2" && lease["search"] == "a.example b.example", "\(lease)")
            #expect(lease["staticroutes"] == "10.0.0.0/8 192.168.105.9" && lease["opt224"] == "0a0b", "\(lease)")
            #expect(lease["lease"] == "7200" && lease["router"] == IntegrationTests.gateway)
            let plain = try guest.lease()
            #expect(plain["opt224"] == nil, "a client that does not request an option does not get it")
        }

        @Test func dhclientReceivesOptions() throws {
            let fixture = try fixture(.tap)
            let guest = try fixture.guest(), folder = fixture.folder
            let script = folder.file("dhclient-script"), configuration = folder.file("dhclient.conf")
            let environment = folder.file("dhclient.env")
            try Files.replace(
                script, Array("#!/bin/sh\nset | grep ^new_ >> \(environment)\nexit 0\n".utf8), mode: 0o755)
            try Files.replace(
                configuration,
                Array(
                    """
                    option rfc3442 code 121 = array of unsigned integer 8;
                    send fqdn.fqdn "web";
                    send fqdn.server-update on;
                    send fqdn.encoded on;
                    request subnet-mask, routers, ntp-servers, domain-search, rfc3442, fqdn.fqdn;

                    """.utf8))
            let words = [
                "-cf", configuration, "-lf", folder.file("dhclient.leases"), "-pf", folder.file("dhclient.pid"), "-sf",
                script, PlugGuest.interface,
            ]
            _ = try guest.namespace.attempt(["dhclient", "-1", "-v"] + words)
            _ = try guest.namespace.attempt(["dhclient", "-x"] + words)
            let values = Files.text(environment) ?? ""
            for expected in [
                "new_ntp_servers='192.0.2.1 192.0.2.2'", "new_domain_search='a.example. b.example.'",
                "new_rfc3442='8 10 192 168 105 9'", "new_dhcp_lease_time='7200'", "new_fqdn_fqdn='web.vm.internal'",
                "new_fqdn_server_update='true'",
            ] { #expect(values.contains(expected), "\(expected): \(values)") }
        }

        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func dhcpcdReceivesOptions(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try fixture(uplink)
            let guest = try fixture.guest()
            let configuration = fixture.folder.file("dhcpcd.conf"), script = fixture.folder.file("dhcpcd-script")
            let environment = fixture.folder.file("dhcpcd.env")
            try Files.replace(
                script, Array("#!/bin/sh\n[ \"$reason\" = BOUND ] && env >\(environment)\nexit 0\n".utf8), mode: 0o755)
            try Files.replace(
                configuration,
                Array("option ntp_servers, domain_search, classless_static_routes\nnoipv4ll\nnoarp\nfqdn both\n".utf8))
            let result = try guest.namespace.attempt(
                Namespace.withoutState + [
                    "sh", "-c", "mkdir /var/lib/dhcpcd && exec \"$@\"", "sh", "dhcpcd", "--oneshot", "--ipv4only",
                    "--nobackground", "--timeout", "10", "-f", configuration, "-c", script, "-h", "web",
                    PlugGuest.interface,
                ])
            let values = Files.text(environment) ?? ""
            for expected in [
                "new_ntp_servers=192.0.2.1 192.0.2.2", "new_domain_search=a.example b.example",
                "new_classless_static_routes=10.0.0.0/8 192.168.105.9", "new_dhcp_lease_time=7200",
            ] { #expect(values.contains(expected), "\(expected): \(values)\(result.output)\(result.error)") }
            let other = try fixture.guest("other")
            try other.lease()
            #expect(
                try other.namespace.run("busybox", "nslookup", "web.vm.internal", IntegrationTests.gateway).contains(
                    "192.168.105.2"))
        }

        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func networkdReceivesOptions(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try fixture(uplink)
            let guest = try fixture.guest()
            let run = fixture.folder.file("run-systemd")
            try Files.makeDirectories(run + "/network")
            try Files.replace(
                run + "/network/eth0.network",
                Array(
                    """
                    [Match]
                    Name=\(PlugGuest.interface)
                    [Network]
                    DHCP=ipv4
                    [DHCPv4]
                    UseDomains=yes
                    Hostname=web

                    """.utf8))
            // With a read-only /sys, as in a container, it does not wait for udev.
            let networkd = try guest.namespace.start([
                "sh", "-c",
                """
                chmod -R a+rX \(run) && mount --bind \(run) /run/systemd && mount -o remount,ro /sys &&
                exec /usr/lib/systemd/systemd-networkd
                """,
            ])
            func lease() -> String {
                let leases = run + "/netif/leases"
                let files = (try? Files.entries(leases)) ?? []
                return files.compactMap { Files.text(leases + "/" + $0) }.joined()
            }
            try eventually("a lease of systemd-networkd") { lease().contains("ADDRESS=192.168.105.2") }
            for expected in [
                "ROUTER=192.168.105.1", "NTP=192.0.2.1 192.0.2.2", "DOMAIN_SEARCH_LIST=a.example b.example",
                "LIFETIME=7200",
            ] { #expect(lease().contains(expected), "\(expected): \(lease())") }
            try eventually("its address") {
                try guest.namespace.run("ip", "-4", "-o", "addr", "show", PlugGuest.interface).contains(
                    "192.168.105.2/24")
            }
            #expect(
                try guest.namespace.run("busybox", "nslookup", "web.vm.internal", IntegrationTests.gateway).contains(
                    "192.168.105.2"))
            _ = try networkd.stop()
        }

        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func networkWithoutRouterGivesNoDefaultRoute(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try OwnSwitchFixture(["--uplink", uplink.rawValue, "--no-router"])
            let guest = try fixture.guest()
            let lease = try guest.lease()
            #expect(lease["router"] == nil && lease["dns"] == IntegrationTests.gateway, "\(lease)")
            #expect(try guest.namespace.run("ip", "route", "show", "default") == "")
            #expect(try guest.namespace.pings(IntegrationTests.gateway))
            guard uplink == .user else { return }
            // The client has removed the addresses of IPv6; the kernel solicits a router again.
            for state in ["down", "up"] { try guest.namespace.ip("link", "set", PlugGuest.interface, state) }
            try eventually("an IPv6 address by router advertisement") {
                try guest.namespace.run("ip", "-6", "addr", "show", "scope", "global").contains("inet6 fd")
            }
            #expect(try guest.namespace.run("ip", "-6", "route", "show", "default") == "")
        }
    }
}
