// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// A host with Debian 12's kernel, Linux 6.1, which has no `force_forwarding`: a virtual machine whose network
    /// namespaces are a guest and the outside.
    @Suite(.enabled(if: VirtualMachine.canRunHost, "\(VirtualMachine.qemuReason)")) struct OldKernelHost {
        private static let ip = "/usr/sbin/ip", nft = "/usr/sbin/nft", plug = "/usr/bin/vde_plug2tap"
        private static let page = "Hello from the outside"
        /// Where the virtual machine has the program.
        private static var program: String { TestHost.product("vde_vmnet") }
        /// Every setting of IPv6 that concerns other interfaces than the TAP.
        private static let settings =
            "cd /proc/sys/net/ipv6/conf && grep -rs . all default lo wan | grep -v stable_secret | sort"

        /// A virtual machine as a host, with the outside behind it.
        private final class Host {
            private let folder: TemporaryFolder
            private let emulated: VirtualMachine

            init() throws {
                folder = try TemporaryFolder()
                // Where its own library looks for the plugin of VDE.
                let libraries = "/lib/x86_64-linux-gnu/"
                emulated = try VirtualMachine.host(
                    "old", programs: [program, ip, nft, plug],
                    libraries: ["libnftables.so.1", "vdeplug/libvdeplug_vde.so"].map { libraries + $0 },
                    folder: folder)
                try emulated.waitUntilBooted()
                for command in [
                    "mkdir -p /run /var/lib /www/cgi-bin && echo '\(page)' >/www/index.html",
                    #"printf '#!/bin/sh\necho; echo $REMOTE_ADDR\n' >/www/cgi-bin/who && chmod 755 /www/cgi-bin/who"#,
                    "echo '0 2147483647' >/proc/sys/net/ipv4/ping_group_range",
                    "\(ip) netns add outside && \(ip) link add wan type veth peer name eth0 netns outside",
                    "\(ip) addr add 203.0.113.2/24 dev wan && \(ip) addr add 2001:db8::2/64 dev wan nodad",
                    "\(ip) link set wan up && \(ip) netns exec outside \(ip) link set lo up",
                    "\(ip) -n outside addr add 203.0.113.1/24 dev eth0 && \(ip) -n outside link set eth0 up",
                    "\(ip) -n outside addr add 2001:db8::1/64 dev eth0 nodad",
                    "\(ip) route add default via 203.0.113.1 && \(ip) -6 route add default via 2001:db8::1",
                    "\(ip) netns exec outside httpd -p 80 -h /www",
                ] { try run(command) }
            }

            /// Runs a command, which must succeed. Returns its output.
            @discardableResult
            func run(_ command: String) throws -> String {
                let result = try emulated.run(command, within: 120)
                guard result.status == 0 else {
                    let log = try emulated.run("cat /tmp/log").output
                    throw CommandFailed(description: "\(command): \(result.output)\n\(log)")
                }
                return result.output
            }

            func succeeds(_ command: String) throws -> Bool { try emulated.run(command, within: 120).status == 0 }

            /// Starts the daemon, and a guest that has configured itself. Returns the guest's IPv6 address.
            func start(_ options: String) throws -> String {
                try run(
                    "\(program) --switch --state-dir /tmp/state \(options) /tmp/vde >/tmp/log 2>&1 & echo $! >/tmp/pid")
                try eventually("the daemon", within: 60) { try succeeds("grep -q 'vde_vmnet: ready: ' /tmp/log") }
                try run("\(ip) netns add guest")
                try run("\(ip) netns exec guest \(plug) --sock /tmp/vde eth0 >/tmp/plug 2>&1 & echo $! >/tmp/plug-pid")
                try eventually("the guest's interface", within: 60) { try succeeds("\(ip) -n guest link set eth0 up") }
                try run(inGuest("udhcpc -i eth0 -q -n -t 10 -T 1 -s /etc/udhcpc.sh"))
                var address = ""
                try eventually("an address and a router by advertisement", within: 60) {
                    let words = try run("\(ip) -n guest -6 -o addr show dev eth0 scope global -tentative").split {
                        $0 == " " || $0 == "/"
                    }
                    guard let place = words.firstIndex(of: "inet6"), place + 1 < words.count else { return false }
                    address = String(words[place + 1])
                    return try run("\(ip) -n guest -6 route show default").contains("default")
                }
                return address
            }

            /// What a guest gets from a web server. busybox's wget looks up the port of HTTP by name, for which a
            /// static program loads libraries, and crashes.
            func fetch(_ address: String, _ path: String) throws -> String {
                let request = #"printf 'GET \#(path) HTTP/1.0\r\n\r\n'"#
                return try run("\(request) | \(inGuest("timeout 10 nc \(address) 80"))")
            }

            func inGuest(_ command: String) -> String { "\(ip) netns exec guest \(command)" }

            /// Ends the daemon by a signal, and the guest with it.
            func end(_ signal: String) throws {
                try run("kill -\(signal) $(cat /tmp/pid); kill $(cat /tmp/plug-pid); \(ip) netns del guest")
                try eventually("the daemon's end", within: 20) { try !succeeds("kill -0 $(cat /tmp/pid)") }
            }

            /// What works in every way: both versions by NAT, and the host's way to the guest.
            func expectReach(of address: String) throws {
                #expect(try fetch("203.0.113.1", "/").hasSuffix(page) && fetch("2001:db8::1", "/").hasSuffix(page))
                // The outside sees the host.
                #expect(try fetch("2001:db8::1", "/cgi-bin/who").contains("2001:db8::2"))
                try run(inGuest("ping -c 1 -W 5 203.0.113.1"))
                try run(inGuest("ping6 -c 1 -W 5 2001:db8::1"))
                try run("ping6 -c 1 -W 5 \(address)")
            }
        }

        @Test func guestsHaveBothVersionsAndHostIsRestored() throws {
            let host = try Host()
            #expect(try host.run("uname -r").hasPrefix("6.1."))
            #expect(try !host.succeeds("ls /proc/sys/net/ipv6/conf/all/force_forwarding"))
            let before = try host.run(Self.settings)

            // The user-mode NAT beside the TAP changes nothing.
            let address = try host.start("")
            try host.expectReach(of: address)
            #expect(try host.run(Self.settings) == before)
            #expect(try host.run("\(Self.program) status /tmp/vde").contains("user-mode NAT"))
            // IPv4 is the kernel's.
            #expect(try host.run("\(Self.nft) list ruleset").contains("ip saddr 192.168.105.0/24"))
            try host.end("TERM")
            #expect(try host.run(Self.settings) == before)
            #expect(try host.run("\(Self.nft) list ruleset").isEmpty)

            // The kernel forwards, for guests alone.
            try host.expectReach(of: try host.start("--ipv6 kernel"))
            #expect(try host.run("cat /proc/sys/net/ipv6/conf/all/forwarding") == "1")
            #expect(try host.run("cat /proc/sys/net/ipv6/conf/wan/accept_ra") == "2")
            try host.end("TERM")
            #expect(try host.run(Self.settings) == before)

            // What a killed daemon leaves is undone by the next one, which uses the user-mode NAT again.
            _ = try host.start("--ipv6 kernel")
            try host.end("KILL")
            #expect(try host.run("cat /proc/sys/net/ipv6/conf/all/forwarding") == "1")
            try host.expectReach(of: try host.start(""))
            #expect(try host.run(Self.settings) == before)
            #expect(try host.run("\(Self.program) status /tmp/vde").contains("user-mode NAT"))
            try host.end("TERM")
            #expect(try host.run(Self.settings) == before)
            #expect(try host.run("\(Self.nft) list ruleset").isEmpty)
        }
    }
}
