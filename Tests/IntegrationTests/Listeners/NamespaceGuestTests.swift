// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// Guests of `--netns`.
    @Suite(.enabled(if: ForeignNamespace.isSupported)) struct NamespaceGuests {
        /// Takes a lease by a DHCP client in a namespace. Returns the address.
        private func lease(_ guest: Namespace, _ interface: String) throws -> String {
            let script = try TemporaryFolder()
            try Files.replace(
                script.file("bound"),
                Array(
                    """
                    #!/bin/sh
                    [ "$1" = bound ] || exit 0
                    ip addr replace "$ip/$mask" dev $interface && ip route replace default via "$router" || exit 1
                    echo "got $ip"

                    """.utf8), mode: 0o755)
            let output = try guest.run(
                "busybox", "udhcpc", "-i", interface, "-n", "-q", "-f", "-t", "20", "-s", script.file("bound"))
            let line = try #require(output.split(separator: "\n").first { $0.hasPrefix("got ") }, "\(output)")
            return String(line.dropFirst(4))
        }

        /// Beside each other and beside a guest by VDE, on each uplink.
        @Test(arguments: ["tap", "user"])
        func namespacesReachGuestsHostAndOutside(uplink: String) throws {
            let network = try TestNetwork()
            try network.startInternet()
            let first = try Namespace("guest-a"), second = try Namespace("guest-b")
            let path = network.folder.file("vde")
            let daemon = try VMNetDaemon(
                in: network.host,
                [
                    "--switch", "--uplink", uplink, "--vmnet-mtu", "4000", "--netns", first.name, "--netns",
                    "/run/netns/\(second.name),net0", "--state-dir", network.folder.file("state"), path,
                ], folder: network.folder)
            #expect(daemon.readyLine.contains("netns \(first.name) (eth0), netns /run/netns/\(second.name) (net0)"))
            let address = try lease(first, "eth0"), other = try lease(second, "net0")
            let plug = try PlugGuest("plug", path: path, folder: network.folder)
            let third = try #require(try plug.lease()["ip"])
            #expect([address, other, third] == ["192.168.105.2", "192.168.105.3", "192.168.105.4"])
            for target in [other, third, "192.168.105.1"] { #expect(try first.pings(target), "\(target)") }
            #expect(try second.pings(address) && plug.namespace.pings(other))
            #expect(try first.fetch(TestNetwork.internetAddress) == "Hello from the Internet")
            // Frames of the network's MTU pass whole.
            #expect(try first.attempt(["ping", "-c", "1", "-W", "5", "-M", "do", "-s", "3972", other]).succeeded)
            #expect(try daemon.stop() == .exited(0))
            #expect(try !first.attempt(["ip", "link", "show", "dev", "eth0"]).succeeded)
        }

        /// Its port is there before the uplink is.
        @Test(arguments: ["tap", "user"])
        func namespaceMayServe(uplink: String) throws {
            let network = try TestNetwork(), guest = try Namespace("guest-s"), path = network.folder.file("vde")
            let daemon = try VMNetDaemon(
                in: network.host,
                [
                    "--switch", "--uplink", uplink, "--allow-server", "1", "--netns", guest.name, "--state-dir",
                    network.folder.file("state"), path,
                ], folder: network.folder)
            let plug = try PlugPort(path: path)
            let hardware = MACAddress(try guest.run("cat", "/sys/class/net/eth0/address").trimmed)!
            let advertisement = RouterAdvertisement(hardware: hardware).frame(
                from: IPv6Address(linkLocalFrom: hardware), to: (.allNodes, MACAddress(ofGroup: .allNodes)))
            try guest.run("ip", "link", "set", "eth0", "up")
            try eventually("the advertisement") {
                try guest.run(
                    "/usr/bin/python3", "-c",
                    """
                    import socket
                    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
                    s.bind(("eth0", 0))
                    s.send(bytes(\(advertisement)))
                    """)
                return plug.receive(seconds: 1) { $0 == advertisement } != nil
            }
            #expect(!daemon.program.output.contains("which is dropped"))
            #expect(try daemon.stop() == .exited(0))
        }

        /// Without a DHCP client: an address that no other guest gets, the same at each start.
        @Test(arguments: ["tap", "user"])
        func namespaceIsConfigured(uplink: String) throws {
            let network = try TestNetwork()
            try network.startInternet()
            let guest = try Namespace("guest-d"), path = network.folder.file("vde")
            // The second start finds .2 reserved, and .3 leased to the guest by VDE.
            for first in ["192.168.105.2", "192.168.105.4"] {
                let daemon = try VMNetDaemon(
                    in: network.host,
                    [
                        "--switch", "--uplink", uplink, "--netns", "\(guest.name),net0,configure", "--state-dir",
                        network.folder.file("state"), path,
                    ] + (first == "192.168.105.2" ? [] : ["--dhcp-host", "52:54:00:00:00:01,192.168.105.2"]),
                    folder: network.folder)
                #expect(try guest.run("ip", "-o", "-4", "addr", "show", "dev", "net0").contains("\(first)/24"))
                #expect(try guest.fetch(TestNetwork.internetAddress) == "Hello from the Internet")
                let plug = try PlugGuest("plug", path: path, folder: network.folder)
                let other = try #require(try plug.lease()["ip"])
                #expect(other != first)
                #expect(try plug.namespace.pings(first))
                plug.stop()
                #expect(try daemon.stop() == .exited(0))
            }
        }

        /// A namespace in a user namespace of a user without privilege, which ends with its process.
        @Test func namespaceOfPlainUserIsGuestUntilItEnds() throws {
            let network = try TestNetwork()
            try Files.setMode(network.folder.path, 0o777)
            let script = """
                mount -t tmpfs -o mode=755 none /dev/net
                mknod /dev/net/tun c 10 200 && chmod 0666 /dev/net/tun
                mount -t tmpfs -o mode=755 none /run
                mkdir -m 0700 /run/daemon && chown daemon /run/daemon
                cat >/run/script <<'END'
                export XDG_RUNTIME_DIR=/run/daemon HOME=/run/daemon
                mkfifo /run/daemon/go /run/daemon/came
                unshare --user --map-root-user --net sh -c 'echo came >/run/daemon/came; read go </run/daemon/go' &
                guest=$!
                read came </run/daemon/came
                "$1" --uplink user --netns $guest,configure --name mine >/run/daemon/log 2>&1 &
                daemon=$!
                count=0
                until grep -q "ready: " /run/daemon/log || [ $count -ge 400 ]; do sleep 0.05; count=$((count + 1)); done
                enter="nsenter --preserve-credentials --user --net --target $guest"
                $enter ip -o -4 addr show dev eth0 | grep -o "192.168.105.2/24"
                $enter ip route show default
                $enter ip link show dev lo | grep -o "LOOPBACK,UP"
                $enter ping -c 1 -W 5 192.168.105.1 >/dev/null && echo "the gateway answers"
                "$1" port list --network mine | grep -c "netns $guest (eth0)"
                "$1" --uplink user --netns $guest --name other 2>&1 | grep -c "an interface eth0 exists there; choose"
                "$1" --uplink user --netns 1 --name other >/dev/null 2>&1; echo "another user's: $?"
                echo go >/run/daemon/go
                wait $daemon; echo "ended: $?"
                END
                setpriv --reuid daemon --regid nogroup --clear-groups -- sh /run/script "$0"
                cat /run/daemon/log >&2
                """
            let result = try network.host.attempt(["unshare", "-m", "sh", "-c", script, TestHost.product("vde_vmnet")])
            #expect(
                result.output == """
                    192.168.105.2/24
                    default via 192.168.105.1 dev eth0 
                    LOOPBACK,UP
                    the gateway answers
                    1
                    1
                    another user's: 77
                    ended: 0

                    """,
                "\(result.output)\(result.error)")
        }

        /// A guest changes its interface, while frames come for it, and removes it.
        @Test func interfaceMayBeDownAndEndsWhenItIsRemoved() throws {
            let network = try TestNetwork()
            let guest = try Namespace("guest-e"), path = network.folder.file("vde")
            let daemon = try VMNetDaemon(
                in: network.host,
                [
                    "--switch", "--uplink", "user", "--netns", "\(guest.name),configure", "--state-dir",
                    network.folder.file("state"), path,
                ], folder: network.folder, level: "debug")
            #expect(try guest.pings("192.168.105.1"))
            try guest.ip("link", "set", "eth0", "down")
            // Its broadcasts go to all guests.
            let plug = try PlugGuest("plug", path: path, folder: network.folder)
            try plug.lease()
            #expect(try plug.namespace.pings("192.168.105.1"))
            try guest.ip("link", "set", "eth0", "up")
            #expect(try guest.pings("192.168.105.1"))
            try guest.ip("link", "del", "eth0")
            try daemon.program.wait(for: "netns \(guest.name) (eth0) has left")
            #expect(try plug.namespace.pings("192.168.105.1"))
            #expect(try daemon.stop() == .exited(0))
        }

        /// Other guests stay when the name of a namespace is removed.
        @Test func guestLeavesWithItsName() throws {
            let network = try TestNetwork()
            let path = network.folder.file("vde")
            var guest: Namespace? = try Namespace("guest-c")
            let name = try #require(guest?.name)
            let daemon = try VMNetDaemon(
                in: network.host, ["--switch", "--uplink", "none", "--netns", name, path], folder: network.folder,
                level: "debug")
            try daemon.program.wait(for: "netns \(name) (eth0) has joined")
            guest = nil
            try daemon.program.wait(for: "netns \(name) (eth0) has left")
            #expect(try daemon.stop() == .exited(0))
        }
    }
}
