// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// tshark reads every frame that the gateway sends, with its checksums.
    @Suite struct WellFormedFrames {
        /// Protocols of the services, each of which must be in the capture.
        private static let protocols = [
            "dhcp", "dhcpv6", "dns && udp", "dns && tcp", "tftp", "arp", "icmp", "icmpv6.type == 134",
            "icmpv6.type == 136", "dns && ipv6", "tcp.flags.reset == 1",
        ]

        /// Whatever tshark cannot read, or finds wrong with a message. A warning may be about the guest's conversation,
        /// such as a port that is used again.
        private static let faults =
            "(_ws.malformed || _ws.short || _ws.expert.severity >= 0x00800000 || ip.checksum.status == 0 "
            + "|| udp.checksum.status == 0 || tcp.checksum.status == 0 || icmp.checksum.status == 0 "
            + "|| icmpv6.checksum.status == 0)"

        private func read(_ file: String, _ filter: String) throws -> String {
            let checks = ["ip", "udp", "tcp"].flatMap { ["-o", "\($0).check_checksum:TRUE"] }
            let fields = ["frame.number", "_ws.col.Protocol", "_ws.col.Info", "_ws.expert.message"]
            let result = try ChildProcess.run(
                ["tshark", "-n", "-r", file] + checks + ["-Y", filter, "-T", "fields"] + fields.flatMap { ["-e", $0] })
            #expect(result.succeeded, "\(result.error)")
            return result.output
        }

        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func servicesSendNoMalformedPacket(uplink: NameServiceFixture.Uplink) throws {
            let boot = try TemporaryFolder(), file = boot.file("all.pcapng")
            try Files.makeDirectory(boot.file("boot"))
            try Files.replace(boot.file("boot/file"), [UInt8](repeating: 7, count: 20_000))
            let fixture = try NameServiceFixture(
                uplink,
                options: [
                    "--control", boot.file("control"), "--boot", boot.file("boot/file"), "--ipv6",
                    "fd12:3456:789a:1::/64", "--dhcp-host",
                    "52:54:00:00:00:01,192.168.105.10,::10,fixed", "--dhcp-option", "ntp-server=192.0.2.1",
                    "--dhcp-option", "domain-search=one.example,two.example", "--dhcp-option",
                    "classless-static-route=10.0.0.0/8,192.168.105.1", "--dhcp-option", "224=hex:0a0b",
                    "--egress", "deny", "--allow", "good.example", "--allow", "long.example", "--vmnet-mtu", "1400",
                ])
            let folder = fixture.network.folder, interface = PlugGuest.interface
            let guest = try PlugGuest("guest", path: fixture.path, mac: "52:54:00:00:00:01", folder: folder)
            let address6 = try guest.address6()
            // At the guest's port only: tshark takes a second copy of a segment for a retransmission, and a frame that
            // enters from a TAP may have an unfinished checksum.
            let capture = try fixture.network.host.start([
                TestHost.product("vde_vmnet"), "capture", boot.file("control"), "--guest", "52:54:00:00:00:01", "-w",
                file,
            ])
            try fixture.daemon.program.wait(for: "captures frames", within: 10)
            // dhclient writes nothing to the guest. busybox's script removes all addresses, so it is the last one.
            func dhclient(_ words: String...) throws {
                let own = ["-sf", "/bin/true", "-cf", "/dev/null", "-lf", folder.file("leases\(words[0])"), "-pf"]
                _ = try guest.namespace.attempt(
                    ["timeout", "30", "dhclient"] + words + own + [folder.file("pid"), interface])
            }
            for words in ["-1", "-x"] {
                try dhclient("-4", words)
                try dhclient("-6", words)
            }
            try dhclient("-6", "-S", "-1")
            try guest.lease("-x", "hostname:other", "-F", "other", "-O", "search", "-O", "staticroutes", "-O", "ntpsrv")
            try guest.namespace.ip("-6", "addr", "replace", "\(address6)/64", "dev", interface, "nodad")
            _ = try guest.namespace.attempt(["rdisc6", "-1", interface])
            // Names: of guests, of the outside, forbidden ones; long answers; EDNS and none; both versions of IP.
            for server in [IntegrationTests.gateway, "fd12:3456:789a:1::1"] {
                for words in [
                    "good.example A", "good.example AAAA", "good.example A +tcp", "long.example TXT +noedns",
                    "long.example TXT +bufsize=4096", "long.example TXT +tcp", "fixed.vm.internal ANY",
                    "fixed.vm.internal AAAA +dnssec", "-x 192.168.105.10", "-x fd12:3456:789a:1::10",
                    "none.vm.internal A",
                    "forbidden.example A", "good.example HTTPS", "good.example ANY", "good.example A +opcode=status",
                    "good.example CH TXT", "localhost A", "good.example AXFR", "fixed A +nocookie +nsid",
                ] {
                    _ = try guest.namespace.attempt(
                        ["dig", "+time=3", "+tries=1", "@\(server)"] + words.split(separator: " ").map(String.init))
                }
            }
            // Files: with and without options, and errors.
            for words in [["-b", "1300", "-r", "file"], ["-r", "file"], ["-r", "none"], ["-r", "../file"]] {
                _ = try guest.namespace.attempt(
                    ["timeout", "20", "busybox", "tftp", "-g", "-l", folder.file("copy")] + words
                        + [IntegrationTests.gateway])
            }
            // Pings, and refusals over TCP and UDP.
            for address in [IntegrationTests.gateway, "fd12:3456:789a:1::1", TestNetwork.internetAddress] {
                _ = try guest.namespace.pings(address, seconds: 2)
                for transport in ["tcp", "udp"] {
                    _ = try guest.namespace.attempt([
                        "timeout", "5", "bash", "-c", "echo x > /dev/\(transport)/\(address)/4444",
                    ])
                }
            }
            let router = try router(guest)
            #expect(try fixture.daemon.stop() == .exited(0))
            _ = try capture.waitForEnd()

            let sent = "eth.src == \(router) && frame.packet_flags_direction == 2"
            for words in Self.protocols {
                #expect(try !read(file, "\(sent) && (\(words))").isEmpty, "\(words)")
            }
            let faults = try read(file, "\(sent) && \(Self.faults)")
            #expect(faults.isEmpty, "\(faults)")
        }

        private func router(_ guest: PlugGuest) throws -> MACAddress {
            try #require(
                try guest.namespace.run("ip", "neigh", "show", IntegrationTests.gateway).split(separator: " ")
                    .compactMap {
                        MACAddress($0)
                    }.first)
        }
    }
}
