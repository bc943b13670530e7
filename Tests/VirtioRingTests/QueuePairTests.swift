// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Timing
import Wire

@testable import VirtioRing

/// A guest with two queue pairs.
@Suite struct QueuePairTests {
    private static let features: VirtioFeatures = [.version1, .mergeableBuffers, .multiqueue]
    private let fixture: RingFixture
    private var guest: VhostGuest { fixture.guest }

    init() throws {
        fixture = try RingFixture(Self.features, bases: [0, 0, 0, 0])
        for pair in 0..<2 { fixture.guest.fillReceiveRing(pair: pair) }
    }

    private static let outside = Endpoint(Frames.mac(200), IPv4Address("198.51.100.7")!, port: 443)

    private func outgoing(_ port: UInt16) -> [UInt8] {
        Frames.tcp(.ack, from: .guest(1, port: port), to: Self.outside)
    }

    private func incoming(_ port: UInt16) -> [UInt8] {
        Frames.tcp(.ack, from: Self.outside, to: .guest(1, port: port))
    }

    /// The frames that a pair has received.
    private func received(_ pair: Int) -> [[UInt8]] {
        var frames: [[UInt8]] = []
        while let frame = guest.receive(pair: pair) { frames.append(Array(frame.dropFirst(12))) }
        return frames
    }

    @Test func framesOfEachPairAreTaken() {
        var sent: Set<[UInt8]> = []
        for index in 0..<6 {
            let frame = numbered(100, from: index)
            guest.send(frame, pair: index % 2)
            sent.insert(frame)
        }
        #expect(Set(fixture.receive().frames.map(\.bytes)) == sent)
        for ring in [1, 3] {
            for _ in 0..<3 { #expect(guest.takeUsed(ring: ring) != nil) }
            #expect(guest.takeUsed(ring: ring) == nil)
        }
        #expect(fixture.receive().frames.isEmpty)
    }

    /// A flow comes back by the pair that it was sent by, from its next frame on.
    @Test func flowReturnsByItsPair() {
        #expect(fixture.send([incoming(1000)]).sent == 1)
        #expect(received(0) == [incoming(1000)], "before the guest has sent")
        for (round, pair) in [1, 0, 1].enumerated() {
            guest.send(outgoing(1000), pair: pair)
            #expect(fixture.receive().frames.count == 1)
            _ = guest.takeUsed(ring: 2 * pair + 1)
            #expect(fixture.send([incoming(1000), incoming(1000)]).sent == 2)
            #expect(received(pair) == [incoming(1000), incoming(1000)], "round \(round)")
            #expect(received(1 - pair).isEmpty)
        }
    }

    /// Frames in one call go to several pairs, each in its order, and each pair is interrupted.
    @Test func oneCallServesSeveralPairs() {
        for port: UInt16 in 1000..<1008 {
            guest.send(outgoing(port), pair: Int(port % 2))
            #expect(fixture.receive().frames.count == 1)
        }
        for pair in 0..<2 { guest.calls[2 * pair].value.drain() }
        let frames = (0..<16).map { incoming(1000 + UInt16($0 % 8)) }
        #expect(fixture.send(frames).sent == 16)
        let all = (0..<2).map(received)
        #expect(all[0].count + all[1].count == 16)
        // Two flows may have the same number, so only the order within each flow is certain.
        for port: UInt16 in 1000..<1008 {
            #expect(all.filter { $0.contains(incoming(port)) }.count == 1)
        }
        for pair in 0..<2 {
            #expect(!all[pair].isEmpty)
            #expect(guest.calls[2 * pair].value.descriptor.wait(for: .readable, until: .distantPast) == .readable)
        }
    }

    /// A pair without buffers delays the guest's frames, and loses none.
    @Test func fullPairLosesNothing() {
        guest.send(outgoing(1000), pair: 1)
        #expect(fixture.receive().frames.count == 1)
        let frames = [[UInt8]](repeating: incoming(1000), count: VhostGuest.entries)
        #expect(fixture.send(frames).sent == VhostGuest.entries)
        #expect(fixture.send([incoming(1000)]) == (0, Errno.again))
        #expect(received(1).count == VhostGuest.entries)
        #expect(fixture.send([incoming(1000)]).sent == 1)
        #expect(received(1).count == 1)
    }

    /// The guest's driver reduces the number of pairs while frames arrive.
    @Test func stoppedPairHandsOverToTheFirst() throws {
        guest.send(outgoing(1000), pair: 1)
        #expect(fixture.receive().frames.count == 1)
        try fixture.device.setEnabled(2, false)
        #expect(fixture.send([incoming(1000)]).sent == 1)
        #expect(received(0) == [incoming(1000)])
        try fixture.device.setEnabled(2, true)
        #expect(fixture.send([incoming(1000)]).sent == 1)
        #expect(received(1) == [incoming(1000)])
        #expect(fixture.device.stop(3) == 1)
        try fixture.device.setEnabled(3, true)
        guest.send(outgoing(1000), pair: 1)
        #expect(fixture.receive().frames.isEmpty, "a stopped ring")
    }

    @Test func impossiblePairEndsTheDevice() {
        guest.offer(900, ring: 3)
        #expect(fixture.receive().error == Errno.badMessage)
        #expect(fixture.device.fault == "its ring has an impossible chain")
    }
}
