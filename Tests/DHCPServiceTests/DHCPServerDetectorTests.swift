// SPDX-License-Identifier: Apache-2.0
import DHCPService
import TestSupport
import Testing
import Timing
import Wire

/// A detector, a clock, and other servers' answers.
private struct DetectorHarness {
    let hardware = MACAddress("02:00:00:00:00:09")!
    var detector: DHCPServerDetector
    var now = Instant.distantPast
    /// The questions so far.
    var questions: [DHCPv4Message] = []

    init(serves: Bool = false, identifier: UInt64 = 9) {
        detector = DHCPServerDetector(
            seed: 0x1234_5678_9abc_def0, hardware: hardware,
            claim: DHCPServerClaim(serves: serves, identifier: MACAddress(identifier)), now: .distantPast)
    }

    /// Lets the next thing happen; returns false when nothing is left to happen.
    mutating func step() throws -> Bool {
        guard let due = detector.nextDeadline else { return false }
        now = max(now, due)
        var outbox = Outbox()
        detector.tick(now: now, into: &outbox)
        for frame in outbox.frames { questions.append(try DHCPv4Message(parsing: frame.rawSpan.from(42))) }
        return true
    }

    mutating func finish() throws { while try step() {} }

    /// A server's answer to the last question.
    mutating func answer(
        _ kind: DHCPv4Message.Kind = .offer, from server: IPv4Address = IPv4Address("10.0.2.2")!,
        address: IPv4Address = IPv4Address("10.0.2.15")!,
        _ change: (inout DHCPv4Message) -> Void = { _ in }
    ) {
        var message = DHCPv4Message(
            isReply: true, transactionID: questions.last!.transactionID, clientHardware: questions.last!.clientHardware)
        message[.messageType] = [kind.rawValue]
        message.set(.serverIdentifier, [server])
        message.yourAddress = address
        change(&message)
        detector.receive(
            Frames.udp(
                from: Endpoint(MACAddress(3), server, port: 67), to: Endpoint(.broadcast, .broadcast, port: 68),
                message.bytes()
            ).rawSpan, now: now)
    }
}

@Suite struct DHCPServerDetectorTests {
    @Test func noOfferMeansNoServer() throws {
        var harness = DetectorHarness()
        try harness.finish()
        #expect(harness.detector.verdict == .alone)
        #expect(harness.questions.count == 4)
        #expect(harness.now == .distantPast + .milliseconds(3500))
    }

    @Test func secondOfferIdentifiesServer() throws {
        var harness = DetectorHarness()
        #expect(try harness.step())
        #expect(harness.questions[0].kind == .discover && harness.questions[0].hasBroadcastFlag)
        harness.answer()
        #expect(harness.detector.verdict == .undecided, "once may be a forgery, or late")
        #expect(try harness.step())
        #expect(
            harness.questions.count == 2 && harness.questions[1].transactionID != harness.questions[0].transactionID)
        #expect(harness.questions[1].clientHardware == harness.questions[0].clientHardware)
        harness.answer()
        #expect(harness.detector.verdict == .served(by: IPv4Address("10.0.2.2")!))
        #expect(harness.detector.nextDeadline == nil)
    }

    /// A ProxyDHCP server offers boot ROMs their programs beside the server that gives addresses.
    @Test func proxyDHCPOfferIsNotAServer() throws {
        var harness = DetectorHarness()
        _ = try harness.step()
        harness.answer(address: .any) { $0[.vendorClass] = Array("PXEClient".utf8) }
        try harness.finish()
        #expect(harness.detector.verdict == .alone && harness.now == .distantPast + .milliseconds(3500))
    }

    @Test func unrelatedMessagesDecideNothing() throws {
        var harness = DetectorHarness()
        _ = try harness.step()
        let first = harness.questions[0].transactionID
        harness.answer { $0.transactionID &+= 1 }
        harness.answer { $0.clientHardware = MACAddress(4) }
        harness.answer(.ack)
        harness.answer { $0[.serverIdentifier] = nil }
        harness.answer { $0.isReply = false }
        harness.detector.receive([1, 2, 3].rawSpan, now: .distantPast)
        harness.detector.receive(
            ARPPacket.probe(for: .any, from: MACAddress(9)).frame(to: .broadcast).rawSpan, now: .distantPast)
        _ = try harness.step()
        #expect(harness.questions.last?.transactionID == first, "it still asks its first question")
        try harness.finish()
        #expect(harness.detector.verdict == .alone)
    }

    @Test func singleForgedOfferDoesNotCount() throws {
        var harness = DetectorHarness()
        _ = try harness.step()
        harness.answer()
        _ = try harness.step()
        // The same transaction again, and another server.
        let first = harness.questions[0].transactionID
        harness.answer { $0.transactionID = first }
        harness.answer(from: IPv4Address("10.9.9.9")!)
        #expect(harness.detector.verdict == .undecided)
        try harness.finish()
        #expect(harness.detector.verdict == .alone)
    }

    @Test func onlyRepliesWithAnAddressIndicateAServer() throws {
        func frame(_ kind: DHCPv4Message.Kind, _ address: IPv4Address) -> [UInt8] {
            var message = DHCPv4Message(isReply: true, transactionID: 1, clientHardware: MACAddress(9))
            message[.messageType] = [kind.rawValue]
            message.set(.serverIdentifier, [IPv4Address("10.0.2.2")!])
            message.yourAddress = address
            return Frames.udp(
                from: Endpoint(MACAddress(3), IPv4Address("10.0.2.2")!, port: 67),
                to: Endpoint(.broadcast, .broadcast, port: 68), message.bytes())
        }
        let some = IPv4Address("10.0.2.15")!
        let verdicts = [frame(.offer, some), frame(.ack, some), frame(.offer, .any), frame(.nak, some)].map {
            DHCPServerDetector.isAnswer($0.rawSpan)
        }
        #expect(verdicts == [true, true, false, false])
    }

    @Test func requestForAnotherServerIsDetected() {
        let own = IPv4Address("192.168.105.1")!
        func request(_ server: IPv4Address?) -> [UInt8] {
            Frames.dhcp(.request, from: MACAddress(9), transactionID: 1) {
                if let server { $0.set(.serverIdentifier, [server]) }
            }
        }
        let others = request(IPv4Address("10.0.2.2")!), ours = request(own), nobodys = request(nil)
        #expect(DHCPServerDetector.selectsOtherServer(others.rawSpan, own: own) == true)
        #expect(DHCPServerDetector.selectsOtherServer(ours.rawSpan, own: own) == false)
        #expect(DHCPServerDetector.selectsOtherServer(nobodys.rawSpan, own: own) == false)
    }

    // MARK: Several servers of this program

    /// The DISCOVER of another server's detector.
    private func probe(serves: Bool, identifier: UInt64) -> [UInt8] {
        Frames.dhcp(.discover, from: MACAddress(identifier), transactionID: 7) {
            DHCPServerClaim(serves: serves, identifier: MACAddress(identifier)).write(to: &$0)
        }
    }

    @Test func serverWithSmallerClaimWaitsForTheOther() throws {
        var greater = DetectorHarness(identifier: 9), smaller = DetectorHarness(identifier: 8)
        _ = try greater.step()
        _ = try smaller.step()
        greater.detector.receive(probe(serves: false, identifier: 8).rawSpan, now: greater.now)
        smaller.detector.receive(probe(serves: false, identifier: 9).rawSpan, now: smaller.now)
        try greater.finish()
        #expect(greater.detector.verdict == .alone && greater.now == .distantPast + .milliseconds(3500))
        while smaller.now < greater.now { #expect(try smaller.step()) }
        #expect(smaller.detector.verdict == .undecided)
        for _ in 0..<2 {
            smaller.answer { DHCPServerClaim(serves: true, identifier: MACAddress(9)).write(to: &$0) }
            _ = try smaller.step()
        }
        #expect(smaller.detector.verdict == .served(by: IPv4Address("10.0.2.2")!))
    }

    /// After the switch has come back, guests keep the server that they had.
    @Test func serverThatHasServedComesFirst() throws {
        var served = DetectorHarness(serves: true, identifier: 8)
        _ = try served.step()
        served.detector.receive(probe(serves: false, identifier: 9).rawSpan, now: served.now)
        try served.finish()
        #expect(served.detector.verdict == .alone && served.now == .distantPast + .milliseconds(3500))
    }

    @Test func forgedClaimsDelayOnce() throws {
        var harness = DetectorHarness()
        while try harness.step() {
            harness.detector.receive(probe(serves: true, identifier: 0xffff).rawSpan, now: harness.now)
        }
        #expect(harness.detector.verdict == .alone && harness.now == .distantPast + .milliseconds(6500))
    }

    /// Of two that serve, one ends, and the other one goes on.
    @Test func offerWithSmallerClaimDoesNotCount() throws {
        for (other, expected) in [(8, .alone), (10, .served(by: IPv4Address("10.0.2.2")!))]
            as [(UInt64, DHCPServerDetector.Verdict)]
        {
            var harness = DetectorHarness(serves: true, identifier: 9)
            while try harness.step() {
                harness.answer { DHCPServerClaim(serves: true, identifier: MACAddress(other)).write(to: &$0) }
            }
            #expect(harness.detector.verdict == expected)
        }
    }

    @Test func claimIsInEachQuestionAndInOffersToDetectors() throws {
        let claim = DHCPServerClaim(serves: false, identifier: MACAddress(9))
        var harness = DetectorHarness()
        try harness.finish()
        #expect(harness.questions.allSatisfy { DHCPServerClaim(in: $0) == claim })
        let own = DHCPServerClaim(serves: true, identifier: mac(5))
        var server = DHCPHarness { $0.claim = own }
        let offers = server.send(harness.questions[0]) + server.wait(.seconds(1))
        let others = server.send(server.message(.discover, mac(6))) + server.wait(.seconds(1))
        #expect(offers.map { DHCPServerClaim(in: $0) } == [own])
        #expect(others.map { DHCPServerClaim(in: $0) } == [nil], "guests do not get it")
    }
}
