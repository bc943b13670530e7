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
                id: id, wantsRecursion: true, question: question, records: [[127, 0, 0, 1]], timeToLive: 1)
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
        let ip = try IPv4View(ethernet.payload)
        guard ethernet.destination == gatewayHardware else { return }
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
            guard segment.flags == .syn, let accepts = ports[segment.destinationPort] else { return }
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

    private func outcomes(_ steps: [String: CheckStep]) -> [String: CheckStep.Outcome] { steps.mapValues(\.outcome) }

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
            var answer = DNSMessage.answer(id: id, wantsRecursion: true, question: question, records: [], timeToLive: 1)
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
            DNSMessage.failure(id: id, wantsRecursion: true, question: question, code: .nameError)
        }
        #expect(check(failing).steps["name"]?.outcome == .ok, "it need not know localhost")
        let broken = FakeNetwork()
        broken.resolves = { question, id in
            DNSMessage.failure(id: id, wantsRecursion: true, question: question, code: .serverFailure)
        }
        #expect(check(broken).steps["name"]?.outcome == .failed)
        let refusing = FakeNetwork()
        refusing.ports[80] = false
        #expect(check(refusing, connect: (gateway, 80)).steps["tcp"]?.detail.contains("refuses") == true)
        #expect(check(FakeNetwork(), connect: (gateway, 81)).steps["tcp"]?.detail.contains("does not answer") == true)
    }
}
