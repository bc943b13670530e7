// SPDX-License-Identifier: Apache-2.0
import AddressService
import Testing
import Wire

@Suite struct ServerDetectorTests {
    private let second: UInt64 = 1_000_000_000

    @Test func silenceMeansAlone() {
        var detector = ServerDetector(seed: 42, now: 0)
        var outbox = Outbox()
        var now: UInt64 = 0
        var questions = 0
        while let due = detector.nextDeadline {
            now = due
            detector.tick(now: now, into: &outbox)
            questions += outbox.frames.count
            outbox = Outbox()
        }
        #expect(detector.verdict == .alone)
        #expect(questions == 4)
        #expect(now == 3_500_000_000)
    }

    @Test func anOfferMeansServed() throws {
        var detector = ServerDetector(seed: 42, now: 0)
        var outbox = Outbox()
        detector.tick(now: 0, into: &outbox)
        let asked = outbox.frames[0]
        let question = try DHCPv4Message(parsing: asked.rawSpan.from(42))
        #expect(question.kind == .discover && question.wantsBroadcast)
        var offer = DHCPv4Message(isReply: true, transactionID: question.transactionID, clientHardware: question.clientHardware)
        offer[.messageType] = [DHCPv4Message.Kind.offer.rawValue]
        let server = IPv4Address("10.0.2.2")!
        offer.set(.serverIdentifier, [server])
        let frame = UDPFrame(from: (MACAddress(3), server, 67), to: (.broadcast, .broadcast, 68)).bytes(payload: offer.bytes())
        detector.receive(frame.rawSpan)
        #expect(detector.verdict == .served(by: server))
        #expect(detector.nextDeadline == nil)
    }

    @Test func whatIsNoOfferDecidesNothing() {
        var detector = ServerDetector(seed: 42, now: 0)
        var discover = DHCPv4Message(isReply: false, transactionID: 1, clientHardware: MACAddress(9))
        discover[.messageType] = [1]
        detector.receive(UDPFrame(from: (MACAddress(9), .any, 68), to: (.broadcast, .broadcast, 67)).bytes(payload: discover.bytes()).rawSpan)
        detector.receive([1, 2, 3].rawSpan)
        detector.receive(ARPPacket.probe(for: .any, from: MACAddress(9)).frame(to: .broadcast).rawSpan)
        #expect(detector.verdict == .undecided)
    }

    @Test func aChoiceOfAnotherServerIsNoticed() {
        let own = IPv4Address("192.168.105.1")!
        func request(_ server: IPv4Address?) -> [UInt8] {
            var message = DHCPv4Message(isReply: false, transactionID: 1, clientHardware: MACAddress(9))
            message[.messageType] = [DHCPv4Message.Kind.request.rawValue]
            if let server { message.set(.serverIdentifier, [server]) }
            return UDPFrame(from: (MACAddress(9), .any, 68), to: (.broadcast, .broadcast, 67)).bytes(payload: message.bytes())
        }
        let others = request(IPv4Address("10.0.2.2")!), ours = request(own), nobodys = request(nil)
        #expect(ServerDetector.choosesAnother(others.rawSpan, own: own) == true)
        #expect(ServerDetector.choosesAnother(ours.rawSpan, own: own) == false)
        #expect(ServerDetector.choosesAnother(nobodys.rawSpan, own: own) == false)
    }
}
