// SPDX-License-Identifier: Apache-2.0
import Platform

/// A real guest with its own kernel, driven through its console.
package final class VirtualMachine {
    package let name: String
    private let program: BackgroundProgram
    private let folder: TemporaryFolder
    /// Characters of the console's output that have been dealt with.
    private var position = 0

    /// A guest that `program` has started, whose console are the program's standard streams.
    package init(_ name: String, _ program: BackgroundProgram, _ folder: TemporaryFolder) {
        self.name = name
        self.program = program
        self.folder = folder
    }

    deinit { kill() }

    private static var cache: String { TestHost.packageRoot + "/.cache/guest" }

    package static let canRunQEMU = Files.exists(cache + "/vmlinuz") && Files.exists("/usr/bin/qemu-system-x86_64")
    package static let canRunUML = Files.exists("/usr/bin/linux.uml")
    package static let qemuReason = "needs qemu-system-x86 and a kernel from ci/fetch-guest-kernel"
    /// The module of IPv6 for the user-mode Linux, and what it depends on; none if IPv6 is no module there.
    package static let umlIPv6: [String] = {
        let directory = "/usr/lib/uml/modules"
        for version in (try? Files.entries(directory)) ?? [] {
            let kernel = "\(directory)/\(version)/kernel"
            let modules = [kernel + "/lib/crc-ccitt.ko", kernel + "/net/ipv6/ipv6.ko"].filter(Files.exists)
            if !modules.isEmpty { return modules }
        }
        return []
    }()
    package static let umlReason = "needs the package user-mode-linux"

    /// Starts QEMU (software emulation) with one virtio network card.
    /// - Parameters:
    ///   - netdev: the value of `-netdev`, with the id net0.
    ///   - user: runs QEMU as this user.
    ///   - tools: programs, statically linked, that the guest has in /bin.
    ///   - wrapper: what is put before QEMU's command.
    package static func qemu(
        _ name: String, netdev: String, mac: String, in namespace: Namespace? = nil, user: String? = nil,
        device: String = "", options: [String] = [], tools: [String] = [],
        folder: TemporaryFolder, wrapper: [String] = [], echo: (@Sendable (String) -> Void)? = nil
    ) throws -> VirtualMachine {
        let command =
            Namespace.running(as: user) + wrapper + ["qemu-system-x86_64"] + (try qemuOptions(folder, tools: tools)) + [
                "-netdev", netdev, "-device", "virtio-net-pci,netdev=net0,romfile=,mac=\(mac)\(device)",
            ] + options
        return VirtualMachine(name, try start(command, namespace, echo), folder)
    }

    /// Starts QEMU with a network card whose back-end shares the guest's memory (vhost-user).
    /// - Parameters:
    ///   - socket: QEMU's end, as the value of `-chardev socket,`: a path and options.
    ///   - pairs: queue pairs, one for each processor of the guest.
    ///   - device: further options of the network card.
    ///   - options: further options of QEMU.
    package static func vhostUser(
        _ name: String, socket: String, mac: String, pairs: Int = 1, device: String = "", options: [String] = [],
        in namespace: Namespace, tools: [String] = [], folder: TemporaryFolder
    ) throws -> VirtualMachine {
        try qemu(
            name, netdev: "vhost-user,id=net0,chardev=control,queues=\(pairs)", mac: mac, in: namespace,
            // In software emulation, QEMU 7.2 itself crashes with MSI-X and vhost-user.
            device: ",vectors=0" + (pairs > 1 ? ",mq=on" : "") + device,
            options: [
                "-smp", "\(pairs)", "-chardev", "socket,id=control,\(socket)", "-object",
                "memory-backend-memfd,id=memory,size=128M,share=on", "-machine", "memory-backend=memory",
            ] + options, tools: tools, folder: folder)
    }

    /// Whether there are the modules of a virtual machine that is itself a host.
    package static let canRunHost = canRunQEMU && Files.exists(cache + "/host-modules/veth.ko")

    /// Starts QEMU (software emulation) without a network card, as a host with network namespaces, TAPs and nftables.
    /// - Parameters:
    ///   - programs: paths that it has as well, with the libraries that ldd(1) lists for them.
    ///   - libraries: loaded at run time, with those that they need.
    package static func host(
        _ name: String, programs: [String], libraries: [String], folder: TemporaryFolder
    ) throws -> VirtualMachine {
        var places = Set(programs + libraries)
        for path in programs + libraries {
            // Such as `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f4db4c1e000)`.
            for word in try ChildProcess.run(["ldd", path]).output.split(whereSeparator: \.isWhitespace)
            where word.hasPrefix("/") { places.insert(String(word)) }
        }
        let initrd = folder.file("initrd-host"), modules = cache + "/host-modules"
        try Initrd.write(
            to: initrd, modules: try Files.entries(modules).map { modules + "/" + $0 }, files: places.sorted())
        let command = ["qemu-system-x86_64"] + options(initrd: initrd, megabytes: 768)
        return VirtualMachine(name, try start(command, nil, nil), folder)
    }

    /// Writes the kernel, the root file system as `initrd`, and a script of iPXE that loads both.
    package static func writeBootFiles(to directory: String, script: String) throws {
        try Files.replace(directory + "/vmlinuz", try Files.read(cache + "/vmlinuz"))
        try Initrd.write(
            to: directory + "/initrd", modules: try Files.entries(cache + "/modules").map { cache + "/modules/" + $0 })
        let text = """
            #!ipxe
            kernel vmlinuz console=ttyS0 quiet loglevel=0 panic=-1 rdinit=/init from=tftp
            initrd initrd
            boot

            """
        try Files.replace(directory + "/" + script, Array(text.utf8))
    }

    /// Starts QEMU (software emulation) without a disk and a kernel: the firmware of the network card, iPXE, loads one.
    /// - Parameter netdev: the value of `-netdev`, with the id net0.
    package static func qemuFromNetwork(
        _ name: String, netdev: String, folder: TemporaryFolder
    ) throws -> VirtualMachine {
        let command = [
            "qemu-system-x86_64", "-accel", "tcg", "-m", "256", "-nodefaults", "-no-reboot", "-display", "none",
            "-serial", "stdio", "-boot", "n", "-netdev", netdev, "-device",
            "virtio-net-pci,netdev=net0,mac=52:54:00:00:00:31",
        ]
        return VirtualMachine(name, try start(command, nil, nil), folder)
    }

    /// QEMU's options without those of the network card: software emulation, the test's kernel and root file system.
    package static func qemuOptions(_ folder: TemporaryFolder, tools: [String] = []) throws -> [String] {
        let initrd = folder.file("initrd-qemu")
        if !Files.exists(initrd) {
            try Initrd.write(
                to: initrd, modules: try Files.entries(cache + "/modules").map { cache + "/modules/" + $0 },
                tools: tools)
        }
        return options(initrd: initrd, megabytes: 128)
    }

    private static func options(initrd: String, megabytes: Int) -> [String] {
        [
            "-accel", "tcg", "-m", "\(megabytes)", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio",
            "-kernel", cache + "/vmlinuz", "-initrd", initrd, "-append",
            "console=ttyS0 quiet loglevel=0 panic=-1 rdinit=/init",
        ]
    }

    /// Starts a user-mode Linux.
    /// - Parameters:
    ///   - network: the value of `eth0=`, such as `vde,/tmp/vde`.
    ///   - user: runs it as this user, to whom `directory` belongs.
    ///   - directory: for its own files.
    ///   - hasIPv6: it loads `umlIPv6`.
    package static func uml(
        _ name: String, network: String, mac: String, in namespace: Namespace? = nil, user: String? = nil,
        directory: String? = nil, hasIPv6: Bool = false, folder: TemporaryFolder,
        wrapper: [String] = [], echo: (@Sendable (String) -> Void)? = nil
    ) throws -> VirtualMachine {
        let directory = directory ?? folder.path
        // eth0=vde,SOCKET,MAC
        let command =
            Namespace.running(as: user) + wrapper + ["env", "TMPDIR=" + directory, "linux.uml"]
            + (try umlOptions(folder, directory: directory, id: name, hasIPv6: hasIPv6)) + ["eth0=\(network),\(mac)"]
        return VirtualMachine(name, try start(command, namespace, echo), folder)
    }

    /// Starts a user-mode Linux that is connected to a socket of sequenced packets. Its interface is called eth0, as in
    /// all guests.
    package static func userModeLinux(
        _ name: String, packets path: String, mac: String, in namespace: Namespace? = nil, folder: TemporaryFolder
    ) throws -> VirtualMachine {
        let command =
            ["env", "TMPDIR=" + folder.path, "linux.uml"] + (try umlOptions(folder, directory: folder.path, id: name))
            + ["vec0:transport=bess,dst=\(path),mac=\(mac)"]
        let guest = VirtualMachine(name, try start(command, namespace, nil), folder)
        try guest.waitUntilBooted()
        try guest.run("ip link set vec0 name eth0")
        return guest
    }

    /// Options of a user-mode Linux without those of the network card.
    /// - Parameter directory: for its own files.
    package static func umlOptions(
        _ folder: TemporaryFolder, directory: String, id: String = "uml", hasIPv6: Bool = false
    ) throws -> [String] {
        let modules = hasIPv6 ? umlIPv6 : []
        let initrd = folder.file(modules.isEmpty ? "initrd-uml" : "initrd-uml6")
        if !Files.exists(initrd) { try Initrd.write(to: initrd, modules: modules) }
        return [
            "mem=64M", "umid=\(id)-\(CurrentProcess.identifier)", "uml_dir=\(directory)/", "initrd=" + initrd,
            "rdinit=/init", "quiet", "loglevel=0", "con0=fd:0,fd:1", "con=null", "root=/dev/ram0",
        ]
    }

    private static func start(
        _ command: [String], _ namespace: Namespace?, _ echo: (@Sendable (String) -> Void)?
    ) throws -> BackgroundProgram {
        if let namespace { return try namespace.start(command, echo: echo) }
        return try BackgroundProgram(command, echo: echo)
    }

    /// Waits until the guest takes commands.
    package func waitUntilBooted(within seconds: Double = 120) throws {
        position += try program.wait(for: Initrd.readyMark, within: seconds).count
    }

    /// What a command in the guest came to.
    package struct Result {
        package let status: Int
        package let output: String
    }

    /// Runs a shell command in the guest.
    @discardableResult
    package func run(_ command: String, within seconds: Double = 60) throws -> Result {
        try program.type(command + "\n")
        let text = try program.wait(for: Initrd.doneMark, after: position, within: seconds)
        let end = try program.wait(for: "\n", after: position + text.count, within: 5)
        position += text.count + end.count
        let output = text.dropLast(Initrd.doneMark.count).replacing("\r", with: "")
        return Result(
            status: end.split(separator: " ").last.flatMap { Int($0.filter(\.isNumber)) } ?? -1,
            output: String(output).trimmed)
    }

    /// Gets a lease for `eth0`. Returns what the client received, such as `ip=192.168.105.2 ...`.
    package func lease() throws -> String {
        try run("ip link set eth0 up")
        let result = try run(
            "udhcpc -i eth0 -q -n -t 10 -T 1 -O mtu -s /etc/udhcpc.sh 2>/tmp/udhcpc.log || cat /tmp/udhcpc.log",
            within: 40)
        guard let line = result.output.split(separator: "\n").last(where: { $0.hasPrefix("ip=") }) else {
            throw CommandFailed(description: "\(name) got no lease: \(result.output)")
        }
        return String(line)
    }

    /// The address in what `lease` returned.
    package static func address(in lease: String) -> String { String(lease.dropFirst(3).prefix { $0 != " " }) }

    /// Switches the guest off from inside; its program ends.
    package func powerOff() throws { try program.type("poweroff -f\n") }

    package func signal(_ number: Int32) { program.signal(number) }

    package func waitForEnd(within seconds: Double = 20) throws -> ChildProcess.Termination {
        try program.waitForEnd(within: seconds)
    }

    /// The process on this host.
    package var identifier: Int32 { program.identifier }

    /// Everything the console has shown.
    package var console: String { program.output }

    package func kill() { program.kill() }
}

extension String {
    /// Without white space at both ends.
    package var trimmed: String {
        guard let first = firstIndex(where: { !$0.isWhitespace }), let last = lastIndex(where: { !$0.isWhitespace })
        else { return "" }
        return String(self[first...last])
    }
}
