// SPDX-License-Identifier: Apache-2.0
import DHCPService
import NetworkCheck
import Platform
import Testing
import Timing
import Wire

private let gateway = IPv4Address("192.168.105.1")!
private let gatewayHardware = MACAddress("02:00:00:00:00:01")!

/// A network in memory: a DHCP server, and a gateway that answers what the test selects.
private final class FakeNetwork: GuestLink {
    var server: DHCPServer?
    var answersARP = true
    var answersPing = true
    var resolves: ((DNSQuestion, UInt16) -> [UInt8]?)?
    /// Ports of the gateway: true accepts, false refuses; others are silent.
    var ports: [UInt16: Bool] = [:]
    /// Bytes of the longest ping that is answered; longer ones vanish, or are reported with this MTU.
    var longestPing = Int.max
    var reportsLength = false
    /// The prefix of a router that advertises itself.
    var prefix: UInt64?
    /// Bytes that were sent over TCP.
    private(set) var received = 0
    /// The code of "destination unreachable" with which the gateway answers TCP, and queries for names.
    var unreachable: UInt8?
    private var pending: [[UInt8]] = []

    init(_ change: (inout DHCPConfiguration) -> Void = { _ in }) {
        var configuration = DHCPConfiguration(
            network: IPv4Network(containing: gateway, prefixLength: 24), server: gateway,
            serverHardware: gatewayHardware, first: gateway.advanced(by: 1),
            last: gateway.advanced(by: 20))
        configuration.router = gateway
        configuration.nameServers = [gateway]
        change(&configuration)
        server = DHCPServer(configuration)
        resolves = { question, id in
            DNSMessage.answer(
                id: id, isRecursionDesired: true, question: question, records: [[127, 0, 0, 1]], timeToLive: 1)
        }
    }

    private var now = Instant.distantPast + .seconds(1)

    func receive(until deadline: Instant) -> [UInt8]? { pending.isEmpty ? nil : pending.removeFirst() }

    func send(_ frame: [UInt8]) {
        var outbox = Outbox()
        server?.receive(frame.rawSpan, now: now, into: &outbox)
        while let due = server?.nextDeadline {
            now = due
            server?.tick(now: now, into: &outbox)
        }
        pending += outbox.frames
        try? answer(frame)
    }

    private func answer(_ frame: [UInt8]) throws {
        let ethernet = try EthernetView(frame.rawSpan)
        if ethernet.type == EtherType.arp {
            let question = try ARPPacket(parsing: ethernet.payload)
            guard answersARP, question.operation == .request, question.targetAddress == gateway else { return }
            let reply = ARPPacket(
                operation: .reply, senderHardware: gatewayHardware, senderAddress: gateway,
                targetHardware: question.senderHardware, targetAddress: question.senderAddress)
            pending.append(reply.frame(to: question.senderHardware))
            return
        }
        if ethernet.type == EtherType.ipv6 { return try answer6(ethernet.source, IPv6View(ethernet.payload)) }
        let ip = try IPv4View(ethernet.payload)
        guard ethernet.destination == gatewayHardware else { return }
        if ip.protocolNumber == IPProtocol.icmp, ethernet.payload.byteCount > longestPing {
            guard reportsLength else { return }
            var writer = ByteWriter()
            writer.put([3, 4, 0, 0, 0, 0, UInt8(longestPing >> 8), UInt8(longestPing & 0xff)])
            writer.put(Array(frame[14..<42]))
            writer.patch16(writer.checksum(from: 0).finished, at: 2)
            return reply(ethernet.source, gateway, ip.source, IPProtocol.icmp, writer.bytes)
        }
        if let unreachable, ip.protocolNumber != IPProtocol.icmp,
            UInt16(frame[36]) << 8 | UInt16(frame[37]) != DHCPPort.server
        {
            var writer = ByteWriter()
            writer.put([3, unreachable, 0, 0, 0, 0, 0, 0])
            writer.put(Array(frame[14..<42]))
            writer.patch16(writer.checksum(from: 0).finished, at: 2)
            return reply(ethernet.source, gateway, ip.source, IPProtocol.icmp, writer.bytes)
        }
        switch ip.protocolNumber {
        case IPProtocol.icmp where answersPing:
            let echo = try ICMPEcho(parsing: ip.payload)
            var writer = ByteWriter()
            ICMPEcho(kind: .reply, identifier: echo.identifier, sequence: echo.sequence, payload: echo.payload).emit(
                into: &writer)
            reply(ethernet.source, ip.destination, ip.source, IPProtocol.icmp, writer.bytes)
        case IPProtocol.udp:
            let udp = try UDPView(ip.payload)
            guard udp.destinationPort == 53, udp.hasValidChecksum(source: ip.source, destination: ip.destination) else {
                return
            }
            let message = try DNSView(udp.payload)
            guard let answer = resolves?(try message.question(), message.id) else { return }
            pending.append(
                UDPFrame(from: (gatewayHardware, ip.destination, 53), to: (ethernet.source, ip.source, udp.sourcePort))
                    .bytes(payload: answer))
        case IPProtocol.tcp:
            let segment = try TCPView(ip.payload)
            guard let accepts = ports[segment.destinationPort] else { return }
            if accepts, segment.payload.byteCount > 0 { return data(segment, ethernet.source, ip) }
            guard segment.flags == .syn else { return }
            var answer = TCPSegment(
                sourcePort: segment.destinationPort, destinationPort: segment.sourcePort, sequence: 99,
                flags: accepts ? [.syn, .ack] : [.rst, .ack])
            answer.acknowledgment = segment.sequence &+ 1
            var writer = ByteWriter()
            answer.emit(into: &writer, source: ip.destination, destination: ip.source)
            reply(ethernet.source, ip.destination, ip.source, IPProtocol.tcp, writer.bytes)
        default:
            return
        }
    }

    /// Acknowledges data; at port 53, with an answer to the query in it.
    private func data(_ segment: borrowing TCPView, _ hardware: MACAddress, _ ip: borrowing IPv4View) {
        received += segment.payload.byteCount
        var payload: [UInt8] = []
        if segment.destinationPort == 53,
            let query = try? DNSView(segment.payload.from(DNSMessage.lengthPrefix)),
            let question = try? query.question(),
            let answer = resolves?(question, query.id)
        {
            payload = DNSMessage.withLengthPrefix(answer)
        }
        var answer = TCPSegment(
            sourcePort: segment.destinationPort, destinationPort: segment.sourcePort, sequence: 100, flags: .ack)
        answer.acknowledgment = segment.sequence &+ UInt32(segment.payload.byteCount)
        let sum = InternetChecksum.pseudoHeader(
            source: ip.destination, destination: ip.source, protocolNumber: IPProtocol.tcp,
            length: TCPHeader.length + payload.count)
        var writer = ByteWriter()
        answer.emit(into: &writer, sum)
        writer.put(payload)
        reply(hardware, ip.destination, ip.source, IPProtocol.tcp, writer.bytes)
    }

    private func answer6(_ hardware: MACAddress, _ ip: borrowing IPv6View) throws {
        guard let prefix else { return }
        let router = IPv6Address.customaryGateway, source = ip.source
        switch ip.payload.byte(at: 0) {
        case ICMPv6Type.routerSolicitation:
            pending.append(
                NeighborDiscovery.routerAdvertisement(
                    from: (router, gatewayHardware), to: (source, hardware), prefix: prefix, lifetime: 1800, mtu: 1500))
        case ICMPv6Type.echoRequest where answersPing:
            let body = (4..<ip.payload.byteCount).map { ip.payload.byte(at: $0) }
            pending.append(
                NeighborDiscovery.frame(
                    IPv6Header(source: router, destination: source, nextHeader: IPProtocol.icmpv6),
                    from: gatewayHardware, to: hardware, type: ICMPv6Type.echoReply, body: body))
        default: return
        }
    }

    private func reply(
        _ hardware: MACAddress, _ source: IPv4Address, _ destination: IPv4Address, _ number: UInt8, _ payload: [UInt8]
    ) {
        var writer = ByteWriter()
        EthernetHeader(destination: hardware, source: gatewayHardware, type: EtherType.ipv4).emit(into: &writer)
        IPv4Header(source: source, destination: destination, protocolNumber: number).emit(
            into: &writer, payloadLength: payload.count)
        writer.put(payload)
        pending.append(writer.bytes)
    }
}

@Suite struct NetworkCheckTests {
    private func check(
        _ network: FakeNetwork, connect: (IPv4Address, UInt16)? = nil
    ) -> (holds: Bool, steps: [String: CheckStep]) {
        var steps: [String: CheckStep] = [:]
        let guest = Guest(hardware: MACAddress("52:54:00:00:00:09")!, link: network)
        let check = NetworkCheck(
            guest, NetworkCheck.Options(name: DNSName("localhost")!, connect: connect.map { ($0.0, $0.1) })
        ) { steps[$0.name] = $0 }
        return (check.run(), steps)
    }

    /// Of the basic steps.
    private func outcomes(_ steps: [String: CheckStep]) -> [String: CheckStep.Outcome] {
        steps.filter { ["lease", "arp", "ping", "name", "tcp"].contains($0.key) }.mapValues(\.outcome)
    }

    private let outside = IPv4Address("203.0.113.1")!

    @Test func longPacketsAreProbed() {
        let network = FakeNetwork { $0.mtu = 9000 }
        network.ports[80] = true
        let whole = check(network, connect: (outside, 80)).steps
        #expect(whole["mtu"]?.outcome == .ok && whole["mtu"]!.detail.contains("9000 bytes"))
        #expect(whole["path"]?.outcome == .ok)
        // Longer packets vanish: the longest one that passes is found.
        network.longestPing = 1400
        let (holds, steps) = check(network, connect: (outside, 80))
        #expect(!holds && steps["mtu"]?.outcome == .failed && steps["path"]?.outcome == .failed)
        #expect(steps["mtu"]?.detail.contains("packets of 1400 pass") == true, "\(steps["mtu"]!.detail)")
        #expect(steps["mtu"]?.remedy?.contains("--vmnet-mtu 1400") == true)
        // A router that reports them is no fault of the path.
        network.reportsLength = true
        let reported = check(network, connect: (outside, 80)).steps
        #expect(reported["path"]?.outcome == .ok)
        #expect(reported["path"]?.detail.contains("reports a path MTU of 1400") == true)
    }

    @Test func namesAreResolvedByTCP() {
        let network = FakeNetwork()
        #expect(check(network).steps["dns-tcp"]?.outcome == .skipped)
        network.ports[53] = false
        #expect(check(network).steps["dns-tcp"]?.outcome == .skipped)
        network.ports[53] = true
        let step = check(network).steps["dns-tcp"]
        #expect(step?.outcome == .ok, "\(step?.detail ?? "")")
        // It takes the query, and another message comes back.
        network.resolves = { question, id in
            DNSMessage.answer(id: id &+ 1, isRecursionDesired: true, question: question, records: [], timeToLive: 1)
        }
        #expect(check(network).steps["dns-tcp"]?.outcome == .failed)
    }

    @Test func addressOfIPv6IsMadeOfAdvertisement() {
        let network = FakeNetwork()
        let without = check(network).steps
        for name in ["ipv6", "ping6", "mtu6", "name6", "tcp6", "path6"] { #expect(without[name]?.outcome == .skipped) }
        network.prefix = 0x2001_0db8_0000_0007
        let steps = check(network).steps
        #expect(steps["ipv6"]?.detail == "2001:db8:0:7:5054:ff:fe00:9 by fe80::1", "\(steps["ipv6"]!.detail)")
        #expect(steps["ping6"]?.outcome == .ok && steps["name6"]?.outcome == .skipped)
        #expect(steps["mtu6"]?.detail == "packets of 1500 bytes pass to fe80::1 and back")
        network.answersPing = false
        #expect(check(network).steps["ping6"]?.outcome == .failed)
    }

    @Test func throughputIsWhatServerAcknowledges() {
        let network = FakeNetwork()
        func rate() -> CheckStep? {
            var found: CheckStep?
            _ = NetworkCheck(
                Guest(hardware: MACAddress("52:54:00:00:00:09")!, link: network),
                NetworkCheck.Options(
                    name: DNSName("localhost")!, throughput: ((.ipv4(gateway), 5001), .milliseconds(20)))
            ) { if $0.name == "rate" { found = $0 } }.run()
            return found
        }
        #expect(rate()?.outcome == .failed, "nothing listens")
        network.ports[5001] = true
        let measured = rate()
        #expect(measured?.outcome == .ok && network.received > 0, "\(measured?.detail ?? "")")
        #expect(check(network).steps["rate"]?.outcome == .skipped)
    }

    @Test func workingNetworkPassesAllSteps() {
        let network = FakeNetwork()
        network.ports[80] = true
        let (holds, steps) = check(network, connect: (gateway, 80))
        #expect(holds)
        #expect(outcomes(steps) == ["lease": .ok, "arp": .ok, "ping": .ok, "name": .ok, "tcp": .ok])
        // The first addresses are the guests'.
        #expect(steps["lease"]!.detail.contains("192.168.105.21/24"))
        #expect(steps["name"]!.detail.contains("127.0.0.1"))
        // The lease was given back.
        #expect(network.server!.table.running(at: Instant(nanoseconds: 2_000_000_000)) == 0)
    }

    @Test func leaseIsReleasedAfterFailure() {
        let mute = FakeNetwork()
        mute.answersARP = false
        #expect(!check(mute).holds)
        #expect(mute.server!.table.leases.map(\.address) == [gateway.advanced(by: 20)])
        #expect(mute.server!.table.running(at: Instant(nanoseconds: 2_000_000_000)) == 0)
    }

    @Test func leaseTimeIsShort() throws {
        let network = FakeNetwork()
        let guest = Guest(hardware: MACAddress("52:54:00:00:00:09")!, link: network)
        #expect(try guest.obtainLease().seconds == 120)
    }

    @Test func unofferedServicesAreSkipped() {
        let (holds, steps) = check(
            FakeNetwork {
                $0.nameServers = []; $0.router = nil
            }, connect: (IPv4Address("203.0.113.1")!, 80))
        #expect(holds)
        #expect(outcomes(steps) == ["lease": .ok, "arp": .ok, "ping": .ok, "name": .skipped, "tcp": .skipped])
    }

    @Test func missingServerEndsCheck() {
        let network = FakeNetwork()
        network.server = nil
        let (holds, steps) = check(network)
        #expect(!holds)
        #expect(outcomes(steps) == ["lease": .failed])
        #expect(steps["lease"]!.remedy != nil)
    }

    @Test(arguments: [
        (0, "network unreachable", "offline"), (1, "host unreachable", "no host has that address"),
        (13, "administratively prohibited", "--egress deny"), (10, "administratively prohibited", "firewall"),
    ])
    func whatICMPSaysIsSaid(code: UInt8, words: String, remedy: String) {
        let network = FakeNetwork()
        network.unreachable = code
        let steps = check(network, connect: (IPv4Address("203.0.113.1")!, 443)).steps
        #expect(
            steps["tcp"]?.outcome == .failed
                && steps["tcp"]!.detail
                    == "203.0.113.1 port 443 is unreachable: 192.168.105.1 answers by ICMP: \(words)"
        )
        #expect(steps["tcp"]?.remedy?.contains(remedy) == true)
        #expect(steps["name"]?.detail.contains("is unreachable: 192.168.105.1 answers by ICMP: \(words)") == true)
    }

    @Test(arguments: [(2, "SERVFAIL"), (5, "REFUSED"), (4, "NOTIMP"), (11, "response code 11")])
    func responseCodesHaveTheirNames(code: UInt8, name: String) {
        let network = FakeNetwork()
        network.resolves = { question, id in
            var answer = DNSMessage.answer(
                id: id, isRecursionDesired: true, question: question, records: [], timeToLive: 1)
            answer[3] = answer[3] & 0xf0 | code
            return answer
        }
        let guest = Guest(hardware: MACAddress("52:54:00:00:00:09")!, link: network)
        var detail = ""
        _ = NetworkCheck(guest, NetworkCheck.Options(name: DNSName("www.example")!)) {
            if $0.name == "name" { detail = $0.detail }
        }.run()
        #expect(detail.contains("could not resolve www.example (\(name)"), "\(detail)")
    }

    @Test func failureIsReportedForItsStep() {
        let mute = FakeNetwork()
        mute.answersARP = false
        #expect(outcomes(check(mute).steps)["arp"] == .failed)
        let walled = FakeNetwork()
        walled.answersPing = false
        let (holds, steps) = check(walled)
        #expect(!holds)
        #expect(outcomes(steps) == ["lease": .ok, "arp": .ok, "ping": .failed, "name": .ok, "tcp": .skipped])
        let nameless = FakeNetwork()
        nameless.resolves = nil
        #expect(outcomes(check(nameless).steps)["name"] == .failed)
        let failing = FakeNetwork()
        failing.resolves = { question, id in
            DNSMessage.failure(id: id, isRecursionDesired: true, question: question, code: .nameError)
        }
        #expect(check(failing).steps["name"]?.outcome == .ok, "it need not know localhost")
        let broken = FakeNetwork()
        broken.resolves = { question, id in
            DNSMessage.failure(id: id, isRecursionDesired: true, question: question, code: .serverFailure)
        }
        #expect(check(broken).steps["name"]?.outcome == .failed)
        let refusing = FakeNetwork()
        refusing.ports[80] = false
        #expect(check(refusing, connect: (gateway, 80)).steps["tcp"]?.detail.contains("refuses") == true)
        #expect(check(FakeNetwork(), connect: (gateway, 81)).steps["tcp"]?.detail.contains("does not answer") == true)
    }
}
