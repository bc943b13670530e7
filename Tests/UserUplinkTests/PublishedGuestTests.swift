// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import TestSupport
import Testing
import Timing
@testable import UserUplink
import Wire

/// Published TCP ports whose guest is not there, drops, or refuses.
@Suite struct PublishedGuestTests {
    private func connect(_ harness: RelayHarness, _ guest: IPv4Address) throws -> SocketBox {
        for _ in 0..<100 {
            let port = UInt16.random(in: 20_000...60_000)
            guard (try? harness.relay.publish(.ipv4(.any), port, to: .ipv4(guest), 80)) != nil else { continue }
            let client = SocketBox(try Socket.tcp())
            try client.socket.connect(to: SocketAddress("127.0.0.1", port: port)!)
            try eventually("the client") {
                harness.poll()
                return harness.relay.count > 0 || harness.relay.context.unreached != nil
            }
            return client
        }
        throw RelayHarness.TimedOut(what: "a port")
    }

    /// Lets so much time pass, in steps, and returns the ARP requests of that time.
    private func pass(
        _ amount: TimeAmount, by step: TimeAmount = .milliseconds(20), _ harness: RelayHarness, answering: Bool = false
    ) -> Int {
        var count = 0
        let end = harness.fixedTime! + amount
        while harness.fixedTime! < end {
            harness.fixedTime! += step
            harness.poll()
            let requests = harness.gateway.toGuests.count { $0[12] == 8 && $0[13] == 6 }
            harness.gateway.toGuests.removeAll()
            count += requests
            if answering && requests > 0 { harness.sendARPReply() }
        }
        return count
    }

    private func isReset(_ client: SocketBox) -> Bool {
        guard !client.socket.wait(for: .hangup, until: BootClock.now + .seconds(5)).isEmpty else { return false }
        do throws(SystemError) {
            _ = try client.socket.receive(limit: 1)
            return false
        } catch {
            return error.code == Errno.reset
        }
    }

    /// Another port of the host that leads to the same port of the guest.
    @Test func endOfOtherPublishedPortLeavesConnections() throws {
        let harness = try RelayHarness()
        let client = try connect(harness, Fixture.guest)
        let other = try #require(
            (20_000...60_000).first {
                (try? harness.relay.publish(.ipv4(.any), UInt16($0), to: .ipv4(Fixture.guest), 80)) != nil
            })
        #expect(harness.relay.unpublish(.ipv4(.any), UInt16(other), now: BootClock.now))
        harness.poll()
        #expect(harness.relay.count == 1)
        let peer = client.socket.internetPeer
        let own = try #require(peer)
        #expect(harness.relay.unpublish(.ipv4(.any), own.port, now: BootClock.now))
        harness.poll()
        #expect(harness.relay.count == 0 && isReset(client))
    }

    /// A guest with a lease, whose hardware address is known, and one that was never seen.
    @Test(arguments: [Fixture.guest, Fixture.other]) func absentGuestRefusesClientSoon(guest: IPv4Address) throws {
        let harness = try RelayHarness()
        harness.fixedTime = BootClock.now
        let client = try connect(harness, guest)
        harness.gateway.toGuests.removeAll()
        _ = pass(.milliseconds(2500), harness)
        #expect(harness.relay.count == 1, "it has some time to answer")
        #expect(pass(.milliseconds(500), harness) == 0)
        #expect(harness.relay.count == 0 && isReset(client))
        let taken = harness.relay.context.takeUnreached(), again = harness.relay.context.takeUnreached()
        let (last, count) = try #require(taken)
        #expect(count == 1 && "\(last)".contains("\(guest):80/tcp was refused: no guest answers"))
        #expect(again == nil)
    }

    @Test func unknownGuestGetsItsSYNWhenItAnswers() throws {
        let harness = try RelayHarness()
        harness.fixedTime = BootClock.now
        let client = try connect(harness, Fixture.other)
        _ = pass(.milliseconds(40), harness)
        #expect(harness.segments().isEmpty)
        harness.sendARPReply(of: Fixture.other, at: Fixture.otherMAC)
        _ = pass(.milliseconds(500), harness)
        #expect(harness.segments().map(\.flags) == [.syn])
        _ = client
    }

    /// A guest that answers ARP, and drops the SYN, is not absent: its client waits as long as for any host.
    @Test func droppingGuestHasItsOwnTimeout() throws {
        let harness = try RelayHarness()
        harness.fixedTime = BootClock.now
        let client = try connect(harness, Fixture.guest)
        let requests = pass(.seconds(3), harness, answering: true)
        #expect((1...3).contains(requests) && pass(.seconds(60), by: .milliseconds(500), harness) == 0)
        #expect(harness.relay.count == 1 && harness.segments().allSatisfy { $0.flags == .syn })
        _ = pass(.seconds(100), by: .milliseconds(500), harness)
        #expect(harness.relay.count == 0 && isReset(client) && harness.relay.context.unreached == nil)
    }

    /// A guest's filter, or its kernel, answers the SYN with "port unreachable".
    @Test func guestRefusesByICMP() throws {
        let harness = try RelayHarness()
        let client = try connect(harness, Fixture.guest)
        let syn = try harness.expectSegment { $0.flags == .syn }
        func refuse(_ sequence: UInt32, code: UInt8 = 3, cut: Int = 0) {
            var quoted = ByteWriter(capacity: 28)
            IPv4Header(source: syn.source, destination: Fixture.guest, protocolNumber: IPProtocol.tcp).emit(
                into: &quoted, payloadLength: TCPHeader.length)
            quoted.put16(syn.sourcePort)
            quoted.put16(syn.port)
            quoted.put32(sequence)
            var message = ByteWriter(capacity: 36)
            message.put8(ICMPType.destinationUnreachable)
            message.put8(code)
            message.put16(0)
            message.put32(0)
            message.put(Array(quoted.bytes.dropLast(cut)))
            message.patch16(message.checksum(from: 0).finished, at: ICMPHeader.Field.checksum)
            harness.send(Fixture.ipv4(IPProtocol.icmp, to: syn.source, message.bytes))
            harness.poll()
        }
        refuse(syn.sequence &+ 1)
        refuse(syn.sequence, code: 4)
        for cut in 1...28 { refuse(syn.sequence, cut: cut) }
        #expect(harness.relay.count == 1, "that was no answer to the SYN")
        refuse(syn.sequence)
        #expect(harness.relay.count == 0 && isReset(client))
    }

    @Test func guestWithoutLeaseRefusesClientAtOnce() throws {
        let harness = try RelayHarness()
        let client = try connect(harness, .any)
        #expect(isReset(client) && harness.relay.count == 0)
        let reason = try #require(harness.relay.context.unreached)
        #expect("\(reason)".contains("its guest has no lease"))
    }

    @Test func noticesAreTakenOnce() throws {
        let notices = try NATNotices()
        #expect(notices.take() == nil)
        notices.note(unreached: .noLease(hostPort: 1, .tcp), 2)
        notices.note(unreached: .noLease(hostPort: 3, .tcp), 1)
        notices.noteFreedMemory()
        #expect(!notices.notification.descriptor.wait(for: .readable, until: .distantPast).isEmpty)
        let content = try #require(notices.take())
        #expect(content.unreached?.count == 3 && content.hasFreedMemory)
        #expect("\(content.unreached!.last)".contains("3/tcp"))
        #expect(notices.take() == nil)
        #expect(notices.notification.descriptor.wait(for: .readable, until: .distantPast).isEmpty)
    }
}
