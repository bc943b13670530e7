// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// The real systemd-resolved resolves names of guests for the host, and names of a VPN for guests.
    @Suite(.enabled(if: SystemdResolvedFixture.root != nil, "needs systemd-resolved; type: ci/install-packages test"))
    struct SystemdResolvedTests {
        private static let web = ["--domain", "lab.example", "--dhcp-host", "52:54:00:00:00:07,192.168.105.7,web"]
        private static let name = "web.lab.example", address = "192.168.105.7"

        @Test func hostResolvesNamesOfGuestsUntilTheNetworkEnds() throws {
            let fixture = try SystemdResolvedFixture(.stub)
            func settings() throws -> String {
                try fixture.run("resolvectl", "dns") + fixture.run("resolvectl", "domain")
            }
            let before = try settings()
            for ending in [Signal.terminate, Signal.kill] {
                let daemon = try fixture.startDaemon(.tap, SystemdResolvedTests.web)
                try daemon.wait(for: "systemd-resolved sends the host's queries", within: 20)
                #expect(try fixture.resolve(SystemdResolvedTests.name) == SystemdResolvedTests.address)
                #expect(try fixture.run("resolvectl", "query", "192.168.105.7").contains(SystemdResolvedTests.name))
                let link = try fixture.run("resolvectl", "status", "vmnet0")
                #expect(link.contains("~lab.example") && link.contains("~105.168.192.in-addr.arpa"), "\(link)")
                #expect(link.contains("ip6.arpa"), "\(link)")
                #expect(link.contains("DNS Servers: 127.168.105.1:5300"), "\(link)")
                #expect(link.contains("-DefaultRoute"), "\(link)")
                // Other names are the other servers'.
                #expect(try fixture.resolve(TestNetwork.internetName) == TestNetwork.internetAddress)
                #expect(try fixture.resolve("none.lab.example").isEmpty)
                daemon.signal(ending)
                try daemon.waitForEnd()
                try eventually("the link's end in systemd-resolved") {
                    try settings() == before
                }
                #expect(try fixture.resolve(SystemdResolvedTests.name).isEmpty)
            }
        }

        @Test func sshReachesGuestByName() throws {
            let fixture = try SystemdResolvedFixture(.stub)
            let daemon = try fixture.startDaemon(.tap)
            try daemon.wait(for: "systemd-resolved sends the host's queries", within: 20)
            let guest = try PlugGuest("guest", path: fixture.path, folder: fixture.network.folder)
            try guest.lease("-x", "hostname:web")
            let server = try guest.namespace.start([
                "busybox", "nc", "-ll", "-p", "22", "-e", "echo", "SSH-2.0-guest",
            ])
            try guest.namespace.waitForListener(on: 22)
            // No more of a server is there than its first line.
            let ssh = try fixture.attempt(
                "timeout", "20", "ssh", "-v", "-F", "none", "-o", "BatchMode=yes", "web.vm.internal")
            #expect(ssh.error.contains("Connecting to web.vm.internal [192.168.105.2] port 22"), "\(ssh.error)")
            #expect(ssh.error.contains("remote software version guest"), "\(ssh.error)")
            server.kill()
            #expect(try daemon.stop() == .exited(0))
        }

        @Test func hostDNSCanBeOff() throws {
            let fixture = try SystemdResolvedFixture(.stub)
            let daemon = try fixture.startDaemon(.tap, SystemdResolvedTests.web + ["--host-dns", "off"])
            #expect(try fixture.run("resolvectl", "dns", "vmnet0").trimmed.hasSuffix(":"))
            #expect(try fixture.resolve(SystemdResolvedTests.name).isEmpty)
            #expect(try daemon.stop() == .exited(0))
        }

        @Test(arguments: NameServiceFixture.Uplink.allCases, SystemdResolvedFixture.ResolvConf.allCases)
        func guestsResolveNamesOfAVPN(
            uplink: NameServiceFixture.Uplink, file: SystemdResolvedFixture.ResolvConf
        ) throws {
            let fixture = try SystemdResolvedFixture(file)
            let daemon = try fixture.startDaemon(uplink, ["--dns-cache", "off"])
            try expectVPN(fixture)
            #expect(try daemon.stop() == .exited(0))
        }

        /// Without its own server, systemd-resolved still has the domains of links.
        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func guestsResolveNamesOfAVPNWithoutTheStub(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try SystemdResolvedFixture(.list, settings: "DNSStubListener=no\\n")
            let daemon = try fixture.startDaemon(uplink, ["--dns-cache", "off"])
            try expectVPN(fixture)
            #expect(try daemon.stop() == .exited(0))
        }

        /// The domains of links that a network queries servers of itself.
        private func domains(_ fixture: SystemdResolvedFixture, _ options: String...) throws -> String {
            let words = [TestHost.product("vde_vmnet"), "status", fixture.path] + options
            return try fixture.run(words).split(separator: "\n").filter {
                $0.hasPrefix("of domains") || $0.contains("\"domain_resolvers\"")
            }.joined()
        }

        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func statusShowsServersOfDomains(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try SystemdResolvedFixture(.list, settings: "DNSStubListener=no\\n")
            let daemon = try fixture.startDaemon(uplink, ["--dns", "lab.example=192.0.2.9"])
            let server = "corp.example=\(SystemdResolvedFixture.inside):53", chosen = "lab.example=192.0.2.9:53"
            #expect(try domains(fixture).hasSuffix("    \(chosen)"))
            try fixture.connectVPN()
            // No guest sends a query meanwhile.
            try eventually("the VPN's server in the text", within: 30) {
                try domains(fixture).hasSuffix("    \(server), \(chosen)")
            }
            #expect(try domains(fixture, "--json").contains("\"domain_resolvers\":[\"\(server)\",\"\(chosen)\"]"))
            try fixture.run("resolvectl", "revert", "tun0")
            try eventually("the end of the VPN", within: 30) { try domains(fixture).hasSuffix("    \(chosen)") }
            #expect(try daemon.stop() == .exited(0))
        }

        /// - Precondition: the VPN is not connected.
        private func expectVPN(_ fixture: SystemdResolvedFixture) throws {
            let guest = try PlugGuest("guest", path: fixture.path, folder: fixture.network.folder)
            try guest.lease()
            let name = SystemdResolvedFixture.corporate
            #expect(try fixture.resolve(TestNetwork.internetName, from: guest) == TestNetwork.internetAddress)
            #expect(try fixture.resolve(name, from: guest) == SystemdResolvedFixture.wrong)
            try fixture.connectVPN()
            try eventually("a name of the VPN") {
                try fixture.resolve(name, from: guest) == SystemdResolvedFixture.inside
            }
            #expect(try fixture.resolve(TestNetwork.internetName, from: guest) == TestNetwork.internetAddress)
            try fixture.run("resolvectl", "revert", "tun0")
            try eventually("the end of the VPN", within: 30) {
                try fixture.resolve(name, from: guest) == SystemdResolvedFixture.wrong
            }
            #expect(try fixture.resolve(TestNetwork.internetName, from: guest) == TestNetwork.internetAddress)
        }
    }
}
