// SPDX-License-Identifier: Apache-2.0
import FrameIO
import NetworkModel
import Platform
import TestSupport
import Testing
import Uplinks
import Wire
@testable import UserUplink

/// Guests' TCP to the name server, frames on one side and sockets on the other.
@Suite struct NameRelayTests {
    private final class RelayPort {
        let ears = Ears()
        let inlet: NameInlet
        let relay: NameRelay
        private let device: FrameDevice

        /// - Parameter port: at which a hardware address was seen; nil where that is not known.
        init(limit: Int = 64, port: (@Sendable (MACAddress) -> UInt16)? = nil) throws {
            ears.port.withLock { $0 = port }
            inlet = try NameInlet()
            relay = try NameRelay(
                Scene.network, hardware: Scene.router, mtu: 1500, limit: limit, names: inlet, to: ears)
            device = relay.device
        }

        func give(_ frame: [UInt8]) {
            #expect(device.give([UInt8](repeating: 0, count: VirtioNetHeader.length) + frame))
            turn()
        }

        /// Takes the first connection. Returns whether there was one.
        var hasCaller: Bool { inlet.take() != nil }

        func turn() { _ = device.poll(isReadable: true) }

        /// Turns until the guest hears what `accept` wants.
        func hear(_ what: String, _ accept: (HeardSegment) -> Bool) throws -> HeardSegment {
            var found: HeardSegment?
            try eventually(what) {
                turn()
                while found == nil, let frame = ears.take() {
                    found = HeardSegment(frame).flatMap { accept($0) ? $0 : nil }
                }
                return found != nil
            }
            return found!
        }
    }

    @Test func aConnectionReachesTheInletWithItsGuest() throws {
        let port = try RelayPort()
        port.give(RelayScene.segment(4000, 53, .syn, sequence: 1000))
        let answer = try port.hear("SYN-ACK") {
            $0.flags == [.syn, .ack] && $0.source == Scene.network.gateway && $0.sourcePort == 53
        }
        port.give(
            RelayScene.segment(
                4000, 53, [.ack, .psh], sequence: 1001, acknowledgment: answer.sequence &+ 1, payload: [1, 2, 3]))
        guard let arrival = port.inlet.take() else {
            Issue.record("no connection")
            return
        }
        #expect(arrival.guest == Scene.guest)
        let socket = arrival.release()
        #expect(!socket.wait(for: .readable, until: MonotonicClock.now + 5 * MonotonicClock.second).isEmpty)
        #expect(try socket.receive(limit: 10) == [1, 2, 3])
        #expect(try socket.send([4, 5]) == 2)
        #expect(try port.hear("the answer") { !$0.payload.isEmpty }.payload == [4, 5])
        socket.finishSending()
        _ = try port.hear("the end") { $0.flags.contains(.fin) }
    }

    @Test func otherPortsAndAddressesAreNobodys() throws {
        let port = try RelayPort()
        for frame in [
            RelayScene.segment(4000, 54, .syn, sequence: 1),
            RelayScene.segment(4000, to: Scene.outside, 53, .syn, sequence: 1),
            RelayScene.segment(4000, to: IPv4Address("127.0.0.1")!, 53, .syn, sequence: 1),
        ] { port.give(frame) }
        #expect(!port.hasCaller)
        while let frame = port.ears.take() { #expect(HeardSegment(frame)?.flags.contains(.syn) != true) }
    }

    @Test func aLeaseSaysWhoIsHeard() throws {
        let port = try RelayPort()
        port.relay.note([(Scene.guest, Scene.otherMAC, .max)])
        port.give(RelayScene.segment(4000, 53, .syn, sequence: 1))
        #expect(!port.hasCaller)
        port.give(RelayScene.segment(4000, 53, .syn, sequence: 1, mac: Scene.otherMAC))
        #expect(port.hasCaller)
    }

    @Test func oneGuestsFloodIsBoundedAndLeavesTheOthersIn() throws {
        let port = try RelayPort(limit: 16)
        for number in 0..<500 as Range<UInt16> { port.give(RelayScene.segment(10_000 + number, 53, .syn, sequence: 1)) }
        port.give(RelayScene.segment(4000, 53, .syn, sequence: 1, from: Scene.other, mac: Scene.otherMAC))
        var guests: [IPv4Address] = []
        while let arrival = port.inlet.take() { guests.append(arrival.guest) }
        #expect(guests.count { $0 == Scene.guest } == 8 && guests.last == Scene.other, "\(guests)")
    }

    @Test func aGuestWithManyAddressesCostsItsOwnPortOnly() throws {
        let port = try RelayPort(limit: 16) { $0 == Scene.otherMAC ? 2 : 1 }
        port.give(RelayScene.segment(4000, 53, .syn, sequence: 1, from: Scene.other, mac: Scene.otherMAC))
        let answer = try port.hear("SYN-ACK") { $0.flags == [.syn, .ack] && $0.port == 4000 }
        port.give(
            RelayScene.segment(
                4000, 53, .ack, sequence: 2, acknowledgment: answer.sequence &+ 1, from: Scene.other,
                mac: Scene.otherMAC))
        // As many as it likes, each with a hardware address of its own, and all of them younger than the other guest's
        // connection.
        for number in 10..<200 as Range<UInt32> {
            let address = IPv4Address(Scene.network.network.base.value + number),
                hardware = MACAddress(0x5254_0000_1000 + UInt64(number))
            port.give(RelayScene.segment(4000, 53, .syn, sequence: 1, from: address, mac: hardware))
        }
        var other: Descriptor?
        while let arrival = port.inlet.take() { if arrival.guest == Scene.other { other = arrival.release() } }
        #expect(try other?.send([7]) == 1)
        #expect(try port.hear("what was sent") { !$0.payload.isEmpty }.port == 4000)
    }

    @Test func hostileFramesDoNotTrap() throws {
        let port = try RelayPort(), good = RelayScene.segment(4000, 53, .syn, sequence: 1)
        fuzz([UInt8](repeating: 0, count: VirtioNetHeader.length) + good, rounds: 8000) { bytes in
            var bytes = bytes
            if bytes.count > 26 { bytes.replaceSubrange(12..<26, with: good[0..<14]) }
            if bytes.isEmpty { return }
            _ = port.relay.device.give(bytes)
            port.turn()
            while port.ears.take() != nil {}
            while port.inlet.take() != nil {}
        }
        port.give(RelayScene.segment(5000, 53, .syn, sequence: 1, from: Scene.other, mac: Scene.otherMAC))
        _ = try port.hear("SYN-ACK") { $0.flags == [.syn, .ack] && $0.port == 5000 }
    }
}
