// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Timing
@testable import UserUplink
import Wire

/// Segments that may not be the guest's (RFC 5961), and what guests offer.
@Suite struct TCPChallengeTests {
    @Test func resetInsideTheWindowIsChallenged() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let guest = try GuestPeer(harness, server, port)
        _ = harness.segments()
        for distance in [1, 1000, 16_000] as [UInt32] {
            guest.send(.rst, at: guest.sndNxt &+ distance)
            harness.poll()
            let answer = harness.segments()
            #expect(answer.map(\.flags) == [.ack] && answer[0].acknowledgment == guest.sndNxt)
        }
        guest.send(.rst, at: guest.sndNxt &+ (2 << 20))
        guest.send(.rst, at: guest.sndNxt &- 1)
        harness.poll()
        #expect(harness.segments().isEmpty && harness.relay.count == 1, "outside of the window it is dropped")
        // A guest that has no state of the connection confirms it.
        guest.send(.rst, at: guest.sndNxt)
        harness.poll()
        #expect(harness.relay.count == 0)
    }

    @Test func challengesAreLimited() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let guest = try GuestPeer(harness, server, port)
        harness.fixedTime = BootClock.now
        func challenges(_ count: Int) -> Int {
            _ = harness.segments()
            for number in 0..<count {
                switch number % 3 {
                case 0: guest.send(.rst, at: guest.sndNxt &+ 5)
                case 1: guest.send(.syn, at: guest.sndNxt &+ 700)
                default: guest.send(.ack, [1], acknowledgment: guest.rcvNxt &+ 5000)
                }
                harness.poll()
            }
            return harness.segments().count
        }
        #expect(challenges(40) == TCPConnection.maximumChallenges)
        harness.fixedTime! += .seconds(6)
        #expect(challenges(4) == 4)
        // What needs an ACK still gets one.
        #expect(challenges(40) == TCPConnection.maximumChallenges - 4)
        guest.send([.ack, .psh], [7])
        harness.poll()
        #expect(harness.segments().map(\.acknowledgment) == [guest.sndNxt &+ 1])
        #expect(harness.relay.count == 1)
    }

    /// RFC 5961 section 5.2: data with an acknowledgment that cannot be right is not the guest's.
    @Test func dataWithImplausibleAcknowledgmentIsDropped() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let guest = try GuestPeer(harness, server, port)
        _ = harness.segments()
        // The largest window so far is 65,535 bytes, shifted by 7.
        for distance in [1, 70_000, 1 << 30, 0x7fff_ffff, UInt32(bitPattern: -(65_535 << 7) - 2)] {
            guest.send([.ack, .psh], [9], acknowledgment: guest.rcvNxt &+ distance)
            harness.poll()
            let answer = harness.segments()
            #expect(answer.map(\.acknowledgment) == [guest.sndNxt], "\(distance)")
        }
        guest.send([.ack, .psh], [1], acknowledgment: guest.rcvNxt &- 1)
        harness.poll()
        #expect(harness.segments().map(\.acknowledgment) == [guest.sndNxt &+ 1], "an old one may be late")
        try guest.run("the byte") { !guest.peer.socket.wait(for: .readable, until: .distantPast).isEmpty }
        #expect(try guest.peer.socket.receive(limit: 10) == [1])
    }

    @Test func overtakenSegmentDoesNotChangeTheWindow() throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let guest = try GuestPeer(harness, server, port)
        guest.send([.ack, .psh], [2], at: guest.sndNxt &+ 1)
        guest.send([.ack, .psh], [1], window: 0)
        harness.poll()
        let connection = try #require(harness.relay.slots.compactMap(\.connection).first)
        #expect(connection.sender.sndWnd == 0xffff << 7)
    }

    /// Any MSS is obeyed, and no frame is made of thousands of segments.
    @Test(arguments: [(1, 1), (48, 48), (88, 88), (536, 536), (0, 536), (9000, 1460)])
    func offeredSegmentSizeIsObeyed(offered: Int, expected: Int) throws {
        let (server, port) = try RelayHarness.server()
        let harness = try RelayHarness()
        let guest = try GuestPeer(
            harness, server, port, options: [2, 4, UInt8(offered >> 8), UInt8(truncatingIfNeeded: offered)])
        let connection = try #require(harness.relay.slots.compactMap(\.connection).first)
        #expect(connection.sender.smss == expected)
        _ = try guest.peer.socket.send(Fixture.pattern(3000))
        harness.output.flush()
        try eventually("a frame") {
            harness.poll()
            harness.output.flush()
            while let frame = harness.recorder.take() {
                let segment = try #require(ReceivedSegment(frame)), offload = VirtioNetHeader(parsing: frame.rawSpan)!
                guard !segment.payload.isEmpty else { continue }
                #expect(
                    segment.payload.count <= expected
                        || Int(offload.segmentSize) == expected
                            && segment.payload.count <= TCPContext.maximumSegments * expected
                )
                return true
            }
            return false
        }
    }

    @Test func failuresAreWhatARouterReports() {
        let table: [(Int32, ConnectFailure)] = [
            (Errno.networkUnreachable, .network), (Errno.networkDown, .network), (Errno.familyNotSupported, .network),
            (Errno.hostUnreachable, .host), (Errno.hostDown, .host), (Errno.accessDenied, .prohibited),
            (Errno.notPermitted, .prohibited), (Errno.refused, .refused), (Errno.reset, .refused),
            (Errno.timedOut, .silence), (Errno.invalid, .silence), (Errno.tooManyFiles, .silence),
            (Errno.addressNotAvailable, .silence),
        ]
        for (error, failure) in table { #expect(ConnectFailure(error) == failure, "\(error)") }
        for (failure, code, code6) in [(.network, 0, 0), (.host, 1, 3), (.prohibited, 13, 1)]
            as [(ConnectFailure, UInt8, UInt8)]
        {
            for (guest, remote, expected) in [
                (IPv6Address(0, UInt64(Fixture.guest.value)), IPv6Address(0, UInt64(Fixture.outside.value)), code),
                (Fixture.guest6, Fixture.outside6, code6),
            ] {
                var gateway = Fixture.gateway()
                let endpoints = TCPEndpoints(
                    key: FlowKey(IPProtocol.tcp, guest: guest, 4000, remote: remote, 80),
                    gatewayHardware: Fixture.router, guestHardware: Fixture.mac)
                gateway.apply(.unreachable(endpoints, sequence: 77, failure: failure), now: .seconds(100))
                guard let message = gateway.toGuests.first else {
                    Issue.record("no message")
                    continue
                }
                let start = endpoints.isIPv6 ? 54 : 34
                #expect(message[start] == (endpoints.isIPv6 ? 1 : 3) && message[start + 1] == expected)
                // It quotes the guest's packet.
                let quoted = start + 8 + endpoints.ipHeaderLength
                #expect(message.rawSpan.big16(at: quoted) == 4000 && message.rawSpan.big32(at: quoted + 4) == 77)
            }
        }
    }
}
