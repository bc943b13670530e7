// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// Guests that configure IPv6 by their own programs, on each uplink that this program advertises a network for.
    @Suite struct GuestIPv6 {
        /// The guest 52:54:00:00:00:01 has a reserved address.
        private static let reservation = ["--dhcp-host", "52:54:00:00:00:01,192.168.105.10,::10"]

        /// What `TestNetwork.startInternet` serves, over IPv6 too.
        private static let page = "Hello from the Internet"

        // MARK: Programs that configure addresses

        /// The kernel of this guest takes no part: its addresses and routes are the program's.
        private func unconfiguredGuest(_ fixture: IPv6Fixture) throws -> PlugGuest {
            let guest = try fixture.guest(mac: "52:54:00:00:00:01"), interface = PlugGuest.interface
            try guest.namespace.run("sysctl", "-qw", "net.ipv6.conf.\(interface).accept_ra=0")
            try guest.namespace.ip("-6", "addr", "flush", "dev", interface, "scope", "global")
            try guest.namespace.ip("-6", "route", "flush", "proto", "ra")
            return guest
        }

        private func start(_ client: String, _ guest: PlugGuest, _ folder: TemporaryFolder) throws -> BackgroundProgram
        {
            let interface = PlugGuest.interface
            guard client == "networkd" else {
                return try guest.namespace.start([
                    "sh", "-c", "mount -t tmpfs none /var/lib/dhcpcd && exec dhcpcd \"$@\"", "sh", "--ipv6only",
                    "--nobackground", "--nohook", "resolv.conf", interface,
                ])
            }
            let run = folder.file("run-systemd")
            try Files.makeDirectories(run + "/network")
            try Files.replace(
                run + "/network/guest.network",
                Array("[Match]\nName=\(interface)\n[Network]\nIPv6AcceptRA=yes\n".utf8))
            // With a read-only /sys, as in a container, it does not wait for udev.
            return try guest.namespace.start([
                "sh", "-c",
                """
                chmod -R a+rX \(run) && mount --bind \(run) /run/systemd && mount -o remount,ro /sys &&
                exec /usr/lib/systemd/systemd-networkd
                """,
            ])
        }

        @Test(arguments: ["dhcpcd", "networkd"], IPv6Way.possible)
        func programConfiguresGuest(client: String, way: IPv6Way) throws {
            let fixture = try way.fixture(Self.reservation, internet: true), folder = fixture.network.folder
            let guest = try unconfiguredGuest(fixture)
            let program = try start(client, guest, folder)
            var addresses: [IPv6Address] = []
            try eventually("an address of its own and the reserved one, by \(client)", within: 30) {
                let words = try guest.namespace.run(
                    "ip", "-6", "-o", "addr", "show", "dev", PlugGuest.interface, "scope", "global", "-tentative"
                ).split { $0 == " " || $0 == "/" }
                addresses = words.indices.dropLast().filter { words[$0] == "inet6" }.compactMap {
                    IPv6Address(words[$0 + 1])
                }
                return addresses.contains { $0.low == 0x10 } && addresses.contains { $0.low != 0x10 }
            }
            try guest.waitForRouter()
            let gateway = IPv6Address(addresses[0].high, 1)
            if client == "networkd" {
                let links = folder.file("run-systemd") + "/netif/links"
                try eventually("the name server") {
                    try Files.entries(links).contains {
                        Files.text(links + "/" + $0)?.firstRange(ofText: "\(gateway)") != nil
                    }
                }
            }
            let answer = try guest.namespace.run(
                "dig", "+short", "+time=5", "@\(gateway)", TestNetwork.internetName, "A")
            #expect(answer.trimmed == TestNetwork.internetAddress)
            #expect(try guest.namespace.fetch(IPv6Fixture.outside) == Self.page)
            #expect(try guest.namespace.pings(IPv6Fixture.outside))
            if way != .user {
                for address in addresses { #expect(try fixture.network.host.pings("\(address)")) }
            }
            program.kill()
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        // MARK: Guests with their own kernels

        @Test(
            .enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"),
            arguments: IPv6Way.possible)
        func busyboxInQEMUHasIPv6(way: IPv6Way) throws {
            let fixture = try way.fixture(Self.reservation, internet: true)
            try use(
                VirtualMachine.qemu(
                    "qemu6", netdev: "vde,id=net0,sock=\(fixture.path)", mac: "52:54:00:00:00:04",
                    in: fixture.network.host, folder: fixture.network.folder), fixture, way)
        }

        @Test(
            .enabled(if: VirtualMachine.canRunUML && !VirtualMachine.umlIPv6.isEmpty, "\(VirtualMachine.umlReason)"),
            arguments: IPv6Way.possible)
        func userModeLinuxHasIPv6(way: IPv6Way) throws {
            let fixture = try way.fixture(Self.reservation, internet: true)
            try use(
                VirtualMachine.uml(
                    "uml6", network: "vde,\(fixture.path)", mac: "52:54:00:00:00:05", in: fixture.network.host,
                    hasIPv6: true, folder: fixture.network.folder), fixture, way)
        }

        /// A guest's kernel configures IPv6, and its busybox uses it.
        private func use(_ guest: VirtualMachine, _ fixture: IPv6Fixture, _ way: IPv6Way) throws {
            try guest.waitUntilBooted()
            try guest.run("ip link set eth0 up")
            var own: IPv6Address?
            try eventually("an address by router advertisement", within: 30) {
                let shown = try guest.run("ip -6 addr show dev eth0 scope global").output
                let words = shown.split { $0 == " " || $0 == "/" || $0 == "\n" }
                guard let place = words.firstIndex(of: "inet6"), place + 1 < words.count,
                    !words.contains("tentative")
                else { return false }
                own = IPv6Address(words[place + 1])
                return own != nil
            }
            let address = try #require(own), gateway = IPv6Address(address.high, 1)
            try eventually("a default route") { try !guest.run("ip -6 route show default").output.isEmpty }
            #expect(try guest.run("ping -6 -c 1 -W 5 \(gateway)").status == 0)
            #expect(
                try guest.run("nslookup -type=a \(TestNetwork.internetName) \(gateway)").output.contains(
                    TestNetwork.internetAddress))
            #expect(try guest.run("wget -q -O - http://[\(IPv6Fixture.outside)]/").output == Self.page)
            #expect(try guest.run("ping -6 -c 1 -W 5 \(IPv6Fixture.outside)").status == 0)
            if way != .user { #expect(try fixture.network.host.pings("\(address)")) }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        // MARK: Programs that show advertisements

        @Test(arguments: IPv6Way.possible) func radvdumpShowsAdvertisement(way: IPv6Way) throws {
            let fixture = try way.fixture(Self.reservation, internet: true), guest = try fixture.guest(),
                address = try guest.address6()
            try guest.waitForRouter()
            let dump = try guest.namespace.start(["stdbuf", "-oL", "radvdump"])
            // The program does not report when it listens.
            var shown = ""
            try eventually("an advertisement") {
                _ = try guest.namespace.attempt(["rdisc6", "-1", "-r", "1", PlugGuest.interface])
                shown = dump.output
                return shown.firstRange(ofText: "}; # End of interface definition") != nil
            }
            for line in [
                "AdvManagedFlag on;", "AdvOtherConfigFlag on;", "AdvCurHopLimit 64;", "AdvDefaultLifetime 1800;",
                "AdvSourceLLAddress on;", "AdvLinkMTU 1500;", "prefix \(IPv6Address(address.high, 0))/64",
                "AdvValidLifetime 5400;", "AdvPreferredLifetime 2700;", "AdvOnLink on;", "AdvAutonomous on;",
                "RDNSS \(IPv6Address(address.high, 1))", "DNSSL vm.internal",
            ] { #expect(shown.firstRange(ofText: line) != nil, "\(line): \(shown)") }
            dump.kill()
            #expect(try fixture.daemon.stop() == .exited(0))
        }
    }
}
