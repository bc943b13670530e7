// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

extension IntegrationTests {
    /// Names for guests, by both of our uplinks on Linux.
    @Suite struct NameServices {
        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func queriesOfOneGuestDoNotStarveOthers(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try NameServiceFixture(uplink), guest = try fixture.guest()
            #expect(try fixture.resolves(guest))
            let hostile = try DNSClientFixture(fixture, fixture.router(guest))
            for number in 0..<4000 {
                // From many addresses, as far as a guest can: it is known by the port that it is behind.
                let address = IPv4Address(IPv4Address("192.168.105.100")!.value + UInt32(number % 100))
                let question = DNSQuestion(name: DNSName("n\(number).slow.example")!, type: DNSType.a)
                hostile.ask(
                    DNSMessage.query(id: UInt16(number), question),
                    from: number % 2 == 0 ? DNSClientFixture.address : address
                )
                if number % 500 == 499 { #expect(try fixture.resolves(guest), "after \(number) questions") }
            }
            // Queries beyond the share are refused; those that no resolver answers fail.
            #expect(hostile.answer { $0.responseCode == DNSResponseCode.refused.rawValue } != nil)
            #expect(hostile.answer { $0.responseCode == DNSResponseCode.serverFailure.rawValue } != nil)
            let descriptors = try fixture.descriptors
            #expect(descriptors < 384, "\(descriptors)")
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func idleConnectionsOfOneGuestDoNotBlockOthers(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try NameServiceFixture(uplink), guest = try fixture.guest(), idle = try fixture.guest("idle")
            let script = "for i in {10..209}; do eval \"exec $i<>/dev/tcp/\(gateway)/53\"; done; echo open; sleep 60"
            let program = try idle.namespace.start(["bash", "-c", script])
            try program.wait(for: "open", within: 20)
            #expect(try DNSClient.askByTCP(guest, NameServiceFixture.good) == NameServiceFixture.address)
            #expect(try fixture.resolves(guest))
            let descriptors = try fixture.descriptors
            #expect(descriptors < 384, "\(descriptors)")
        }

        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func longAnswersArriveOverTCP(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try NameServiceFixture(uplink), guest = try fixture.guest()
            let vm = try DNSClientFixture(fixture, fixture.router(guest))
            let query = DNSMessage.query(id: 77, DNSQuestion(name: DNSName("long.example")!, type: 16))
            vm.ask(query)
            let short = try #require(vm.answer { $0.id == 77 })
            #expect(try DNSView(short.rawSpan).isTruncated && DNSView(short.rawSpan).responseCode == 0)
            let message = ([0, UInt8(query.count)] + query).map {
                "\\x" + String(UInt16($0) + 0x100, radix: 16).dropFirst()
            }.joined()
            // A length, a header, the question, and a record with four strings of 200 bytes.
            let length = 2 + query.count + 12 + 4 * 201
            let received = try guest.namespace.run(
                "bash", "-c",
                "exec 3<>/dev/tcp/\(gateway)/53; printf '\(message)' >&3; timeout 5 head -c \(length) <&3 | wc -c")
            #expect(received.trimmed == "\(length)")
        }

        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func refusingResolverIsSkippedOverTCP(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try NameServiceFixture(uplink, resolvers: ["127.0.0.4", "127.0.0.2"]),
                guest = try fixture.guest()
            #expect(try DNSClient.askByTCP(guest, NameServiceFixture.good) == NameServiceFixture.address)
            #expect(try fixture.resolves(guest))
        }

        @Test(arguments: NameServiceFixture.Uplink.allCases)
        func malformedQueryIsAnswered(uplink: NameServiceFixture.Uplink) throws {
            let fixture = try NameServiceFixture(uplink), guest = try fixture.guest()
            let vm = try DNSClientFixture(fixture, fixture.router(guest))
            var update = DNSMessage.query(id: 1, DNSQuestion(name: DNSName("a.example")!, type: DNSType.a)),
                empty = update
            update[2] |= 5 << 3
            empty[1] = 2
            empty[5] = 0
            vm.ask(update)
            #expect(vm.answer { $0.id == 1 && $0.responseCode == DNSResponseCode.notImplemented.rawValue } != nil)
            vm.ask(empty)
            #expect(vm.answer { $0.id == 2 && $0.responseCode == DNSResponseCode.formatError.rawValue } != nil)
            var random = SeededGenerator(seed: 1)
            fuzz(update, rounds: 3000, seed: random.next()) { vm.ask($0) }
            #expect(try fixture.resolves(guest))
            #expect(try fixture.daemon.stop() == .exited(0))
        }

        /// The host's own port 53 is the host's: neither server disturbs the other, whichever is first.
        @Test func hostNameServerAndOwnServerCoexist() throws {
            let network = try TestNetwork(), path = network.folder.file("own")
            let own = [
                "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--user=root", "--no-resolv", "--no-hosts",
                "--address=/\(NameServiceFixture.good)/\(NameServiceFixture.address)",
            ]
            try network.host.setResolvers("nameserver 127.0.0.1\n")
            let daemon = try VMNetDaemon(in: network.host, ["--switch", path], folder: network.folder)
            #expect(try network.host.run("ss", "-Hlntu", "sport = :53").trimmed.isEmpty, "no socket of ours is there")
            for order in ["ours first", "ours last"] {
                let server = try network.host.start(own)
                try network.host.waitForListener(on: 53)
                let second =
                    order == "ours last"
                    ? try VMNetDaemon(
                        in: network.host, ["--switch", network.folder.file("second")], folder: network.folder) : nil
                let guest = try PlugGuest(
                    "guest", path: second == nil ? path : network.folder.file("second"), folder: network.folder)
                let router = try #require(try guest.lease()["dns"])
                #expect(
                    try guest.namespace.attempt(["busybox", "nslookup", "-type=a", NameServiceFixture.good, router])
                        .output
                        .contains(NameServiceFixture.address), "\(order)")
                server.signal(Signal.terminate)
                try eventually("its end") { try network.host.run("ss", "-Hltn", "sport = :53").trimmed.isEmpty }
            }
            #expect(try daemon.stop() == .exited(0))
        }

        /// A firewall of the host's that lets nothing in is not in the way of names.
        @Test func inputFirewallDoesNotBlockServices() throws {
            let fixture = try NameServiceFixture(.tap), guest = try fixture.guest()
            try fixture.network.host.run(
                "nft", "-f", "-",
                input:
                    "table inet closed {\n chain input { type filter hook input priority 0; policy drop; iifname lo "
                    + "accept; }\n}\n"
            )
            #expect(try fixture.resolves(guest))
            #expect(try DNSClient.askByTCP(guest, NameServiceFixture.good) == NameServiceFixture.address)
        }
    }
}
