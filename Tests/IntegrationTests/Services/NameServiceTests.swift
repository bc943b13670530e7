// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

/// A host with resolvers of its own on its loopback address, and our switch with one of the ways out.
final class NameScene {
    enum Way: String, CaseIterable, CustomTestStringConvertible {
        case tap, user

        var testDescription: String { rawValue }
    }

    static let good = "good.example", address = "192.0.2.9"

    let network: TestNetwork
    let path: String
    let daemon: VMNetDaemon
    private var resolvers: [BackgroundProgram] = []

    /// - Parameter resolvers: the host's; `127.0.0.2` knows names and is silent about those below slow.example,
    ///   `127.0.0.4` refuses all.
    init(_ way: Way, resolvers: [String] = ["127.0.0.2"]) throws {
        network = try TestNetwork()
        path = network.folder.file("own")
        let own = [
            "--no-daemon", "--conf-file=/dev/null", "--user=root", "--no-resolv", "--no-hosts", "--bind-interfaces",
        ]
        let strings = (0..<4).map { _ in String(repeating: "x", count: 200) }.joined(separator: ",")
        let knowing = [
            "--listen-address=127.0.0.2", "--address=/\(NameScene.good)/\(NameScene.address)",
            "--server=/slow.example/203.0.113.99", "--txt-record=long.example,\(strings)",
        ]
        self.resolvers = [
            try network.host.start(["dnsmasq"] + own + knowing),
            try network.host.start(["dnsmasq"] + own + ["--listen-address=127.0.0.4"]),
        ]
        try network.host.setResolvers(resolvers.map { "nameserver \($0)\n" }.joined())
        let host = network.host
        for address in ["127.0.0.2", "127.0.0.4"] {
            try eventually("a name server at \(address)") {
                try host.run("ss", "-Hltn", "src = \(address):53").contains(address)
            }
        }
        daemon = try VMNetDaemon(
            in: network.host, ["--switch", "--uplink", way.rawValue, path], folder: network.folder)
    }

    func guest(_ name: String = "guest") throws -> PlugGuest {
        let guest = try PlugGuest(name, path: path, folder: network.folder)
        #expect(try guest.lease()["dns"] == IntegrationTests.gateway)
        return guest
    }

    /// Whether a guest finds the good name by UDP.
    func resolves(_ guest: PlugGuest) throws -> Bool {
        try guest.namespace.attempt(["busybox", "nslookup", "-type=a", NameScene.good, IntegrationTests.gateway]).output
            .contains(NameScene.address)
    }

    /// The gateway's hardware address, as a guest that has an address sees it.
    func router(_ guest: PlugGuest) throws -> MACAddress {
        _ = try guest.namespace.pings(IntegrationTests.gateway)
        return try #require(
            try guest.namespace.run("ip", "neigh", "show", IntegrationTests.gateway).split(separator: " ").compactMap {
                MACAddress($0)
            }.first)
    }

    var descriptors: Int { get throws { try Files.entries("/proc/\(daemon.program.identifier)/fd").count } }
}

/// Frames of a machine of the test's own.
struct Questioner {
    static let hardware = MACAddress(0x5254_0000_0666), address = IPv4Address("192.168.105.66")!
    let holder: PlugHolder
    let router: MACAddress

    init(_ scene: NameScene, _ router: MACAddress) throws {
        holder = try PlugHolder(path: scene.path)
        self.router = router
    }

    func ask(_ message: [UInt8], from address: IPv4Address = address) {
        holder.send(
            UDPFrame(
                from: (Questioner.hardware, address, 4000), to: (router, IPv4Address(IntegrationTests.gateway)!, 53)
            ).bytes(payload: message))
    }

    /// The first answer that `accept` wants.
    func answer(_ accept: (borrowing DNSView) -> Bool) -> [UInt8]? {
        var found: [UInt8]?
        _ = holder.receive { frame in
            guard let ethernet = try? EthernetView(frame.rawSpan), ethernet.destination == Questioner.hardware,
                let packet = try? IPv4View(ethernet.payload), packet.hasValidChecksum,
                let datagram = try? UDPView(packet.payload), datagram.sourcePort == 53,
                datagram.hasValidChecksum(source: packet.source, destination: packet.destination),
                let view = try? DNSView(datagram.payload), accept(view)
            else { return false }
            found = datagram.payload.copied()
            return true
        }
        return found
    }
}

extension IntegrationTests {
    /// Names for guests, by both ways out that are ours.
    @Suite struct Names {
        @Test(arguments: NameScene.Way.allCases)
        func oneGuestsQuestionsDoNotSilenceTheOthers(way: NameScene.Way) throws {
            let scene = try NameScene(way), guest = try scene.guest()
            #expect(try scene.resolves(guest))
            let hostile = try Questioner(scene, scene.router(guest))
            for number in 0..<4000 {
                // From many addresses, as far as a machine can: it is known by the port that it is behind.
                let address = IPv4Address(IPv4Address("192.168.105.100")!.value + UInt32(number % 100))
                let question = DNSQuestion(name: DNSName("n\(number).slow.example")!, type: DNSType.a)
                hostile.ask(
                    DNSMessage.query(id: UInt16(number), question), from: number % 2 == 0 ? Questioner.address : address
                )
                if number % 500 == 499 { #expect(try scene.resolves(guest), "after \(number) questions") }
            }
            // Queries beyond the share are refused; those that no resolver answers fail.
            #expect(hostile.answer { $0.responseCode == DNSResponseCode.refused.rawValue } != nil)
            #expect(hostile.answer { $0.responseCode == DNSResponseCode.serverFailure.rawValue } != nil)
            let descriptors = try scene.descriptors
            #expect(descriptors < 384, "\(descriptors)")
            #expect(try scene.daemon.stop() == .exited(0))
        }

        @Test(arguments: NameScene.Way.allCases)
        func idleConnectionsOfOneGuestDoNotKeepOthersOut(way: NameScene.Way) throws {
            let scene = try NameScene(way), guest = try scene.guest(), idle = try scene.guest("idle")
            let script = "for i in {10..209}; do eval \"exec $i<>/dev/tcp/\(gateway)/53\"; done; echo open; sleep 60"
            let holder = try idle.namespace.start(["bash", "-c", script])
            try holder.wait(for: "open", within: 20)
            #expect(try DNSClient.askByTCP(guest, NameScene.good) == NameScene.address)
            #expect(try scene.resolves(guest))
            let descriptors = try scene.descriptors
            #expect(descriptors < 384, "\(descriptors)")
        }

        @Test(arguments: NameScene.Way.allCases)
        func longAnswersComeByTCP(way: NameScene.Way) throws {
            let scene = try NameScene(way), guest = try scene.guest()
            let machine = try Questioner(scene, scene.router(guest))
            let query = DNSMessage.query(id: 77, DNSQuestion(name: DNSName("long.example")!, type: 16))
            machine.ask(query)
            let short = try #require(machine.answer { $0.id == 77 })
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

        @Test(arguments: NameScene.Way.allCases)
        func aResolverThatRefusesIsPassedOverByTCPAsWell(way: NameScene.Way) throws {
            let scene = try NameScene(way, resolvers: ["127.0.0.4", "127.0.0.2"]), guest = try scene.guest()
            #expect(try DNSClient.askByTCP(guest, NameScene.good) == NameScene.address)
            #expect(try scene.resolves(guest))
        }

        @Test(arguments: NameScene.Way.allCases)
        func whatIsNoQuestionIsAnsweredAllTheSame(way: NameScene.Way) throws {
            let scene = try NameScene(way), guest = try scene.guest()
            let machine = try Questioner(scene, scene.router(guest))
            var update = DNSMessage.query(id: 1, DNSQuestion(name: DNSName("a.example")!, type: DNSType.a)),
                empty = update
            update[2] |= 5 << 3
            empty[1] = 2
            empty[5] = 0
            machine.ask(update)
            #expect(machine.answer { $0.id == 1 && $0.responseCode == DNSResponseCode.notImplemented.rawValue } != nil)
            machine.ask(empty)
            #expect(machine.answer { $0.id == 2 && $0.responseCode == DNSResponseCode.formatError.rawValue } != nil)
            var random = SeededGenerator(seed: 1)
            fuzz(update, rounds: 3000, seed: random.next()) { machine.ask($0) }
            #expect(try scene.resolves(guest))
            #expect(try scene.daemon.stop() == .exited(0))
        }

        /// The host's own port 53 is the host's: neither server disturbs the other, whichever is first.
        @Test func aServerOfTheHostsAndOursDoNotDisturbEachOther() throws {
            let network = try TestNetwork(), path = network.folder.file("own")
            let own = [
                "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--user=root", "--no-resolv", "--no-hosts",
                "--address=/\(NameScene.good)/\(NameScene.address)",
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
                    try guest.namespace.attempt(["busybox", "nslookup", "-type=a", NameScene.good, router]).output
                        .contains(NameScene.address), "\(order)")
                server.signal(Signal.terminate)
                try eventually("its end") { try network.host.run("ss", "-Hltn", "sport = :53").trimmed.isEmpty }
            }
            #expect(try daemon.stop() == .exited(0))
        }

        /// A firewall of the host's that lets nothing in is not in the way of names.
        @Test func aFirewallThatLetsNothingInDoesNotStandInTheWay() throws {
            let scene = try NameScene(.tap), guest = try scene.guest()
            try scene.network.host.run(
                "nft", "-f", "-",
                input:
                    "table inet closed {\n chain input { type filter hook input priority 0; policy drop; iifname lo accept; }\n}\n"
            )
            #expect(try scene.resolves(guest))
            #expect(try DNSClient.askByTCP(guest, NameScene.good) == NameScene.address)
        }
    }
}
