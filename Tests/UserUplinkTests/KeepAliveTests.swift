// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Timing
@testable import UserUplink
import Wire

/// Keep-alive probes of guests reach the outside, and guests that are gone lose their connections in time.
@Suite struct KeepAliveTests {
    private func connection(_ harness: RelayHarness) throws -> TCPConnection {
        try #require(harness.relay.slots.compactMap(\.connection).first)
    }

    /// The kernel of the outside answers; until then, the guest gets no answer from this side.
    @Test(arguments: [0, 1]) func probeIsAnsweredWhenTheOutsideAnswers(length: Int) throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let guest = try GuestPeer(harness, server, port), connection = try connection(harness)
        func sendProbe() { guest.send(.ack, [UInt8](repeating: 0, count: length), at: guest.sndNxt &- 1) }
        sendProbe()
        harness.poll()
        #expect(harness.segments().count == 1 && connection.outsideProbe == nil, "it has just been heard of")
        try eventually("a second without a segment") {
            (connection.socket?.silence ?? .zero) >= OutsideProbe.recent
        }
        sendProbe()
        #expect(connection.outsideProbe != nil)
        let answer = try harness.expectSegment("the answer")
        #expect(answer.flags == .ack && answer.acknowledgment == guest.sndNxt)
        #expect(connection.outsideProbe == nil)
        let silence = connection.socket?.silence
        #expect(silence != nil && silence! < .seconds(1), "the outside was probed")
    }

    /// An outside that does not answer: the guest's probe stays unanswered, and the next one leads to another.
    @Test func unansweredProbeIsRepeatedByTheGuestOnly() throws {
        var probe = OutsideProbe(.seconds(5)), looks = 0, now = Instant.seconds(5)
        while now - probe.start < OutsideProbe.timeout {
            now = probe.deadline
            #expect(now > .seconds(5) && now - probe.start <= OutsideProbe.timeout + OutsideProbe.maximumInterval)
            probe.wait(now: now)
            looks += 1
        }
        #expect((40...80).contains(looks), "\(looks)")
    }

    @Test func windowProbesAreAnsweredAtOnce() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let guest = try GuestPeer(harness, server, port), connection = try connection(harness)
        #expect(connection.isKeepAlive(length: 1, offset: -1, isFin: false))
        #expect(!connection.isKeepAlive(length: 2, offset: -1, isFin: false))
        #expect(!connection.isKeepAlive(length: 1, offset: -2, isFin: false))
        #expect(!connection.isKeepAlive(length: 0, offset: -1, isFin: true))
        guest.send(.ack, [1], at: guest.sndNxt &+ 5)
        harness.poll()
        #expect(!connection.isKeepAlive(length: 0, offset: -1, isFin: false), "it is waiting for something else")
    }

    /// A guest that is gone: idle, with data on its way, and with a closed window.
    @Test(arguments: ["idle", "data", "window"]) func goneGuestIsResetWithinTenMinutes(state: String) throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let guest = try GuestPeer(harness, server, port)
        if state == "window" {
            guest.send(.ack, window: 0)
            harness.poll()
        }
        if state != "idle" {
            _ = try guest.peer.socket.send([1, 2, 3])
            #expect(harness.settles())
        }
        let start = harness.now
        while harness.relay.count > 0, harness.now - start < .seconds(1000) {
            harness.clockOffset += .seconds(1)
            harness.poll()
        }
        #expect(harness.relay.count == 0 && harness.now - start < .seconds(600), "\(harness.now - start)")
        #expect(harness.segments().last?.flags.contains(.rst) == true)
        #expect(throws: SystemError.self) { try guest.peer.socket.receive(limit: 1) }
    }
}
