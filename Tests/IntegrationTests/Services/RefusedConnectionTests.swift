// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// A policy that changes while connections are open: both sides are reset, and new connections are refused at once.
    /// Without a reset, what the tests wait for would come by TCP's own timeouts, after minutes.
    @Suite struct RefusedConnections {
        /// Serves connections that never fall silent, and prints how each ends.
        private static let server = """
            import socket, sys, threading, time
            def serve(s):
                name = "nameless"
                try:
                    name = s.recv(100).decode().strip() or name
                    while True:
                        s.sendall(b"x")
                        time.sleep(0.05)
                except OSError as error: print(f"server of {name}:", type(error).__name__, flush=True)
            listener = socket.create_server(("::", 7000), family=socket.AF_INET6, dualstack_ipv6=True)
            print("up", flush=True)
            while True: threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
            """

        /// Opens a connection that does the same.
        private static let client = """
            import socket, sys, time
            s = socket.create_connection((sys.argv[1], sys.argv[2]), timeout=10)
            s.sendall(sys.argv[3].encode())
            s.recv(1)
            print("open", flush=True)
            s.settimeout(None)
            try:
                while True:
                    s.sendall(b"x")
                    s.recv(4096)
                    time.sleep(0.05)
            except OSError as error: print("client:", type(error).__name__, flush=True)
            """

        private static let attempt = """
            import socket, sys
            try: socket.create_connection((sys.argv[1], 7000), timeout=60)
            except OSError as error: print(type(error).__name__)
            else: print("open")
            """

        private func serve(in host: Namespace) throws -> BackgroundProgram {
            let server = try host.start(["python3", "-c", Self.server])
            try server.wait(for: "up")
            return server
        }

        private func connect(
            _ name: String, _ host: Namespace, to address: String, _ port: Int = 7000
        ) throws -> BackgroundProgram {
            let client = try host.start(["python3", "-c", Self.client, address, "\(port)", name])
            try client.wait(for: "open")
            return client
        }

        private func attempt(_ host: Namespace, to address: String) throws -> String {
            try host.attempt(["python3", "-c", Self.attempt, address]).output.trimmed
        }

        @Test(arguments: ControlFixture.Uplink.allCases)
        func stricterPolicyResetsBothSides(uplink: ControlFixture.Uplink) throws {
            let fixture = try ControlFixture(uplink.rawValue) { network in
                try network.internet.ip("-6", "addr", "add", "\(IPv6Fixture.outside)/64", "dev", "eth0", "nodad")
                try IPv6Fixture.giveIPv6(network.host)
            }
            let server = try serve(in: fixture.network.internet)
            let guest = try fixture.guest()
            var addresses = [TestNetwork.internetAddress]
            if uplink == .user || IPv6Fixture.canForward {
                addresses.append(IPv6Fixture.outside)
                try guest.waitForRouter()
            }
            let six = try guest.address6()
            try guest.lease()
            // The script of the DHCP client has removed the address.
            try guest.namespace.ip("addr", "replace", "\(six)/64", "dev", PlugGuest.interface, "nodad")
            for address in addresses {
                let client = try connect("one \(address)", guest.namespace, to: address)
                try fixture.run("egress", "deny")
                try client.wait(for: "client: ConnectionResetError")
                try server.wait(for: "server of one \(address): ConnectionResetError")
                #expect(try attempt(guest.namespace, to: address) == "ConnectionRefusedError", "\(address)")
                // What stays allowed is undisturbed.
                let network = address.contains(":") ? "[\(address)]/128" : address
                try fixture.run("allow", "add", "\(network):7000")
                let other = try connect("other \(address)", guest.namespace, to: address)
                try fixture.run("allow", "add", "198.51.100.9")
                try fixture.run("allow", "remove", "198.51.100.9")
                #expect(try attempt(guest.namespace, to: address) == "open")
                #expect(!other.output.contains("client:"))
                try fixture.run("allow", "remove", "\(network):7000")
                try other.wait(for: "client: ConnectionResetError")
                try server.wait(for: "server of other \(address): ConnectionResetError")
                try fixture.run("egress", "allow")
            }
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// On a TAP, the host is a destination like others.
        @Test func serverOnHostIsReset() throws {
            let fixture = try ControlFixture("tap")
            let server = try serve(in: fixture.host)
            let guest = try fixture.guest()
            try guest.lease()
            let client = try connect("guest", guest.namespace, to: gateway)
            try fixture.run("egress", "deny")
            try client.wait(for: "client: ConnectionResetError")
            try server.wait(for: "server of guest: ConnectionResetError")
            #expect(try attempt(guest.namespace, to: gateway) == "ConnectionRefusedError")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test(arguments: ControlFixture.Uplink.allCases)
        func removedPublishedPortResetsBothSides(uplink: ControlFixture.Uplink) throws {
            let fixture = try ControlFixture(uplink.rawValue, ["--publish", "8080:192.168.105.2:7000"])
            let guest = try fixture.guest()
            try guest.lease()
            let server = try serve(in: guest.namespace)
            let client = try connect("outside", fixture.network.internet, to: TestNetwork.hostAddress, 8080)
            try fixture.run("publish", "remove", "8080:192.168.105.2:7000")
            try client.wait(for: "client: ConnectionResetError")
            try server.wait(for: "server of outside: ConnectionResetError")
            #expect(try fixture.daemon.stop() == .exited(0))
        }
    }
}
