// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// The program as it is on a Mac, with the macOS C file, on a simulated vmnet.framework.
    @Suite struct SimulatedMac {
        static let product = "vde_vmnet_simulated"

        func start(
            _ network: TestNetwork, _ settings: String = "", _ options: [String] = []
        ) throws -> (VMNetDaemon, String) {
            let path = network.folder.file("own")
            return (
                try VMNetDaemon(
                    in: network.host, ["--switch"] + options + [path], folder: network.folder,
                    environment: ["VMNET_SIMULATOR": settings], product: SimulatedMac.product), path
            )
        }

        /// Runs it to an end that is expected at the start.
        private func refused(_ settings: String, _ options: [String] = []) throws -> ChildProcess.Output {
            let network = try TestNetwork()
            let before = try network.host.snapshot()
            let result = try network.host.attempt(
                [TestHost.product(SimulatedMac.product), "--state-dir", network.folder.file("state"), "--switch"]
                    + options + [network.folder.file("own")],
                environment: ["VMNET_SIMULATOR": settings])
            #expect(try network.host.snapshot() == before)
            #expect(!Files.exists(network.folder.file("own")))
            return result
        }

        // MARK: Networks

        @Test(arguments: [
            "", "edge_events=1", "spurious_events=1", "hides_batches=1", "batch=1", "exhausted_every=3",
            "partial_every=2", "least_frame=60", "slowness=5", "start_delay=500",
            "edge_events=1,batch=2,exhausted_every=2,partial_every=3", "exclusive_calls=1,slowness=2",
            "byte_limit=1700", "queue_depth=4,edge_events=1", "drops_tagged=1",
            "errors_take_some=1,errors_keep_count=1,least_frame=60", "early_frames=1,edge_events=1",
        ])
        func networkWorksWithEveryFrameworkVariant(settings: String) throws {
            let network = try TestNetwork()
            let (daemon, path) = try start(network, settings)
            #expect(daemon.readyLine == "192.168.64.0/24 by vmnet, gateway 192.168.64.1, switch at \(path)")
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            let lease = try guest.lease()
            #expect(
                lease["ip"] == "192.168.64.2" && lease["router"] == "192.168.64.1" && lease["dns"] == "192.168.64.1"
                    && lease["lease"] == "1800", "ours serves, not bootpd")
            #expect(
                try guest.namespace.attempt(["ping", "-c", "50", "-i", "0.01", "-W", "5", "192.168.64.1"]).output
                    .contains(" 0% packet loss"))
            #expect(try daemon.stop() == .exited(0))
            #expect(!Files.exists(path))
        }

        @Test func bootpdServesOnRequest() throws {
            let network = try TestNetwork()
            let (daemon, path) = try start(network, "", ["--dhcp", "system"])
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            #expect(try guest.lease()["lease"] == "86400")
            #expect(try daemon.stop() == .exited(0))
        }

        @Test func dhcpOffServesNoAddresses() throws {
            let network = try TestNetwork()
            let (daemon, path) = try start(
                network, "",
                [
                    "--vmnet-mode", "host", "--vmnet-network-identifier", "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
                    "--dhcp", "off",
                ])
            #expect(daemon.readyLine.hasPrefix("192.168.128.0/24 by vmnet"))
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            #expect(throws: CommandFailed.self) { try guest.lease(seconds: 2) }
            #expect(try daemon.stop() == .exited(0))
        }

        @Test func networkMatchesOptions() throws {
            let network = try TestNetwork()
            let (daemon, path) = try start(
                network, "",
                [
                    "--vmnet-gateway", "10.77.0.1", "--vmnet-mask", "255.255.0.0", "--vmnet-dhcp-end", "10.77.0.9",
                    "--vmnet-mtu", "9000", "--vmnet-nat66-prefix", "fd00:9::",
                ])
            #expect(daemon.readyLine.hasPrefix("10.77.0.0/16 by vmnet, gateway 10.77.0.1"))
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            let lease = try guest.lease()
            #expect(lease["ip"] == "10.77.0.2" && lease["mtu"] == "9000")
            #expect(try guest.namespace.pings("10.77.0.1"))
            #expect(try daemon.stop() == .exited(0))
        }

        @Test func joinedSwitchWorks() throws {
            let network = try TestNetwork()
            let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
            let daemon = try VMNetDaemon(
                in: network.host, ["--dhcp", "builtin", vde.path], folder: network.folder, product: SimulatedMac.product
            )
            let guest = try PlugGuest("guest", path: vde.path, folder: network.folder)
            try guest.lease()
            #expect(try guest.namespace.pings("192.168.64.1"))
            #expect(try daemon.stop() == .exited(0))
        }

        /// A whole guest, with NAT behind a TAP that stands for the Mac's bridge.
        @Test(
            .enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"),
            arguments: ["tap=bridge100", "tap=bridge100,edge_events=1"])
        func guestReachesInternetAndIsReached(settings: String) throws {
            let network = try TestNetwork()
            try network.startInternet()
            let (daemon, path) = try start(network, settings)
            try network.host.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
            try network.host.run(
                "nft", "-f", "-",
                input:
                    "table ip sharing { chain post { type nat hook postrouting priority srcnat; oifname \"wan\" "
                    + "masquerade; }; }\n"
            )
            let guest = try VirtualMachine.qemu(
                "guest", netdev: "vde,id=net0,sock=\(path)", mac: "52:54:00:00:00:01", in: network.host,
                folder: network.folder)
            try guest.waitUntilBooted()
            #expect(VirtualMachine.address(in: try guest.lease()) == "192.168.64.2")
            #expect(try guest.run("ping -c 1 -W 5 192.168.64.1").status == 0)
            #expect(
                try guest.run("wget -q -O - http://\(TestNetwork.internetAddress)/").output == "Hello from the Internet"
            )
            try guest.run("mkdir -p /www && echo 'this is the guest' > /www/index.html && httpd -p 80 -h /www")
            #expect(try network.host.fetch("192.168.64.2") == "this is the guest")
            #expect(try daemon.stop() == .exited(0))
        }

        /// Segments of 64 KiB come from the host in one piece, and are cut up for a guest behind a socket.
        @Test(arguments: [
            "tap=bridge100", "tap=bridge100,edge_events=1,batch=8", "tap=bridge100,lacks_virtio_header=1",
        ])
        func gsoFramesAreSegmentedForGuests(settings: String) throws {
            let network = try TestNetwork()
            let (daemon, path) = try start(network, settings, ["--vmnet-offload"])
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            #expect(try guest.lease()["ip"] == "192.168.64.2")
            let pages = network.folder.file("pages")
            try Files.makeDirectories(pages)
            try Files.replace(pages + "/index.html", [UInt8](repeating: 0x78, count: 8 << 20))
            let server = try network.host.start(["busybox", "httpd", "-f", "-p", "80", "-h", pages])
            try network.host.waitForListener(on: 80)
            let size = try guest.namespace.run(
                "timeout", "60", "busybox", "wget", "-q", "-O", "-", "http://192.168.64.1/"
            ).utf8.count
            #expect(size == 8 << 20)
            // And the other way.
            let own = try guest.namespace.start(["busybox", "httpd", "-f", "-p", "80", "-h", pages])
            try guest.namespace.waitForListener(on: 80)
            #expect(try network.host.fetch("192.168.64.2").utf8.count == 8 << 20)
            // Fewer frames came from the host than segments of 1448 bytes would have been.
            daemon.program.signal(Signal.user1)
            let counters = try daemon.program.wait(for: "(vmnet): in ")
            let line = try daemon.program.wait(for: " frames", after: counters.count)
            let frames = try #require(Int(line.filter(\.isNumber)))
            #expect(frames < (8 << 20) / 1448, "\(frames) frames from the host")
            for program in [server, own] { program.kill() }
            #expect(try daemon.stop() == .exited(0))
        }

        @Test(arguments: [
            ["--vmnet-external-interface", "en0"],
            ["--dhcp", "system", "--dhcp-host", "52:54:00:00:00:01,192.168.64.9"],
        ])
        func featureMissingOnOlderSystemIsReported(options: [String]) throws {
            let result = try refused("lacks_network_objects=1", options)
            #expect(result.termination == .exited(64) && result.error.contains("needs macOS 26"), "\(result.error)")
        }

        @Test func networkObjectUsesChosenInterface() throws {
            let network = try TestNetwork()
            let (daemon, path) = try start(
                network, "", ["--vmnet-external-interface", "en1", "--vmnet-gateway", "10.78.0.1", "--vmnet-offload"])
            #expect(daemon.readyLine.hasPrefix("10.78.0.0/24 by vmnet, gateway 10.78.0.1"))
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            #expect(try guest.lease()["ip"] == "10.78.0.2")
            #expect(try guest.namespace.pings("10.78.0.1"))
            #expect(try daemon.stop() == .exited(0))
            let result = try refused("", ["--vmnet-external-interface", "utun3"])
            #expect(
                result.termination == .exited(69) && result.error.contains("rejected an argument (1003)"),
                "\(result.error)")
        }

        @Test(arguments: ["system", "builtin"])
        func reservedGuestGetsItsAddress(who: String) throws {
            let network = try TestNetwork()
            let (daemon, path) = try start(
                network, "", ["--dhcp", who, "--dhcp-host", "52:54:00:00:00:0a,192.168.64.77"])
            let own = try PlugGuest("own", path: path, mac: "52:54:00:00:00:0a", folder: network.folder)
            let lease = try own.lease()
            #expect(lease["ip"] == "192.168.64.77" && lease["lease"] == (who == "system" ? "86400" : "1800"))
            let other = try PlugGuest("other", path: path, mac: "52:54:00:00:00:0b", folder: network.folder)
            #expect(try other.lease()["ip"] == "192.168.64.2")
            #expect(try daemon.stop() == .exited(0))
        }

        @Test func guestLoadsBootFileAtTheGateway() throws {
            let network = try TestNetwork()
            let directory = network.folder.file("boot"), copy = network.folder.file("copy")
            try Files.makeDirectory(directory)
            var random = SeededGenerator(seed: 9)
            let contents = random.bytes(200_001)
            try Files.replace(directory + "/boot.ipxe", contents)
            let (daemon, path) = try start(
                network, "",
                ["--boot", directory + "/boot.ipxe", "--dhcp-option", "ntp-server=192.0.2.1", "--lease-time", "1h"])
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            let lease = try guest.lease("-O", "ntpsrv")
            #expect(lease["siaddr"] == "192.168.64.1" && lease["boot_file"] == "boot.ipxe", "\(lease)")
            #expect(lease["ntpsrv"] == "192.0.2.1" && lease["lease"] == "3600", "\(lease)")
            let result = try guest.namespace.attempt([
                "timeout", "60", "busybox", "tftp", "-g", "-r", "boot.ipxe", "-l", copy, "192.168.64.1",
            ])
            #expect(try result.succeeded && Files.read(copy) == contents, "\(result.error)")
            #expect(try daemon.stop() == .exited(0))
        }

        /// A network object has no server; without objects Apple's server gets no query; a server in a guest still
        /// is.
        @Test(arguments: ["", "lacks_network_objects=1"])
        func dhcpOffDisablesEveryServer(settings: String) throws {
            let network = try TestNetwork()
            let (daemon, path) = try start(network, settings, ["--dhcp", "off"])
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            #expect(throws: CommandFailed.self) { try guest.lease(seconds: 2) }
            let server = try PlugGuest("server", path: path, folder: network.folder)
            try server.namespace.ip("addr", "add", "192.168.64.9/24", "dev", PlugGuest.interface)
            let dnsmasq = try server.namespace.start([
                "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0", "--user=root", "--no-ping",
                "--dhcp-leasefile=\(network.folder.file("leases"))",
                "--dhcp-range=192.168.64.100,192.168.64.110",
            ])
            try dnsmasq.wait(for: "IP range")
            #expect(try guest.lease()["serverid"] == "192.168.64.9")
            #expect(try daemon.stop() == .exited(0))
        }

        @Test func portsArePublished() throws {
            let network = try TestNetwork()
            let (daemon, _) = try start(
                network, "report=1", ["--publish", "8080:192.168.64.2:80", "--publish", "5353:192.168.64.2:53/udp"])
            try daemon.program.wait(for: "VMNET_SIMULATOR: tcp port 8080 leads to 192.168.64.2, port 80")
            try daemon.program.wait(for: "VMNET_SIMULATOR: udp port 5353 leads to 192.168.64.2, port 53")
            #expect(try daemon.stop() == .exited(0))
            for (options, words) in [
                (["--publish", "8080:10.0.0.2:80"], "10.0.0.2 is not an address for guests in 192.168.64.0/24"),
                (["--publish", "127.0.0.1:8080:192.168.64.2:80"], "leave out 127.0.0.1"),
            ] {
                let result = try refused("", options)
                #expect(result.termination != .exited(0) && result.error.contains(words), "\(result.error)")
            }
            let result = try refused("rule_status=1001", ["--publish", "8080:192.168.64.2:80"])
            #expect(
                result.termination == .exited(69)
                    && result.error.contains("--publish 8080:192.168.64.2:80/tcp: vmnet.framework refused (1001)"),
                "\(result.error)")
        }

        @Test func signalEndsHangingStart() throws {
            let network = try TestNetwork()
            let path = network.folder.file("own")
            let program = try VMNetDaemon.start(
                in: network.host, ["--switch", path], folder: network.folder,
                environment: ["VMNET_SIMULATOR": "start_silent=1"], product: SimulatedMac.product)
            try eventually("the switch") { Files.exists(path + "/ctl") }
            program.signal(Signal.terminate)
            #expect(try program.waitForEnd(within: 8) == .exited(0))
            #expect(!program.output.contains("ready") && !Files.exists(path))
        }

        /// While the framework takes its time to start another interface, everything else goes on.
        @Test func slowRestartBlocksNoOther() throws {
            let network = try TestNetwork()
            let (daemon, path) = try start(network, "vanish_after=1,start_delay=3000")
            let one = try PlugGuest("one", path: path, folder: network.folder)
            // Its address probe reaches the interface, and ends it.
            _ = try? one.lease(seconds: 1)
            _ = try one.namespace.attempt(["ping", "-c", "3", "-i", "0.1", "-W", "1", "192.168.64.1"])
            try daemon.program.wait(for: "the vmnet interface has failed")
            let other = try PlugGuest("other", path: path, folder: network.folder)
            #expect(try other.lease()["ip"] != nil)
            let printed = daemon.program.output
            #expect(
                !printed.contains("is back")
                    || printed.firstRange(of: "lease 192.168.64.3")!.lowerBound
                        < printed.firstRange(of: "is back")!.lowerBound
            )
            #expect(try daemon.stop() == .exited(0))
        }

        // MARK: Faults

        /// A bridged interface that is dead after sleep reports no event.
        @Test func sleepReplacesBridgedInterface() throws {
            let network = try TestNetwork()
            let path = network.folder.file("own"), slept = network.folder.file("slept")
            try Files.replace(slept, Array("0".utf8))
            let daemon = try VMNetDaemon(
                in: network.host, ["--switch", "--vmnet-mode", "bridged", "--vmnet-interface", "en0", path],
                folder: network.folder,
                environment: ["VMNET_SIMULATOR": "tap=bridge100,silent_after=30", "VMNET_SIMULATOR_SLEEP": slept],
                product: SimulatedMac.product)
            try network.host.ip("addr", "add", "192.168.77.1/24", "dev", "bridge100")
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            try guest.namespace.ip("addr", "add", "192.168.77.2/24", "dev", PlugGuest.interface)
            #expect(try guest.namespace.pings("192.168.77.1"))
            _ = try guest.namespace.attempt(["ping", "-c", "60", "-i", "0.01", "-W", "1", "192.168.77.1"])
            #expect(
                try !guest.namespace.attempt(["ping", "-c", "3", "-i", "0.2", "-W", "1", "192.168.77.1"]).succeeded,
                "it is silent")
            #expect(!daemon.program.output.contains("failed"))
            try Files.replace(slept, Array("100".utf8))
            try daemon.program.wait(for: "this Mac has slept", within: 20)
            try daemon.program.wait(for: "the vmnet interface works again", within: 20)
            // The TAP is another one now, with another hardware address.
            try network.host.ip("addr", "replace", "192.168.77.1/24", "dev", "bridge100")
            try guest.namespace.ip("neigh", "flush", "all")
            #expect(try guest.namespace.pings("192.168.77.1"))
            #expect(try daemon.stop() == .exited(0))
        }

        /// Any status of a read or a write of an interface that is gone: the reference does not define it.
        @Test(arguments: [0, 1001, 1002, 1004, 1005])
        func vanishedInterfaceIsRestarted(goneStatus: Int) throws {
            let network = try TestNetwork()
            let (daemon, path) = try start(network, "vanish_after=40,gone_status=\(goneStatus)")
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            try guest.lease()
            _ = try guest.namespace.attempt(["ping", "-c", "60", "-i", "0.01", "-W", "1", "192.168.64.1"])
            try daemon.program.wait(for: "the vmnet interface has failed")
            try daemon.program.wait(for: "the vmnet interface works again")
            #expect(try guest.namespace.pings("192.168.64.1"), "the guest's port and address are what they were")
            #expect(try daemon.stop() == .exited(0))
        }

        @Test(arguments: [
            (1001, "choose another --vmnet-gateway"), (1002, "no memory"), (1003, "rejected an argument"),
            (1004, "not ready"), (1005, "denies access"),
            (1007, "out of buffers"), (1009, "Internet Sharing is on"), (1010, "authorization"), (1099, "status 1099"),
        ])
        func everyStatusHasMessage(status: Int, words: String) throws {
            let result = try refused("start_status=\(status)")
            #expect(result.termination == .exited([1005, 1010].contains(status) ? 77 : 69))
            #expect(result.error.contains(words), "\(result.error)")
        }

        /// At boot, launchd does not offer the service that vmnet calls, and vmnet refuses as it does without
        /// privilege.
        @Test func firstStartWaitsForService() throws {
            let network = try TestNetwork()
            let (daemon, path) = try start(network, "unregistered_starts=2")
            #expect(daemon.program.output.contains("trying again in 1 s"), "\(daemon.program.output)")
            #expect(daemon.program.output.contains("trying again in 2 s"))
            #expect(!daemon.program.output.contains("trying again in 4 s"))
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            try guest.lease()
            #expect(try guest.namespace.pings("192.168.64.1"))
            #expect(try daemon.stop() == .exited(0))
        }

        @Test func missingServiceIsReported() throws {
            let result = try refused("unregistered_starts=100")
            #expect(result.termination == .exited(69))
            #expect(result.error.contains("launchctl enable system/com.apple.NetworkSharing"), "\(result.error)")
        }

        @Test func unansweredStartTimesOut() throws {
            let none = try refused("start_without_handle=1")
            #expect(none.termination == .exited(69) && none.error.contains("refused (1001)"), "\(none.error)")
            let silent = try refused("start_silent=1")
            #expect(
                silent.termination == .exited(69) && silent.error.contains("did not answer in time"), "\(silent.error)")
        }

        @Test func lateStartFailureStopsInterface() throws {
            let network = try TestNetwork()
            try Files.replace(network.folder.file("state"), [])
            let result = try network.host.attempt([
                TestHost.product(SimulatedMac.product), "--state-dir", network.folder.file("state"), "--switch",
                network.folder.file("own"),
            ])
            #expect(
                result.termination == .exited(73) && result.error.contains("choose another with --state-dir"),
                "\(result.error)")
            #expect(!result.error.contains("does not return"))
        }

        @Test func unansweredStopTimesOut() throws {
            let network = try TestNetwork()
            let (daemon, path) = try start(network, "stop_silent=1")
            daemon.program.signal(Signal.terminate)
            #expect(try daemon.program.waitForEnd(within: 15) == .exited(0))
            #expect(daemon.program.output.contains("did not answer in time"))
            #expect(!Files.exists(path))
        }

        @Test func unbridgeableInterfaceListsBridgeableOnes() throws {
            let result = try refused("", ["--vmnet-mode", "bridged", "--vmnet-interface", "en7"])
            #expect(result.termination == .exited(69))
            #expect(
                result.error.contains("en7 cannot be bridged; --vmnet-interface takes one of: en0, en1"),
                "\(result.error)")
            let network = try TestNetwork()
            #expect(try network.host.run(TestHost.product(SimulatedMac.product), "interfaces") == "en0\nen1\n")
            let path = network.folder.file("own")
            let daemon = try VMNetDaemon(
                in: network.host, ["--switch", "--vmnet-mode", "bridged", "--vmnet-interface", "en0", path],
                folder: network.folder, product: SimulatedMac.product)
            #expect(daemon.readyLine == "bridged by vmnet, switch at \(path)")
            #expect(try daemon.stop() == .exited(0))
        }

        @Test func macOnlyOptionsAreRefusedOnLinux() throws {
            let network = try TestNetwork()
            for options in [
                ["--uplink", "vmnet"], ["--vmnet-external-interface", "en0"], ["--vmnet-nat66-prefix", "fd00:1::"],
                ["--vmnet-network-identifier", "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "--vmnet-mode", "host"],
            ] {
                let result = try network.host.attempt([TestHost.product("vde_vmnet")] + options + ["/tmp/vde"])
                #expect(
                    result.termination == .exited(64) && result.error.contains("needs vmnet.framework"),
                    "\(result.error)")
            }
        }
    }
}
