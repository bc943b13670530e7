// SPDX-License-Identifier: Apache-2.0
import DHCPService
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// Real DHCP clients that come with an address already, or go without a word.
    @Suite struct DHCPClients {
        private let interface = PlugGuest.interface

        /// Runs dhclient once, as after a reboot: with the lease that it remembers.
        private func dhclient(
            _ guest: PlugGuest, remembering address: String, _ folder: TemporaryFolder
        ) throws -> String {
            let leases = folder.file("dhclient.leases"), configuration = folder.file("dhclient.conf")
            try Files.replace(configuration, Array("timeout 20;\n".utf8))
            try Files.replace(
                leases,
                Array(
                    """
                    lease {
                      interface "\(interface)";
                      fixed-address \(address);
                      option subnet-mask 255.255.255.0;
                      option dhcp-lease-time 8640000;
                      option dhcp-message-type 5;
                      renew 4 2037/01/01 00:00:00;
                      rebind 4 2037/01/01 00:00:00;
                      expire 4 2037/06/01 00:00:00;
                    }

                    """.utf8))
            let result = try guest.namespace.attempt([
                "dhclient", "-1", "-v", "-sf", "/bin/true", "-cf", configuration, "-lf", leases, "-pf",
                folder.file("dhclient.pid"),
                interface,
            ])
            _ = try guest.namespace.attempt([
                "dhclient", "-x", "-sf", "/bin/true", "-cf", configuration, "-lf", leases, "-pf",
                folder.file("dhclient.pid"),
                interface,
            ])
            return result.output + result.error
        }

        @Test func clientOfAnotherNetworkGetsNAK() throws {
            let fixture = try OwnSwitchFixture()
            let guest = try fixture.guest()
            let output = try dhclient(guest, remembering: "192.168.64.7", fixture.folder)
            #expect(output.contains("DHCPNAK"), "\(output)")
            #expect(output.contains("bound to 192.168.105.2"), "\(output)")
        }

        @Test func clientKeepsAddressThatServerForgot() throws {
            let fixture = try OwnSwitchFixture()
            let guest = try fixture.guest()
            let output = try dhclient(guest, remembering: "192.168.105.77", fixture.folder)
            #expect(
                output.contains("bound to 192.168.105.77") && !output.contains("DHCPNAK")
                    && !output.contains("DHCPDISCOVER"), "\(output)")
        }

        @Test func clientWithAddressIsOfferedTheSame() throws {
            let fixture = try OwnSwitchFixture()
            let guest = try fixture.guest()
            try guest.namespace.ip("addr", "add", "192.168.105.2/24", "dev", interface)
            #expect(try guest.lease()["ip"] == "192.168.105.2")
        }

        @Test func bootROMAndItsSystemShareOneAddress() throws {
            let fixture = try OwnSwitchFixture()
            let guest = try fixture.guest()
            // busybox sends the hardware address as its identifier; then another.
            #expect(try guest.lease()["ip"] == "192.168.105.2")
            try guest.namespace.ip("addr", "flush", "dev", interface)
            #expect(try guest.lease("-x", "0x3d:ff00010203040506")["ip"] == "192.168.105.2")
        }

        @Test func addressesOfDepartedGuestsAreReused() throws {
            let fixture = try OwnSwitchFixture([
                "--vmnet-gateway", "192.168.105.1", "--vmnet-dhcp-end", "192.168.105.4",
            ])
            for number in 1...7 {
                let guest = try fixture.guest("guest\(number)")
                #expect(try guest.lease()["ip"] == "192.168.105.\(2 + (number - 1) % 3)")
                guest.stop()
                try eventually("the port is gone") {
                    fixture.daemon.program.output.split(separator: "\n").count { $0.contains("has left") } == number
                }
            }
        }

        /// A conversation of a client that the test plays itself. Returns whether it got an address.
        private func lease(_ hardware: MACAddress, through plug: PlugPort) -> Bool {
            func exchange(
                _ kind: DHCPv4Message.Kind, _ change: (inout DHCPv4Message) -> Void
            ) -> DHCPv4Message? {
                plug.send(
                    Frames.dhcp(
                        kind, from: hardware, transactionID: UInt32(truncatingIfNeeded: hardware.value), change))
                var answer: DHCPv4Message?
                _ = plug.receive(seconds: 1) { frame in
                    answer = Frames.dhcpMessage(in: frame) ?? answer
                    return answer?.clientHardware == hardware
                }
                return answer
            }
            let offer = exchange(.discover) { _ in }
            guard let offer, offer.kind == .offer else { return false }
            return exchange(.request) {
                $0.set(.requestedAddress, [offer.yourAddress])
                $0.set(.serverIdentifier, [offer.address(.serverIdentifier)!])
            }?.kind == .ack
        }

        @Test(arguments: [[], ["--uplink", "user"]])
        func onePortGetsAtMostHalfOfThePool(options: [String]) throws {
            let fixture = try OwnSwitchFixture(
                options + ["--vmnet-gateway", "192.168.105.1", "--vmnet-dhcp-end", "192.168.105.9"])
            let plug = try PlugPort(path: fixture.path)
            var taken = 0
            while taken < 8, lease(MACAddress(0x0600_0000_0000 | UInt64(taken)), through: plug) { taken += 1 }
            #expect(taken == 4)
            try fixture.daemon.program.wait(
                for: "4 are left for the other ports; if it has several guests behind it, name it with --trunk",
                within: 5)
            for name in ["a", "b"] { #expect(try fixture.guest(name).lease()["ip"]?.hasPrefix("192.168.105.") == true) }
        }

        /// A port that is named, and one behind which there is a cable to another switch.
        @Test(arguments: [(["--trunk", "2"], "a test"), ([], "vdeplug: user=root pid=1")])
        func trunkPortExceedsTheShare(options: [String], program: String) throws {
            let fixture = try OwnSwitchFixture(
                options + ["--vmnet-gateway", "192.168.105.1", "--vmnet-dhcp-end", "192.168.105.9"])
            let plug = try PlugPort(path: fixture.path, description: program)
            var taken = 0
            while taken < 8, lease(MACAddress(0x0600_0000_0000 | UInt64(taken)), through: plug) { taken += 1 }
            #expect(taken == 7)
            #expect(try fixture.guest().lease()["ip"] == "192.168.105.9")
        }

        @Test func checkReleasesItsAddressAndSparesTheFirst() throws {
            let fixture = try OwnSwitchFixture()
            let check = try fixture.host.attempt([TestHost.product("vde_vmnet"), "check", fixture.path])
            #expect(check.output.contains("192.168.105.254/24 from 192.168.105.1 for 120 s"), "\(check.output)")
            try fixture.daemon.program.wait(for: "released 192.168.105.254", within: 5)
            #expect(try fixture.guest().lease()["ip"] == "192.168.105.2")
        }

        /// ProxyDHCP servers send boot ROMs the path of their program, and give no addresses.
        @Test func proxyDHCPServerDoesNotDisableOwnServer() throws {
            let network = try TestNetwork()
            let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
            let daemon = try VMNetDaemon(in: network.host, [vde.path], folder: network.folder)
            try daemon.waitUntilServing()
            let other = try PlugGuest("proxy", path: vde.path, folder: network.folder)
            try other.namespace.ip("addr", "add", "192.168.105.200/24", "dev", interface)
            let proxy = try other.namespace.start([
                "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--user=root", "--port=0",
                "--interface=\(interface)", "--bind-interfaces", "--dhcp-range=192.168.105.0,proxy",
                "--pxe-service=x86PC,x,b.ipxe", "--dhcp-leasefile=\(network.folder.file("dnsmasq.leases"))",
            ])
            try proxy.wait(for: "DHCP, proxy on subnet", within: 10)
            let plug = try PlugPort(path: vde.path)
            let hardware = MACAddress("52:54:00:00:77:01")!, proxyAddress = IPv4Address("192.168.105.200")!
            func broadcast(_ kind: DHCPv4Message.Kind, _ change: (inout DHCPv4Message) -> Void) {
                var message = DHCPv4Message(isReply: false, transactionID: 7, clientHardware: hardware)
                message.hasBroadcastFlag = true
                message[.messageType] = [kind.rawValue]
                message[.vendorClass] = Array("PXEClient:Arch:00000:UNDI:002001".utf8)
                change(&message)
                var payload = message.bytes()
                // Architecture, interface and guest (RFC 4578), by which the proxy recognises a boot ROM.
                payload.replaceSubrange(
                    payload.lastIndex(of: 255)!...,
                    with: [93, 2, 0, 0, 94, 3, 1, 2, 1, 97, 17] + [UInt8](repeating: 0, count: 17) + [255])
                plug.send(
                    Frames.udp(
                        from: Endpoint(hardware, port: 68), to: Endpoint(.broadcast, .broadcast, port: 67), payload))
            }
            func isDHCP(_ frame: [UInt8], _ accept: (DHCPv4Message, IPv4Address) -> Bool) -> Bool {
                guard let ethernet = try? EthernetView(frame.rawSpan), ethernet.type == EtherType.ipv4,
                    let ip = try? IPv4View(ethernet.payload),
                    ip.protocolNumber == IPProtocol.udp, let udp = try? UDPView(ip.payload),
                    let message = try? DHCPv4Message(parsing: udp.payload)
                else { return false }
                return accept(message, ip.source)
            }
            func proxyAnswers() -> Bool {
                broadcast(.discover) { _ in }
                return plug.receive {
                    isDHCP($0) { $0.kind == .offer && $1 == proxyAddress && $0.yourAddress == .any }
                } != nil
            }
            #expect(proxyAnswers())
            // A client that takes another's offer makes our server send a request, too; the proxy has no offer for it.
            broadcast(.request) {
                $0.set(.serverIdentifier, [proxyAddress])
                $0.set(.requestedAddress, [IPv4Address("192.168.105.50")!])
            }
            #expect(
                plug.receive {
                    isDHCP($0) { message, _ in
                        !message.isReply && message.kind == .discover && message.clientHardware != hardware
                    }
                } != nil, "ours asks")
            #expect(proxyAnswers(), "while it does")
            let guest = try PlugGuest("guest", path: vde.path, folder: network.folder)
            #expect(try guest.lease()["serverid"] == gateway)
            #expect(!daemon.program.output.contains("so the built-in server is off"))
        }
    }
}
