// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// The uplinks.
    @Suite struct Uplinks {
        /// Makes the Internet a local network with a DHCP server, for guests that are bridged to it.
        private func startLAN(_ network: TestNetwork) throws -> BackgroundProgram {
            let server = try network.internet.start([
                "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--user=root", "--no-resolv", "--interface=eth0",
                "--bind-interfaces", "--no-ping",
                "--dhcp-range=203.0.113.100,203.0.113.150", "--dhcp-leasefile=\(network.folder.file("lan.leases"))",
            ])
            try network.internet.waitForListener(on: 53)
            return server
        }

        @Test func hostModeHasNoUplink() throws {
            let network = try TestNetwork()
            let before = try network.host.snapshot()
            let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
            let daemon = try VMNetDaemon(
                in: network.host, ["--vmnet-mode", "host", "--dhcp", "builtin", vde.path], folder: network.folder)
            #expect(try !network.host.run("nft", "list", "ruleset").contains("masquerade"))
            let guest = try PlugGuest("guest", path: vde.path, folder: network.folder)
            let lease = try guest.lease()
            #expect(lease["router"] == nil && lease["dns"] == nil)
            #expect(try guest.namespace.pings(gateway))
            try guest.namespace.ip("route", "add", "default", "via", gateway)
            #expect(try !guest.namespace.pings(TestNetwork.internetAddress, seconds: 1))
            #expect(try network.host.pings("192.168.105.2"))
            let command = [TestHost.product("vde_vmnet"), "check", vde.path]
            let check = try network.host.attempt(command)
            #expect(check.succeeded, "\(check.output)")
            for step in ["name ", "dns-tcp ", "tcp ", "path ", "name6 "] {
                #expect(check.output.contains("\nskipped \(step)"), "\(check.output)")
            }
            // What the user requests is no step to skip.
            let requested = try network.host.attempt(command + ["--tcp", "\(TestNetwork.internetAddress):80"])
            #expect(requested.termination == .exited(1) && requested.output.contains("\nfailed  tcp "))
            #expect(try daemon.stop() == .exited(0))
            #expect(try network.host.snapshot() == before)
        }

        /// A user joins a bridge through QEMU's helper, where its list allows it, and the host and the guest reach each
        /// other.
        @Test(.enabled(if: Files.exists("/usr/lib/qemu/qemu-bridge-helper"), "needs qemu-system-common"))
        func userJoinsBridgeThroughQEMUHelper() throws {
            let network = try TestNetwork()
            let host = network.host
            try host.ip("link", "add", "virbr0", "type", "bridge")
            try host.ip("addr", "add", "10.11.12.1/24", "dev", "virbr0")
            try host.ip("link", "set", "virbr0", "up")
            // The guest's own helper and list are left alone: a copy of each, the list in a copy of /etc of the
            // program's own.
            let helper = network.folder.file("qemu-bridge-helper"), etc = network.folder.file("etc"),
                home = network.folder.file("home")
            try host.run("cp", "/usr/lib/qemu/qemu-bridge-helper", helper)
            try host.run("cp", "-a", "/etc", etc)
            try host.run(
                "sh", "-c",
                "mkdir -p \(etc)/qemu && rm -f \(etc)/qemu/bridge.conf; mkdir \(home); chown nobody \(home); chmod "
                    + "755 \(network.folder.path)"
            )
            let path = home + "/vde"
            let command =
                [
                    "unshare", "-m", "sh", "-c",
                    "mount --bind \(etc) /etc && mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun c 10 200 "
                        + "&& exec \"$@\"",
                    "sh",
                ] + Namespace.running(as: "nobody")
                + [
                    TestHost.product("vde_vmnet"), "--switch", "--vmnet-mode", "bridged", "--vmnet-interface", "virbr0",
                    "--bridge-helper", helper, path,
                ]
            let environment: [String: String?] = ["HOME": home, "XDG_RUNTIME_DIR": home]
            func refusal() throws -> String {
                let result = try host.attempt(command, environment: environment)
                #expect(result.termination == .exited(77))
                return result.error
            }
            try host.run("chmod", "u+s", helper)
            #expect(try refusal().contains("add this line to /etc/qemu/bridge.conf: allow virbr0"))
            try Files.replace(etc + "/qemu/bridge.conf", Array("allow br7\n".utf8))
            try host.run("chmod", "644", etc + "/qemu/bridge.conf")
            #expect(try refusal().contains("add this line to /etc/qemu/bridge.conf: allow virbr0"))
            try Files.overwrite(etc + "/qemu/bridge.conf", "allow virbr0\n")
            try host.run("chmod", "u-s", helper)
            #expect(try refusal().contains("set-user-id: sudo chmod u+s \(helper)"))
            try host.run("chmod", "u+s", helper)

            let program = try host.start(command, environment: environment)
            let ready = try program.wait(for: "switch at \(path)")
            #expect(ready.contains("bridged to virbr0 by tap"), "\(ready)")
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            try guest.namespace.ip("addr", "add", "10.11.12.2/24", "dev", PlugGuest.interface)
            #expect(try guest.namespace.pings("10.11.12.1"))
            #expect(try host.pings("10.11.12.2"))
            #expect(try program.stop() == .exited(0))
            guest.stop()
            #expect(try host.run("ip", "-o", "link", "show", "master", "virbr0").isEmpty)
            #expect(try host.run("ip", "-o", "link", "show").contains("tap") == false)
        }

        /// The guests of each reach the outside, and none of them warns of the other's table.
        @Test func twoNetworksReachOutsideSideBySide() throws {
            let network = try TestNetwork()
            try network.startInternet()
            let before = try network.host.snapshot()
            var daemons: [VMNetDaemon] = [], guests: [PlugGuest] = []
            for name in ["one", "two"] {
                let path = network.folder.file(name)
                daemons.append(try VMNetDaemon(in: network.host, ["--switch", path], folder: network.folder))
                guests.append(try PlugGuest(name, path: path, folder: network.folder))
            }
            for (number, guest) in guests.enumerated() {
                #expect(try guest.lease()["ip"] == "192.168.\(105 + number).2")
                #expect(try guest.namespace.fetch(TestNetwork.internetAddress) == "Hello from the Internet")
            }
            for daemon in daemons {
                #expect(try daemon.stop() == .exited(0))
                #expect(!daemon.program.output.contains("firewall"), "\(daemon.program.output)")
            }
            #expect(try network.host.snapshot() == before)
        }

        @Test func linuxBridgeAcceptsTapAsPort() throws {
            let network = try TestNetwork()
            let lan = try startLAN(network)
            let host = network.host
            try host.ip("link", "add", "br0", "type", "bridge")
            try host.ip("addr", "del", TestNetwork.hostAddress + "/24", "dev", "wan")
            // The bridge takes its lowest port's address, and some make up high ones.
            try host.ip("link", "set", "wan", "address", "fe:fe:00:00:00:01")
            try host.ip("link", "set", "wan", "master", "br0")
            try host.ip("link", "set", "br0", "up")
            try host.ip("addr", "add", TestNetwork.hostAddress + "/24", "dev", "br0")
            try eventually("the bridge's port forwards") { try host.pings(TestNetwork.internetAddress, seconds: 1) }
            let bridgeAddress = try host.run("cat", "/sys/class/net/br0/address")
            let before = try host.snapshot()
            let vde = try VDESwitch(in: host, at: network.folder.file("vde"))
            let daemon = try VMNetDaemon(
                in: host, ["--vmnet-mode", "bridged", "--vmnet-interface", "br0", vde.path], folder: network.folder)
            #expect(daemon.readyLine.contains("bridged to br0 by vmnet0"))
            let guest = try PlugGuest("guest", path: vde.path, folder: network.folder)
            let lease = try guest.lease(seconds: 30)
            #expect(lease["serverid"] == TestNetwork.internetAddress)
            #expect(try guest.namespace.pings(TestNetwork.internetAddress))
            #expect(try host.pings(lease["ip"]!), "the host is on the bridge too")
            #expect(try host.run("cat", "/sys/class/net/br0/address") == bridgeAddress)
            #expect(try daemon.stop() == .exited(0))
            #expect(try host.snapshot() == before)
            _ = lan
        }

        @Test(
            .enabled(
                if: Files.exists("/usr/sbin/ovs-vswitchd"),
                "needs Open vSwitch, which is not installed for a test alone"))
        func openVSwitchBridgeAcceptsTapAsPort() throws {
            let network = try TestNetwork()
            let host = network.host
            let directory = network.folder.file("ovs")
            try Files.makeDirectory(directory)
            let environment = ["OVS_RUNDIR": directory]
            try host.run("ovsdb-tool", "create", directory + "/conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
            let database = try host.start(
                ["ovsdb-server", directory + "/conf.db", "--remote=punix:\(directory)/db.sock"],
                environment: environment)
            try eventually("Open vSwitch's database") { Files.exists(directory + "/db.sock") }
            let daemonOVS = try host.start(["ovs-vswitchd", "unix:\(directory)/db.sock"], environment: environment)
            func vsctl(_ arguments: String...) throws -> String {
                let result = try host.attempt(["ovs-vsctl", "--timeout=5"] + arguments, environment: environment)
                guard result.succeeded else { throw CommandFailed(description: result.error) }
                return result.output
            }
            // The data path in user space: no kernel module is needed.
            _ = try vsctl("add-br", "ovs0", "--", "set", "bridge", "ovs0", "datapath_type=netdev")
            _ = try vsctl("add-port", "ovs0", "wan")
            let vde = try VDESwitch(in: host, at: network.folder.file("vde"))
            let arguments = ["--vmnet-mode", "bridged", "--vmnet-interface", "ovs0", vde.path]
            let daemon = try VMNetDaemon(in: host, arguments, folder: network.folder, environment: environment)
            #expect(try vsctl("list-ports", "ovs0").contains("vmnet0"))
            let guest = try PlugGuest("guest", path: vde.path, folder: network.folder)
            // No DHCP here: this data path loses the checksums that a veth leaves to its card.
            try guest.namespace.ip("addr", "add", "203.0.113.9/24", "dev", PlugGuest.interface)
            #expect(try guest.namespace.pings(TestNetwork.internetAddress))
            daemon.program.signal(Signal.kill)
            _ = try daemon.program.waitForEnd()
            #expect(try vsctl("list-ports", "ovs0").contains("vmnet0"), "Open vSwitch remembers the port")
            let next = try VMNetDaemon(in: host, arguments, folder: network.folder, environment: environment)
            #expect(try next.stop() == .exited(0))
            #expect(try vsctl("list-ports", "ovs0").trimmed == "wan")
            _ = (database, daemonOVS)
        }

        @Test func packetSocketBridgesNIC() throws {
            let network = try TestNetwork()
            let lan = try startLAN(network)
            let before = try network.host.snapshot()
            let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
            let daemon = try VMNetDaemon(
                in: network.host, ["--vmnet-mode", "bridged", "--vmnet-interface", "wan", vde.path],
                folder: network.folder)
            #expect(daemon.program.output.contains("guests and this host do not reach each other"))
            let guest = try PlugGuest("guest", path: vde.path, folder: network.folder)
            let lease = try guest.lease()
            #expect(lease["serverid"] == TestNetwork.internetAddress)
            #expect(try guest.namespace.pings(TestNetwork.internetAddress))
            // GSO frames with unfinished checksums come from the veth; each way a transfer arrives as it was sent.
            try transfer(
                from: network.internet, TestNetwork.internetAddress, to: guest.namespace, folder: network.folder)
            try transfer(from: guest.namespace, lease["ip"]!, to: network.internet, folder: network.folder)
            #expect(try daemon.stop() == .exited(0))
            #expect(try network.host.snapshot() == before)
            _ = lan
        }

        @Test func vlanTagsSurviveNIC() throws {
            let network = try TestNetwork()
            // Ours at both ends of a wire: what one sends tagged, the kernel of the other untags on arrival, and the
            // tag is put back.
            var cables: [CablePort] = []
            var daemons: [VMNetDaemon] = []
            for (namespace, interface) in [(network.host, "wan"), (network.internet, "eth0")] {
                let path = network.folder.file("cable-\(interface)")
                daemons.append(
                    try VMNetDaemon(
                        in: namespace, ["--vmnet-mode", "bridged", "--vmnet-interface", interface, path + "[]"],
                        folder: network.folder))
                cables.append(try CablePort(path: path))
                // The first frame makes the daemon attach a port.
                cables.last!.send(
                    [UInt8](repeating: 0xff, count: 6) + [2, 0, 0, 0, 0, UInt8(cables.count)]
                        + [UInt8](repeating: 0, count: 48))
                try daemons.last!.program.wait(for: "the other end of \(path) is connected", within: 5)
            }
            for (protocolIdentifier, control) in [(0x8100, 0xa005), (0x88a8, 0x0007), (0x8100, 0)] as [(UInt16, UInt16)]
            {
                var writer = ByteWriter()
                writer.put(MACAddress.broadcast)
                writer.put(MACAddress("52:54:00:00:00:01")!)
                writer.put16(protocolIdentifier)
                writer.put16(control)
                writer.put16(0x88b5)
                writer.put([UInt8](repeating: 0x5a, count: 60))
                cables[0].send(writer.bytes)
                #expect(cables[1].receive { $0 == writer.bytes } != nil, "\(protocolIdentifier) \(control)")
            }
        }

        @Test func unknownInterfaceListsExistingOnes() throws {
            let network = try TestNetwork()
            let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
            let result = try network.host.attempt([
                TestHost.product("vde_vmnet"), "--state-dir", network.folder.file("state"), "--vmnet-mode", "bridged",
                "--vmnet-interface", "eth7", vde.path,
            ])
            #expect(result.termination == .exited(69))
            #expect(result.error.contains("no interface eth7") && result.error.contains("wan"))
        }

        @Test func missingNftLeavesNoPartialChange() throws {
            let network = try TestNetwork()
            let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
            let before = try network.host.snapshot()
            // A mount namespace in which neither nft nor its library is there.
            let command =
                "for f in /usr/sbin/nft /sbin/nft $(ldconfig -p | sed -n 's/.*libnftables.so.1 .*=> //p'); do [ -e "
                + "$f ] && mount --bind /dev/null $f; done; exec \"$@\""
            for mode in ["shared", "host"] {
                let result = try network.host.attempt(
                    [
                        "unshare", "-m", "sh", "-c", command, "sh", TestHost.product("vde_vmnet"), "--vmnet-mode", mode,
                        "--state-dir", network.folder.file("state"), vde.path,
                    ])
                #expect(result.termination == .exited(69))
                #expect(result.error.contains("install the package nftables"), "\(result.error)")
                #expect(try network.host.snapshot() == before)
            }
        }

        @Test func guestsFollowHostToNewUplink() throws {
            let fixture = try DaemonFixture()
            let host = fixture.host
            let guest = try fixture.guest()
            try guest.lease()
            // A second uplink appears, as when Wi-Fi comes up or a VPN is dialled.
            let vpn = try Namespace("vpn")
            try host.ip("link", "add", "tun7", "type", "veth", "peer", "name", "eth0", "netns", vpn.name)
            try host.ip("addr", "add", "198.51.100.2/24", "dev", "tun7")
            try vpn.ip("addr", "add", "198.51.100.1/24", "dev", "eth0")
            try vpn.ip("link", "set", "eth0", "up")
            try host.ip("link", "set", "tun7", "up")
            try eventually("forwarding on the new interface") {
                try host.run("cat", "/proc/sys/net/ipv4/conf/tun7/forwarding").trimmed == "1"
            }
            #expect(try guest.namespace.pings("198.51.100.1"))
            #expect(try guest.namespace.pings(TestNetwork.internetAddress), "the old one still works")
            // The host has not become a router between the two.
            try fixture.network.internet.ip("route", "add", "198.51.100.0/24", "via", TestNetwork.hostAddress)
            try vpn.ip("route", "add", "203.0.113.0/24", "via", "198.51.100.2")
            #expect(try !fixture.network.internet.pings("198.51.100.1", seconds: 1))
            // Once another program makes it one, we do not prevent it.
            try host.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
            try eventually("our guards are gone") {
                try !host.run("nft", "list", "ruleset").contains("iifname \"wan\"")
            }
            #expect(try fixture.network.internet.pings("198.51.100.1"))
            #expect(try fixture.daemon.stop() == .exited(0))
            #expect(
                try host.run("cat", "/proc/sys/net/ipv4/conf/wan/forwarding").trimmed == "1",
                "whoever made it a router still wants it to be one")
        }

        @Test func guestImpersonationIsDropped() throws {
            let fixture = try DaemonFixture()
            let guest = try fixture.guest()
            try guest.lease()
            // A packet with a source of somewhere else does not leave the host.
            try guest.namespace.ip("addr", "add", "198.51.100.9/32", "dev", PlugGuest.interface)
            let listener = try fixture.network.internet.start(["tcpdump", "-n", "-l", "-i", "eth0", "icmp"])
            try listener.wait(for: "listening on", within: 10)
            _ = try guest.namespace.attempt([
                "ping", "-c", "1", "-W", "1", "-I", "198.51.100.9", TestNetwork.internetAddress,
            ])
            #expect(try guest.namespace.pings(TestNetwork.internetAddress))
            try listener.wait(for: "ICMP echo request", within: 5)
            #expect(!listener.output.contains("198.51.100.9"))
        }

        @Test func transfersArriveUnchanged() throws {
            let fixture = try DaemonFixture()
            let guest = try fixture.guest()
            let address = try guest.lease()["ip"]!
            try transfer(from: fixture.host, gateway, to: guest.namespace, folder: fixture.folder)
            try transfer(from: guest.namespace, address, to: fixture.host, folder: fixture.folder)
            try transfer(
                from: fixture.network.internet, TestNetwork.internetAddress, to: guest.namespace, folder: fixture.folder
            )
        }

        /// Sends 20 MB over TCP and compares the checksums at both ends.
        private func transfer(
            from server: Namespace, _ address: String, to client: Namespace, folder: TemporaryFolder
        ) throws {
            let file = folder.file("data")
            if !Files.exists(file) {
                _ = try ChildProcess.run(["dd", "if=/dev/urandom", "of=" + file, "bs=1M", "count=20"])
            }
            let source = try server.start(["busybox", "nc", "-ll", "-p", "7100", "-e", "cat", file])
            try server.waitForListener(on: 7100)
            let sum = try client.run("timeout", "60", "bash", "-c", "sha256sum </dev/tcp/\(address)/7100")
            source.kill()
            let expected = try ChildProcess.run(["sha256sum", file]).output
            #expect(sum.prefix(64) == expected.prefix(64), "from \(server.name) to \(client.name)")
        }

        // MARK: Firewalls of others

        @Test(arguments: ["iptables", "iptables-legacy", "docker", "nftables"])
        func foreignDropIsReportedWithRemedy(kind: String) throws {
            let network = try TestNetwork()
            let host = network.host
            let iptables = kind == "iptables-legacy" ? "iptables-legacy" : "iptables-nft"
            switch kind {
            case "docker":
                try host.run(
                    "sh", "-ec",
                    "\(iptables) -P FORWARD DROP; \(iptables) -N DOCKER-USER; \(iptables) -A FORWARD -j DOCKER-USER")
            case "nftables":
                try host.run(
                    "nft",
                    "add table inet site; add chain inet site forward { type filter hook forward priority 0; policy "
                        + "drop; }; add chain inet site input { type filter hook input priority 0; policy drop; }; "
                        + "add rule inet site input ct state established accept; add rule inet site input icmp type "
                        + "echo-request accept"
                )
            default:
                try host.run(iptables, "-P", "FORWARD", "DROP")
            }
            let vde = try VDESwitch(in: host, at: network.folder.file("vde"))
            let daemon = try VMNetDaemon(in: host, ["--dhcp", "builtin", vde.path], folder: network.folder)
            let guest = try PlugGuest("guest", path: vde.path, folder: network.folder)
            try guest.lease()
            #expect(try !guest.namespace.pings(TestNetwork.internetAddress, seconds: 1))
            try daemon.program.wait(for: "let it through with:", within: 5)
            let commands = try daemon.program.proposedCommands()
            // Those rules of nftables drop neighbour discovery, too.
            #expect(commands.count == (kind == "nftables" ? 3 : 2), "\(commands)")
            for command in commands {
                // Which of the two the word means is the system's choice.
                try host.run("sh", "-ec", command.replacing("iptables ", with: iptables + " "))
            }
            #expect(try guest.namespace.pings(TestNetwork.internetAddress))
            if kind != "iptables-legacy" {
                try daemon.program.wait(for: "no longer drops what guests send to the outside", within: 5)
            }
            #expect(try daemon.stop() == .exited(0))
        }
    }
}
