// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

/// A network whose guests boot from a directory.
private final class BootFixture {
    let network: OwnSwitchFixture
    let directory: String
    /// Bytes of the large file.
    static let size = 3_000_001

    init(_ uplink: NameServiceFixture.Uplink, options: [String] = [], environment: [String: String?] = [:]) throws {
        let holder = try TemporaryFolder()
        folder = holder
        directory = holder.file("boot")
        try Files.makeDirectory(directory)
        try Files.makeDirectory(directory + "/sub")
        var random = SeededGenerator(seed: 5)
        try Files.replace(directory + "/large", random.bytes(BootFixture.size))
        try Files.replace(directory + "/sub/small", Array("small\n".utf8))
        try Files.replace(holder.file("secret"), Array("secret\n".utf8))
        network = try OwnSwitchFixture(
            ["--uplink", uplink.rawValue, "--boot", directory + "/large", "--log-level", "debug"] + options,
            environment: environment)
    }

    private let folder: TemporaryFolder

    /// A guest with a lease.
    func guest(_ name: String = "guest") throws -> PlugGuest {
        let guest = try network.guest(name)
        try guest.lease()
        return guest
    }

    /// Loads a file with busybox. Returns its contents; nil if that failed.
    func load(_ name: String, _ guest: PlugGuest, _ options: String...) throws -> [UInt8]? {
        let copy = network.folder.file("copy-\(guest.namespace.name)")
        try? Files.remove(copy)
        let result = try guest.namespace.attempt(
            ["timeout", "60", "busybox", "tftp", "-g", "-r", name, "-l", copy] + options + [IntegrationTests.gateway])
        return result.succeeded ? try Files.read(copy) : nil
    }

    func contents(_ name: String) throws -> [UInt8] { try Files.read(directory + "/" + name) }
}

extension IntegrationTests {
    /// `--boot`: DHCP's boot fields, and files by TFTP.
    @Suite struct BootFileService {
        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func clientsLoadEqualFiles(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try BootFixture(uplink)
            let guest = try fixture.network.guest()
            let lease = try guest.lease("-O", "tftp", "-O", "bootfile")
            #expect(lease["siaddr"] == IntegrationTests.gateway && lease["boot_file"] == "large", "\(lease)")
            #expect(lease["tftp"] == IntegrationTests.gateway && lease["bootfile"] == "large", "\(lease)")
            let large = try fixture.contents("large")
            #expect(try fixture.load("large", guest, "-b", "1432") == large, "busybox with blksize")
            #expect(try fixture.load("sub/small", guest) == Array("small\n".utf8), "busybox with 512 bytes")
            #expect(try fixture.load("/sub//small", guest) == Array("small\n".utf8))
            let copy = fixture.network.folder.file("copy")
            for command in [
                [
                    "atftp", "--option", "blksize 1400", "--option", "windowsize 8", "--get", "--remote-file", "large",
                    "--local-file", copy, IntegrationTests.gateway,
                ],
                [
                    "atftp", "--option", "tsize", "--option", "timeout 2", "--get", "--remote-file", "large",
                    "--local-file", copy, IntegrationTests.gateway,
                ],
                ["tftp", "-m", "binary", IntegrationTests.gateway, "-c", "get", "large", copy],
            ] {
                try? Files.remove(copy)
                let result = try guest.namespace.attempt(["timeout", "60"] + command)
                #expect(
                    try Files.exists(copy) && Files.read(copy) == large, "\(command): \(result.output)\(result.error)")
            }
            #expect(try fixture.network.daemon.stop() == .exited(0))
        }

        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func hostileNamesAreRefused(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try BootFixture(uplink)
            let guest = try fixture.guest()
            let fifo = fixture.directory + "/fifo"
            _ = try fixture.network.host.attempt(["mkfifo", fifo])
            _ = try fixture.network.host.attempt(["ln", "-s", "../secret", fixture.directory + "/link"])
            _ = try fixture.network.host.attempt(["ln", "-s", "..", fixture.directory + "/up"])
            for name in [
                "../secret", "sub/../../secret", "/../secret", "link", "up/secret", "fifo", "sub", "none",
                "/etc/passwd",
                fixture.directory + "/large", String(repeating: "a/", count: 200) + "b", "/",
            ] { #expect(try fixture.load(name, guest) == nil, "\(name)") }
            #expect(try fixture.load("sub/small", guest) != nil)
        }

        @Test func clientThatNeverAcknowledgesDelaysNoOther() throws {
            let fixture = try BootFixture(.user)
            let guest = try fixture.guest(), other = try fixture.guest("other")
            // A thousand requests from as many ports, none of which is ever acknowledged.
            let request = TFTPMessage.read(TFTPRequest("large", [TFTPOption("windowsize", 16)])).bytes
            let file = fixture.network.folder.file("request")
            try Files.replace(file, request)
            _ = try guest.namespace.attempt([
                "bash", "-c", "for p in $(seq 1000); do cat \(file) > /dev/udp/\(IntegrationTests.gateway)/69; done",
            ])
            #expect(try fixture.load("large", other, "-b", "1400") == fixture.contents("large"))
            fixture.network.daemon.program.signal(10)
            try fixture.network.daemon.program.wait(for: "boot files: 1 loaded", within: 5)
        }

        @Test func guestWithoutLeaseIsNotServed() throws {
            let fixture = try BootFixture(.tap)
            let guest = try fixture.network.guest()
            try guest.namespace.ip("addr", "add", "192.168.105.77/24", "dev", PlugGuest.interface)
            #expect(try guest.namespace.pings(IntegrationTests.gateway))
            let copy = fixture.network.folder.file("copy")
            let result = try guest.namespace.attempt([
                "timeout", "5", "busybox", "tftp", "-g", "-r", "sub/small", "-l", copy, IntegrationTests.gateway,
            ])
            #expect(!result.succeeded)
        }

        /// Through sudo, files are read with the rights of the caller.
        @Test func filesOfOthersAreNotRead() throws {
            let caller = "12345"
            let fixture = try BootFixture(.tap, environment: ["SUDO_UID": caller, "SUDO_GID": caller])
            let guest = try fixture.guest()
            let secret = fixture.directory + "/roots"
            try Files.replace(secret, Array("secret\n".utf8), mode: 0o600)
            #expect(try fixture.load("roots", guest) == nil)
            try Files.setOwner(secret, user: 12_345, group: 12_345)
            #expect(try fixture.load("roots", guest) == Array("secret\n".utf8))
        }

        @Test func missingFilesAreRefusedAtTheStart() throws {
            let network = try TestNetwork()
            let directory = network.folder.file("boot")
            try Files.makeDirectory(directory)
            _ = try network.host.attempt(["ln", "-s", "/etc/passwd", directory + "/link"])
            for (file, reason) in [("none", "No such file"), ("link", "symbolic link"), ("none/none", "No such file")] {
                let result = try network.host.attempt([
                    TestHost.product("vde_vmnet"), "--switch", "--uplink", "user", "--boot", "\(directory)/\(file)",
                    network.folder.file("own"),
                ])
                #expect(result.termination == .exited(66) && result.error.contains(reason), "\(result.error)")
            }
        }

        @Test(.enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"))
        func qemuBootsOverTheNetwork() throws {
            let folder = try TemporaryFolder()
            let directory = folder.file("boot")
            try Files.makeDirectory(directory)
            try VirtualMachine.writeBootFiles(to: directory, script: "boot.ipxe")
            let network = try OwnSwitchFixture(
                ["--uplink", "user", "--boot", "ipxe=\(directory)/boot.ipxe", "--log-level", "debug"])
            let guest = try VirtualMachine.qemuFromNetwork(
                "netboot", netdev: "vde,id=net0,sock=\(network.path)", folder: folder)
            try guest.waitUntilBooted()
            #expect(try guest.run("cat /proc/cmdline").output.contains("from=tftp"))
            try network.daemon.program.wait(for: "has loaded 'initrd'", within: 5)
        }
    }
}
