// SPDX-License-Identifier: Apache-2.0
import FrameIO
import NetworkModel
import Platform
import TestSupport
import Testing
import Timing
import Wire
@testable import UserUplink

/// TCP of guests to the DNS proxy, with frames on one side and sockets on the other.
@Suite struct DNSTCPTerminatorTests {
    private final class TerminatorHarness {
        let recorder = FrameRecorder()
        let queue: DNSConnectionQueue
        let relay: DNSTCPTerminator
        let device: FrameDevice

        /// - Parameter port: returns the port of a hardware address; nil if ports are unknown.
        init(limit: Int = 64, port: (@Sendable (MACAddress) -> UInt16)? = nil) throws {
            recorder.port.withLock { $0 = port }
            queue = try DNSConnectionQueue()
            relay = try DNSTCPTerminator(
                Fixture.network, hardware: Fixture.router, mtu: 1500, limit: limit, queue: queue, to: recorder)
            device = FrameDevice(relay)
        }

        func send(_ frame: [UInt8]) {
            #expect(device.send([UInt8](repeating: 0, count: VirtioNetHeader.length) + frame))
            poll()
        }

        /// Takes the first connection of the queue, and returns whether there was one.
        var hasCaller: Bool { queue.take() != nil }

        func poll() { _ = device.poll(isReadable: true) }

        /// Polls until a segment for the guest matches.
        func awaitSegment(_ what: String, _ accept: (ReceivedSegment) -> Bool) throws -> ReceivedSegment {
            var found: ReceivedSegment?
            try eventually(what) {
                poll()
                while found == nil, let frame = recorder.take() {
                    found = ReceivedSegment(frame).flatMap { accept($0) ? $0 : nil }
                }
                return found != nil
            }
            return found!
        }
    }

    @Test func connectionReachesQueueWithGuestAddress() throws {
        let port = try TerminatorHarness()
        port.send(Fixture.segment(4000, 53, .syn, sequence: 1000))
        let answer = try port.awaitSegment("SYN-ACK") {
            $0.flags == [.syn, .ack] && $0.source == Fixture.network.gateway && $0.sourcePort == 53
        }
        port.send(
            Fixture.segment(
                4000, 53, [.ack, .psh], sequence: 1001, acknowledgment: answer.sequence &+ 1, payload: [1, 2, 3]))
        guard let arrival = port.queue.take() else {
            Issue.record("no connection")
            return
        }
        #expect(arrival.guest == IPv6Address(embedding: Fixture.guest))
        let socket = arrival.release()
        #expect(!socket.wait(for: .readable, until: BootClock.now + .seconds(5)).isEmpty)
        #expect(try socket.receive(limit: 10) == [1, 2, 3])
        #expect(try socket.send([4, 5]) == 2)
        #expect(try port.awaitSegment("the answer") { !$0.payload.isEmpty }.payload == [4, 5])
        socket.finishSending()
        _ = try port.awaitSegment("the end") { $0.flags.contains(.fin) }
    }

    @Test func otherPortsAndAddressesOpenNoConnection() throws {
        let port = try TerminatorHarness()
        for frame in [
            Fixture.segment(4000, 54, .syn, sequence: 1),
            Fixture.segment(4000, to: Fixture.outside, 53, .syn, sequence: 1),
            Fixture.segment(4000, to: IPv4Address("127.0.0.1")!, 53, .syn, sequence: 1),
        ] { port.send(frame) }
        #expect(!port.hasCaller)
        while let frame = port.recorder.take() { #expect(ReceivedSegment(frame)?.flags.contains(.syn) != true) }
    }

    @Test func leaseDecidesWhichHardwareAddressIsServed() throws {
        let port = try TerminatorHarness()
        port.relay.note([(Fixture.guest, Fixture.otherMAC, end: .distantFuture)])
        port.send(Fixture.segment(4000, 53, .syn, sequence: 1))
        #expect(!port.hasCaller)
        port.send(Fixture.segment(4000, 53, .syn, sequence: 1, mac: Fixture.otherMAC))
        #expect(port.hasCaller)
    }

    @Test func connectionFloodLeavesRoomForOtherGuests() throws {
        let port = try TerminatorHarness(limit: 16)
        for number in 0..<500 as Range<UInt16> { port.send(Fixture.segment(10_000 + number, 53, .syn, sequence: 1)) }
        port.send(Fixture.segment(4000, 53, .syn, sequence: 1, from: Fixture.other, mac: Fixture.otherMAC))
        var guests: [IPv4Address] = []
        while let arrival = port.queue.take() {
            guests.append(IPv4Address(UInt32(truncatingIfNeeded: arrival.guest.low)))
        }
        #expect(guests.count { $0 == Fixture.guest } == 16 && guests.last == Fixture.other, "\(guests)")
    }

    @Test func connectionsAreChargedToTheGuestsPort() throws {
        let port = try TerminatorHarness(limit: 16) { $0 == Fixture.otherMAC ? 2 : 1 }
        port.send(Fixture.segment(4000, 53, .syn, sequence: 1, from: Fixture.other, mac: Fixture.otherMAC))
        let answer = try port.awaitSegment("SYN-ACK") { $0.flags == [.syn, .ack] && $0.port == 4000 }
        port.send(
            Fixture.segment(
                4000, 53, .ack, sequence: 2, acknowledgment: answer.sequence &+ 1, from: Fixture.other,
                mac: Fixture.otherMAC))
        // Many addresses with a hardware address each, all of them younger than the other guest's
        // connection.
        for number in 10..<200 as Range<UInt32> {
            let address = IPv4Address(Fixture.network.network.base.value + number),
                hardware = MACAddress(0x5254_0000_1000 + UInt64(number))
            port.send(Fixture.segment(4000, 53, .syn, sequence: 1, from: address, mac: hardware))
        }
        var other: Descriptor?
        while let arrival = port.queue.take() {
            if arrival.guest == IPv6Address(embedding: Fixture.other) { other = arrival.release() }
        }
        #expect(try other?.send([7]) == 1)
        #expect(try port.awaitSegment("what was sent") { !$0.payload.isEmpty }.port == 4000)
    }

    @Test func hostileFramesDoNotTrap() throws {
        let port = try TerminatorHarness(), good = Fixture.segment(4000, 53, .syn, sequence: 1)
        fuzz([UInt8](repeating: 0, count: VirtioNetHeader.length) + good, rounds: 8000) { bytes in
            var bytes = bytes
            if bytes.count > 26 { bytes.replaceSubrange(12..<26, with: good[0..<14]) }
            if bytes.isEmpty { return }
            _ = port.device.send(bytes)
            port.poll()
            while port.recorder.take() != nil {}
            while port.queue.take() != nil {}
        }
        port.send(Fixture.segment(5000, 53, .syn, sequence: 1, from: Fixture.other, mac: Fixture.otherMAC))
        _ = try port.awaitSegment("SYN-ACK") { $0.flags == [.syn, .ack] && $0.port == 5000 }
    }
}
