// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

/// A network called lab on a host for it alone, and the commands that are typed there, with what they print.
private final class Lab {
    let network: TestNetwork
    let path: String
    let daemon: BackgroundProgram
    private var transcript: [String] = []

    init() throws {
        network = try TestNetwork()
        try network.startInternet()
        try network.host.run("sysctl", "-qw", "net.unix.max_dgram_qlen=512")
        path = network.folder.file("lab")
        daemon = try network.host.start(
            Lab.words(
                network,
                [
                    "--state-dir", network.folder.file("state"), "--switch", "--uplink", "tap", "--name", "lab",
                    "--log-level", "debug", path,
                ]))
        try daemon.wait(for: "vde_vmnet: ready: ")
    }

    /// The words that run the program where the control sockets are those of this network.
    private static func words(_ network: TestNetwork, _ words: [String]) -> [String] {
        let directory = network.folder.file("runtime")
        try? Files.makeDirectories(directory)
        return [
            "unshare", "-m", "sh", "-c",
            "mkdir -p /run/vde_vmnet; mount --bind \(directory) /run/vde_vmnet; exec \"$@\"", "sh",
            TestHost.product("vde_vmnet"),
        ] + words
    }

    func start(_ words: String...) throws -> BackgroundProgram { try network.host.start(Lab.words(network, words)) }

    /// Types a command.
    /// - Parameter expected: what it prints contains all of these.
    @discardableResult
    func type(_ words: String..., status: Int32 = 0, expecting expected: String...) throws -> String {
        let result = try network.host.attempt(Lab.words(network, words))
        let output = result.output + result.error
        #expect(result.termination == .exited(status), "\(words): \(result.termination) \(output)")
        for text in expected { #expect(output.contains(text), "\(words) prints \(text): \(output)") }
        note("vde_vmnet " + words.map { $0.contains(" ") ? "'\($0)'" : $0 }.joined(separator: " "), output)
        return output
    }

    /// Waits until `events` reports changes, which the network sends to subscribers only.
    func waitForSubscription(_ events: BackgroundProgram) throws {
        try eventually("the subscription") {
            _ = try network.host.attempt(Lab.words(network, ["egress", "allow"]))
            return events.output.contains("\"event\":\"change\"")
        }
    }

    /// Types a wrong command, which is not for the transcript.
    func refuse(_ words: String..., status: Int32, expecting text: String) throws {
        let result = try network.host.attempt(Lab.words(network, words))
        #expect(
            result.termination == .exited(status) && result.error.contains(text),
            "\(words): \(result.termination) \(result.error)")
    }

    /// Notes a command and what it has printed.
    func note(_ command: String, _ output: String) {
        transcript.append("$ " + command)
        transcript += output.split(separator: "\n").map(String.init)
        transcript.append("")
    }

    /// Writes the transcript to the file of VDE_VMNET_TRANSCRIPT, if that is set.
    func write() throws {
        guard let file = CurrentProcess.environment("VDE_VMNET_TRANSCRIPT") else { return }
        let text = transcript.map { line in
            let neutral = line.replacing(text: network.folder.path, with: "/run/vde")
            return neutral.count > 114 ? neutral.prefix(110) + " ..." : neutral
        }
        try Files.replace(file, Array((text.joined(separator: "\n") + "\n").utf8))
    }
}

extension IntegrationTests {
    /// Every command about a running network, with three guests of different kinds: docs/operating.md has what this
    /// prints.
    @Suite struct Operating {
        private func dhclient(_ guest: PlugGuest, _ folder: TemporaryFolder) throws {
            let script = folder.file("dhclient-script")
            try Files.replace(
                script,
                Array(
                    """
                    #!/bin/sh
                    [ "$reason" = PREINIT ] && ip link set "$interface" up
                    [ "$reason" = BOUND ] || exit 0
                    ip addr replace "$new_ip_address/$new_subnet_mask" dev "$interface"
                    ip route replace default via "${new_routers%% *}"

                    """.utf8), mode: 0o755)
            try Files.replace(
                folder.file("dhclient.conf"), Array("timeout 10;\nsend host-name \"laptop\";\n".utf8))
            try guest.namespace.run(
                "dhclient", "-1", "-sf", script, "-cf", folder.file("dhclient.conf"), "-lf",
                folder.file("dhclient.leases"), "-pf", folder.file("dhclient.pid"), PlugGuest.interface)
        }

        @Test(
            .enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"),
            .enabled(if: VirtualMachine.canRunUML, "\(VirtualMachine.umlReason)"))
        func everyCommandWorksWithThreeGuests() throws {
            let lab = try Lab(), network = lab.network, folder = network.folder
            let events = try lab.start("events", "lab", "--json")
            try lab.waitForSubscription(events)
            let web = try VirtualMachine.qemu(
                "web", netdev: "vde,id=net0,sock=\(lab.path)", mac: "52:54:00:00:00:01", in: network.host,
                folder: folder)
            let build = try VirtualMachine.uml(
                "build", network: "vde,\(lab.path)", mac: "52:54:00:00:00:02", in: network.host, folder: folder)
            for guest in [web, build] {
                try guest.waitUntilBooted()
                try guest.run("ip link set eth0 up")
                let lease = try guest.run(
                    "udhcpc -i eth0 -q -n -t 10 -T 1 -x hostname:\(guest.name) -s /etc/udhcpc.sh", within: 40)
                #expect(lease.status == 0, "\(lease.output)")
            }
            let laptop = try PlugGuest("laptop", path: lab.path, mac: "52:54:00:00:00:03", folder: folder)
            try dhclient(laptop, folder)
            try web.run("mkdir -p /www && echo 'this is web' > /www/index.html && httpd -p 80 -h /www")

            // What runs.
            try lab.type("list", expecting: "lab", "192.168.105.0/24")
            try lab.type("status", expecting: "web", "build", "laptop", "192.168.105.4", "vmnet0")
            let status = try lab.type("status", "--json", expecting: #""name":"lab""#)
            #expect(status.split(separator: "\n").count == 1)
            let ports = try lab.type("port", "list", expecting: "uplink")
            func port(of process: Int32?) throws -> String {
                let rows = ports.split(separator: "\n").map { $0.split(separator: " ") }
                return String(
                    try #require(rows.first { row in process.map { row.contains("\($0)") } ?? false }, "\(ports)")[0])
            }

            // Published ports.
            try lab.type("publish", "add", "8080:web:80")
            #expect(try network.internet.fetch(TestNetwork.hostAddress, port: 8080) == "this is web")
            try lab.type("publish", "list", expecting: "8080")
            try lab.type("publish", "remove", "8080:web:80")
            #expect(throws: (any Error).self) { try network.internet.fetch(TestNetwork.hostAddress, port: 8080) }

            // The egress policy.
            let outside = "ping -c 1 -W 2 \(TestNetwork.internetAddress)"
            // On a host with much to do, a reply may come late.
            let eventuallyOutside = "(for i in 1 2 3 4 5 6 7 8 9; do \(outside) && exit; done; exit 1)"
            #expect(try build.run(eventuallyOutside).status == 0)
            try lab.type("egress", "deny", expecting: "deny")
            #expect(try build.run(outside).status != 0)
            try lab.type("allow", "add", "203.0.113.0/24")
            try lab.type("allow", "list", expecting: "203.0.113.0/24")
            #expect(try build.run(eventuallyOutside).status == 0)
            try lab.type("allow", "remove", "203.0.113.0/24")
            #expect(try build.run(outside).status != 0)
            try lab.type("egress", "allow", expecting: "allow")

            // Leases.
            try lab.type("lease", "list", expecting: "192.168.105.2", "web", "52:54:00:00:00:03")
            try lab.type("lease", "reserve", "52:54:00:00:00:77", "192.168.105.50")
            try lab.type("lease", "release", "192.168.105.4")
            try lab.type("lease", "unreserve", "52:54:00:00:00:77")

            // Frames.
            let file = folder.file("web.pcapng")
            let capture = try lab.start("capture", "--guest", "web", "--filter", "icmp", "--count", "2", "-w", file)
            try eventually("the capture") {
                lab.daemon.output.contains("captures frames") || capture.poll() != nil
            }
            #expect(capture.poll() == nil, "\(capture.output)")
            let ping = "(for i in 1 2 3 4 5; do ping -c 1 -W 2 \(gateway) && exit; done; exit 1)"
            #expect(try web.run(ping).status == 0)
            #expect(try capture.waitForEnd() == .exited(0), "\(capture.output)")
            #expect(capture.output.contains("2 frames captured"))
            lab.note("vde_vmnet capture --guest web --filter icmp --count 2 -w web.pcapng", capture.output)

            // Ports of the switch.
            let number = try port(of: laptop.process)
            try lab.type("port", "limit", number, "50mbit")
            try lab.type("port", "list", expecting: "50")
            try lab.type("port", "limit", number, "off")
            #expect(try laptop.namespace.pings("192.168.105.3"))
            try lab.type("port", "isolate", number, "on")
            #expect(try !laptop.namespace.pings("192.168.105.3", seconds: 1))
            try lab.type("port", "isolate", number, "off")
            try lab.type("port", "vlan", number, "7")
            #expect(try !laptop.namespace.pings(gateway, seconds: 1))
            try lab.type("port", "vlan", number, "0")
            #expect(try laptop.namespace.pings(gateway))

            // What is wrong.
            try lab.type("doctor", "lab", expecting: "ok      tun", "ok      leases")
            try lab.type("check", lab.path, expecting: "ok", "lease")
            try lab.type("port", "disconnect", number)
            try lab.type("status", "nowhere", status: 69, expecting: "vde_vmnet list shows those that run")

            try lab.refuse("egress", "maybe", status: 64, expecting: "'maybe' is neither allow nor deny")
            try lab.refuse("events", "--only", "join,x", status: 64, expecting: "'x' is no kind of event; the kinds")
            try lab.refuse("allow", "add", "10.0.0.0/8", status: 75, expecting: "vde_vmnet egress deny")
            try lab.refuse("lease", "unreserve", "52:54:00:00:00:99", status: 69, expecting: "vde_vmnet lease list")
            try lab.refuse("port", "limit", "99", "50mbit", status: 69, expecting: "vde_vmnet port list")

            try lab.type("stop", "lab")
            #expect(try lab.daemon.waitForEnd() == .exited(0))
            // The end of the network is the end of its events.
            try events.waitForEnd()
            let kinds = ["join", "lease", "change", "leave"]
            for kind in kinds { #expect(events.output.contains("\"event\":\"\(kind)\""), "\(events.output)") }
            lab.note("vde_vmnet events --json", events.output)
            try lab.write()
        }
    }
}
