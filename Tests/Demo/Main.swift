// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Wire

/// `make demo`, `make demo-mac`: the main job, shown on hosts made of network namespaces; to a user without privilege,
/// without it. The network of this host is not changed.
@main
struct Demo {
    static func main() {
        let isMac = CommandLine.arguments.dropFirst().first == "mac"
        guard TestHost.isRoot else {
            if isMac {
                StandardOutput.writeError("This demo makes network namespaces and needs root; type: make demo-mac\n")
                ProcessExit.exit(77)
            }
            RootlessDemo.start(Array(CommandLine.arguments.dropFirst()))
        }
        SignalPipe.ignore(Signal.pipe)
        let show = Show()
        do {
            if isMac { try SimulatedMacDemo.run(show) } else { try run(show) }
        } catch {
            show.failure("\(error)")
        }
        ProcessExit.exit(show.summary() ? 0 : 1)
    }

    private static let gateway = "192.168.105.1"

    private static func run(_ show: Show) throws {
        show.say(
            "Two network namespaces: a host, and behind it one that plays the Internet "
                + "(\(TestNetwork.internetAddress))."
        )
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
        // The guests belong to a user without any privilege, who has called vde_vmnet through sudo.
        let user = "nobody"
        guard let uid = Accounts.user(named: user), let gid = Accounts.group(named: "nogroup") else {
            throw CommandFailed(description: "there is no user \(user)")
        }
        let directory = network.folder.file("user")
        try Files.makeDirectory(directory)
        try Files.setOwner(directory, user: uid, group: gid)
        let path = directory + "/vde"

        show.heading("vde_vmnet, called by \(user) through sudo")
        show.command("sudo vde_vmnet --switch \(path)")
        let started = MonotonicClock.now
        let daemon = try VMNetDaemon(
            in: network.host, ["--switch", path], folder: network.folder,
            environment: ["SUDO_UID": "\(uid)", "SUDO_GID": "\(gid)"], level: "info", echo: { show.output($0) })
        show.say("ready after \(show.milliseconds(since: started)) ms")

        show.heading(
            "Three virtual machines, as \(user): two of QEMU (software emulation, Debian's kernel), one user-mode Linux"
        )
        show.command(
            "qemu-system-x86_64 -device virtio-net-pci,netdev=net0 -netdev vde,id=net0,sock=\(path) ...     (twice)")
        show.command("linux.uml eth0=vde,\(path) ...")
        let booting = MonotonicClock.now
        let guests = [
            try VirtualMachine.qemu(
                "qemu-a", netdev: "vde,id=net0,sock=\(path)", mac: "52:54:00:12:34:56", in: network.host, user: user,
                folder: network.folder),
            try VirtualMachine.qemu(
                "qemu-b", netdev: "vde,id=net0,sock=\(path)", mac: "52:54:00:12:34:57", in: network.host, user: user,
                folder: network.folder),
            try VirtualMachine.uml(
                "uml", network: "vde,\(path)", mac: "52:54:00:12:34:58", in: network.host, user: user,
                directory: directory, folder: network.folder),
        ]
        for guest in guests { try guest.waitUntilBooted() }
        show.say("booted in \(show.milliseconds(since: booting)) ms")

        show.heading("What they can do")
        var addresses: [String] = []
        for guest in guests {
            show.check("\(guest.name): lease by DHCP") {
                addresses.append(VirtualMachine.address(in: try guest.lease()))
                return addresses.last!
            }
        }
        guard addresses.count == guests.count else {
            throw CommandFailed(description: "without addresses there is nothing more to show")
        }
        try showReach(guests, addresses, network, show)

        show.heading("The same from vde_vmnet's own tiny guest, as \(user)")
        show.command("vde_vmnet check \(path)")
        show.check("vde_vmnet check") {
            let result = try network.host.attempt(
                Namespace.running(as: user) + [TestHost.product("vde_vmnet"), "check", path])
            show.output(result.output)
            guard result.succeeded else { throw CommandFailed(description: result.error) }
            return ""
        }

        show.heading("The end")
        for guest in guests { guest.kill() }
        let stopping = MonotonicClock.now
        show.check("vde_vmnet ends cleanly, and takes its switch away") {
            guard try daemon.stop() == .exited(0), !Files.exists(path) else {
                throw CommandFailed(description: "\(daemon.program.output)")
            }
            return "in \(show.milliseconds(since: stopping)) ms"
        }
    }

    private static func showReach(
        _ guests: [VirtualMachine], _ addresses: [String], _ network: TestNetwork, _ show: Show
    ) throws {
        let server = try network.host.start([
            "busybox", "nc", "-ll", "-p", "7000", "-e", "echo", "a word from the host",
        ])
        try network.host.waitForListener(on: 7000)
        defer { server.kill() }
        for (number, guest) in guests.enumerated() {
            let next = (number + 1) % guests.count
            show.check("\(guest.name): ping the host") {
                try guest.succeed("ping -c 1 -W 5 \(gateway)", showing: "time=")
            }
            show.check("\(guest.name): ping \(guests[next].name)") {
                try guest.succeed("ping -c 1 -W 5 \(addresses[next])", showing: "time=")
            }
            show.check("\(guest.name): resolve a name") {
                try guest.succeed("nslookup -type=a \(TestNetwork.internetName)", showing: TestNetwork.internetAddress)
                    + " is \(TestNetwork.internetName)"
            }
            show.check("\(guest.name): TCP to the host") {
                try guest.succeed("nc \(gateway) 7000", showing: "a word from the host")
            }
            show.check("\(guest.name): a page from beyond the host, through NAT") {
                let page = try guest.succeed("wget -q -O - http://\(TestNetwork.internetName)/", showing: "Hello")
                let seen = try guest.succeed(
                    "wget -q -O - http://\(TestNetwork.internetAddress)/cgi-bin/who", showing: TestNetwork.hostAddress)
                return "\"\(page)\"; the server saw \(seen)"
            }
            show.check("the host: TCP to \(guest.name)'s own address") {
                try guest.run(
                    "mkdir -p /www && echo 'a word from \(guest.name)' > /www/index.html && httpd -p 80 -h /www")
                let page = try network.host.fetch(addresses[number])
                guard page == "a word from \(guest.name)" else { throw CommandFailed(description: "got: \(page)") }
                return "\"\(page)\" from \(addresses[number])"
            }
        }
    }

    private static func difference(_ before: String, _ after: String) -> String {
        let old = Set(before.split(separator: "\n")), new = Set(after.split(separator: "\n"))
        return (old.subtracting(new).map { "- " + $0 } + new.subtracting(old).map { "+ " + $0 }).sorted().joined(
            separator: "\n")
    }
}

extension VirtualMachine {
    /// Runs a command that must succeed and print `pattern`; returns the line with it.
    func succeed(_ command: String, showing pattern: String) throws -> String {
        let result = try run(command)
        guard result.status == 0, let line = result.output.split(separator: "\n").first(where: { $0.contains(pattern) })
        else {
            throw CommandFailed(description: "\(command): status \(result.status)\n\(result.output)")
        }
        return String(line).trimmed
    }
}
