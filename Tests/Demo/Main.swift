// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Wire

/// `make demo`: the main job, shown on hosts made of network namespaces. Nothing of this machine's own network is touched.
@main
struct Demo {
    static func main() {
        guard Machine.isRoot else {
            StandardOutput.writeError("The demo makes network namespaces and needs root: sudo .build/release/vde_vmnet_demo, or just: make demo\n")
            ProcessExit.exit(77)
        }
        SignalPipe.ignore(Signal.pipe)
        let show = Show()
        do {
            try run(show)
        } catch {
            show.failure("\(error)")
        }
        ProcessExit.exit(show.summary() ? 0 : 1)
    }

    private static let gateway = "192.168.105.1"

    private static func run(_ show: Show) throws {
        show.say("A machine with two network namespaces: a host, and behind it one that plays the Internet (\(TestNetwork.internetAddress)).")
        let network = try TestNetwork()
        try network.startInternet()
        let before = try network.host.snapshot()
        try withNetwork(network, show)
        show.heading("Afterwards")
        let after = try network.host.snapshot()
        show.check("links, addresses, routes, nftables and settings of the host are as before") {
            guard before == after else { throw CommandFailed(description: Demo.difference(before, after)) }
            return ""
        }
    }

    private static func withNetwork(_ network: TestNetwork, _ show: Show) throws {
        // Switch and machine belong to a user without any privilege.
        let user = "nobody"
        let directory = network.folder.file("user")
        try Files.makeDirectory(directory)
        _ = try ChildProcess.run(["chown", user, directory])
        let path = directory + "/vde"

        show.heading("A switch, as \(user)")
        show.command("vde_switch --unix \(path)")
        let vde = try VDESwitch(in: network.host, at: path, user: user)

        show.heading("vde_vmnet, as root")
        show.command("sudo vde_vmnet \(path)")
        let started = MonotonicClock.now
        let daemon = try VMNetDaemon(in: network.host, [path], folder: network.folder, level: "info", echo: { show.output($0) })
        let ready = show.milliseconds(since: started)
        show.say("ready after \(ready) ms")

        show.heading("A virtual machine, as \(user): Debian's kernel in QEMU, software emulation")
        show.command("qemu-system-x86_64 -device virtio-net-pci,netdev=net0 -netdev vde,id=net0,sock=\(path) ...")
        let booting = MonotonicClock.now
        let guest = try GuestMachine.qemu(
            "guest", netdev: "vde,id=net0,sock=\(path)", mac: "52:54:00:12:34:56", in: network.host, user: user, folder: network.folder)
        try guest.waitUntilBooted()
        show.say("booted in \(show.milliseconds(since: booting)) ms")

        show.heading("What the guest can do")
        var address = ""
        show.check("lease by DHCP") {
            address = GuestMachine.address(in: try guest.lease())
            return address
        }
        show.check("ping the host") { try guest.succeed("ping -c 1 -W 5 \(gateway)", showing: "time=") }
        show.check("resolve a name") {
            try guest.succeed("nslookup -type=a \(TestNetwork.internetName)", showing: TestNetwork.internetAddress) + " is \(TestNetwork.internetName)"
        }
        show.check("TCP to the host") {
            let server = try network.host.start(["busybox", "nc", "-ll", "-p", "7000", "-e", "echo", "a word from the host"])
            try network.host.waitForListener(on: 7000)
            defer { server.kill() }
            return try guest.succeed("nc \(gateway) 7000", showing: "a word from the host")
        }
        show.check("a page from beyond the host, through NAT") {
            let page = try guest.succeed("wget -q -O - http://\(TestNetwork.internetName)/", showing: "Hello")
            let seen = try guest.succeed("wget -q -O - http://\(TestNetwork.internetAddress)/cgi-bin/who", showing: TestNetwork.hostAddress)
            return "\"\(page)\"; the server saw \(seen)"
        }
        show.check("TCP from the host to the guest's own address") {
            try guest.run("mkdir -p /www && echo 'a word from the guest' > /www/index.html && httpd -p 80 -h /www")
            let page = try network.host.fetch(address)
            guard page == "a word from the guest" else { throw CommandFailed(description: "got: \(page)") }
            return "\"\(page)\" from \(address)"
        }

        show.heading("The same from vde_vmnet's own tiny guest, as \(user)")
        show.command("vde_vmnet check \(path)")
        show.check("vde_vmnet check") {
            let result = try network.host.attempt(Namespace.running(as: user) + [Machine.product("vde_vmnet"), "check", path])
            show.output(result.output)
            guard result.succeeded else { throw CommandFailed(description: result.error) }
            return ""
        }

        show.heading("The end")
        guest.kill()
        let stopping = MonotonicClock.now
        show.check("vde_vmnet ends cleanly") {
            guard try daemon.stop() == .exited(0) else { throw CommandFailed(description: "\(daemon.program.output)") }
            return "in \(show.milliseconds(since: stopping)) ms"
        }
        _ = try vde.program.stop()
    }

    private static func difference(_ before: String, _ after: String) -> String {
        let old = Set(before.split(separator: "\n")), new = Set(after.split(separator: "\n"))
        return (old.subtracting(new).map { "- " + $0 } + new.subtracting(old).map { "+ " + $0 }).sorted().joined(separator: "\n")
    }
}

extension GuestMachine {
    /// Runs a command that must succeed and print `pattern`; returns the line with it.
    func succeed(_ command: String, showing pattern: String) throws -> String {
        let result = try run(command)
        guard result.status == 0, let line = result.output.split(separator: "\n").first(where: { $0.contains(pattern) }) else {
            throw CommandFailed(description: "\(command): status \(result.status)\n\(result.output)")
        }
        return String(line).trimmed
    }
}
