// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import Wire

/// The packet builder makes what the views of Wire accept.
@Suite struct FramesTests {
    private let one = Endpoint.guest(2, port: 4000), two = Endpoint.guest(3, port: 80)

    @Test func endpointsAreGuestsOfTheDefaultNetwork() {
        #expect(one.hardware == MACAddress("52:54:00:00:00:02") && one.address == IPv4Address("192.168.105.2"))
    }

    @Test func ethernetFrameHasItsFields() throws {
        let frame = Frames.ethernet(to: .broadcast, from: one.hardware, [1, 2])
        let view = try EthernetView(frame.rawSpan)
        let addresses = [view.destination, view.source], type = view.type
        #expect(addresses == [.broadcast, one.hardware] && type == 0x88b5)
        let payload = view.payload.copied()
        #expect(payload == [1, 2])
    }

    @Test func arpFramesAreParsed() throws {
        let request = Frames.arpRequest(from: one, for: two.address)
        let packet = try ARPPacket(parsing: request.rawSpan.from(14))
        #expect(packet.operation == .request && packet.targetAddress == two.address)
        let reply = try ARPPacket(parsing: Frames.arpReply(from: one, to: two).rawSpan.from(14))
        #expect(reply.operation == .reply && reply.senderHardware == one.hardware)
    }

    @Test func datagramHasValidChecksums() throws {
        let frame = Frames.udp(from: one, to: two, [1, 2, 3])
        let packet = try IPv4View(try EthernetView(frame.rawSpan).payload)
        let datagram = try UDPView(packet.payload)
        let isValid = datagram.hasValidChecksum(source: packet.source, destination: packet.destination)
        let hasValidHeader = packet.hasValidChecksum, ports = [datagram.sourcePort, datagram.destinationPort]
        #expect(hasValidHeader && isValid && ports == [4000, 80])
    }

    @Test func segmentHasValidChecksumsAndOptions() throws {
        let frame = Frames.tcp(
            [.syn, .ack], from: one, to: two, sequence: 7, acknowledgment: 8, window: 9, options: [2, 4, 5, 0xb4],
            [1, 2, 3])
        let packet = try IPv4View(try EthernetView(frame.rawSpan).payload)
        let segment = try TCPView(packet.payload)
        let isValid = segment.hasValidChecksum(source: packet.source, destination: packet.destination)
        let hasValidHeader = packet.hasValidChecksum, isFragment = packet.isFragment
        #expect(hasValidHeader && isValid && !isFragment)
        let flags = segment.flags, numbers = [segment.sequence, segment.acknowledgment, UInt32(segment.window)]
        let options = TCPOptions(segment), payload = segment.payload.copied()
        #expect(flags == [.syn, .ack] && numbers == [7, 8, 9])
        #expect(options.maximumSegment == 1460 && payload == [1, 2, 3])
    }

    @Test func fragmentIsRecognised() throws {
        let frame = Frames.ipv4(IPProtocol.udp, from: one, to: two, fragment: 0x2000, identification: 5, [0, 0])
        let packet = try IPv4View(try EthernetView(frame.rawSpan).payload)
        let isFragment = packet.isFragment, isValid = packet.hasValidChecksum, identification = packet.identification
        #expect(isFragment && isValid && identification == 5)
    }

    @Test func echoIsParsed() throws {
        let frame = Frames.echo(from: one, to: two, identifier: 9)
        let packet = try IPv4View(try EthernetView(frame.rawSpan).payload)
        let echo = try ICMPEcho(parsing: packet.payload)
        #expect(echo.identifier == 9)
    }

    @Test func clientMessageIsBroadcast() throws {
        let frame = Frames.dhcp(.discover, from: one.hardware) { $0.hasBroadcastFlag = true }
        let ethernet = try EthernetView(frame.rawSpan), packet = try IPv4View(ethernet.payload)
        let message = try DHCPv4Message(parsing: try UDPView(packet.payload).payload)
        let destination = ethernet.destination, source = packet.source
        #expect(destination == .broadcast && source == .any)
        #expect(message.kind == .discover && message.clientHardware == one.hardware && message.hasBroadcastFlag)
        #expect(Frames.dhcpMessage(in: frame) == nil, "a client's message is not one to a client")
    }

    @Test func seedsFollowTheFactor() {
        #expect(Rounds.of(3) == 3 * Rounds.factor && Rounds.seeds(2).count == 2 * Rounds.factor)
    }
}
