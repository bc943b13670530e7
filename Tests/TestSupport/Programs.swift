// SPDX-License-Identifier: Apache-2.0
import Platform

/// A plain switch in a namespace: a real vde_switch, or ours when it is started by the same line.
package final class VDESwitch {
    package let path: String
    package let program: BackgroundProgram

    /// Ours, in vde_switch's words.
    package static var ours: [String] { [TestHost.product("vde_vmnet"), "switch"] }

    /// - Parameters:
    ///   - command: what is started: vde_switch, or `ours`.
    ///   - user: the user that runs it; nil for the test's own.
    package init(
        in namespace: Namespace, at path: String, options: [String] = [], command: [String] = ["vde_switch"],
        user: String? = nil
    ) throws {
        self.path = path
        // Its console is standard input: it ends when that does.
        program = try namespace.start(Namespace.running(as: user) + command + ["--unix", path] + options)
        try eventually("vde_switch at \(path)") { Files.exists(path + "/ctl") || program.poll() != nil }
        guard program.poll() == nil else { throw TimedOut("vde_switch ended: \(program.output)") }
    }

    /// Types a command at its console and returns the answer.
    package func command(_ text: String) throws -> String {
        let before = program.output.count
        try program.type(text + "\n")
        return try program.wait(for: "\n1", after: before, within: 5)
    }
}

/// Our own daemon, as a user starts it.
package final class VMNetDaemon {
    package let program: BackgroundProgram
    /// What it printed when it was ready: network, interface, gateway, switch.
    package let readyLine: String

    /// Starts it in a namespace and waits until it is ready.
    /// - Parameter wrapper: what is put before the command.
    package init(
        in namespace: Namespace, _ arguments: [String], folder: TemporaryFolder, environment: [String: String?] = [:],
        level: String = "debug", product: String = "vde_vmnet", wrapper: [String] = [],
        echo: (@Sendable (String) -> Void)? = nil
    ) throws {
        program = try VMNetDaemon.start(
            in: namespace, arguments, folder: folder, environment: environment, level: level, product: product,
            wrapper: wrapper, echo: echo)
        let start = try program.wait(for: "vde_vmnet: ready: ", within: 20).count
        readyLine = try program.wait(for: "\n", after: start, within: 5).trimmed
    }

    /// Starts it without waiting.
    package static func start(
        in namespace: Namespace, _ arguments: [String], folder: TemporaryFolder, environment: [String: String?] = [:],
        level: String = "debug", product: String = "vde_vmnet", wrapper: [String] = [],
        echo: (@Sendable (String) -> Void)? = nil
    ) throws -> BackgroundProgram {
        try namespace.start(
            wrapper + [TestHost.product(product), "--state-dir", folder.file("state"), "--log-level", level]
                + arguments,
            environment: environment, echo: echo)
    }

    /// Waits until it is known that no other server gives addresses.
    package func waitUntilServing() throws { try program.wait(for: "the built-in server assigns", within: 10) }

    package func stop() throws -> ChildProcess.Termination { try program.stop() }
}

/// A guest without a kernel: a namespace whose network card is plugged into a VDE network by libvdeplug's own program.
package final class PlugGuest {
    package let namespace: Namespace
    private let plug: BackgroundProgram
    private let folder: TemporaryFolder

    package static let interface = "eth0"

    /// - Parameter mac: nil for one that the kernel makes up.
    package init(_ name: String, path: String, mac: String? = nil, folder: TemporaryFolder) throws {
        self.folder = folder
        namespace = try Namespace(name)
        plug = try namespace.start(["vde_plug2tap", "--sock", path, PlugGuest.interface])
        try eventually("the TAP of \(name)") { (try? namespace.run("ip", "link", "show", PlugGuest.interface)) != nil }
        if let mac { try namespace.ip("link", "set", PlugGuest.interface, "address", mac) }
        try namespace.ip("link", "set", PlugGuest.interface, "up")
    }

    /// Gets a lease with busybox's client and configures the interface. Returns what the client received, as
    /// `name=value` lines.
    @discardableResult
    package func lease(_ options: String..., seconds: Int = 8) throws -> [String: String] {
        let script = folder.file("udhcpc-\(namespace.name)")
        try Files.replace(
            script,
            Array(
                """
                #!/bin/sh
                [ "$1" = bound ] || [ "$1" = renew ] || exit 0
                ip addr flush dev "$interface"
                ip addr add "$ip/$mask" dev "$interface"
                [ -z "$router" ] || ip route replace default via "$router"
                set | grep -E '^(ip|mask|subnet|router|dns|domain|search|mtu|lease|serverid|broadcast|hostname)='
                set | grep -E '^(ntpsrv|staticroutes|tftp|bootfile|boot_file|siaddr|opt[0-9]+)='
                exit 0

                """.utf8), mode: 0o755)
        let result = try namespace.attempt(
            [
                "busybox", "udhcpc", "-i", PlugGuest.interface, "-n", "-q", "-f", "-s", script, "-t", "\(seconds)",
                "-T", "1", "-O", "mtu",
            ] + options)
        guard result.succeeded else { throw CommandFailed(description: "udhcpc: \(result.output)\(result.error)") }
        var values: [String: String] = [:]
        for line in result.output.split(separator: "\n") {
            let parts = line.split(separator: "=", maxSplits: 1)
            if parts.count == 2 { values[String(parts[0])] = parts[1].trimmingQuotes }
        }
        return values
    }

    package func stop() { plug.kill() }

    /// The process that is the client of the switch.
    package var process: Int32 { plug.identifier }
}

extension Substring {
    /// busybox's `set` quotes values.
    var trimmingQuotes: String { String(drop { $0 == "'" }.reversed().drop { $0 == "'" }.reversed()) }
}
