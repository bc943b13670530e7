// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Timing
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
        guard let uid = UserDatabase.user(named: user), let gid = UserDatabase.group(named: "nogroup") else {
            throw CommandFailed(description: "there is no user \(user)")
        }
        let directory = network.folder.file("user")
        try Files.makeDirectory(directory)
        try Files.setOwner(directory, user: uid, group: gid)
        let path = directory + "/vde"

        show.heading("vde_vmnet, called by \(user) through sudo")
        show.command("sudo vde_vmnet --switch \(path)")
        let started = BootClock.now
        let daemon = try VMNetDaemon(
            in: network.host, ["--switch", path], folder: network.folder,
            environment: ["SUDO_UID": "\(uid)", "SUDO_GID": "\(gid)"], level: "info", echo: { show.output($0) })
        show.say("ready after \(show.milliseconds(since: started)) ms")

        var group = try GuestGroup(
            on: path, in: network.host, as: user, directory: directory, folder: network.folder, show: show)
        try group.getLeases()
        try showReach(group, network, show)

        show.heading("The same from vde_vmnet's own tiny guest, as \(user)")
        show.ownCheck(of: path) { try network.host.attempt(Namespace.running(as: user) + $0) }
        show.end(group.guests, daemon.program, path: path)
    }

    private static func showReach(_ group: GuestGroup, _ network: TestNetwork, _ show: Show) throws {
        let server = try network.host.start([
            "busybox", "nc", "-ll", "-p", "7000", "-e", "echo", "a word from the host",
        ])
        try network.host.waitForListener(on: 7000)
        defer { server.kill() }
        for (number, guest) in group.guests.enumerated() {
            group.ping(from: number, gateway: gateway, called: "the host")
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
                let page = try network.host.fetch(group.addresses[number])
                guard page == "a word from \(guest.name)" else { throw CommandFailed(description: "got: \(page)") }
                return "\"\(page)\" from \(group.addresses[number])"
            }
        }
    }

    private static func difference(_ before: String, _ after: String) -> String {
        let old = Set(before.split(separator: "\n")), new = Set(after.split(separator: "\n"))
        return (old.subtracting(new).map { "- " + $0 } + new.subtracting(old).map { "+ " + $0 }).sorted().joined(
            separator: "\n")
    }
}
