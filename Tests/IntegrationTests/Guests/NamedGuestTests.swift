// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// Names of guests with other kernels and firmware.
    @Suite struct NamedGuests {
        private static let hostDNS = "127.0.0.1:5353"

        /// iPXE loads its kernel from a guest by that guest's name; its own name is fixed. User-mode Linux sends its
        /// name.
        @Test(
            .enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"),
            .enabled(if: VirtualMachine.canRunUML, "\(VirtualMachine.umlReason)"),
            arguments: NameServiceFixture.Uplink.allCases)
        func firmwareAndUserModeLinuxHaveNames(uplink: NameServiceFixture.Uplink) throws {
            let files = try TemporaryFolder(), directory = files.file("boot")
            try Files.makeDirectory(directory)
            try VirtualMachine.writeBootFiles(to: directory, script: "unused")
            let script = """
                #!ipxe
                kernel http://files.vm.internal/vmlinuz console=ttyS0 quiet loglevel=0 panic=-1 rdinit=/init from=name
                initrd http://files/initrd
                boot

                """
            try Files.replace(directory + "/boot.ipxe", Array(script.utf8))
            let fixture = try NameServiceFixture(
                uplink,
                options: [
                    "--boot", "ipxe=\(directory)/boot.ipxe", "--dhcp-host", "52:54:00:00:00:31,192.168.105.31,netboot",
                    "--host-dns", Self.hostDNS,
                ])
            let folder = fixture.network.folder
            let server = try PlugGuest("files", path: fixture.path, folder: folder)
            let address = try #require(try server.lease("-x", "hostname:files")["ip"])
            let pages = try server.namespace.start(["busybox", "httpd", "-f", "-h", directory])
            try server.namespace.waitForListener(on: 80)
            let firmware = try VirtualMachine.qemuFromNetwork(
                "netboot", netdev: "vde,id=net0,sock=\(fixture.path)", folder: files)
            let linux = try VirtualMachine.uml(
                "uml", network: "vde,\(fixture.path)", mac: "52:54:00:00:00:32", folder: files)
            try linux.waitUntilBooted()
            try linux.run("ip link set eth0 up")
            let lease = try linux.run("udhcpc -i eth0 -q -n -x hostname:uml -s /etc/udhcpc.sh 2>/dev/null")
            let own = VirtualMachine.address(in: lease.output.split(separator: "\n").last.map(String.init) ?? "")
            try firmware.waitUntilBooted()
            #expect(try firmware.run("cat /proc/cmdline").output.contains("from=name"))
            _ = try firmware.lease()

            let names = ["files": address, "netboot": "192.168.105.31", "uml": own]
            for (name, address) in names {
                // From the guests, by the search domain of their leases.
                for guest in [linux, firmware] {
                    let ping = try guest.run("ping -c 1 -W 5 \(name)")
                    #expect(ping.status == 0 && ping.output.contains("(\(address))"), "\(guest.name): \(ping)")
                }
                // From another guest and the host, by name and by address.
                let reverse = address.split(separator: ".").reversed().joined(separator: ".") + ".in-addr.arpa"
                for (namespace, server, port) in [
                    (server.namespace, IntegrationTests.gateway, "53"), (fixture.network.host, "127.0.0.1", "5353"),
                ] {
                    func dig(_ words: String...) throws -> String {
                        try namespace.attempt(["dig", "+short", "+time=5", "@\(server)", "-p", port] + words).output
                            .trimmed
                    }
                    #expect(try dig("\(name).vm.internal", "A") == address)
                    #expect(try dig(reverse, "PTR") == "\(name).vm.internal.")
                }
            }
            #expect(try fixture.daemon.stop() == .exited(0))
            pages.kill()
        }
    }
}
