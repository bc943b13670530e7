// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// Guests with their own kernels.
    @Suite struct GuestKernels {
        @Test(
            .enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"),
            .enabled(if: VirtualMachine.canRunUML, "\(VirtualMachine.umlReason)"))
        func guestsReachEverythingAndAreReached() throws {
            let fixture = try DaemonFixture([], internet: true)
            let network = fixture.network
            let guests = [
                try VirtualMachine.qemu(
                    "qemu-a", netdev: "vde,id=net0,sock=\(fixture.vde.path)", mac: "52:54:00:00:00:01",
                    in: fixture.host,
                    folder: fixture.folder),
                try VirtualMachine.qemu(
                    "qemu-b", netdev: "vde,id=net0,sock=\(fixture.vde.path)", mac: "52:54:00:00:00:02",
                    in: fixture.host,
                    folder: fixture.folder),
                try VirtualMachine.uml(
                    "uml", network: "vde,\(fixture.vde.path)", mac: "52:54:00:00:00:03", in: fixture.host,
                    folder: fixture.folder),
            ]
            var addresses: [String] = []
            for (number, guest) in guests.enumerated() {
                try guest.waitUntilBooted()
                addresses.append(VirtualMachine.address(in: try guest.lease()))
                #expect(addresses[number] == "192.168.105.\(2 + number)")
            }
            for (number, guest) in guests.enumerated() {
                #expect(try guest.run("ping -c 1 -W 5 \(gateway)").status == 0, "\(guest.name) pings the gateway")
                #expect(
                    try guest.run("ping -c 1 -W 5 \(TestNetwork.internetAddress)").status == 0,
                    "\(guest.name) pings the outside")
                #expect(
                    try guest.run("nslookup -type=a \(TestNetwork.internetName)").output.contains(
                        TestNetwork.internetAddress), "\(guest.name) resolves")
                #expect(
                    try guest.run("wget -q -O - http://\(TestNetwork.internetName)/").output
                        == "Hello from the Internet", "\(guest.name) fetches")
                // NAT: the outside sees the host.
                #expect(
                    try guest.run("wget -q -O - http://\(TestNetwork.internetAddress)/cgi-bin/who").output.contains(
                        TestNetwork.hostAddress))
                let neighbour = addresses[(number + 1) % addresses.count]
                #expect(try guest.run("ping -c 1 -W 5 \(neighbour)").status == 0, "\(guest.name) pings \(neighbour)")
                // The host opens TCP to the guest's own address.
                try guest.run("mkdir -p /www && echo 'this is \(guest.name)' > /www/index.html && httpd -p 80 -h /www")
                #expect(try fixture.host.fetch(addresses[number]) == "this is \(guest.name)")
            }
            // TCP to the host.
            let server = try fixture.host.start(["busybox", "nc", "-ll", "-p", "7000", "-e", "echo", "a word"])
            try fixture.host.waitForListener(on: 7000)
            for guest in guests { #expect(try guest.run("nc \(gateway) 7000").output == "a word") }
            server.kill()
            // Nothing gets in from outside.
            try network.internet.ip("route", "add", "192.168.105.0/24", "via", TestNetwork.hostAddress)
            #expect(try !network.internet.pings(addresses[0], seconds: 1))
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"))
        func qemuJoinsCableWithoutSwitch() throws {
            let network = try TestNetwork()
            let path = network.folder.file("cable")
            let daemon = try VMNetDaemon(in: network.host, [path + "[]"], folder: network.folder)
            let guest = try VirtualMachine.qemu(
                "guest", netdev: "vde,id=net0,sock=ptp://\(path)", mac: "52:54:00:00:00:01", in: network.host,
                folder: network.folder)
            try guest.waitUntilBooted()
            #expect(VirtualMachine.address(in: try guest.lease()) == "192.168.105.2")
            #expect(try guest.run("ping -c 1 -W 5 \(gateway)").status == 0)
            #expect(try daemon.stop() == .exited(0))
            #expect(!Files.exists(path))
        }

        @Test(arguments: ["udhcpc", "dhclient", "dhcpcd"])
        func commonDHCPClientsGetLease(client: String) throws {
            let fixture = try DaemonFixture()
            let guest = try fixture.guest()
            let interface = PlugGuest.interface
            let files = fixture.folder
            let resolvers = Files.text("/etc/resolv.conf")
            // Its own script writes to this guest's resolv.conf.
            let script = files.file("dhclient-script")
            try Files.replace(
                script,
                Array(
                    """
                    #!/bin/sh
                    case $reason in
                        PREINIT) ip link set "$interface" up ;;
                        BOUND|RENEW|REBIND|REBOOT)
                            ip addr replace "$new_ip_address/$new_subnet_mask" dev "$interface"
                            [ -z "$new_routers" ] || ip route replace default via "${new_routers%% *}" ;;
                        RELEASE|EXPIRE|STOP|FAIL) ip addr flush dev "$interface" ;;
                    esac

                    """.utf8), mode: 0o755)
            let dhclient = [
                "-sf", script, "-cf", files.file("dhclient.conf"), "-lf", files.file("dhclient.leases"), "-pf",
                files.file("dhclient.pid"), interface,
            ]
            func run(_ words: [String]) throws {
                let result = try guest.namespace.attempt(words)
                guard result.succeeded else {
                    throw CommandFailed(description: "\(words.joined(separator: " ")): \(result.output)\(result.error)")
                }
            }
            switch client {
            case "dhclient":
                try Files.replace(files.file("dhclient.conf"), Array("timeout 10;\n".utf8))
                try run(["dhclient", "-1", "-v"] + dhclient)
            case "dhcpcd":
                // Its identifiers and leases in its own mounts.
                try guest.namespace.run(
                    "sh", "-c", "mount -t tmpfs none /var/lib/dhcpcd && exec dhcpcd \"$@\"", "sh", "--oneshot",
                    "--ipv4only", "--nobackground", "--nohook", "resolv.conf", "--timeout", "15", interface)
            default:
                try guest.lease()
            }
            #expect(try guest.namespace.run("ip", "-4", "-o", "addr", "show", interface).contains("192.168.105.2/24"))
            #expect(try guest.namespace.pings(gateway))
            switch client {
            case "dhclient":
                try run(["dhclient", "-r"] + dhclient)
                try fixture.daemon.program.wait(for: "released 192.168.105.2", within: 5)
            default:
                break
            }
            #expect(Files.text("/etc/resolv.conf") == resolvers, "this machine's own file is not the guest's")
        }
    }
}
