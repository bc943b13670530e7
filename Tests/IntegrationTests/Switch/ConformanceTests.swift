// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

/// A plain switch under test: vde_switch, or ours started by the same line.
private final class SwitchUnderTest {
    let isOurs: Bool
    let network: TestNetwork
    let vde: VDESwitch
    private(set) var transcript: [String] = []
    let mgmt: String

    init(isOurs: Bool, options: [String] = []) throws {
        self.isOurs = isOurs
        network = try TestNetwork()
        mgmt = network.folder.file("mgmt")
        vde = try VDESwitch(
            in: network.host, at: network.folder.file("vde"), options: ["-M", mgmt] + options,
            command: isOurs ? VDESwitch.ours : ["vde_switch"])
        try eventually("the console") { Files.exists(mgmt) }
    }

    var path: String { vde.path }

    /// Notes what was seen, without what differs from run to run.
    func note(_ text: String) {
        let words = ["pid=", "ID "]
        var line = text.replacing(network.folder.path, with: "FOLDER")
        for word in words {
            while let range = line.firstRange(of: word), line[range.upperBound...].first?.isNumber == true {
                let rest = line[range.upperBound...].drop { $0.isNumber }
                line = line[..<range.lowerBound] + word.replacing("=", with: ":").replacing(" ", with: ":") + "N" + rest
            }
        }
        transcript.append(line)
    }

    /// Sends the console a command, and notes the answer.
    func ask(_ console: Console, _ line: String) throws { note("\(line)\n\(try console.ask(line))") }

    /// A second switch of the same kind.
    func another(_ name: String) throws -> VDESwitch {
        try VDESwitch(
            in: network.host, at: network.folder.file(name), command: isOurs ? VDESwitch.ours : ["vde_switch"])
    }

    func guest(_ name: String, _ address: String, path: String? = nil, mac: String? = nil) throws -> PlugGuest {
        let guest = try PlugGuest(name, path: path ?? self.path, mac: mac, folder: network.folder)
        try guest.namespace.ip("addr", "add", address + "/24", "dev", PlugGuest.interface)
        return guest
    }

    /// Whether one reaches the other, noted.
    func notePing(_ guest: PlugGuest, _ address: String, seconds: Int = 5) throws {
        note("\(address) answers: \(try guest.namespace.pings(address, seconds: seconds))")
    }
}

/// Runs the same scenario on both switches and compares what its clients saw.
private func bothAlike(options: [String] = [], _ scenario: (SwitchUnderTest) throws -> Void) throws {
    var seen: [[String]] = []
    for isOurs in [false, true] {
        let it = try SwitchUnderTest(isOurs: isOurs, options: options)
        try scenario(it)
        seen.append(it.transcript)
    }
    #expect(!seen[0].isEmpty)
    #expect(seen[1].count == seen[0].count)
    for (theirs, ours) in zip(seen[0], seen[1]) { #expect(ours == theirs) }
}

extension IntegrationTests {
    /// The same clients, the same lines, on vde_switch and on ours.
    @Suite struct Conformance {
        private func frame(_ destination: UInt8, _ source: UInt8, _ length: Int = 60) -> [UInt8] {
            let first: [UInt8] = destination == 0xff ? MACAddress.broadcast.bytes : [2, 0, 0, 0, 0, destination]
            return first + [2, 0, 0, 0, 0, source, 0x88, 0xb6] + [UInt8](repeating: source, count: length - 14)
        }

        @Test(.enabled(if: LibVDEPlug.isAvailable, "needs libvdeplug"))
        func libvdeplugClientsSeeTheSame() throws {
            try bothAlike { it in
                let console = try Console(it.mgmt)
                var a: LibVDEPlug? = try LibVDEPlug(it.path, description: "first")
                let b = try LibVDEPlug(it.path, description: "second"),
                    fifth = try LibVDEPlug(it.path, description: "fifth", port: 5)
                let shared = try LibVDEPlug(it.path, description: "fifth too", port: 5)
                try it.ask(console, "port/allprint")
                for length in [60, 200, 1514] {
                    a!.send(frame(0xff, 1, length))
                    for (name, end) in [("b", b), ("fifth", fifth), ("shared", shared)] {
                        it.note("\(name) hears \(end.receive(seconds: ampleTime)?.count ?? 0) bytes")
                    }
                    it.note("a hears itself: \(a!.receive(seconds: 0.05) != nil)")
                }
                b.send(frame(1, 2))
                it.note(
                    "a hears b: \(a!.receive(seconds: ampleTime) == frame(1, 2)), fifth: "
                        + "\(fifth.receive(seconds: 0.05) != nil)"
                )
                // A frame for one member of a port goes to all of them, and no member receives frames of another.
                fifth.send(frame(1, 5))
                it.note(
                    "a hears fifth: \(a!.receive(seconds: ampleTime) == frame(1, 5)), shared: "
                        + "\(shared.receive(seconds: 0.05) != nil)"
                )
                a!.send(frame(5, 1))
                it.note(
                    "fifth: \(fifth.receive(seconds: ampleTime) != nil), shared: "
                        + "\(shared.receive(seconds: ampleTime) != nil), b: \(b.receive(seconds: 0.05) != nil)"
                )
                // Empty and short frames are of no consequence, and one goes all the way.
                for length in [0, 1, 13] { a!.send([UInt8](repeating: 1, count: length)) }
                a!.send(frame(2, 1, 1514))
                it.note("b hears \(b.receive(seconds: ampleTime)?.count ?? 0) bytes")
                // Our worker counts a batch after it has sent it.
                try eventually("four frames") { try console.ask("port/print 2").contains("OUT: pkts          4 ") }
                // Of a port with two ends ours counts what it sends to each, so port 5 is left out.
                for number in 1...2 { try it.ask(console, "port/print \(number)") }
                a = nil
                try eventually("the port's end") { try !console.ask("port/print").contains(": first") }
                try it.ask(console, "port/print 1")
                try it.ask(console, "port/allprint 1")
                try it.ask(console, "vlan/allprint")
                let again = try LibVDEPlug(it.path, description: "again")
                it.note("a free port is given again: \(try console.ask("port/print 1").contains(": again"))")
                it.note("closed: \(again.isClosed(within: 0.01))")
                let listing = try console.ask("port/print 1")
                let identifier = listing.split(separator: "endpoint ID ")[1].prefix { $0.isNumber }
                it.note("port/epclose: \(try console.ask("port/epclose 1 \(identifier)"))")
                it.note("closed: \(again.isClosed(within: ampleTime))")
            }
        }

        @Test func plugsCablesAndTAPsSeeTheSame() throws {
            try bothAlike { it in
                let other = try it.another("other")
                let near = try it.guest("near", "10.9.0.1"), next = try it.guest("next", "10.9.0.2"),
                    far = try it.guest("far", "10.9.0.3", path: other.path)
                try it.notePing(near, "10.9.0.2")
                try it.notePing(near, "10.9.0.3", seconds: 1)
                let cable = try it.network.host.start(["dpipe", "vde_plug", it.path, "=", "vde_plug", other.path])
                try eventually("the cable") { try near.namespace.pings("10.9.0.3", seconds: 1) }
                try it.notePing(far, "10.9.0.2")
                let big = try near.namespace.attempt([
                    "ping", "-c", "1", "-W", "5", "-M", "do", "-s", "1472", "10.9.0.3",
                ])
                it.note("1500 bytes: \(big.succeeded)")
                cable.kill()
                try it.notePing(far, "10.9.0.2", seconds: 1)
                withExtendedLifetime(next) {}
            }
        }

        @Test func slirpvdeSeesTheSame() throws {
            try bothAlike { it in
                let slirp = try it.network.host.start(["slirpvde", "--dhcp", "--sock", it.path])
                let guest = try PlugGuest("guest", path: it.path, mac: "52:54:00:00:00:09", folder: it.network.folder)
                let lease = try guest.lease(seconds: 15)
                it.note("lease \(lease["ip"] ?? "") router \(lease["router"] ?? "")")
                try it.notePing(guest, "10.0.2.2")
                slirp.kill()
            }
        }

        @Test func pcapplugAndWirefilterSeeTheSame() throws {
            try bothAlike { it in
                // A station behind an interface of the host, which vde_pcapplug bridges.
                let station = try Namespace("station")
                try it.network.host.ip(
                    "link", "add", "wire", "type", "veth", "peer", "name", "eth0", "netns", station.name)
                try it.network.host.ip("link", "set", "wire", "up")
                try station.ip("addr", "add", "10.9.0.7/24", "dev", "eth0")
                try station.ip("link", "set", "eth0", "up")
                let plug = try it.network.host.start(["vde_pcapplug", "-s", it.path, "wire"])
                let guest = try it.guest("guest", "10.9.0.1", mac: "52:54:00:00:00:01")
                _ = try guest.namespace.attempt(["ping", "-c", "1", "-W", "0.2", "10.9.0.7"])
                try eventually("the station has heard the guest") {
                    try station.run("ip", "neigh").contains("52:54:00:00:00:01")
                }
                // Debian's libpcap hands frames over by full blocks only: the other direction takes many of them.
                try station.ip("neigh", "replace", "10.9.0.1", "lladdr", "52:54:00:00:00:01", "dev", "eth0")
                let stationMAC = try station.run("cat", "/sys/class/net/eth0/address").trimmed
                try guest.namespace.ip("neigh", "replace", "10.9.0.7", "lladdr", stationMAC, "dev", PlugGuest.interface)
                let flood = try station.attempt(["ping", "-f", "-c", "3000", "-s", "1400", "-w", "3", "10.9.0.1"])
                it.note("the guest answers: \(flood.succeeded)")
                plug.kill()
                let other = try it.another("other")
                let far = try it.guest("far", "10.9.0.3", path: other.path)
                let wire = try it.network.host.start(["wirefilter", "-v", it.path + ":" + other.path])
                try eventually("the wire") { try guest.namespace.pings("10.9.0.3", seconds: 1) }
                try it.notePing(far, "10.9.0.1")
                wire.kill()
            }
        }

        @Test(
            .enabled(if: VirtualMachine.canRunQEMU, "\(VirtualMachine.qemuReason)"),
            .enabled(if: VirtualMachine.canRunUML, "\(VirtualMachine.umlReason)"))
        func qemuAndUMLSeeTheSame() throws {
            try bothAlike { it in
                let qemu = try VirtualMachine.qemu(
                    "qemu", netdev: "vde,id=net0,sock=\(it.path)", mac: "52:54:00:00:00:01", in: it.network.host,
                    folder: it.network.folder)
                let uml = try VirtualMachine.uml(
                    "uml", network: "vde,\(it.path)", mac: "52:54:00:00:00:02", in: it.network.host,
                    folder: it.network.folder)
                for (number, guest) in [qemu, uml].enumerated() {
                    try guest.waitUntilBooted()
                    try guest.run("ip addr add 10.9.0.\(1 + number)/24 dev eth0; ip link set eth0 up")
                }
                for (guest, address) in [(qemu, "10.9.0.2"), (uml, "10.9.0.1")] {
                    it.note("\(guest.name) pings: \(try guest.run("ping -c 2 -W 5 \(address)").status)")
                }
                let console = try Console(it.mgmt)
                let described = try console.ask("port/print").split(separator: "\n").filter { $0.contains("endpoint") }
                    .map { $0.split(separator: ": ")[1].prefix { $0 != " " } }.sorted()
                it.note("they call themselves \(described)")
                uml.kill()
                try eventually("one port is left") {
                    try console.ask("port/print").split(separator: "\n").filter { $0.contains("endpoint") }.count == 1
                }
                it.note("qemu is still there: \(try console.ask("port/print").contains("QEMU"))")
            }
        }

        @Test func consoleClientsSeeTheSame() throws {
            try bothAlike { it in
                for command in [
                    "port/create 3", "vlan/create 7", "vlan/addport 7 3", "vlan/allprint", "port/allprint",
                    "port/remove 3", "nonsense",
                ] {
                    // Its script takes the exit status from the answer.
                    let result = try it.network.host.attempt(
                        ["unixcmd", "-s", it.mgmt, "-f", "/etc/vde2/vdecmd"]
                            + command.split(separator: " ").map(String.init))
                    it.note("vdecmd \(command): \(result.termination)\n\(result.output)")
                }
                let terminal = try it.network.host.start(["unixterm", it.mgmt])
                try terminal.wait(for: "vde$ ")
                var position = terminal.output.count
                for command in ["port/showinfo", "vlan/print"] {
                    try terminal.type(command + "\n")
                    let answer = try terminal.wait(for: "vde$ ", after: position)
                    position += answer.count
                    it.note(answer)
                }
                try terminal.type("logout\n")
                it.note("unixterm ends: \(try terminal.waitForEnd())")
            }
        }

        /// Every command whose answer is the same, in one go.
        @Test func consoleAnswersAreTheSame() throws {
            try bothAlike { it in
                let console = try Console(it.mgmt)
                let client = try it.guest("guest", "10.9.0.1", mac: "52:54:00:00:00:01")
                let rc = it.network.folder.file("rc")
                try Files.replace(rc, Array("vlan/create 9\nport/create 9\nport/setvlan 9 9\nport/allprint 9\n".utf8))
                for line in [
                    "port/showinfo", "port/create 5", "port/create 5", "port/create 0", "port/createauto",
                    "port/create 40", "port/setvlan 5 10", "vlan/create 10",
                    "vlan/create 10", "vlan/create 0", "vlan/create 4094", "vlan/create 4093", "port/setvlan 5 10",
                    "vlan/addport 10 3", "vlan/addport 10 30", "vlan/print",
                    "vlan/allprint", "vlan/print 10", "vlan/print 77", "port/remove 1", "port/remove 5",
                    "port/remove 5", "vlan/remove 10", "vlan/delport 10 3", "vlan/remove 10",
                    "port/allocatable 3 1", "port/setuser 3 nobody", "port/setuser 3 nosuchuser",
                    "port/setgroup 3 nogroup", "port/setgroup 3 NONE", "port/setuser 3 NONE",
                    "port/allocatable 77 1", "port/setnumports 2", "port/setnumports 64", "port/showinfo",
                    "port/sethub 1", "port/showinfo", "port/sethub 0", "hash/setexpire 60",
                    "load \(rc)", "load /nonexistent", "load", "hash/find 00:11:22:33:44:55", "hash/find nonsense",
                    "port/epclose 3 99", "port/resetcounter 3", "port/resetcounter 77",
                    "", "# comment", "unknown/command", "port/defqlen 5",
                ] { try it.ask(console, line) }
                try eventually("the guest has been heard") {
                    try console.ask("hash/print").contains("52:54:00:00:00:01")
                }
                let entry =
                    try console.ask("hash/print").split(separator: "\n").first { $0.contains("52:54:00:00:00:01") }
                    ?? ""
                it.note(entry.split(separator: " ").dropFirst(2).prefix(7).joined(separator: " "))
                it.note(try console.end("logout"))
                withExtendedLifetime(client) {}
            }
        }

        @Test func startAndEndAreTheSame() throws {
            try bothAlike(options: ["-n", "4", "-m", "0660", "-g", "daemon"]) { it in
                for name in ["", "/ctl"] {
                    let status = try Files.status(it.path + name)
                    it.note("\(name): \(String(status.mode, radix: 8)) group \(UserDatabase.groupName(status.group))")
                }
                let guest = try it.guest("guest", "10.9.0.1")
                let socket = try #require(try Files.entries(it.path).first { $0.hasPrefix("001.") })
                let status = try Files.status(it.path + "/" + socket)
                it.note("port: \(String(status.mode, radix: 8)) group \(UserDatabase.groupName(status.group))")
                let second = try it.network.host.attempt(
                    (it.isOurs ? VDESwitch.ours : ["vde_switch"]) + ["-s", it.path])
                it.note("a second one starts: \(second.succeeded)")
                guest.stop()
                try eventually("the guest's port") { try !Files.entries(it.path).contains { $0.hasPrefix("001.") } }
                let console = try Console(it.mgmt)
                it.note(try console.end("shutdown"))
                it.note("\(try it.vde.program.waitForEnd()) left: \(Files.exists(it.path)) \(Files.exists(it.mgmt))")
            }
            try bothAlike { it in
                try it.vde.program.type("port/create 2\n")
                try it.vde.program.wait(for: "1000 Success\n")
                it.vde.program.signal(Signal.terminate)
                it.note("\(try it.vde.program.waitForEnd()) left: \(Files.exists(it.path))")
            }
        }

        @Test func daemonModeIsTheSame() throws {
            for command in [["vde_switch"], VDESwitch.ours] {
                let network = try TestNetwork()
                let path = network.folder.file("vde"), pidfile = network.folder.file("pid"),
                    mgmt = network.folder.file("mgmt")
                let started = try network.host.attempt(
                    command + ["-s", path, "-daemon", "-p", pidfile, "-M", mgmt, "-tap", "tap7"])
                #expect(started.succeeded, "\(started.error)")
                try eventually("the pidfile") { Files.text(pidfile)?.isEmpty == false }
                let process = try #require(Int32(Files.text(pidfile)!))
                #expect(ProcessTable.isAlive(process))
                let console = try Console(mgmt)
                #expect(try console.ask("port/print").contains("module tuntap      : tap7"))
                let guest = try PlugGuest("guest", path: path, folder: network.folder)
                try guest.namespace.ip("addr", "add", "10.9.0.1/24", "dev", PlugGuest.interface)
                try network.host.ip("addr", "add", "10.9.0.2/24", "dev", "tap7")
                try network.host.ip("link", "set", "tap7", "up")
                #expect(try guest.namespace.pings("10.9.0.2"))
                _ = try console.end("shutdown")
                try eventually("its end") { !ProcessTable.isAlive(process) }
                #expect(!Files.exists(path) && !Files.exists(pidfile) && !Files.exists(mgmt))
            }
        }
    }
}
