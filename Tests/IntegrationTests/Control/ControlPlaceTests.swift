// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// Control sockets of other users, and of uplinks that cannot change while they run.
    @Suite struct ControlPlaces {
        @Test func rootListsNetworksOfUsers() throws {
            let network = try TestNetwork()
            let program = TestHost.product("vde_vmnet"), user = try network.host.run("id", "-u", "daemon").trimmed
            let place = "/run/user/\(user)"
            let script = """
                mount -t tmpfs -o mode=755 none /run
                mkdir -p \(place) && chown daemon \(place)
                XDG_RUNTIME_DIR=\(place) \(Namespace.running(as: "daemon").joined(separator: " ")) \(program) \
                    --switch --uplink user --name mine --state-dir \(place)/state \(place)/sw >&2 &
                network=$!
                count=0
                while [ ! -S \(place)/vde_vmnet/mine ] && [ $count -lt 200 ]; do sleep 0.05; count=$((count + 1)); done
                "$0" list --json
                "$0" status mine --json >/dev/null && echo "root sees it"
                XDG_RUNTIME_DIR=/nowhere \(Namespace.running(as: "nobody").joined(separator: " ")) "$0" list --json
                kill $network && wait $network
                """
            let result = try network.host.attempt(["unshare", "-m", "sh", "-c", script, program])
            #expect(result.succeeded, "\(result.error)")
            let lines = result.output.split(separator: "\n")
            #expect(
                lines.first?.contains(#"{"name":"mine","socket":"\#(place)/vde_vmnet/mine","process":"#) == true
                    && lines.first?.contains(#""owner":"daemon""#) == true, "\(result.output)\(result.error)")
            #expect(lines.dropFirst().first == "root sees it")
            // A third user sees nothing of it.
            #expect(lines.last == "[]", "\(result.output)")
        }

        /// docs/control.md lists these refusals.
        @Test func vmnetRefusesChangesWhileItRuns() throws {
            let network = try TestNetwork()
            let path = network.folder.file("own"), socket = network.folder.file("control")
            let daemon = try VMNetDaemon(
                in: network.host,
                [
                    "--switch", "--uplink", "vmnet", "--control", socket, "--publish", "8080:192.168.64.2:80", path,
                ], folder: network.folder, product: "vde_vmnet_simulated")
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            let router = try #require(try guest.lease()["router"])
            let changes: [(words: [String], reason: String)] = [
                (["publish", "add", "8081:192.168.64.2:80"], "this uplink publishes no ports while it runs"),
                (["publish", "remove", "8080:192.168.64.2:80"], "this uplink publishes no ports while it runs"),
                (["egress", "deny"], "the uplink vmnet has no egress policy"),
                (["allow", "add", "203.0.113.0/24"], "the uplink vmnet has no egress policy"),
                (["allow", "remove", "203.0.113.0/24"], "the uplink vmnet has no egress policy"),
                (["port", "isolate", "all", "on"], "this uplink isolates guests from its start on, or never"),
            ]
            for change in changes {
                let result = try network.host.attempt(
                    [TestHost.product("vde_vmnet")] + change.words + ["--network", socket])
                #expect(result.termination == .exited(64), "\(change.words): \(result.termination) \(result.error)")
                #expect(result.error.contains(change.reason), "\(change.words): \(result.error)")
            }
            // The network goes on, and what is no matter of the uplink can change.
            #expect(try guest.namespace.pings(router))
            let ports = try network.host.attempt([TestHost.product("vde_vmnet"), "port", "list", "--network", socket])
            #expect(ports.succeeded && ports.output.contains("uplink"), "\(ports.error)")
            let limit = try network.host.attempt([
                TestHost.product("vde_vmnet"), "port", "limit", "2", "50mbit", "--network", socket,
            ])
            #expect(limit.succeeded, "\(limit.error)")
            #expect(try guest.namespace.pings(router))
            #expect(try daemon.stop() == .exited(0))
        }
    }
}
