// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// Several instances on one switch of another program: guests get addresses from one of them.
    @Suite struct SecondServers {
        private static let refusal = "serves the guests of the switch at"

        @Test func secondInstanceOfUserIsRefused() throws {
            let network = try TestNetwork()
            let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
            let first = try VMNetDaemon(in: network.host, [vde.path], folder: network.folder)
            // By another name of the same directory, too.
            let link = network.folder.file("link")
            _ = try network.host.run("ln", "-s", vde.path, link)
            for path in [vde.path, link] {
                let second = try VMNetDaemon.start(
                    in: network.host, ["--uplink", "user", path], folder: network.folder)
                #expect(try second.waitForEnd() == .exited(75))
                #expect(
                    second.output.contains(SecondServers.refusal) && second.output.contains("--dhcp off"),
                    "\(second.output)")
            }
            // Without addresses, and on another switch, there is room for it.
            let other = try VMNetDaemon(in: network.host, ["--dhcp", "off", vde.path], folder: network.folder)
            #expect(try other.stop() == .exited(0))
            #expect(try first.stop() == .exited(0))
            let next = try VMNetDaemon(in: network.host, [vde.path], folder: network.folder)
            next.program.signal(Signal.kill)
            _ = try next.program.waitForEnd()
            let last = try VMNetDaemon(in: network.host, [vde.path], folder: network.folder)
            #expect(try last.stop() == .exited(0), "a killed instance keeps nothing")
        }

        @Test func oneOfManyThatStartAtOnceServes() throws {
            let network = try TestNetwork()
            let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
            let all = try (0..<4).map { _ in
                try VMNetDaemon.start(in: network.host, ["--uplink", "user", vde.path], folder: network.folder)
            }
            try eventually("three end") { all.count { $0.poll() == .exited(75) } == 3 }
            let ready = all.filter { $0.poll() == nil }
            #expect(ready.count == 1)
            for one in ready { #expect(try one.stop() == .exited(0)) }
        }

        /// They have no directory in common, so that they find each other on the network. A guest gets one
        /// address, from the same one after the switch has come back.
        @Test func instancesOfSeveralUsersAgree() throws {
            let network = try TestNetwork()
            let user = "nobody", directory = network.folder.file("user")
            try Files.setMode(network.folder.path, 0o755)
            try Files.makeDirectory(directory)
            _ = try network.host.run("chown", user, directory)
            let path = directory + "/vde"
            var vde: VDESwitch? = try VDESwitch(in: network.host, at: path, user: user)
            let daemons = try ["one", "two", "three"].enumerated().map { index, name in
                let runtime = directory + "/" + name
                try Files.makeDirectory(runtime)
                _ = try network.host.run("chown", user, runtime)
                return try network.host.start(
                    Namespace.running(as: user) + [
                        TestHost.product("vde_vmnet"), "--uplink", "user", "--vmnet-gateway",
                        "192.168.\(111 + index).1", "--state-dir", runtime, path,
                    ], environment: ["HOME": runtime, "XDG_RUNTIME_DIR": runtime])
            }
            for daemon in daemons { try daemon.wait(for: "vde_vmnet: ready: ", within: 20) }
            func serving() -> [Int] {
                daemons.indices.filter { index in
                    let lines = daemons[index].output.split(separator: "\n")
                    return lines.last { $0.contains("the built-in server") }?.contains("assigns") == true
                }
            }
            try eventually("one serves, two do not", within: 30) {
                serving().count == 1 && daemons.count { $0.output.contains("so the built-in server is off") } == 2
            }
            let first = serving()
            #expect(daemons.count { $0.output.contains("the built-in server assigns") } == 1, "no other ever served")
            let guest = try PlugGuest("guest", path: path, mac: "52:54:00:00:00:01", folder: network.folder)
            let address = try guest.lease()["ip"]
            #expect(address?.hasPrefix("192.168.\(111 + first[0]).") == true)
            guest.stop()
            vde?.program.signal(Signal.kill)
            _ = try vde?.program.waitForEnd()
            vde = nil
            for daemon in daemons { try daemon.wait(for: "has gone", within: 5) }
            let before = daemons.map(\.output.count)
            vde = try VDESwitch(in: network.host, at: path, user: user)
            try daemons[first[0]].wait(for: "the built-in server assigns", after: before[first[0]], within: 20)
            for (daemon, start) in zip(daemons, before) where daemon !== daemons[first[0]] {
                try daemon.wait(for: "so the built-in server is off", after: start, within: 20)
            }
            #expect(serving() == first)
            let again = try PlugGuest("again", path: path, mac: "52:54:00:00:00:01", folder: network.folder)
            #expect(try again.lease()["ip"] == address)
            for daemon in daemons { #expect(try daemon.stop() == .exited(0)) }
            _ = vde
        }

        /// Where another server gives addresses, guests get no IPv6 network from here either, and one that they had
        /// ends.
        @Test func yieldingInstanceAdvertisesNothing() throws {
            let network = try TestNetwork()
            let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
            let server = try PlugGuest("server", path: vde.path, folder: network.folder)
            try server.namespace.ip("addr", "add", "192.168.50.1/24", "dev", PlugGuest.interface)
            let guest = try PlugGuest("guest", path: vde.path, folder: network.folder)
            func isAdvertised() throws -> Bool {
                try guest.namespace.attempt(["rdisc6", "-1", "-r", "2", "-w", "500", PlugGuest.interface]).succeeded
            }
            let first = try VMNetDaemon(in: network.host, [vde.path], folder: network.folder)
            try first.waitUntilServing()
            _ = try guest.address6()
            #expect(try isAdvertised())
            let other = try server.namespace.start([
                "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0", "--user=root", "--leasefile-ro",
                "--dhcp-broadcast", "--dhcp-range=192.168.50.10,192.168.50.99",
            ])
            try other.wait(for: "DHCP, IP range", within: 10)
            // Its answers to a client start the detection.
            let client = try PlugGuest("client", path: vde.path, folder: network.folder)
            _ = try? client.lease()
            try first.program.wait(for: "so the built-in server is off", within: 30)
            try eventually("the end of the prefix") {
                try guest.namespace.run("ip", "-6", "addr", "show", "dev", PlugGuest.interface).contains("deprecated")
            }
            #expect(try !isAdvertised())
            #expect(try first.stop() == .exited(0))
            // The next one finds the server at once.
            let daemon = try VMNetDaemon(in: network.host, [vde.path], folder: network.folder)
            try daemon.program.wait(for: "so the built-in server is off", within: 10)
            #expect(try !isAdvertised())
            #expect(try daemon.stop() == .exited(0))
            _ = other
        }
    }
}
