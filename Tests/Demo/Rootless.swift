// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Timing
import Wire

/// The demo for a user without any privilege: guests, switch and a NAT in user mode, in namespaces that any user may
/// make.
enum RootlessDemo {
    private static let inside = "--inside"
    private static let hostAddress = "203.0.113.2"
    private static let name = "www.host.example"
    private static let gateway = "192.168.105.1"

    /// Runs it in its own network namespace, and ends the process.
    static func start(_ arguments: [String]) -> Never {
        if arguments.contains(inside) { run() }
        let own = (try? Files.realPath("/proc/self/exe")) ?? ""
        let namespaces = ["unshare", "--user", "--map-current-user", "--net", "--mount", "--keep-caps"]
        guard (try? ChildProcess.run(namespaces + ["true"]))?.succeeded == true else {
            StandardOutput.writeError(
                "The demo makes its own network namespace, which users may not do on this host "
                    + "(kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns); as root it "
                    + "may: sudo .build/release/vde_vmnet_demo\n"
            )
            ProcessExit.exit(77)
        }
        do {
            let child = try ChildProcess(namespaces + [own, inside], input: 0, output: 1, error: 2)
            guard case .exited(let status) = child.wait() else { ProcessExit.exit(1) }
            ProcessExit.exit(status)
        } catch {
            StandardOutput.writeError("\(error)\n")
            ProcessExit.exit(69)
        }
    }

    private static func run() -> Never {
        SignalPipe.ignore(Signal.pipe)
        let show = Show()
        do {
            try present(show)
        } catch {
            show.failure("\(error)")
        }
        ProcessExit.exit(show.summary() ? 0 : 1)
    }

    private static func command(_ words: String...) throws {
        let result = try ChildProcess.run(words)
        guard result.succeeded else {
            throw CommandFailed(description: "\(words.joined(separator: " ")): \(result.error)")
        }
    }

    /// What is shown has not even the rights that made the network.
    private static let plain = ["setpriv", "--ambient-caps=-all", "--inh-caps=-all", "--no-new-privs", "--"]

    /// Servers of the host, on an address that is not the loopback's, and a resolv.conf that names them.
    private static func makeHost(_ folder: TemporaryFolder) throws -> [BackgroundProgram] {
        try command("ip", "link", "set", "lo", "up")
        try command("ip", "link", "add", "host0", "type", "bridge")
        try command("ip", "addr", "add", hostAddress + "/24", "dev", "host0")
        try command("ip", "link", "set", "host0", "up")
        let pages = folder.file("www"), resolvers = folder.file("resolv.conf")
        try Files.makeDirectories(pages)
        try Files.replace(pages + "/index.html", Array("Hello from the host\n".utf8))
        try Files.replace(resolvers, Array("nameserver \(hostAddress)\n".utf8))
        try command("mount", "--bind", resolvers, "/etc/resolv.conf")
        return [
            try BackgroundProgram(["busybox", "httpd", "-f", "-p", "\(hostAddress):80", "-h", pages]),
            try BackgroundProgram([
                "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=",
                "--bind-interfaces", "--listen-address=\(hostAddress)",
                "--address=/\(name)/\(hostAddress)",
            ]),
        ]
    }

    private static func present(_ show: Show) throws {
        let folder = try TemporaryFolder()
        show.say(
            "You have no privilege, and need none. This runs in your own network namespace, whose host has "
                + "the address \(hostAddress)."
        )
        let servers = try makeHost(folder)
        defer { for server in servers { server.kill() } }

        let path = folder.file("vde")
        show.heading("vde_vmnet, called by \(UserDatabase.userName(CurrentProcess.effectiveUser))")
        show.command("vde_vmnet --switch --publish 8080:192.168.105.2:80 \(path)")
        let started = BootClock.now
        let daemon = try BackgroundProgram(
            plain + [
                TestHost.product("vde_vmnet"), "--switch", "--state-dir", folder.file("state"), "--publish",
                "8080:192.168.105.2:80", path,
            ],
            environment: ["XDG_RUNTIME_DIR": folder.path], name: "vde_vmnet", echo: { show.output($0) })
        try daemon.wait(for: "vde_vmnet: ready: ")
        show.say("ready after \(show.milliseconds(since: started)) ms")

        var group = try GuestGroup(on: path, folder: folder, wrapper: plain, show: show)
        try group.getLeases()
        let guests = group.guests
        for (number, guest) in guests.enumerated() {
            group.ping(from: number, gateway: gateway, called: "the gateway")
            show.check("\(guest.name): a page by its name, from the host's server") {
                try guest.succeed("wget -q -O - http://\(name)/", showing: "Hello")
            }
        }
        show.check("the host: a page from qemu-a, at the published port 8080") {
            try guests[0].run("mkdir -p /www && echo 'a word from qemu-a' > /www/index.html && httpd -p 80 -h /www")
            let result = try ChildProcess.run(["busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/"])
            guard result.output.trimmed == "a word from qemu-a" else {
                throw CommandFailed(description: "\(result.output)\(result.error)")
            }
            return "\"\(result.output.trimmed)\""
        }

        show.heading("The same from vde_vmnet's own tiny guest")
        show.ownCheck(of: path) { try ChildProcess.run(plain + $0) }
        show.end(guests, daemon, path: path)
    }
}
